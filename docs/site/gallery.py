"""Collect the pictures of the pages, with their descriptions, into one page."""

import re
from pathlib import Path

_PICTURE = re.compile(r"!\[([^\]]+)\]\(([^)\s]+)\)")


def write_page(root: Path, target: Path) -> None:
    """Write the gallery: the examples as `clearpane remove` shows them, then each picture of docs/ once.

    Args:
        root: Root of the repository.
        target: Page to write; the folder holds the pictures ``NAME_input_compare.jpg``.
    """
    parts = ["# Gallery", "", "The project's own programs made all of these pictures.", ""]
    parts += ["## Before and after", ""]
    for path in sorted(target.parent.glob("*_input_compare.jpg")):
        name = path.name.removesuffix("_input_compare.jpg")
        parts += [f"![{name.capitalize()}, before and after `clearpane remove`]({path.name})", ""]
    seen = set()
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        pictures = [(about, (page.parent / link).resolve()) for about, link in _PICTURE.findall(text)]
        new = [(about, path) for about, path in pictures if path not in seen and page != target]
        if not new:
            continue
        seen |= {path for _, path in new}
        up = "../" * len(target.parent.relative_to(root).parts)
        title = re.sub(r"^#+ ", "", text.partition("\n")[0])
        parts += [f"## {title}", "", f"From [this page]({up}{page.relative_to(root).as_posix()}).", ""]
        for about, path in new:
            parts += [f"![{about}]({up}{path.relative_to(root).as_posix()})", "", f"*{about}.*", ""]
    target.write_text("\n".join(parts), encoding="utf-8")
