"""Indices of sharded weights name files beside them, and no others."""

import json
from pathlib import Path
from typing import Any

import pytest

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.folders import check_part

INDEX = "diffusion_pytorch_model.safetensors.index.json"


def write_part(folder: Path, places: Any) -> Path:
    part = folder / "model" / "transformer"
    part.mkdir(parents=True)
    (part / "config.json").write_text("{}")
    (part / INDEX).write_text(json.dumps({"weight_map": places}))
    for path in (part / "a.safetensors", folder / "secret.safetensors"):
        path.touch()
    return part


@pytest.mark.parametrize(
    "name",
    [
        "../../secret.safetensors",
        "..\\secret.safetensors",
        "/etc/x.safetensors",
        "pytorch_model.bin",
        3,
        None,
    ],
)
def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, name: Any) -> None:
    part = write_part(tmp_path, {"a": "a.safetensors", "b": name})
    with pytest.raises(ClearpaneError, match=r"index\.json: names .*, not a safetensors file beside it"):
        check_part(part)


@pytest.mark.parametrize("places", [None, [], "a.safetensors"])
def test_an_index_without_a_map_is_damaged(tmp_path: Path, places: Any) -> None:
    with pytest.raises(ClearpaneError, match=r"index\.json: names None"):
        check_part(write_part(tmp_path, places))


def test_links_are_followed_as_the_hubs_cache_needs(tmp_path: Path) -> None:
    part = write_part(tmp_path, {"a": "a.safetensors"})
    (part / "a.safetensors").unlink()
    (part / "a.safetensors").symlink_to(tmp_path / "secret.safetensors")
    check_part(part)
