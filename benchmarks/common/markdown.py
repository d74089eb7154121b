"""Write tables as Markdown."""

from collections.abc import Mapping, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a Markdown table; the first column is left-aligned, the others right-aligned."""
    align = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, align, *rows))


def interval(values: Mapping[str, float], *, sign: bool = True, decimals: int = 2) -> str:
    """Format an `Interval` as ``+0.52 [+0.31, +0.74]``."""
    form = f"{'+' if sign else ''}.{decimals}f"
    mean, low, high = (format(values[key], form) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
