"""Scripts and their child processes start from any folder; docs/figures names the scripts."""

import importlib
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.measuring import ROOT, measure
from benchmarks.compact import variants
from benchmarks.glass.sets import run_clearpane
from clearpane.separation.compact.runtime import WEIGHTS

FIGURES = ROOT / "docs" / "figures"
INDEX = (FIGURES / "README.md").read_text(encoding="utf-8")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
}
SCRIPTS = [name for name, source in SOURCES.items() if "tyro.cli(" in source or "parse_args()" in source]


def test_every_module_imports_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in SOURCES:
        if name != "benchmarks.compact.peer_worker":  # it has an environment of its own
            importlib.import_module(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # the module was imported above
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_explains_itself_in_another_folder(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(script, run_name="__main__")
    assert end.value.code == 0
    assert f"python -m {script}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_child_processes_start_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_clearpane("--version")
    np.save("picture.npy", np.zeros((32, 32, 3), np.uint8))
    run = measure(variants.command(Path("picture.npy"), variants.SHIPPED, WEIGHTS, 2))
    assert len(json.loads(run.output)) == 2


def test_the_index_of_figures_names_every_page_with_its_script() -> None:
    rows = re.findall(r"^\| (\[.*?) \| .* \| (`.*?) \|$", INDEX, re.M)
    pages = [re.findall(r"\]\((\w+)\.md\)", cells) for cells, _ in rows]
    scripts = [re.findall(r"`([\w.]+)[^`]*`", cells) for _, cells in rows]
    named = {
        page: script
        for together in zip(pages, scripts, strict=True)
        for page, script in zip(*together, strict=True)
    }
    assert named.keys() == {path.stem for path in FIGURES.glob("*.md")} - {"README"}
    assert set(named.values()) <= set(SCRIPTS)
    for page, script in named.items():
        text = (FIGURES / f"{page}.md").read_text(encoding="utf-8")
        assert text.endswith(f"\n<sub>Written by `python -m {script}`.</sub>\n"), page
        assert f'"{page}.md"' in SOURCES[script], page
