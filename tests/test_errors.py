"""A message is one clear line, whatever it quotes."""

import pickle

import pytest

from clearpane.errors import ClearpaneError, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.jpg: damaged\n  (line 2)\r\n", "a.jpg: damaged (line 2)"),
        ("a\u2028b\vc", "a b c"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("evil\u202egpj.exe \ud800", "evil\\u202egpj.exe \\ud800"),
        ("two  spaces, é, 写真, 👨‍👩‍👧", "two  spaces, é, 写真, 👨‍👩‍👧"),
    ],
)
def test_control_characters_and_line_breaks_are_not_handed_on(text: str, line: str) -> None:
    assert one_line(text) == line
    assert str(ClearpaneError(text)) == line


def test_a_long_message_keeps_its_ends() -> None:
    line = one_line(f"a.json: up is {'x' * 100_000}, not three numbers")
    assert len(line) < 2000 and line.startswith("a.json: up is") and line.endswith("not three numbers")


def test_errors_travel_between_processes() -> None:
    assert str(pickle.loads(pickle.dumps(ClearpaneError("a\nb")))) == "a b"
