"""The photograph on the first tab: opened once, shown at screen size, written at full size."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from clearpane.images.masks import read_mask
from clearpane.images.picture import Picture, to_8bit
from clearpane.images.reading import open_picture
from clearpane.images.writing import WriteOptions, losses, output_suffix, write_picture
from clearpane.separation.interface import Quality
from clearpane.separation.pictures import Edit, edit_picture
from clearpane.separation.preview import load_preview, make_preview
from clearpane.separation.resolution import enlarge
from clearpane.separation.separator import Separator
from clearpane.separation.strength import check_mask_size
from clearpane.web.names import safe_name
from clearpane.web.settings import ResultFormat

Region = Literal["everywhere", "only", "except"]
"""Region that may change: everywhere, only the painted part, or all but the painted part."""
View = Literal["result", "reflection", "confidence", "photograph"]
_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif", "webp": ".webp", "exr": ".exr"}
_KEPT_VIEWS = 6


@dataclass(eq=False)
class Photograph:
    """A photograph with its layers at screen size, which lie in a folder.

    Attributes:
        path: Path of the file.
        folder: Folder for the layers and the pictures made from them.
        quality: Quality of the separation.
        width, height: Size in pixels.
        format: Format of the file, as in `Picture`.
        warnings: Sentences on what was left out on reading, and the separator's remarks.
        seconds: Time from the file to the layers.
        mask: Painted region at screen size, [h, w] float32 in [0, 1]; None: nothing is painted.
        mask_file: Region from a file, [H, W] of the photograph; it goes before what is painted.
    """

    path: Path
    folder: Path
    quality: Quality
    width: int
    height: int
    format: str
    warnings: tuple[str, ...]
    seconds: float
    mask: np.ndarray | None = None
    mask_file: np.ndarray | None = None
    _views: list[Path] = field(default_factory=list)

    @property
    def before(self) -> Path:
        """The photograph at screen size, as a file."""
        return self.folder / "photograph.jpg"

    def show(self, view: View, strength: float, region: Region) -> Path:
        """Write a view at screen size from the layers, without separating again.

        Raises:
            ClearpaneError: the strength is wrong, or the model maps no confidence.
        """
        if view == "photograph":
            return self.before
        preview = load_preview(self.folder)
        if view == "confidence" and preview.layers.confidence is not None:
            pixels = np.repeat(preview.layers.confidence[..., None], 3, axis=2)
        elif view == "reflection":
            pixels = preview.layers.reflection
        else:
            pixels = preview.edited(strength, self._region(region, *preview.image.shape[:2]))
        path = self.folder / f"{view}-{time.time_ns()}.jpg"
        _write_jpeg(path, pixels)
        self._views.append(path)
        while len(self._views) > _KEPT_VIEWS:  # the browser may still be fetching the last ones
            self._views.pop(0).unlink(missing_ok=True)
        return path

    def has_confidence(self) -> bool:
        """Return True once the confidence map has been computed."""
        return load_preview(self.folder).layers.confidence is not None

    def add_confidence(self, separator: Separator) -> None:
        """Map the confidence, which takes twice as long as the layers."""
        image = load_preview(self.folder).image
        picture = Picture(image, self.format, "float")
        make_preview(picture, separator, self.quality, confidence=True).save(self.folder)

    def paint(self, mask: np.ndarray | None) -> None:
        """Take a painted region of any size, [h, w] in [0, 1]."""
        self.mask = mask if mask is not None and mask.any() else None

    def use_mask_file(self, path: Path | None) -> str:
        """Take a region from a file; return how it was read.

        Raises:
            ClearpaneError: it cannot be read, selects nothing, or is not of the photograph's size.
        """
        if path is None:
            self.mask_file = None
            return ""
        mask = read_mask(path)
        check_mask_size(mask.weights, np.empty((self.height, self.width, 0)))
        self.mask_file = mask.weights
        return mask.reading

    def write(self, folder: Path, separator: Separator, wanted: "Wanted", max_pixels: int) -> "Written":
        """Separate the photograph at full size and write one of its layers.

        Raises:
            ClearpaneError: the photograph cannot be read, separated or written.
        """
        mask = self._region(wanted.region, self.height, self.width)
        edit = Edit(wanted.strength, mask, self.quality)
        return write_result(self.path, folder, separator, edit, wanted, max_pixels)

    def _region(self, region: Region, height: int, width: int) -> np.ndarray | None:
        mask = self.mask if self.mask_file is None else self.mask_file
        if region == "everywhere" or mask is None:
            return None
        sized = mask if mask.shape == (height, width) else enlarge(mask, height, width)
        return sized if region == "only" else 1 - sized


@dataclass(frozen=True)
class Wanted:
    """A result to be written at full size.

    Attributes:
        kind: Transmission, reflection or confidence.
        strength: Strength, -1 to 1.
        region: Region that a mask lets change.
        format: Format of the file.
    """

    kind: Literal["transmission", "reflection", "confidence"] = "transmission"
    strength: float = 1.0
    region: Region = "everywhere"
    format: ResultFormat = "original"


@dataclass(frozen=True)
class Written:
    """A result written at full size.

    Attributes:
        path: Path of the file.
        warnings: Sentences on what was left out, and the separator's remarks.
        seconds: Time of reading, separating and writing.
        small: Result at 480 pixels, as a JPEG beside it.
    """

    path: Path
    warnings: tuple[str, ...]
    seconds: float
    small: Path


def open_photograph(
    path: Path, folder: Path, separator: Separator, quality: Quality, max_pixels: int
) -> Photograph:
    """Read a photograph and separate it at screen size.

    Raises:
        ClearpaneError: it cannot be read or separated, or has more pixels than allowed.
    """
    started = time.perf_counter()
    picture = open_picture(path, max_pixels=max_pixels)
    height, width = picture.pixels.shape[:2]
    preview = make_preview(picture, separator, quality)
    preview.save(folder)
    photograph = Photograph(
        path,
        folder,
        quality,
        width,
        height,
        picture.format,
        picture.warnings + preview.layers.notes,
        time.perf_counter() - started,
    )
    _write_jpeg(photograph.before, preview.image)
    return photograph


def write_result(
    source: Path, folder: Path, separator: Separator, edit: Edit, wanted: Wanted, max_pixels: int
) -> Written:
    """Separate a photograph at full size and write one of its layers, NAME_KIND.* in a folder.

    Raises:
        ClearpaneError: the photograph cannot be read, separated or written.
    """
    started = time.perf_counter()
    picture = open_picture(source, max_pixels=max_pixels)
    suffix = _SUFFIXES.get(wanted.format, output_suffix(picture.format))
    if wanted.kind == "confidence" and wanted.format == "original":
        suffix = ".png"
    stem = safe_name(source.name).rpartition(".")[0] or safe_name(source.name)
    path = folder / f"{stem}_{wanted.kind}{suffix}"
    results, notes = edit_picture(picture, separator, edit, [wanted.kind])
    result = results[wanted.kind].whole()
    warnings = [*picture.warnings, *notes, *losses(picture, path)]
    write_picture(path, result, WriteOptions(overwrite=True))
    small = folder / f"{stem}-small.jpg"
    _write_thumbnail(small, result)
    return Written(path, tuple(warnings), time.perf_counter() - started, small)


def _write_jpeg(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(to_8bit(pixels)).save(path, "JPEG", quality=90)


def _write_thumbnail(path: Path, picture: Picture) -> None:
    step = max(1, max(picture.pixels.shape[:2]) // 960)
    image = Image.fromarray(to_8bit(np.ascontiguousarray(picture.pixels[::step, ::step])))
    image.thumbnail((480, 480))
    image.save(path, "JPEG", quality=85)
