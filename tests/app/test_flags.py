"""The library names fields, the command line names options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import clearpane
from clearpane.app.cli import main
from clearpane.app.flags import name_flags

SOURCE = Path(clearpane.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z]")
CSS = {"evaluation/report.py"}  # "--ratio" is a property of a style sheet
CARDS = {"training/lirm/recipe.py", "training/flux/gensirr_vae.py"}  # a model card shows a command


def strings_with_flags(path: Path) -> Iterator[str]:
    """Find option names in string literals; docstrings and DESCRIPTION are the help texts of commands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    help_texts = set()
    for node in ast.walk(tree):
        described = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DESCRIPTION"
        if isinstance(node, ast.Expr) or described:
            help_texts.add(node.value)
    for node in ast.walk(tree):
        literal = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if literal and node not in help_texts and FLAG.search(node.value):
            yield f"{path.name}:{node.lineno}: {node.value}"


def test_no_message_below_app_names_an_option():
    files = [p for p in SOURCE.rglob("*.py") if p.relative_to(SOURCE).parts[0] != "app"]
    found = [
        text
        for p in files
        if p.relative_to(SOURCE).as_posix() not in CSS | CARDS
        for text in strings_with_flags(p)
    ]
    assert len(files) > 100
    assert found == []


@pytest.mark.parametrize("text", ["f'--{name}: give 1'", "'use --overwrite'"])
def test_the_search_finds_options(text, tmp_path):
    (tmp_path / "module.py").write_text(f"raise ValueError({text.replace('{name}', 'x')})")
    assert list(strings_with_flags(tmp_path / "module.py"))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("lower `batch` or `side`", "lower --batch or --side"),
        ("`precision=nf4` needs a GPU", "--precision nf4 needs a GPU"),
        ("allow overwriting (`overwrite=True`)", "allow overwriting (--overwrite)"),
        ("`init=a folder/x`: damaged", "--init a folder/x: damaged"),
        ("no field is named", "no field is named"),
    ],
)
def test_fields_become_options(message, shown):
    assert name_flags(message) == shown


def test_a_command_names_options_in_an_error_of_the_library(tmp_path, capsys):
    assert main(["train", "panel", str(tmp_path), "--base", "x", "--output", "y", "--real-share", "2"]) == 1
    assert "error: --real-share 2: give 0 to 1" in capsys.readouterr().err
