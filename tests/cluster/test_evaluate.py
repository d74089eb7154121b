"""`evaluate --ray`, with inputs and outputs at addresses; the work is done in this process."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fsspec")

from clearpane.app import evaluate_methods, ray_evaluate
from clearpane.app.cli import main

from .conftest import Halve


@pytest.fixture
def pairs(veiled_pairs: Callable[[int], Path], store, monkeypatch):
    """Three pairs, one with its reflection, as local files and at memory://sets/pairs."""
    folder = veiled_pairs(20)
    Image.fromarray(np.full((36, 48, 3), 20, np.uint8)).save(folder / "1_reflection.png")
    store.put(f"{folder}/", "/sets/pairs/", recursive=True)
    monkeypatch.setattr(evaluate_methods, "load_separator", lambda *chosen: Halve())
    ray_evaluate._loaded.cache_clear()
    yield folder
    ray_evaluate._loaded.cache_clear()


def test_scores_and_pages_are_those_of_one_machine(
    pairs: Path, store, in_process, tmp_path: Path, monkeypatch, capsys
) -> None:
    once = ray_evaluate.map_on_cluster
    monkeypatch.setattr(ray_evaluate, "map_on_cluster", lambda *given: reversed(list(once(*given))))
    files = [("--csv", "s.csv"), ("--json", "s.json"), ("--report", "r.html"), ("--judge", "j.html")]
    there = [word for flag, name in files for word in (flag, f"memory://scores/{name}")]
    assert main(["evaluate", "memory://sets/pairs", "--ray", "auto", *there]) == 0 and len(in_process) == 3
    distant = capsys.readouterr().out
    here = [word for flag, name in files for word in (flag, str(tmp_path / name))]
    assert main(["evaluate", str(pairs), *here]) == 0
    tables = [text.partition("wrote ")[0] for text in (distant, capsys.readouterr().out)]
    assert tables[0] == tables[1] and "wrote memory://scores/j.key.json" in distant
    for name in ("s.csv", "r.html"):
        assert store.cat(f"/scores/{name}") == (tmp_path / name).read_bytes()
    written = json.loads(store.cat("/scores/s.json"))
    assert written["sets"] == json.loads((tmp_path / "s.json").read_text())["sets"]
    assert written["pictures"][1]["input"] == "memory://sets/pairs/1_input.png"
    pages = [store.cat("/scores/j.html").decode(), (tmp_path / "j.html").read_text()]
    shown = [set(re.findall(r"data:image[^\"]+", page)) for page in pages]
    assert shown[0] == shown[1] and len(shown[0]) == 6

    assert main(["evaluate", "memory://sets/pairs", "--ray", "auto", *there]) == 1
    assert "memory://scores/s.csv: exists already" in capsys.readouterr().err


def test_finished_pictures_lie_at_addresses_too(pairs: Path, store, in_process, capsys) -> None:
    store.cp("/sets/pairs/", "/finished/", recursive=True)
    command = ["evaluate", "memory://sets/pairs", "--ray", "auto", "--results", "memory://finished"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^ *finished +100\.00", printed, re.MULTILINE)
    ray_evaluate._loaded.cache_clear()


def test_a_bad_pair_and_a_missing_result_stop_the_command(pairs, store, in_process, monkeypatch, capsys):
    store.pipe("/sets/pairs/1_input.png", b"no picture")
    assert main(["evaluate", "memory://sets/pairs", "--ray", "auto"]) == 1
    assert capsys.readouterr().err.startswith("error: memory://sets/pairs/1_input.png: ")
    monkeypatch.setattr(ray_evaluate, "map_on_cluster", lambda work, items, job: iter(()))
    assert main(["evaluate", str(pairs), "--ray", "auto"]) == 1
    assert "0_input.png: its worker was ended each time" in capsys.readouterr().err
