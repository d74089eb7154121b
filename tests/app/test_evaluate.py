import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from clearpane.app import evaluate_methods
from clearpane.app.cli import main
from clearpane.app.evaluate import Evaluate, run
from clearpane.errors import ClearpaneError
from clearpane.separation.flux.folders import base_fingerprint
from clearpane.separation.flux.settings import save_settings
from clearpane.separation.gensirr.separator import GensirrSettings
from clearpane.separation.interface import Quality, SeparatorOptions
from clearpane.separation.layers import Layers
from clearpane.separation.panel.separator import PanelSettings


class Unveil:
    """Takes away the veil that ``pairs`` lays over its pictures."""

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        veil = np.float32(51 / 255 if quality == "best" else 21 / 255)
        return Layers(np.clip(image - veil, 0, 1), np.full_like(image, veil))


@pytest.fixture
def pairs(veiled_pairs: Callable[[int], Path]) -> Path:
    return veiled_pairs(51)


@pytest.fixture
def results(pairs: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "finished"
    folder.mkdir()
    for path in pairs.glob("*_transmission.png"):
        Image.fromarray(np.asarray(Image.open(path)) + 10).save(folder / path.name)
    return folder


@pytest.fixture
def separator(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    loaded: list[str] = []

    def load(name: str, options: SeparatorOptions) -> Unveil:
        loaded.append(name)
        return Unveil()

    monkeypatch.setattr(evaluate_methods, "load_separator", load)
    monkeypatch.setenv("COLUMNS", "100")
    return loaded


def test_runs_the_separator_and_prints_the_table(
    pairs: Path, separator: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Evaluate(pairs)) == 0
    printed = capsys.readouterr().out
    assert separator == ["compact"]
    nothing, half = -20 * np.log10(51 / 255), -20 * np.log10(30 / 255)
    for row, psnr in (("compact", half), ("do nothing", nothing)):
        (line,) = [ln for ln in printed.splitlines() if ln.strip().startswith(row) and "over" not in ln]
        assert float(line.removeprefix(" ").removeprefix(row).split()[0]) == pytest.approx(psnr, abs=0.01)
    assert "3 of 3" in printed
    assert "oracle gain" in printed
    gains = next(line for line in printed.splitlines() if line.strip().startswith("+")).split()
    assert float(gains[0]) == pytest.approx(half - nothing, abs=0.01)  # beside each figure
    assert len(gains) == 5
    assert "protocol original" in printed and "Less is better for LMSE." in printed
    assert "compact over doing nothing: PSNR +" in printed


def test_st_lpips_has_a_column_of_its_own_name(
    pairs: Path, separator: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        evaluate_methods, "StLpips", lambda: lambda x, t: float(np.abs(x / 1.0 - t).mean()) / 255
    )
    assert main(["evaluate", str(pairs), "--metrics", "st-lpips"]) == 0
    head = next(line for line in capsys.readouterr().out.splitlines() if "NCC" in line)
    assert re.search(r"NCC +ST-LPIPS", head)


def test_quality_reaches_the_separator(pairs: Path, separator: list[str], tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    run(Evaluate(pairs, quality="best", json=out))
    assert json.loads(out.read_text())["sets"][0]["rows"][0]["mean"]["psnr"] == 100


def test_results_replace_the_separator_and_all_files_are_written(
    pairs: Path, results: Path, separator: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = Evaluate(
        pairs,
        results=(results,),
        csv=tmp_path / "s.csv",
        json=tmp_path / "s.json",
        report=tmp_path / "r.html",
        judge=tmp_path / "j.html",
    )
    assert run(options) == 0
    assert separator == []
    assert (tmp_path / "s.csv").read_text().startswith("protocol,set,picture,row,psnr")
    rows = json.loads((tmp_path / "s.json").read_text())["sets"][0]["rows"]
    assert rows[0]["name"] == "finished"
    assert rows[0]["mean"]["psnr"] == pytest.approx(-20 * np.log10(10 / 255), abs=1e-6)
    assert "worst first" in (tmp_path / "r.html").read_text()
    assert "finished" not in (tmp_path / "j.html").read_text()
    key = json.loads((tmp_path / "j.key.json").read_text())
    assert {entry["method"] for entry in key.values()} == {"finished", "input"}
    capsys.readouterr()

    answers = tmp_path / "answers.csv"
    verdict = {"finished": "yes", "input": "no"}
    answers.write_text("id,answer\n" + "".join(f"{i},{verdict[k['method']]}\n" for i, k in key.items()))
    assert run(Evaluate(judge=tmp_path / "j.html", judge_answers=(answers,))) == 0
    printed = capsys.readouterr().out
    assert "3 of 3" in printed
    assert "44% to 100%" in printed  # Wilson, 3 of 3


def test_nothing_is_overwritten_and_no_time_is_lost_first(
    pairs: Path, separator: list[str], tmp_path: Path
) -> None:
    options = Evaluate(pairs, report=tmp_path / "r.html")
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(ClearpaneError, match=r"r\.html: exists already"):
        run(options)
    assert separator == []
    assert (tmp_path / "r.html").read_text() == "mine"
    assert run(replace(options, overwrite=True)) == 0
    assert "<html" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Evaluate(), "name the folder"),
        (Evaluate(Path("nowhere")), "nowhere: no such folder"),
        (Evaluate(judge_answers=(Path("a.csv"),)), "needs --judge"),
        (Evaluate(Path("p"), csv=Path("no-such-folder/x")), "x: its folder does not exist"),
        (Evaluate(Path("p"), csv=Path("x"), json=Path("x")), "named for two outputs"),
    ],
)
def test_what_cannot_be_meant(options: Evaluate, message: str) -> None:
    with pytest.raises(ClearpaneError, match=message):
        run(options)


def test_result_folders_are_checked(pairs: Path, results: Path) -> None:
    with pytest.raises(ClearpaneError, match="no such folder; --results"):
        run(Evaluate(pairs, results=(pairs / "nowhere",)))
    with pytest.raises(ClearpaneError, match="named twice"):
        run(Evaluate(pairs, results=(results, results / ".." / "finished")))


def test_a_result_folder_named_as_a_row_does_not_take_its_place(
    pairs: Path, results: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "input", tmp_path / "do nothing", tmp_path / "other" / "finished"]
    for folder in folders:
        shutil.copytree(results, folder)
    judge, out = tmp_path / "j.html", tmp_path / "s.json"
    assert run(Evaluate(pairs, results=(results, *folders), judge=judge, json=out)) == 0
    key = json.loads((tmp_path / "j.key.json").read_text())
    assert {entry["method"] for entry in key.values()} == {"finished", "input", *map(str, folders)}
    assert len(key) == 3 * 5
    rows = json.loads(out.read_text())["sets"][0]["rows"]
    assert [row["name"] for row in rows[:5]] == ["finished", *map(str, folders), "do nothing"]


def test_command_line() -> None:
    words = ["pairs", "--protocol", "multiple-of-32", "--results", "a", "b"]
    words += ["--judge-answers", "c.csv", "--quality", "best"]
    options = tyro.cli(Evaluate, args=words)
    assert options == Evaluate(
        Path("pairs"),
        protocol="multiple-of-32",
        results=(Path("a"), Path("b")),
        judge_answers=(Path("c.csv"),),
        quality="best",
    )


@pytest.fixture
def trained(adapted: Path, base: Path) -> Path:
    """A folder as both clearpane train panel and train gensirr write it, of the tests' tiny model."""
    mark = base_fingerprint(base)
    save_settings(PanelSettings(str(base), mark, 32, 2, 2.5, "three panels"), adapted / "panel.json")
    save_settings(GensirrSettings(str(base), mark, 32, 2, 2.5, "remove it.", False), adapted / "gensirr.json")
    return adapted


@pytest.mark.parametrize("model", ["panel", "gensirr"])
def test_a_trained_editor_is_measured(pairs: Path, trained: Path, tmp_path: Path, model: str) -> None:
    out = tmp_path / "s.json"
    words = ["--model", model, "--weights", str(trained), "--steps", "1", "--precision", "float32"]
    assert main(["evaluate", str(pairs), *words, "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["sets"][0]["rows"]
    assert rows[0]["name"] == model and np.isfinite(rows[0]["mean"]["psnr"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "panel"], "--model panel needs --weights, the folder that clearpane train panel wrote"),
        (["--steps", "4"], "--steps goes with --model panel or gensirr, not with compact"),
        (["--model", "nosuch"], "unknown model 'nosuch'"),
        (["--results", "x", "--model", "panel"], "--model and its options cannot be combined with --results"),
    ],
)
def test_options_that_do_not_fit_the_model(
    pairs: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["evaluate", str(pairs), *words]) == 2
    assert said in capsys.readouterr().err
