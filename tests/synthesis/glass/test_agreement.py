"""The two renderers, which share a scene's description and nothing else, against each other.

A small version of `benchmarks/glass/renderers.py`. The path tracer's noise is taken out of the comparison
with independent parts of its samples: the mean of (analytic - part 1)(analytic - part 2), over all pairs of
parts, is the square of what the analytic picture is off, and noise only blurs it. The numbers of samples keep
the standard deviation of that blur below a third of the squared error that the bounds allow.
"""

import math
from dataclasses import replace

import pytest
import torch

from clearpane.mitsuba_variant import has_llvm
from clearpane.synthesis.glass.analytic import AnalyticOptions, render_analytic
from clearpane.synthesis.glass.layers import LETTERS
from clearpane.synthesis.glass.path_tracing import PathTracingOptions, path_trace_layer
from clearpane.synthesis.glass.scene import Background, Camera, GlassScene, Pane, ReflectedWorld
from clearpane.synthesis.glass.textures import SceneTextures

SIZE = 32
PARTS = 8


def picture(phase, height=96, width=96):
    """Colourful waves and a bright square: features of several pixels' size."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = [0.5 + 0.4 * torch.sin(phase + 9 * x + 4 * k * y) * torch.cos(7 * y - k * x) for k in range(3)]
    square = ((x - 0.6).abs() < 0.1) & ((y - 0.4).abs() < 0.15)
    return torch.stack(waves) + 2.0 * square


def psnr_and_brightness(scene, letter, samples, polarized=False):
    """The analytic layer's PSNR against the layer's 99th percentile, and its mean over the path tracer's."""
    textures = SceneTextures(picture(0.3), picture(2.0, 64, 128))
    options = AnalyticOptions(SIZE, SIZE, subsamples=3, orders=4, polarized=polarized)
    analytic = getattr(render_analytic([scene], [textures], options), LETTERS[letter])[0].double()
    variant = "llvm_ad_mono_polarized" if polarized else "auto"
    traced = PathTracingOptions(SIZE, SIZE, samples // PARTS, variant)
    seeds = range(1, PARTS + 1)
    parts = [path_trace_layer(scene, textures, replace(traced, seed=s), letter).double() for s in seeds]
    reference = sum(parts) / PARTS
    errors = torch.stack([analytic - part for part in parts])
    pairs = errors.sum(0).square() - errors.square().sum(0)  # of the products of different parts, twice each
    off = pairs.mean().item() / (PARTS * (PARTS - 1))
    peak = torch.quantile(reference, 0.99).item()
    psnr = 10 * math.log10(peak**2 / max(off, 1e-12))
    return psnr, (analytic.mean() / reference.mean()).item()


def glass_scene(pane, world="screen"):
    return GlassScene(Background("-"), ReflectedWorld("-", world, 2.0), pane, Camera(field_of_view=40))


@pytest.mark.parametrize(
    ("scene", "samples"),
    [
        (glass_scene(Pane(yaw=35, pitch=8, thickness=0.012)), 8192),
        (glass_scene(Pane(yaw=-20, thickness=0.008, absorption=(20.0, 60.0, 110.0)), "dome"), 12288),
    ],
    ids=["clear", "tinted"],
)
def test_flat_panes_agree(scene, samples):
    psnr, brightness = psnr_and_brightness(scene, "T", 1024)
    assert psnr > 45 and brightness == pytest.approx(1, abs=0.01)
    psnr, brightness = psnr_and_brightness(scene, "R", samples)
    assert psnr > 40 and brightness == pytest.approx(1, abs=0.01)


@pytest.mark.skipif(not has_llvm(), reason="needs LLVM 17")
def test_polarised_light_agrees_behind_a_filter():
    """Near Brewster's angle, where the filter matters most; off the axis its angle is not the picture's."""
    pane = Pane(yaw=50, pitch=12, absorption=(5.0, 5.0, 5.0))
    scene = replace(glass_scene(pane), camera=Camera(field_of_view=30, polarizer=20.0))
    psnr, brightness = psnr_and_brightness(scene, "R", 1024, polarized=True)
    assert psnr > 42 and brightness == pytest.approx(1, abs=0.02)
