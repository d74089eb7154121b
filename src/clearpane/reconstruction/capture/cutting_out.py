"""Read the photographs of an object, and find the object in each; leave out those that do not show it."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.reconstruction.capture.backdrop import backdrop_segmenter
from clearpane.reconstruction.capture.masks import NoObjectError, Segmenter, find_object, given_mask, named
from clearpane.reconstruction.capture.object_network import network_segmenter
from clearpane.reconstruction.capture.orientation import read_as_posed
from clearpane.reconstruction.capture.photographs import Photograph, PhotographSet
from clearpane.reconstruction.capture.through_glass import GlassRemoval

ENOUGH_VIEWS = 8
"""Number of good photographs that are enough to leave out the others."""

# Longer side, in pixels, of the masks that locate the object.
_MASK_SIDE = 256
# Largest relative difference between a picture's aspect ratio and its camera's.
_FORM = 0.01
# Decoded photographs are kept up to this many bytes (some seven of 12 megapixels). The rest are decoded a
# second time: cropping needs the object's box, which needs the masks of all photographs.
_KEPT_BYTES = 1 << 30


class CutOut:
    """Hold a photograph that shows the object, its mask, and perhaps its pixels.

    Args:
        photograph: Photograph and its camera.
        pixels: Its pixels [H, W, 3], in [0, 1], or None to read them again.
        mask: Mask [H, W], in [0, 1].
        glass: Takes out the reflection of the pane that it was taken through, or None.
    """

    def __init__(
        self,
        photograph: Photograph,
        pixels: np.ndarray | None,
        mask: np.ndarray,
        glass: GlassRemoval | None = None,
    ) -> None:
        self.photograph = photograph
        self.small = _small(mask)
        self._pixels, self._mask, self._glass = pixels, _PackedMask.of(mask), glass

    def taken(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels [H, W, 3] and the mask [H, W], in [0, 1], and keep the pixels no longer."""
        pixels, self._pixels = self._pixels, None
        if pixels is None:
            pixels = _seen(_read(self.photograph), self.photograph, self._glass)
        if self._glass is not None:
            pixels = self._glass.exposed(pixels, self.photograph.path)
        return pixels, self._mask.unpacked()


@dataclass(frozen=True, eq=False)
class CutOuts:
    """Hold the photographs that show the object.

    Attributes:
        views: Photographs and masks, in the order of the photographs.
        warnings: Messages for the user: photographs that are left out, or cut out by the network.
    """

    views: tuple[CutOut, ...]
    warnings: tuple[str, ...]


def cut_out_all(
    photographs: PhotographSet, segmenter: Segmenter | None = None, glass: GlassRemoval | None = None
) -> CutOuts:
    """Read all photographs with their masks; leave out those without the object if enough show it.

    Args:
        segmenter: Finds the object in photographs that have neither a mask file nor alpha. By default it is
            the backdrop where that is plain; where fewer than eight photographs have a plain one, a network
            searches the others.
        glass: Takes the reflections out of the photographs before they are cut out, or None.

    Raises:
        ClearpaneError: A picture or mask cannot be read or separated, or differs in shape from its camera. A
            mask is empty or full or the object is not found, and fewer than eight other photographs show it.
    """
    posed = photographs.photographs
    found: dict[int, CutOut] = {}
    failed: dict[int, NoObjectError] = {}
    budget = _KEPT_BYTES

    def cut_out(index: int, by: Segmenter) -> None:
        nonlocal budget
        try:
            pixels, mask = load_photograph(posed[index], by, glass)
        except NoObjectError as error:
            failed[index] = error
            if glass is not None:
                glass.leave_out(posed[index].path)
            return
        kept = pixels.nbytes <= budget
        budget -= pixels.nbytes if kept else 0
        found[index] = CutOut(posed[index], pixels if kept else None, mask, glass)
        failed.pop(index, None)

    for index in range(len(posed)):
        cut_out(index, segmenter or backdrop_segmenter)
        if segmenter and failed and len(posed) - len(failed) < ENOUGH_VIEWS:
            break  # not enough can follow
    warnings = []
    searched = [index for index, error in failed.items() if not error.given]
    if segmenter is None and searched and len(found) < ENOUGH_VIEWS:
        try:
            network = network_segmenter()
        except ClearpaneError as error:
            raise ClearpaneError(f"{failed[searched[0]]}, or {error}") from error
        for index in searched:
            cut_out(index, network)
        by_network = [posed[index].path.name for index in searched if index in found]
        if by_network:
            warnings.append(
                f"{named(by_network)}: have no plain backdrop; a network found what stands out in them. If "
                "that is not the object, give masks"
            )
    if failed and len(found) < ENOUGH_VIEWS:
        raise failed[min(failed)]
    warnings += [f"{posed[i].path.name}: is left out: {failed[i].reason}" for i in sorted(failed)]
    return CutOuts(tuple(found[index] for index in sorted(found)), tuple(warnings))


def load_photograph(
    photograph: Photograph, segmenter: Segmenter = backdrop_segmenter, glass: GlassRemoval | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read a photograph's pixels [H, W, 3] and mask [H, W], both in [0, 1].

    The mask comes from the mask file, or else from the photograph's alpha, or else from the segmenter.

    Raises:
        NoObjectError: The mask is empty or full, or the segmenter does not find the object.
        ClearpaneError: The picture or mask cannot be read, or differs in shape from its camera.
    """
    picture = _read(photograph)
    _check_form(photograph, picture.pixels)
    pixels = _seen(picture, photograph, glass)
    given = given_mask(picture, photograph.mask, photograph.orientation)
    mask = find_object(pixels, segmenter, photograph.path) if given is None else given
    inside = mask > 0.5
    if not inside.any() or inside.all():
        what = "full; it covers everything" if inside.any() else "empty; it covers nothing"
        path = photograph.mask or photograph.path
        raise NoObjectError(path, f"the mask is {what}", given=given is not None)
    return pixels, mask


def _read(photograph: Photograph) -> Picture:
    return read_as_posed(photograph.path, photograph.orientation)


def _seen(picture: Picture, photograph: Photograph, glass: GlassRemoval | None) -> np.ndarray:
    """Return the pixels [H, W, 3], in [0, 1], without the reflection if there is glass before them."""
    pixels = picture.pixels.clip(0, 1)
    return pixels if glass is None else glass.separated(pixels, photograph.path)


def _check_form(photograph: Photograph, pixels: np.ndarray) -> None:
    height, width = pixels.shape[:2]
    horizontal, vertical = width / photograph.size[1], height / photograph.size[0]
    if abs(horizontal / vertical - 1) > _FORM:
        raise ClearpaneError(
            f"{photograph.path}: is {width} x {height}, but its camera is for {photograph.size[1]} x "
            f"{photograph.size[0]}; intrinsics are mixed up, or the picture was turned"
        )


@dataclass(frozen=True)
class _PackedMask:
    """Compress a mask, so that the masks of a hundred large photographs fit in memory."""

    data: bytes
    shape: tuple[int, ...]

    @classmethod
    def of(cls, mask: np.ndarray) -> "_PackedMask":
        return cls(zlib.compress((255 * mask + 0.5).astype(np.uint8).tobytes(), level=1), mask.shape)

    def unpacked(self) -> np.ndarray:
        return np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.shape) / np.float32(255)


def _small(mask: np.ndarray) -> np.ndarray:
    """Shrink a mask to at most `_MASK_SIDE`: [H, W] -> [h, w], in [0, 1]."""
    values = torch.from_numpy(mask)[None, None].float()
    scale = min(1.0, _MASK_SIDE / max(mask.shape))
    size = [max(1, round(n * scale)) for n in mask.shape]
    return F.interpolate(values, size, mode="area")[0, 0].numpy()
