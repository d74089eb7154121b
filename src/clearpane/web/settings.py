"""What a page is opened with: where it listens, what it offers, how much it takes in."""

from dataclasses import dataclass, field
from typing import Literal

from clearpane.separation.base import SeparatorOptions


@dataclass(frozen=True)
class Limits:
    """How much the page takes in.

    Attributes:
        file_bytes: largest file.
        upload_bytes: largest upload, all its files together; also what a zip may hold, unpacked.
        pixels: most pixels of a picture.
        files: most files of an upload, or in a zip.
        waiting: most jobs that wait for their turn.
    """

    file_bytes: int = 200_000_000
    upload_bytes: int = 2_000_000_000
    pixels: int = 100_000_000
    files: int = 200
    waiting: int = 64


@dataclass(frozen=True)
class OfferedModel:
    """A separator as the page offers it.

    Attributes:
        name: key of `clearpane.separation.base.MODELS`.
        options: options it is loaded with, once asked for; None: it cannot be used here.
        needs: what it needs, or why it cannot be used here.
    """

    name: str
    options: SeparatorOptions | None
    needs: str


@dataclass(frozen=True)
class PageSettings:
    """What a page is opened with.

    Attributes:
        host, port: address to listen on.
        account: user name and password, asked of every visitor; None: open to all who reach the address.
        limits: how much it takes in.
        models: separators to offer, the first usable one chosen.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    account: tuple[str, str] | None = None
    limits: Limits = field(default_factory=Limits)
    models: tuple[OfferedModel, ...] = ()


ResultFormat = Literal["original", "jpeg", "png", "tiff", "webp", "exr"]
"""File format of a download; "original" is that of the photograph."""
