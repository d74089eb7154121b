"""Pages of docs/figures."""

from pathlib import Path

from clearpane.evaluation.tables import write_text


def write_page(path: Path, text: str, module: str) -> None:
    """Write a page that ends with the command that made it.

    Args:
        module: Name of the script for `python -m`, its `__spec__.name`.

    Raises:
        ClearpaneError: The page cannot be written.
    """
    write_text(path, f"{text.rstrip()}\n\n<sub>Written by `python -m {module}`.</sub>\n", overwrite=True)
