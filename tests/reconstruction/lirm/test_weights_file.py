"""LIRM's weights: a file's configuration cannot ask for more than its tensors hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from clearpane.errors import ClearpaneError
from clearpane.reconstruction.lirm.model import Lirm, LirmConfig
from clearpane.reconstruction.lirm.weights_file import load_lirm, save_lirm, trained_environments

SMALL = LirmConfig(
    blocks=1,
    width=16,
    heads=2,
    patch=8,
    plane_side=2,
    plane_stride=2,
    channels=4,
    panoramas=1,
    panorama_side=2,
)


def with_facts(path: Path, **facts: Any) -> Path:
    save_lirm(path, SMALL, Lirm(SMALL).state_dict(), ("a.hdr",))
    save_file(load_file(path), path, facts)
    return path


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_lirm(tmp_path / "a.safetensors", SMALL, Lirm(SMALL).state_dict(), ("a.hdr",))
    assert load_lirm(tmp_path / "a.safetensors").config == SMALL
    assert trained_environments(tmp_path / "a.safetensors") == ("a.hdr",)


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": 10**9},
        {"width": 10**9},
        {"heads": 0},
        {"heads": -1},
        {"plane_side": 8000},
        {"evidence": 10**6},
        {"volume": 10**6},
        {"panoramas": 1.0},
        {"encoding": "other"},
        {"unknown": 1},
    ],
)
def test_an_impossible_configuration_is_refused_before_anything_is_made(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    from dataclasses import asdict

    path = with_facts(tmp_path / "a.safetensors", lirm=json.dumps({**asdict(SMALL), **change}))
    with pytest.raises(ClearpaneError, match=r"a\.safetensors: (holds no LIRM|configuration: )"):
        load_lirm(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "no JSON", "null", "[]"])
def test_a_damaged_head_is_said(tmp_path: Path, text: str) -> None:
    path = with_facts(tmp_path / "a.safetensors", lirm=text, environments=text)
    with pytest.raises(ClearpaneError, match=r"a\.safetensors: (holds no LIRM|configuration: )"):
        load_lirm(path)
    if text != "[]":
        with pytest.raises(ClearpaneError, match="environments: "):
            trained_environments(path)
