"""Embed the files that a GLB refers to, and check that its images have formats of glTF."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from clearpane.errors import ClearpaneError
from clearpane.named_files import lies_in
from clearpane.streams import Content

# glTF 2.0's formats, and that of EXT_texture_webp. Pillow would open more, some by running other programs.
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_BASE64 = "base64,"


def embed_files(document: dict[str, Any], binary: bytes, given: Content) -> None:
    """Replace the names of buffers' and images' files by their content, in place.

    Args:
        document: The JSON part of the GLB file.
        binary: Its binary part.
        given: The GLB file, whose folder the files must lie in.

    Raises:
        ClearpaneError: A file lies elsewhere or is not there; an image is no PNG, JPEG or WebP.
        AttributeError, LookupError, TypeError, ValueError: The document contradicts itself.
    """
    for part in (*document.get("buffers", []), *document.get("images", [])):
        name = part.get("uri")
        if name is None or name.startswith("data:"):
            continue
        folder = None if given.file is None else given.file.parent
        there = None if folder is None else folder / unquote(name)
        if folder is None or there is None or not lies_in(there, [folder]):
            raise ClearpaneError(
                f"{given}: names {name}, which lies outside its folder; export it again, as one file (.glb)"
            )
        if not there.is_file():
            raise ClearpaneError(
                f"{given}: names {name}, which is not there; export it again, as one file (.glb)"
            )
        content = base64.b64encode(there.read_bytes()).decode()
        part["uri"] = f"data:application/octet-stream;{_BASE64}{content}"
    for index, start in enumerate(_starts(document, binary)):
        if not start.startswith(_IMAGES):
            raise ClearpaneError(
                f"{given}: its image {index} is no PNG, JPEG or WebP; export it again with PNG"
            )


def _starts(document: dict[str, Any], binary: bytes) -> Iterator[bytes]:
    """Yield the first bytes of each image."""
    for image in document.get("images", []):
        if "uri" in image:
            content = image["uri"].partition(_BASE64)[2][:16]
            try:
                yield base64.b64decode(content)
            except binascii.Error as error:
                raise ValueError("an image is not encoded in base64") from error
        else:
            view = document["bufferViews"][image["bufferView"]]
            if view.get("buffer", 0) != 0 or "uri" in document["buffers"][0]:
                raise ValueError("an image outside the binary part")
            at = int(view.get("byteOffset", 0))
            yield binary[at : at + 16]
