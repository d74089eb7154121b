"""The page docs/adding_a_model.md, followed step by step."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane import load_separator, separation
from clearpane.app.cli import main
from clearpane.separation import registry

PAGE = Path(__file__).parents[2] / "docs" / "adding_a_model.md"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The page's model, added by its folder and its line of the registry."""
    page = PAGE.read_text(encoding="utf-8")
    options, separator = re.findall(r"```python\n(.*?)```", page, re.S)
    (line,) = re.findall(r"^    \"toy\": (Model\(.*\)),$", page, re.M)
    folder = tmp_path / "rooms" / "toy"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "options.py").write_text(options)
    (folder / "separator.py").write_text(separator)
    monkeypatch.setattr(separation, "__path__", [*separation.__path__, str(folder.parent)])
    monkeypatch.setitem(registry.MODELS, "toy", eval(line, {"Model": registry.Model}))
    yield
    for name in [name for name in sys.modules if name.startswith("clearpane.separation.toy")]:
        del sys.modules[name]
    if hasattr(separation, "toy"):
        del separation.toy


@pytest.fixture
def photo(tmp_path) -> Path:
    Image.fromarray(np.full((24, 32, 3), 200, np.uint8)).save(tmp_path / "window_input.png")
    Image.fromarray(np.full((24, 32, 3), 150, np.uint8)).save(tmp_path / "window_transmission.png")
    return tmp_path / "window_input.png"


def test_remove_runs_it(toy, photo, tmp_path):
    out = tmp_path / "out"
    words = ["remove", str(photo), "--output", str(out), "--model", "toy", "--steps", "2"]
    assert main(words) == 0
    assert (np.asarray(Image.open(out / "window_input_transmission.png")) == 150).all()


def test_evaluate_runs_it(toy, photo, tmp_path, capsys):
    assert main(["evaluate", str(tmp_path), "--model", "toy", "--steps", "2"]) == 0
    assert "toy over doing nothing" in capsys.readouterr().out


def test_doctor_and_the_library_know_it(toy, capsys):
    assert main(["doctor"]) == 0
    assert re.search(r"^  toy +works", capsys.readouterr().out, re.M)
    layers = load_separator("toy").separate(np.ones((16, 16, 3), np.float32))
    assert (layers.reflection == 0.5).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--weights", "x"],
            "--weights goes with --model compact, panel, gensirr or windowseat, not with toy",
        ),
        (["--steps", "0"], "--steps 0: give 1 or more"),
        (["--confidence"], "--confidence needs --model compact; toy has no confidence map"),
    ],
)
def test_what_it_lacks_is_refused(toy, photo, tmp_path, capsys, words, said):
    command = ["remove", str(photo), "--output", str(tmp_path / "out"), "--model", "toy", *words]
    assert main(command) == 2
    assert said in capsys.readouterr().err
