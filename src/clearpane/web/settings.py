"""Define the settings of the page: its address, its models and its limits."""

from dataclasses import dataclass, field
from typing import Literal

from clearpane.separation.interface import SeparatorOptions


@dataclass(frozen=True)
class Limits:
    """Limits on uploads and on the queue.

    Attributes:
        file_bytes: Largest file.
        upload_bytes: Largest upload, all its files together; also the limit on the unpacked content of a zip.
        pixels: Largest number of pixels of a picture.
        files: Largest number of files of an upload, or in a zip.
        waiting: Most jobs that wait for their turn.
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
        name: Key of `clearpane.separation.registry.MODELS`.
        options: Options it is loaded with, once asked for; None: it cannot be used here.
        needs: Its requirements, or the reason why it cannot be used here.
    """

    name: str
    options: SeparatorOptions | None
    needs: str


@dataclass(frozen=True)
class PageSettings:
    """Settings of the page.

    Attributes:
        host, port: Address to listen on.
        account: User name and password, asked of every visitor; None: open to all who reach the address.
        limits: Limits on uploads and on the queue.
        models: Separators to offer, the first usable one chosen.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    account: tuple[str, str] | None = None
    limits: Limits = field(default_factory=Limits)
    models: tuple[OfferedModel, ...] = ()


ResultFormat = Literal["original", "jpeg", "png", "tiff", "webp", "exr"]
"""File format of a download; "original" is that of the photograph."""
