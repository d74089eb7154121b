"""Dataclasses from JSON: what is taken, and one line for what is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from clearpane.errors import ClearpaneError
from clearpane.json_files import parse_json, read_json


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"]
    weights: tuple[float, float] = (1.0, 2.0)

    def __post_init__(self) -> None:
        if min(self.weights) < 0:
            raise ClearpaneError("weights must not be negative")


@dataclass(frozen=True)
class Outer:
    count: int
    inner: tuple[Inner, ...] = ()
    name: str | None = None
    parts: Mapping[str, int] | None = None
    anything: Any = None


def test_what_fits_is_taken() -> None:
    text = '{"count": 2, "inner": [{"kind": "b", "weights": [1, 0.5]}], "parts": {"x": 1}, "anything": [{}]}'
    assert parse_json(Outer, text) == Outer(2, (Inner("b", (1.0, 0.5)),), None, {"x": 1}, [{}])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "not JSON"),
        ("[]", "Expected object, got array"),
        ("{}", "Object missing required field count"),
        ('{"count": true}', "count: Expected int, got bool"),
        ('{"count": 1.5}', "count: Expected int, got float"),
        ('{"count": 1, "cuont": 2}', "there is no field 'cuont'"),
        ('{"count": 1, "inner": [{"kind": "a", "x": 2}]}', "there is no field 'inner.0.x'"),
        ('{"count": 1, "inner": [{"kind": "c"}]}', "inner[0].kind: Invalid enum value 'c'"),
        (
            '{"count": 1, "inner": [{"kind": "a", "weights": [1]}]}',
            "inner[0].weights: Expected array of",
        ),
        ('{"count": 1, "inner": [{"kind": "a", "weights": [-1, NaN]}]}', "not JSON"),
        ('{"count": 1, "inner": [{"kind": "a", "weights": [-1, 0]}]}', "weights must not be negative"),
    ],
)
def test_what_does_not_fit_is_one_line_with_file_and_field(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ClearpaneError) as caught:
        read_json(Outer, path)
    assert str(caught.value).startswith(f"{path}: {line}") and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClearpaneError, match=r"none\.json: cannot be read \(No such file"):
        read_json(Outer, tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b'{"count": 1, "name": "\xff"}')
    with pytest.raises(ClearpaneError, match=r"bytes\.json: not JSON"):
        read_json(Outer, tmp_path / "bytes.json")
