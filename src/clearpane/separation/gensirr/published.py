"""The tensors of the file that GenSIRR's authors publish, which PyTorch wrote; nothing in it is executed."""

import contextlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from clearpane.errors import ClearpaneError

_OUTER, _PREFIX = "module", "net_g."


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of the file, without the prefix of their names; nothing in it is executed.

    Raises:
        ClearpaneError: it is missing, damaged, holds more than tensors, or has another layout.
    """
    try:
        # Only files of the newer kind, which are zip archives, can be left on the disk while they are read.
        mapped = zipfile.is_zipfile(path)
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError as error:
        raise ClearpaneError(f"{path}: there is no such file") from error
    except Exception as error:  # the unpickler raises almost anything on a damaged file
        # PyTorch's own words advise unpickling the file, which could run anything that is in it.
        raise ClearpaneError(f"{path}: {_kind_of_damage(path)}; get a fresh copy") from error
    if not isinstance(stored, Mapping) or not isinstance(stored.get(_OUTER), Mapping):
        raise ClearpaneError(f"{path}: not laid out as GenSIRR's checkpoint (it has no {_OUTER})")
    tensors = {}
    for name, value in stored[_OUTER].items():
        if not isinstance(name, str) or not name.startswith(_PREFIX) or not isinstance(value, Tensor):
            raise ClearpaneError(f"{path}: not laid out as GenSIRR's checkpoint (it has a part {name})")
        tensors[name.removeprefix(_PREFIX)] = value
    return tensors


def _kind_of_damage(path: Path) -> str:
    with contextlib.suppress(OSError):
        with path.open("rb") as file:
            start = file.read(512).lstrip().lower()
        if not start:
            return "is empty"
        if start.startswith((b"<html", b"<!doctype", b"<?xml")):
            return "is a web page, not a checkpoint; the download failed"
        if start.startswith(b"version https://git-lfs"):
            return "is a pointer of Git LFS, not the checkpoint itself"
    return "damaged, or not a file of tensors alone"
