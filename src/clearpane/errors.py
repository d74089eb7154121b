"""The errors a user can act on."""


class ClearpaneError(Exception):
    """Something a user can put right. The message is one line: what is wrong, with which file, what to do."""


class MissingExtraError(ClearpaneError):
    """A feature needs an optional dependency that is not installed.

    >>> str(MissingExtraError("reading HEIC", "photo"))
    'reading HEIC needs an optional package: pip install "clearpane[photo]"'
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional package: pip install "clearpane[{extra}]"')
