"""Rough panes' blurs against microfacets drawn one by one."""

import math

import numpy as np
import pytest

from clearpane.synthesis.glass.rough import rough_blurs
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Pane, ReflectedWorld


def refract(d: np.ndarray, normal: np.ndarray, ior: float) -> np.ndarray:
    """Rays [N, 3] at faces with unit normals against them; relative index ior."""
    cosine = -(d * normal).sum(axis=1, keepdims=True)
    inside = np.sqrt(1 - (1 - cosine**2) / ior**2)
    return d / ior + (cosine / ior - inside) * normal


def reflect(d: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return d - 2 * (d * normal).sum(axis=1, keepdims=True) * normal


def test_blurs_are_the_spread_of_rays_off_random_slopes() -> None:
    pane = Pane(roughness=0.2, ior=1.5, distance=1.0)
    scene = GlassScene(Background("a", distance=3.0), ReflectedWorld("b", distance=2.0), pane, Camera())
    generator = np.random.default_rng(0)

    def normals(sign: float) -> np.ndarray:
        # Beckmann's distribution of slopes, alpha = roughness^2
        slopes = generator.normal(0, 0.04 / math.sqrt(2), (200_000, 2))
        n = np.concatenate([slopes, np.ones((200_000, 1))], axis=1)
        return sign * n / np.linalg.norm(n, axis=1, keepdims=True)

    ray = np.tile([0.0, 0.0, 1.0], (200_000, 1))
    inside = refract(ray, normals(-1), 1.5)
    turns = (
        reflect(ray, normals(-1)),
        refract(reflect(inside, normals(-1)), normals(1), 1 / 1.5),
        refract(inside, normals(-1), 1 / 1.5),
    )
    focal = 256 / (2 * math.tan(math.radians(25)))
    shares = (2 / 3, 2 / 3, 2 / 3)
    expected = [t[:, 0].std() * share * focal for t, share in zip(turns, shares, strict=True)]
    assert rough_blurs(scene, 256) == pytest.approx(expected, rel=0.02)
