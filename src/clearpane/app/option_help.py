"""Texts of options as single lines, for tyro to wrap.

tyro keeps the line breaks of the docstring below a field, which fall where the source's lines end, and wraps
once more at the width of the terminal.
"""

import dataclasses
import typing
from types import MappingProxyType
from typing import Any

from docstring_parser import parse_from_object


def join_lines(options: type[Any]) -> None:
    """Set each field's help text to the words of its docstring, also in dataclasses within."""
    texts: dict[str, str] = {}
    for kind in reversed(options.__mro__):
        if dataclasses.is_dataclass(kind):
            texts |= {part.arg_name: part.description or "" for part in parse_from_object(kind).params}
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        if text := texts.get(field.name):
            help_text = " ".join(text.split())
            field.metadata = MappingProxyType({"help": help_text, **field.metadata})
        if dataclasses.is_dataclass(hints[field.name]):
            join_lines(typing.cast(type[Any], hints[field.name]))
