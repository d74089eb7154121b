"""File names from visitors, which are never trusted."""

import re
import unicodedata
from pathlib import PurePosixPath

_LONGEST = 100
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)


def safe_name(name: str) -> str:
    r"""Reduce a name to its last part, without what a file system or a web page may take amiss.

    >>> safe_name("../../etc/pass wd"), safe_name("C:\\photos\\<b>.jpg"), safe_name("..")
    ('pass wd', '_b_.jpg', 'file')
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(c if c.isprintable() and c not in '<>:"|?*&\x7f' else "_" for c in last).strip(" .")
    if not kept or _RESERVED.fullmatch(kept):
        return f"file{'_' + kept if kept else ''}"
    stem, dot, suffix = kept.rpartition(".")
    return kept if len(kept) <= _LONGEST else (stem or kept)[: _LONGEST - 10] + (dot + suffix)[:10]


def safe_path(name: str) -> PurePosixPath:
    """Reduce the path of a zip's entry to safe folders and a safe name below the place it is unpacked to.

    >>> str(safe_path("/duck/../images/a.jpg"))
    'duck/images/a.jpg'
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return PurePosixPath(*(safe_name(part) for part in parts)) if parts else PurePosixPath("file")
