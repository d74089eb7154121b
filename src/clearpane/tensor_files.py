"""Write safetensors files that are the same, byte for byte, whenever their content is."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata to a safetensors file, the metadata sorted by key.

    The library writes them in an order that is drawn anew for each file. Tensors that share memory, such as
    tied weights, are each written whole; the library would refuse them.

    Raises:
        OSError: The file cannot be written.
    """
    from safetensors.torch import save_file

    own, seen = {}, set()
    for name, value in tensors.items():
        place = value.untyped_storage().data_ptr()
        own[name] = (value.clone() if place in seen else value).contiguous()
        seen.add(place)
    save_file(own, path, dict(metadata))
    with path.open("r+b") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > size:
            raise OSError(f"{path}: the header of {size} bytes became one of {len(text)}")
        file.seek(8)
        file.write(text.ljust(size))
