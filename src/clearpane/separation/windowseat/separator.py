"""WindowSeat (arXiv 2512.05000): an image editor removes the reflection in one step.

The base model is Qwen-Image-Edit-2509 with a LoRA. With z the normalised latents of the photograph I, the
transformer predicts a velocity v at timestep 499 for a fixed prompt, and ``T = decode(z - v)``. The model
sees square tiles.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.separation.difference import reflected_light
from clearpane.separation.flux.backbone import pack, unpack
from clearpane.separation.flux.editor import resized
from clearpane.separation.flux.folders import find_base
from clearpane.separation.flux.keeping import keep_untouched
from clearpane.separation.flux.loading import Loading, out_of_memory
from clearpane.separation.interface import Quality
from clearpane.separation.layers import Layers
from clearpane.separation.separator import Separator
from clearpane.separation.windowseat.loading import BASE_PIPELINE, REMEDY, check_memory_of, load_parts
from clearpane.separation.windowseat.options import Tiling, WindowseatOptions
from clearpane.separation.windowseat.repository import Prompt, find_repository, load_adapter, load_prompt
from clearpane.separation.windowseat.tiles import Tiles

TIMESTEP = 499 / 1000
# Smallest overlap of tiles, as a share of their side: 64 pixels of 768.
_OVERLAP = 64 / 768
# Largest ratio of the sides of a picture whose short side is enlarged to that of a tile.
_LONGEST = 32
REFLECTION_NOTE = "the reflection is the difference I - T in linear light; WindowSeat itself gives T alone"


@dataclass(frozen=True, eq=False)
class OneStep:
    """The model: photographs through glass to T, in one step.

    Attributes:
        transformer, vae: Instances of the diffusers classes of Qwen-Image; the transformer has the LoRA.
        prompt: Encoded prompt.
        device: Device of the computation.
    """

    transformer: QwenImageTransformer2DModel
    vae: AutoencoderKLQwenImage
    prompt: Prompt
    device: torch.device

    @torch.no_grad()
    def __call__(self, tile: Tensor) -> tuple[Tensor, Tensor]:
        """Return the photograph as the VAE reproduces it, and T.

        Args:
            tile: [1, 3, h, w], sRGB in [0, 1], h and w multiples of 16.

        Returns:
            Two pictures [1, 3, h, w], not clipped.
        """
        latents = self._encode(tile)
        height, width = latents.shape[-2:]
        velocity = self.transformer(
            hidden_states=pack(latents).to(self.prompt.embeds.dtype),
            timestep=torch.full((1,), TIMESTEP, device=self.device, dtype=self.prompt.embeds.dtype),
            encoder_hidden_states=self.prompt.embeds,
            encoder_hidden_states_mask=self.prompt.mask,
            img_shapes=[[(1, height // 2, width // 2)]],
            return_dict=False,
        )[0]
        clean = latents - unpack(velocity, height, width).to(latents.dtype)
        return self._decode(latents), self._decode(clean)

    def _encode(self, pictures: Tensor) -> Tensor:
        frames = (2 * pictures - 1).to(self.device, self.vae.dtype)[:, :, None]
        mean, deviation = self._statistics()
        latents: Tensor = (self.vae.encode(frames).latent_dist.mode() - mean) / deviation
        return latents[:, :, 0]

    def _decode(self, latents: Tensor) -> Tensor:
        mean, deviation = self._statistics()
        frames: Tensor = self.vae.decode(latents[:, :, None] * deviation + mean, return_dict=False)[0]
        return (frames[:, :, 0] + 1) / 2

    def _statistics(self) -> Iterator[Tensor]:
        config = self.vae.config
        for values in (config.latents_mean, config.latents_std):
            yield torch.tensor(values, device=self.device, dtype=self.vae.dtype).view(1, -1, 1, 1, 1)


class WindowseatSeparator(Separator):
    """Separator that runs WindowSeat.

    ``Layers.transmission`` has the photograph's detail, see `keep_untouched`; ``Layers.reflection`` is
    ``max(I - T, 0)`` in linear light.

    Args:
        model: The model.
        side: Side of its tiles in pixels.
        tiling: Size at which it works, see `WindowseatOptions`.
        on_step: Function called after each tile with the number of tiles done and their total.
    """

    def __init__(
        self,
        model: OneStep,
        side: int,
        tiling: Tiling = "short-side",
        on_step: Callable[[int, int], None] = lambda tile, tiles: None,
    ) -> None:
        self._model = model
        self._tiles = Tiles(side, max(1, round(_OVERLAP * side)))
        self._tiling = tiling
        self._on_step = on_step

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        """Separate a picture, always the same way: without noise, ``quality="best"`` has no effect.

        See `Separator.separate`.

        Raises:
            ClearpaneError: A confidence map is requested, which only the compact separator has; the result is
                not finite; or memory ran out.
        """
        if confidence:
            raise ClearpaneError("WindowSeat has no confidence map; `confidence` goes with `model=compact`")
        height, width = image.shape[:2]
        size = self._size(height, width)
        given = resized(np.clip(image, 0, 1), *size)
        count = len(self._tiles.places(*size))
        done = iter(range(1, count + 1))

        def make(tile: np.ndarray) -> list[np.ndarray]:
            made = self._run(tile)
            self._on_step(next(done), count)
            return made

        try:
            pictures = self._tiles.map(given, make)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(self._model.device, REMEDY) from error
        larger = size[0] > height or size[1] > width
        seen, made = (resized(x, height, width) if larger else x for x in pictures)
        transmission = keep_untouched(image, seen, made)
        return Layers(transmission, reflected_light(image, transmission), reflection_note=REFLECTION_NOTE)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if self._tiling == "full-size" and min(height, width) >= self._tiles.side:
            return height, width
        if max(height, width) > _LONGEST * min(height, width):
            raise ClearpaneError(
                f"a picture of {width} x {height} pixels is more than {_LONGEST} times as long as wide, and "
                "would be enlarged beyond what memory holds; crop it first"
            )
        scale = self._tiles.side / min(height, width)
        return max(self._tiles.side, round(height * scale)), max(self._tiles.side, round(width * scale))

    def _run(self, tile: np.ndarray) -> list[np.ndarray]:
        photo = torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1)))[None]
        made = self._model(photo)
        if not all(x.isfinite().all() for x in made):
            raise ClearpaneError(
                "WindowSeat's result is not finite; its weights may be damaged, or `precision` too coarse "
                "for them"
            )
        return [x[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy() for x in made]


def load_windowseat(options: WindowseatOptions) -> WindowseatSeparator:
    """Load WindowSeat and its base model.

    Raises:
        ClearpaneError: A file is missing or damaged or does not fit the base model, or memory is too small.
    """
    weights = options.weights
    # A name on the hub has a slash, on Windows too.
    repository = find_repository(weights if isinstance(weights, str) else weights.as_posix())
    try:
        base = find_base(options.base or repository.base, ("transformer", "vae"), BASE_PIPELINE)
    except ClearpaneError as error:
        raise ClearpaneError(f"{error}; give the base model of {repository.folder} as `base`") from error
    loading = Loading(options.precision, options.device)
    check_memory_of(base, loading, repository.side)
    transformer, vae = load_parts(base, loading)
    prompt = load_prompt(repository.folder, transformer.config.joint_attention_dim)
    load_adapter(transformer, repository.folder)
    device = loading.find_device()
    model = OneStep(transformer, vae, prompt.to(device, loading.dtype), device)
    return WindowseatSeparator(model, repository.side, options.tiling, options.on_step)
