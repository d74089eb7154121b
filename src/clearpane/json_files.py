"""Dataclasses read from JSON, strictly."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from clearpane.errors import ClearpaneError

T = TypeVar("T")


def read_json(kind: type[T], path: Path) -> T:
    """Read a JSON file as ``kind``, see `parse_json`.

    Raises:
        ClearpaneError: the file cannot be read or holds something else; the message names file and field.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ClearpaneError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return parse_json(kind, text)
    except ClearpaneError as error:
        raise ClearpaneError(f"{path}: {error}") from error


def parse_json(kind: type[T], text: str | bytes) -> T:
    """Convert JSON text to a type: a dataclass, or what its fields may hold.

    A whole number may stand for a ``float`` and a list for a tuple; nothing else is converted. Fields with a
    default may be missing.

    Raises:
        ClearpaneError: the text is not JSON, or a field is unknown, missing or of another type; the message
            names the field. Errors that the dataclass itself raises pass through.

    >>> parse_json(tuple[float, ...], "[1, 2.5]")
    (1.0, 2.5)
    """
    try:
        data = msgspec.json.decode(text)
        result = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ClearpaneError(_one_line(error)) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ClearpaneError(f"not JSON ({error})") from error
    # msgspec ignores fields that a dataclass does not have.
    unknown = next(_dropped(data, msgspec.to_builtins(result)), None)
    if unknown is not None:
        raise ClearpaneError(f"there is no field {unknown!r}")
    return result


def parse_untyped(text: str | bytes) -> Any:
    """Parse JSON of any form, also with NaN and infinity, which other programs write.

    Raises:
        ValueError: the text is not JSON, or nested too deeply.

    >>> parse_untyped('{"a": [1, null]}')
    {'a': [1, None]}
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        FileNotFoundError: The file is missing.
        ClearpaneError: The file is damaged.
    """
    try:
        value = parse_untyped(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ClearpaneError(f"{path}: damaged, not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ClearpaneError(f"{path}: damaged, not an object of JSON")
    return value


def _one_line(error: msgspec.ValidationError) -> str:
    """Put the field first: "world.lights[0].x: Expected float, got str"."""
    reason, _, field = " ".join(str(error).replace("`", "").split()).rpartition(" - at $")
    return f"{field.removeprefix('.')}: {reason}" if reason else field


def _dropped(data: Any, kept: Any) -> Iterator[str]:
    """Yield the paths of keys that parsed JSON has and its conversion lacks."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key not in kept:
                yield key
            else:
                yield from (f"{key}.{inner}" for inner in _dropped(value, kept[key]))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from (f"{index}.{inner}" for inner in _dropped(value, kept[index]))
