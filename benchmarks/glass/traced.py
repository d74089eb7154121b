"""Path-trace layers for `renderers.py`, in parts that are kept, so that an interrupted run resumes."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clearpane.files import atomic_path
from clearpane.synthesis.glass import faces, geometry, mitsuba_scene, path_tracing
from clearpane.synthesis.glass.path_tracing import Letter, PathTracingOptions, path_trace_layer
from clearpane.synthesis.glass.scene import GlassScene
from clearpane.synthesis.glass.textures import SceneTextures

_CODE = faces, geometry, mitsuba_scene, path_tracing  # modules that a path-traced layer depends on


@dataclass(frozen=True, eq=False)
class Traced:
    """Layer path-traced several times with different seeds.

    Attributes:
        parts: [N, 3, H, W], linear, N >= 2 and even.
        samples: Paths per pixel in each part.
        seconds: Median time of a part.
    """

    parts: Tensor
    samples: int
    seconds: float

    @property
    def mean(self) -> Tensor:
        """Reference, [3, H, W]."""
        return self.parts.mean(dim=0)

    @property
    def peak(self) -> float:
        """99th percentile of the reference, which PSNR is relative to."""
        return torch.quantile(self.mean.flatten(), 0.99).item()

    def decibels(self, square_error: float) -> float:
        """Return the PSNR relative to the layer's own 99th percentile."""
        return float(10 * np.log10(self.peak**2 / square_error))

    def part_variance(self, joined: int = 1) -> float:
        """Return the variance, mean over pixels, of the mean of ``joined`` parts, from the spread of such
        means."""
        count = len(self.parts) // joined
        means = self.parts[: count * joined].unflatten(0, (count, joined)).mean(dim=1)
        return means.var(dim=0).mean().item()

    def compared(self, layer: Tensor) -> dict[str, float]:
        """Compare a layer [3, H, W] with this one.

        Returns:
            ``psnr``; ``noise``, the reference's own PSNR; ``without_noise``, the PSNR after removing the
            reference's noise with its two halves, the lower end of its 95 % interval; ``brightness``, the
            mean over the reference's mean; ``brightness_noise``, its standard error.
        """
        errors = [
            layer.double() - half for half in (self.parts[::2].mean(dim=0), self.parts[1::2].mean(dim=0))
        ]
        # Channels share their paths: one value per pixel.
        product = (errors[0] * errors[1]).mean(dim=0).flatten()
        highest = product.mean().clamp(min=0).item() + 2 * product.std().item() / len(product) ** 0.5
        levels = self.parts.mean(dim=(1, 2, 3))
        return {
            "psnr": self.decibels((layer - self.mean).square().mean().item()),
            "noise": self.decibels(self.part_variance() / len(self.parts)),
            "without_noise": self.decibels(highest),
            "brightness": (layer.double().mean() / self.mean.mean()).item(),
            "brightness_noise": (levels.std() / len(levels) ** 0.5 / levels.mean()).item(),
        }


def traced(
    scene: GlassScene,
    textures: SceneTextures,
    options: PathTracingOptions,
    letter: Letter,
    parts: int,
    cache: Path,
) -> Traced:
    """Trace a layer in ``parts`` parts of ``options.samples`` each, or read cached ones."""
    key = _key(scene, textures, options, letter)
    folder = cache / "traced"
    folder.mkdir(parents=True, exist_ok=True)
    found, seconds = [], []
    for seed in range(parts):
        path = folder / f"{key}-{seed}.npz"
        if not path.is_file():
            start = time.perf_counter()
            layer = path_trace_layer(scene, textures, replace(options, seed=seed), letter)
            took = time.perf_counter() - start
            with atomic_path(path) as temporary:
                np.savez(temporary, layer=layer.numpy(), seconds=took)
        with np.load(path) as stored:
            found.append(torch.from_numpy(stored["layer"]).double())
            seconds.append(float(stored["seconds"]))
    return Traced(torch.stack(found), options.samples, float(np.median(seconds)))


def _key(scene: GlassScene, textures: SceneTextures, options: PathTracingOptions, letter: Letter) -> str:
    """Return a key that changes with everything the layer depends on, including the renderer's code."""
    code: Sequence[bytes] = [Path(str(m.__file__)).read_bytes() for m in _CODE]
    light = textures.background if letter in ("T", "B") else textures.world
    words = [scene.to_json().encode(), repr(options).encode(), letter.encode(), light.numpy().tobytes()]
    return hashlib.sha256(b"\0".join([*code, *words])).hexdigest()[:20]
