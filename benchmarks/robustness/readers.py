"""Readers that share no code with Clearpane's writers: does a file hold all that it should?"""

import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import tifffile


def broken_files(folder: Path) -> dict[str, str]:
    """The files under a folder, but for hidden ones, that are not whole, and why.

    Logs (.jsonl, TensorBoard's) grow by lines; of them nothing is asked.
    """
    broken = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.suffix == ".jsonl" or "tfevents" in path.name:
            continue
        try:
            READERS[path.suffix](path)
        except Exception as error:  # whatever a reader says of a damaged file
            broken[str(path.relative_to(folder))] = f"{type(error).__name__}: {error}"
    return broken


def _jpeg(path: Path) -> None:
    data = path.read_bytes()
    imagecodecs.jpeg8_decode(data)  # fills what is missing at the end with grey
    assert data.endswith(b"\xff\xd9"), "no end of the picture"


def _png(path: Path) -> None:
    imagecodecs.spng_decode(path.read_bytes())


def _tiff(path: Path) -> None:
    tifffile.imread(path)


def _tar(path: Path) -> None:
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None and len(file.read()) == member.size
    assert path.read_bytes().endswith(bytes(1024)), "no end of the archive"


def _json(path: Path) -> None:
    json.loads(path.read_bytes())


def _text(path: Path) -> None:
    assert path.read_text(encoding="utf-8").endswith("\n"), "the last line has no end"


def _safetensors(path: Path) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    assert 8 + length + end == len(data), "its tensors do not fill it"


def _onnx(path: Path) -> None:
    import onnx

    onnx.checker.check_model(onnx.load(path))


def _glb(path: Path) -> None:
    data = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data)), "a wrong head"
    size, kind = struct.unpack("<I4s", data[12:20])
    document = json.loads(data[20 : 20 + size])
    assert kind == b"JSON" and document["buffers"][0]["byteLength"] <= length - size - 28, "a short buffer"


def _mp4(path: Path) -> None:
    import av

    with av.open(str(path)) as container:
        expected = container.streams.video[0].frames
        found = sum(1 for _ in container.decode(video=0))
    assert 0 < found == expected, "frames are missing"


READERS: dict[str, Callable[[Path], None]] = {
    ".jpg": _jpeg,
    ".png": _png,
    ".tif": _tiff,
    ".tar": _tar,
    ".json": _json,
    ".md": _text,
    ".safetensors": _safetensors,
    ".onnx": _onnx,
    ".glb": _glb,
    ".mp4": _mp4,
}
