"""Nodes of ComfyUI: remove reflections, render glass scenes, reconstruct objects and relight them.

Pictures are ComfyUI's IMAGE, [B, H, W, 3] float32, sRGB in [0, 1]; masks are its MASK, [B, H, W]. A file is a
STRING, its path; relative ones lie in ComfyUI's folder of outputs.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clearpane.errors import ClearpaneError

_CATEGORY = "Clearpane"
_FROM_FILE = "from the file"


class RemoveReflection:
    """Splits photographs taken through glass into the scene behind it and the reflection."""

    DESCRIPTION = (
        "Removes the reflection. Strength 0 keeps the photograph, -1 shows the reflection alone. The "
        "confidence map, the probability that a pixel is right, is compact's alone."
    )
    CATEGORY, FUNCTION = _CATEGORY, "run"
    RETURN_TYPES = ("IMAGE", "IMAGE", "MASK")
    RETURN_NAMES = ("transmission", "reflection", "confidence")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        return {
            "required": {
                "image": ("IMAGE",),
                "strength": ("FLOAT", {"default": 1.0, "min": -1.0, "max": 1.0, "step": 0.05}),
                "quality": (["fast", "best"],),
                "model": (
                    "STRING",
                    {
                        "default": "compact",
                        "tooltip": "compact, a trained model's directory, or OWNER/NAME on the model hub",
                    },
                ),
            },
            "optional": {"mask": ("MASK", {"tooltip": "1 where the photograph may change"})},
        }

    def run(
        self, image: Tensor, strength: float, quality: Any, model: str, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Any]:
        """Return the transmission with strength and mask applied, the whole reflection, the confidence."""
        from clearpane.separation.removal import separate_full_range
        from clearpane.separation.strength import apply_strength

        separator, maps_confidence = _separator(model)
        on_step = _progress(len(image))
        transmissions, reflections, confidences = [], [], []
        for index, photo in enumerate(_arrays(image)):
            layers = separate_full_range(separator, photo, quality, maps_confidence)
            where = None if mask is None else mask[min(index, len(mask) - 1)].cpu().numpy()
            transmissions.append(apply_strength(photo, layers, strength, where))
            reflections.append(layers.reflection)
            confidences.append(layers.confidence)
            on_step(index + 1)
        confidence = _stack(confidences) if maps_confidence else _missing(f"{model} has no confidence map")
        return _stack(transmissions), _stack(reflections), confidence


class GlassScene:
    """Renders a picture as seen through a pane of glass that reflects another."""

    DESCRIPTION = (
        "A scene behind a pane and a world that it reflects, rendered exactly: the photograph and its "
        "layers. In linear light the photograph is the sum of transmission and reflection."
    )
    CATEGORY, FUNCTION = _CATEGORY, "run"
    RETURN_TYPES = ("IMAGE", "IMAGE", "IMAGE", "IMAGE")
    RETURN_NAMES = ("photograph", "transmission", "reflection", "background")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""

        def number(default: float, least: float, most: float, step: float) -> tuple[str, dict[str, float]]:
            return "FLOAT", {"default": default, "min": least, "max": most, "step": step}

        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "what is behind the glass"}),
                "reflected_image": ("IMAGE", {"tooltip": "what is in front of it"}),
                "thickness_mm": number(6.0, 1.0, 30.0, 0.5),
                "index_of_refraction": number(1.52, 1.3, 2.0, 0.01),
                "yaw": number(15.0, -60.0, 60.0, 1.0),
                "pitch": number(0.0, -30.0, 30.0, 1.0),
                "distance_m": number(1.0, 0.2, 3.0, 0.1),
                "reflected_brightness": number(1.0, 0.0, 20.0, 0.1),
                "reflected_distance_m": number(2.0, 0.5, 10.0, 0.1),
            }
        }

    def run(
        self,
        image: Tensor,
        reflected_image: Tensor,
        thickness_mm: float,
        index_of_refraction: float,
        yaw: float,
        pitch: float,
        distance_m: float,
        reflected_brightness: float,
        reflected_distance_m: float,
    ) -> tuple[Tensor, ...]:
        """Return the photograph I and the layers T, R and B, of the size of ``image``."""
        from clearpane.optics.color import srgb_to_linear
        from clearpane.synthesis.glass import scene as glass
        from clearpane.synthesis.glass.analytic import AnalyticOptions, render_analytic
        from clearpane.synthesis.glass.camera import apply_camera
        from clearpane.synthesis.glass.layers import layer_picture
        from clearpane.synthesis.glass.textures import scene_textures, texture_size

        scene = glass.GlassScene(
            glass.Background("", distance=distance_m + 2.0),
            glass.ReflectedWorld("", distance=reflected_distance_m, radiance=reflected_brightness),
            glass.Pane(
                distance=distance_m,
                yaw=yaw,
                pitch=pitch,
                thickness=thickness_mm / 1000,
                ior=index_of_refraction,
            ),
        )
        height, width = image.shape[1:3]
        size = texture_size(height, width, 2 * max(height, width))
        results = []
        for index, photo in enumerate(image):
            other = reflected_image[min(index, len(reflected_image) - 1)]
            lights = [srgb_to_linear(x[..., :3].cpu().float().permute(2, 0, 1)) for x in (photo, other)]
            textures = scene_textures(scene, lights[0], lights[1], *size)
            layers = render_analytic([scene], [textures], AnalyticOptions(height, width))
            layers = apply_camera(layers, [scene])
            parts = (layers.input, layers.transmission, layers.reflection, layers.background)
            results.append([layer_picture(part[0], scene.post).permute(1, 2, 0) for part in parts])
        return tuple(torch.stack(pictures) for pictures in zip(*results, strict=True))


class Reconstruct:
    """Makes a textured, relightable object from photographs of it."""

    DESCRIPTION = "A GLB from photographs all around an object, in minutes. Needs clearpane[3d]."
    CATEGORY, FUNCTION, OUTPUT_NODE = _CATEGORY, "run", True
    RETURN_TYPES, RETURN_NAMES = ("STRING",), ("asset",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "photographs of one object, as a batch"}),
                "quality": (["draft", "standard", "fine"], {"default": "standard"}),
                "asset": ("STRING", {"default": "clearpane/object.glb"}),
            },
            "optional": {"masks": ("MASK", {"tooltip": "1 on the object, as many as there are photographs"})},
        }

    def run(self, images: Tensor, quality: str, asset: str, masks: Tensor | None = None) -> tuple[str]:
        """Write the GLB, replacing an earlier one, and return its path."""
        from clearpane.reconstruction.asset.asset import save_asset
        from clearpane.reconstruction.fitting.refine import RefineSettings
        from clearpane.reconstruction.fitting.schedule import STEPS
        from clearpane.reconstruction.reconstruct import ReconstructSettings, reconstruct

        if masks is not None and len(masks) != len(images):
            raise ClearpaneError(f"{len(masks)} masks for {len(images)} photographs; give one for each")
        on_step = _progress(100)
        with tempfile.TemporaryDirectory() as place:
            photographs, cut = Path(place) / "photographs", Path(place) / "masks"
            _write(photographs, _arrays(images))
            if masks is not None:
                _write(cut, [np.repeat(mask.cpu().numpy()[..., None], 3, axis=-1) for mask in masks])
            made = reconstruct(
                photographs,
                ReconstructSettings(refining=RefineSettings(STEPS[quality])),
                None if masks is None else cut,
                on_progress=lambda share, psnr: on_step(100 * share),
            )
        path = _output(asset)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_asset(made.asset, path, overwrite=True)
        return (str(path),)


class Relight:
    """Renders an object in other light."""

    DESCRIPTION = "Pictures of a GLB all around, in a light of your choice. Needs clearpane[3d]."
    CATEGORY, FUNCTION = _CATEGORY, "run"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("pictures", "coverage")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        return {
            "required": {
                "asset": ("STRING", {"default": "clearpane/object.glb"}),
                "light": (["studio", "overcast", "low sun", _FROM_FILE],),
                "environment": ("STRING", {"default": "", "tooltip": f"HDR map, for light {_FROM_FILE!r}"}),
                "views": ("INT", {"default": 1, "min": 1, "max": 360}),
                "size": ("INT", {"default": 512, "min": 16, "max": 4096}),
                "elevation": ("FLOAT", {"default": 20.0, "min": -89.0, "max": 89.0, "step": 1.0}),
                "exposure": ("FLOAT", {"default": 0.0, "min": -8.0, "max": 8.0, "step": 0.25}),
                "preview": (
                    "BOOLEAN",
                    {"default": True, "tooltip": "shade instead of tracing paths"},
                ),
            }
        }

    def run(
        self,
        asset: str,
        light: str,
        environment: str,
        views: int,
        size: int,
        elevation: float,
        exposure: float,
        preview: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return the pictures on white, and the object's coverage of each pixel."""
        from clearpane.reconstruction.asset.reading import load_asset
        from clearpane.reconstruction.relighting.lighting import load_environment
        from clearpane.reconstruction.relighting.lights import made_light
        from clearpane.reconstruction.relighting.relight import RelightSettings
        from clearpane.reconstruction.relighting.relit_pictures import (
            Turntable,
            as_picture,
            on_white,
            relit_views,
        )

        around = load_environment(_output(environment)) if light == _FROM_FILE else made_light(light)
        turntable = Turntable(
            views,
            size=size,
            elevation=elevation,
            exposure=exposure,
            rendering=RelightSettings(preview=preview, denoise=False),
        )
        on_step = _progress(views)
        pictures, coverage = [], []
        found = relit_views(load_asset(_output(asset)), around, turntable, range(views))
        for index, rendered in enumerate(found):
            pictures.append(on_white(as_picture(rendered, "png")))
            coverage.append(rendered[..., 3])
            on_step(index + 1)
        return _stack(pictures), _stack(coverage)


@functools.lru_cache(maxsize=1)
def _separator(model: str) -> tuple[Any, bool]:
    """Load a separator, kept for the next run, and return it with whether it maps its confidence."""
    from clearpane.separation.pretrained import find_model
    from clearpane.separation.registry import MODELS, options_class
    from clearpane.separation.separator import load_separator

    name = model if model in MODELS else find_model(model)[0]
    return load_separator(model), options_class(name).maps_confidence


def _arrays(images: Tensor) -> list[np.ndarray]:
    return [np.ascontiguousarray(x[..., :3].cpu().numpy(), np.float32) for x in images]


def _stack(arrays: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32)).clamp(0, 1)


def _write(folder: Path, pictures: list[np.ndarray]) -> None:
    from clearpane.images.picture import Picture
    from clearpane.images.writing import WriteOptions, write_picture

    folder.mkdir()
    for index, pixels in enumerate(pictures):
        write_picture(folder / f"{index:04}.png", Picture(pixels, "png", "uint16"), WriteOptions())


def _output(path: str) -> Path:
    """Return a path, relative ones in ComfyUI's folder of outputs."""
    try:
        import folder_paths
    except ModuleNotFoundError:
        return Path(path)
    return Path(folder_paths.get_output_directory()) / path


def _progress(total: int) -> Callable[[float], None]:
    """Return a function that moves ComfyUI's progress bar, and stops the run where the user asked for it."""
    try:
        import comfy.model_management
        import comfy.utils
    except ModuleNotFoundError:
        return lambda done: None
    bar = comfy.utils.ProgressBar(total)

    def show(done: float) -> None:
        bar.update_absolute(round(done), total)
        comfy.model_management.throw_exception_if_processing_interrupted()

    return show


def _missing(message: str) -> Any:
    """Return a value that stops the nodes which use it, with a message; None without ComfyUI."""
    try:
        from comfy_execution.graph import ExecutionBlocker
    except ModuleNotFoundError:
        return None
    return ExecutionBlocker(message)


NODE_CLASS_MAPPINGS: dict[str, type] = {
    "ClearpaneRemoveReflection": RemoveReflection,
    "ClearpaneGlassScene": GlassScene,
    "ClearpaneReconstruct": Reconstruct,
    "ClearpaneRelight": Relight,
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "ClearpaneRemoveReflection": "Remove Reflection",
    "ClearpaneGlassScene": "Glass Scene",
    "ClearpaneReconstruct": "Reconstruct",
    "ClearpaneRelight": "Relight",
}
