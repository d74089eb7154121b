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
    lines = done.stdout.splitlines()
    start = next(k for k, line in enumerate(lines) if "Share of the reflection to remove" in line)
    left = lines[start].index("Share of")
    texts = [line[left:].rstrip("│| ") for line in lines[start : start + 6]]
    texts = texts[: 1 + next(k for k, text in enumerate(texts) if text.endswith("(default: 1)"))]
    assert len(texts) > 1
    for text, after in pairwise(texts):
        # The next word would not have fitted beside the space and the border at the right.
        assert len(text) + 1 + len(after.split()[0]) > len(lines[start]) - left - 2
