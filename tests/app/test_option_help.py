"""The texts of options, joined to single lines before tyro wraps them."""

import dataclasses
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from clearpane.app.option_help import join_lines


@dataclasses.dataclass
class Inner:
    """Options within."""

    number: int = 1
    """A number whose text
    is longer than a line."""


@dataclasses.dataclass
class Outer(Inner):
    """Options with a part that is inherited and one that is nested."""

    inner: Inner = dataclasses.field(default_factory=Inner)
    """The options
    within."""
    named: int = dataclasses.field(default=2, metadata={"help": "as given"})
    """Not this."""
    silent: int = 3


def test_texts_are_joined_also_inherited_and_nested_ones():
    join_lines(Outer)
    texts = {field.name: field.metadata.get("help") for field in dataclasses.fields(Outer)}
    assert texts == {
        "number": "A number whose text is longer than a line.",
        "inner": "The options within.",
        "named": "as given",
        "silent": None,
    }
    assert dataclasses.fields(Inner)[0].metadata["help"] == texts["number"]


@pytest.mark.parametrize("columns", [80, 120])
def test_help_breaks_lines_only_at_the_width_of_the_terminal(columns):
    # A process of its own: tyro keeps what it once learnt of a class.
    done = subprocess.run(
        [sys.executable, "-m", "clearpane", "remove", "--help"],
        env={**os.environ, "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    lines = [line.strip("│| ") for line in done.stdout.splitlines()]
    start = next(k for k, line in enumerate(lines) if line.startswith("Share of the reflection to remove"))
    end = next(k for k, line in enumerate(lines) if k >= start and line.endswith("(default: 1)"))
    assert end > start
    for line, after in pairwise(lines[start : end + 1]):
        # The next word would not have fitted beside the borders and the indentation.
        assert len(line) + 1 + len(after.split()[0]) > columns - 21
