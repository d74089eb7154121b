"""Files of PyTorch that are damaged or hold more than tensors."""

import io
import zipfile
from pathlib import Path

import pytest
import torch

from clearpane.errors import ClearpaneError
from clearpane.separation.gensirr.published import read_checkpoint


@pytest.mark.parametrize("zipped", [True, False])
def test_any_damage_to_the_pickle_is_one_line(tmp_path: Path, zipped: bool) -> None:
    stream = io.BytesIO()
    tensors = {"module": {"net_g.a": torch.zeros(2, 2)}}
    torch.save(tensors, stream, _use_new_zipfile_serialization=zipped)
    whole = stream.getvalue()
    if zipped:
        with zipfile.ZipFile(stream) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        pickled = next(name for name in members if name.endswith("data.pkl"))
    refused = 0
    for at in range(0, len(members[pickled] if zipped else whole), 7):
        path = tmp_path / "a.pt"
        if zipped:
            content = bytearray(members[pickled])
            content[at] ^= 0x55
            with zipfile.ZipFile(path, "w") as archive:
                for name, value in members.items():
                    archive.writestr(name, bytes(content) if name == pickled else value)
        else:
            content = bytearray(whole)
            content[at] ^= 0x55
            path.write_bytes(content)
        try:
            read_checkpoint(path)
        except ClearpaneError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 5
