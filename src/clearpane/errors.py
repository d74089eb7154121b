"""Errors that a user can act on."""

import re

_BREAK = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
# What a terminal would obey, what reorders the text around it, and what cannot be encoded.
_UNCLEAR = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
_LONGEST = 2000


def one_line(text: str) -> str:
    r"""Return a text as one line of at most 2000 characters, with control characters escaped.

    Messages quote names and values out of files, which may hold anything.

    >>> one_line("a\nb \x1b[31m")
    'a b \\x1b[31m'
    """
    line = _BREAK.sub(" ", text.strip())
    line = _UNCLEAR.sub(lambda found: found[0].encode("unicode_escape").decode(), line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 3 :]}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class ClearpaneError(Exception):
    """A problem that a user can solve. The message is one line: what is wrong, with which file, what to do.

    It names fields and arguments in backticks, as Python does, with or without a value, such as
    ``overwrite`` and ``precision=nf4``. The command line writes them as options; see `clearpane.app.flags`.

    >>> import clearpane
    >>> try:
    ...     clearpane.read_picture(b"GIF89a")
    ... except clearpane.ClearpaneError as error:
    ...     print(error)
    the picture: is a GIF, which is not read; convert it to JPEG, PNG or TIFF
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class MissingExtraError(ClearpaneError):
    """An optional dependency that a feature needs is not installed.

    >>> str(MissingExtraError("reading HEIC", "photo"))
    'reading HEIC needs an optional package: pip install "clearpane[photo]"'
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional package: pip install "clearpane[{extra}]"')
