"""Encoding of data-set samples as files in WebDataset shards, and decoding."""

import io
import itertools
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import WriteOptions, write_picture
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.synthesis.glass.scene import GlassScene

Format = Literal["png16", "exr"]

# OpenEXR writes the date into its header; a shard must not depend on when it was made.
_NO_DATE = {"DateTime": "1970:01:01 00:00:00"}
_PANELS = frozenset({"I", "T", "R"})


@dataclass(frozen=True, eq=False)
class StoredSample:
    """A sample of a data set.

    Attributes:
        key: Number in the data set, eight digits.
        scene: Scene with all its random parameters.
        photograph: I as saved by the camera [H, W, 3] float32, with noise, tone curve and compression, sRGB
            in [0, 1]; None if the data set has no I.
        layers: T, R, B and MR by letter, as far as the data set has them: [H, W, 3] float32, linear light
            >= 0, without noise or tone curve; 1 is the sensor's white level. PNG clips there, EXR does not,
            so that for EXR layers T + R is the photograph before the sensor.
        caption: Caption of the panel [I:T:R]; None if the data set lacks one of the three.
    """

    key: str
    scene: GlassScene
    photograph: np.ndarray | None
    layers: Mapping[str, np.ndarray]
    caption: str | None


@dataclass(frozen=True, eq=False)
class EncodedSample:
    """A sample as the bytes of its files.

    Attributes:
        key: Key, see `StoredSample`.
        files: File contents by the part of the file name after the key and the dot.
        pane, world: Shapes of the scene's pane and reflected world, for statistics.
        light: Mean linear light by layer letter.
    """

    key: str
    files: Mapping[str, bytes]
    pane: str
    world: str
    light: Mapping[str, float]


def sample_key(index: int) -> str:
    """Return the key of sample ``index``: the part of its file names before the first dot.

    >>> sample_key(42)
    '00000042'
    """
    return f"{index:08d}"


def encode_sample(sample: StoredSample, format: Format) -> EncodedSample:
    """Encode a sample as files; the same sample gives the same bytes.

    ``i.png`` is the photograph, ``json`` the scene, ``txt`` the caption; ``t``, ``r``, ``b`` and ``mr`` are
    the layers: ``.png`` for ``png16`` (16 bits, the sRGB curve, clipped at 1), ``.exr`` for ``exr`` (half
    floats, linear light). Names are in lower case because the webdataset package lowers file endings.

    Raises:
        ValueError: A picture holds values that are not finite.
    """
    pictures = {"I": sample.photograph, **sample.layers}
    for letter, pixels in pictures.items():
        if pixels is not None and not np.isfinite(pixels).all():
            raise ValueError(
                f"sample {sample.key}: {letter} is not finite; its scene: {sample.scene.to_json()}"
            )
    files = {"json": f"{sample.scene.to_json()}\n".encode()}
    if sample.caption is not None:
        files["txt"] = f"{sample.caption}\n".encode()
    if sample.photograph is not None:
        files["i.png"] = _png_bytes(sample.photograph)
    for letter, layer in sample.layers.items():
        encoded = linear_to_srgb(np.maximum(layer, 0))
        if format == "png16":
            files[f"{letter.lower()}.png"] = _png_bytes(encoded)
        else:
            files[f"{letter.lower()}.exr"] = _exr_bytes(encoded)
    light = {letter: float(layer.mean(dtype=np.float64)) for letter, layer in sample.layers.items()}
    return EncodedSample(sample.key, files, sample.scene.pane.shape, sample.scene.world.shape, light)


def decode_sample(raw: Mapping[str, bytes | str]) -> StoredSample:
    """Decode a sample as grouped by the webdataset package: ``WebDataset(urls).map(decode_sample)``.

    Args:
        raw: File contents by file ending, and the key under ``__key__``; other endings are ignored.

    Raises:
        ClearpaneError: It has no scene, one of its files cannot be read, or its key holds a folder.
    """
    key = str(raw["__key__"])
    if key in (".", "..") or "/" in key or "\\" in key:
        raise ClearpaneError(f"sample {key}: its name holds a folder; was it made by clearpane synthesize?")
    files = {name: value for name, value in raw.items() if isinstance(value, bytes)}
    if "json" not in files:
        raise ClearpaneError(f"sample {key}: has no scene (json); was it made by clearpane synthesize?")
    try:
        scene, caption = files["json"].decode(), files["txt"].decode().strip() if "txt" in files else None
    except UnicodeDecodeError as error:
        raise ClearpaneError(
            f"sample {key}: its scene or caption is no text; make its shard again"
        ) from error
    layers = {}
    for letter in ("T", "R", "B", "MR"):
        for suffix in (".png", ".exr"):
            if (name := f"{letter.lower()}{suffix}") in files:
                layers[letter] = srgb_to_linear(_pixels(key, name, files[name]))
    return StoredSample(
        key,
        GlassScene.from_json(scene),
        _pixels(key, "i.png", files["i.png"]) if "i.png" in files else None,
        layers,
        caption,
    )


def panel_caption(letters: Iterable[str]) -> str | None:
    """Return the caption of a sample with these layers (I, T, R, B, MR); None without I, T or R."""
    return PANEL_CAPTION if set(letters) >= _PANELS else None


def read_shards(
    paths: Iterable[str | Path], wanted: Callable[[str], bool] = lambda key: True
) -> Iterator[StoredSample]:
    """Read the samples of shards in order, with the webdataset package.

    Args:
        paths: Paths of the shards.
        wanted: Predicate on keys; other samples are skipped without being decoded.

    Raises:
        ClearpaneError: A shard cannot be read.
    """
    group_by_keys = _webdataset().tariterators.group_by_keys
    for path in map(Path, paths):
        samples = group_by_keys(_members(path))
        while True:
            try:
                raw = next(samples, None)
                sample = decode_sample(raw) if raw is not None and wanted(raw["__key__"]) else None
            except ClearpaneError as error:
                raise ClearpaneError(f"{path}: {error}") from error
            except (OSError, ValueError, EOFError, tarfile.TarError) as error:
                reason = str(error.args[0] if error.args else error)
                raise ClearpaneError(
                    f"{path}: cannot be read as a shard ({reason}); make it again"
                ) from error
            if raw is None:
                break
            if sample is not None:
                yield sample


def read_part(paths: Sequence[str | Path], part: int, parts: int) -> Iterator[StoredSample]:
    """Read one of several disjoint parts of a data set, which are the whole set together.

    A part is every ``parts``-th shard; if there are fewer shards than parts, every ``parts``-th sample.

    Args:
        paths: Paths of all shards.
        part: Number of the part, from 0.
        parts: Number of parts.

    Raises:
        ClearpaneError: A shard cannot be read.
    """
    if len(paths) >= parts:
        return read_shards(paths[part::parts])
    numbers = itertools.count()
    return read_shards(paths, lambda key: next(numbers) % parts == part)


def _members(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the files of a shard as webdataset groups them.

    WebDataset itself would parse paths as URLs, split shards between a loader's workers, and unpack
    compressed and sparse members, of which a small file can hold any number of bytes.
    """
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            if member.issparse():
                raise tarfile.ReadError(f"{member.name} is sparse")
            if member.isreg() and (stream := tar.extractfile(member)) is not None:
                yield {"fname": member.name, "data": stream.read(), "__url__": str(path)}
            tar.members = []  # type: ignore[attr-defined]  # or it keeps a record of every member


def write_shard(path: Path, samples: Iterable[EncodedSample]) -> None:
    """Write samples into a tar file whose bytes depend only on them: no time stamp, no user.

    Raises:
        OSError: Writing failed, for example on a full disk; the file is incomplete then.
    """
    writer = _webdataset().TarWriter
    with (
        path.open("wb") as file,
        writer(file, user="", group="", mode=0o644, mtime=0, encoder=False) as tar,
    ):
        for sample in samples:
            tar.write({"__key__": sample.key, **sample.files})


def _webdataset() -> Any:
    try:
        import webdataset
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading and writing shards", "synthesis") from error
    return webdataset


def _png_bytes(pixels: np.ndarray) -> bytes:
    import imagecodecs

    samples = np.rint(np.clip(pixels, 0, 1) * np.float32(65535)).astype(np.uint16)
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(samples), level=1))


def _png_pixels(name: str, data: bytes) -> np.ndarray:
    """Decode a PNG of this module; several times faster than the reader of any PNG."""
    import imagecodecs

    try:
        samples: np.ndarray = imagecodecs.png_decode(data)
    except RuntimeError as error:
        raise ClearpaneError(f"{name}: truncated or damaged PNG file ({error}); make it again") from error
    if samples.shape[2:] != (3,):
        raise ClearpaneError(f"{name}: is not RGB; was it made by clearpane synthesize?")
    pixels: np.ndarray = np.divide(samples, np.iinfo(samples.dtype).max, dtype=np.float32)
    return pixels


def _exr_bytes(pixels: np.ndarray) -> bytes:
    """Encode sRGB pixels [H, W, 3] as linear OpenEXR."""
    stream = io.BytesIO()
    picture = Picture(pixels, "exr", "half", attributes=_NO_DATE)
    write_picture(stream, picture, WriteOptions(format="exr"))
    return stream.getvalue()


def _pixels(key: str, name: str, data: bytes) -> np.ndarray:
    """Decode a picture file to sRGB pixels [H, W, 3] float32."""
    if name.endswith(".png"):
        return _png_pixels(f"{key}.{name}", data)
    stream = io.BytesIO(data)
    stream.name = f"{key}.{name}"  # for messages
    return read_picture(stream).pixels


PANEL_CAPTION = (
    "Three panels side by side, of one scene: on the left a photograph taken through a pane of glass, with a "
    "reflection on it; in the middle the transmission, the scene behind the glass without the reflection; on "
    "the right the reflection alone, as it lies on the glass."
)
"""Caption of three panels, input, transmission and reflection, side by side from left to right.

SIRR-LMM (arXiv 2601.07209) trains and prompts its text-to-image model with one such fixed sentence, which
describes the panels but not their content. It fits into the 77 tokens of a CLIP text encoder. Models are
trained on exactly these words, so they must not change between versions.
"""
