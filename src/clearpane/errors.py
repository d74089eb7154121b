"""Errors that a user can act on."""


class ClearpaneError(Exception):
    """A problem that a user can solve. The message is one line: what is wrong, with which file, what to do.

    It names fields and arguments in backticks, as Python does, with or without a value: `` `overwrite` ``,
    `` `precision=nf4` ``. The command line writes them as options; see `clearpane.app.flags`.

    >>> import clearpane
    >>> try:
    ...     clearpane.read_picture(b"GIF89a")
    ... except clearpane.ClearpaneError as error:
    ...     print(error)
    the picture: is a GIF, which is not read; convert it to JPEG, PNG or TIFF
    """


class MissingExtraError(ClearpaneError):
    """An optional dependency that a feature needs is not installed.

    >>> str(MissingExtraError("reading HEIC", "photo"))
    'reading HEIC needs an optional package: pip install "clearpane[photo]"'
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional package: pip install "clearpane[{extra}]"')
