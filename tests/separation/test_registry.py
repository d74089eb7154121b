import json
import subprocess
import sys
from pathlib import Path

import pytest

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.separation import registry
from clearpane.separation.compact.options import CompactOptions
from clearpane.separation.gensirr.options import GensirrOptions
from clearpane.separation.panel.options import PanelOptions
from clearpane.separation.registry import MODELS, Model, embedded_models, make_options
from clearpane.separation.separator import load_separator


def test_options_are_those_of_the_model():
    assert make_options("compact", {}) == CompactOptions()
    assert make_options("panel", {"weights": Path("p"), "steps": 4}) == PanelOptions(Path("p"), steps=4)
    assert isinstance(make_options("gensirr", {"weights": Path("g"), "candidates": 2}), GensirrOptions)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("compact", {"steps": 28}, "`steps` goes with `model=panel or gensirr`, not with compact"),
        ("panel", {"weights": Path("p"), "candidates": 1}, "`candidates` goes with `model=gensirr`"),
        ("panel", {"colour": 1}, "`colour` goes with no model"),
        ("panel", {}, "`model=panel` needs `weights`, the folder that clearpane train panel wrote"),
        ("nosuch", {}, "unknown model 'nosuch'; known are: compact, panel, gensirr"),
    ],
)
def test_options_that_do_not_fit_are_one_line(name, given, said):
    with pytest.raises(ClearpaneError, match=said):
        make_options(name, given)


def test_another_model_s_options_are_refused():
    with pytest.raises(ClearpaneError, match="takes PanelOptions, not GensirrOptions"):
        load_separator("panel", GensirrOptions(Path("g")))


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(
        MODELS, "far", Model(".compact.options:CompactOptions", "no_such_package:load", "flux")
    )
    with pytest.raises(MissingExtraError, match=r"`model=far` needs .*clearpane\[flux\]"):
        load_separator("far")


def test_the_embedded_model_is_the_compact_one():
    assert embedded_models() == ["compact"]


def test_all_options_come_without_torch():
    code = (
        "import json, sys\n"
        "from clearpane.separation.registry import MODELS, options_class\n"
        "names = [options_class(name).__name__ for name in MODELS]\n"
        "print(json.dumps([names, 'torch' in sys.modules]))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == [
        ["CompactOptions", "PanelOptions", "GensirrOptions", "WindowseatOptions"],
        False,
    ]
    assert all(registry.options_class(name) for name in MODELS)
