import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from clearpane import __version__
from clearpane.app import cli, remove
from clearpane.errors import ClearpaneError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_without_arguments_the_help_is_shown(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out == text
    places = [text.index(f"\n  {name} ") for name in ("remove", "doctor", "evaluate", "train compact")]
    assert places == sorted(places)
    assert "clearpane remove window.jpg --output clean" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", ["remove", "doctor"])
def test_help_of_a_command_fits_and_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"clearpane {command}" in text and "Examples:" in text
    assert max(map(len, text.splitlines())) <= 80


def test_help_of_remove_names_every_option(capsys):
    with pytest.raises(SystemExit):
        cli.main(["remove", "--help"])
    text = capsys.readouterr().out
    for field in ("output", "strength", "mask", "quality", "reflection", "compare", "recursive", "format"):
        assert f"--{field}" in text
    assert "None" not in text


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"clearpane {__version__}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["remvoe", "a.jpg"], "did you mean clearpane remove?"),
        (["xyz"], "clearpane --help lists"),
        (["train", "compcat"], "did you mean clearpane train compact?"),
    ],
)
def test_unknown_commands_are_usage_errors(words, hint, capsys):
    assert cli.main(words) == 2
    assert hint in capsys.readouterr().err


def test_train_alone_lists_the_recipes(capsys):
    assert cli.main(["train"]) == 0
    text = capsys.readouterr().out
    assert "train compact" in text and "  remove " not in text


@pytest.mark.parametrize(
    "words",
    [
        ["remove", "a.jpg"],
        ["remove", "a.jpg", "--output"],
        ["remove", "a.jpg", "--output", "out", "--strenght", "1"],
        ["remove", "a.jpg", "--output", "out", "--quality", "superb"],
    ],
)
def test_mistyped_options_exit_with_2(words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    "words", [["remove", "--output", "out"], ["remove", "a.jpg", "--output", "out", "--strength", "-3"]]
)
def test_options_that_cannot_be_meant_exit_with_2(words, capsys):
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_options_reach_the_command(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(remove, "run", lambda options: seen.append(options) or 0)
    words = "remove a.jpg b.jpg --output out --strength -0.5 --mask m.png --quality best --compare --json"
    assert cli.main(words.split()) == 0
    assert seen == [
        remove.Remove(
            (Path("a.jpg"), Path("b.jpg")),
            Path("out"),
            strength=-0.5,
            mask=Path("m.png"),
            quality="best",
            compare=True,
            json=True,
        )
    ]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ClearpaneError("the disk is full"), 1, "error: the disk is full"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("a\nb"), 1, "error: unexpected RuntimeError: a b. This is a bug in Clearpane"),
    ],
)
def test_errors_become_one_line_and_an_exit_code(monkeypatch, capsys, error, code, line):
    def fail(options):
        raise error

    monkeypatch.setattr(remove, "run", fail)
    assert cli.main(["remove", "a.jpg", "--output", "out"]) == code
    shown = capsys.readouterr().err
    assert line in shown and len(shown.splitlines()) == 1


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("CLEARPANE_DEBUG", "1")
    monkeypatch.setattr(remove, "run", lambda options: 1 / 0)
    assert cli.main(["remove", "a.jpg", "--output", "out"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_command_whose_packages_are_missing_says_what_to_install(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli, "import_module", missing)
    assert cli.main(["train", "compact"]) == 1
    assert 'pip install "clearpane[train]"' in capsys.readouterr().err
    assert cli.main(["remove", "a.jpg"]) == 1
    assert "the package torch is missing" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_exists(command):
    if command.extra:
        pytest.importorskip("torch")
    module = import_module(command.module)
    assert callable(module.run) and getattr(module, command.options).__doc__


def test_the_installed_script_is_this_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["clearpane"] == "clearpane.app.cli:main"


def test_a_name_that_the_terminal_cannot_show_stops_nothing(tmp_path):
    Image.new("RGB", (20, 20), (90, 90, 90)).save(tmp_path / "schön.png")
    words = ["-m", "clearpane", "remove", "schön.png", "--output", "out", "--strength", "0"]
    result = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert result.returncode == 0, result.stderr
    assert r"sch\xf6n.png -> out" in result.stdout


def test_standard_output_holds_only_results(tmp_path):
    Image.new("RGB", (20, 20), (90, 90, 90)).save(tmp_path / "a.png")
    words = [
        "-m",
        "clearpane",
        "remove",
        "a.png",
        "nowhere.png",
        "--output",
        "out",
        "--strength",
        "0",
        "--json",
    ]
    result = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert [line[0] for line in result.stdout.splitlines()] == ["{", "{"]
    assert "error: nowhere.png" in result.stderr and "1 done" in result.stderr
