"""Tables as Markdown."""

from collections.abc import Mapping, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is set to the left, the others to the right."""
    align = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, align, *rows))


def interval(values: Mapping[str, float], *, sign: bool = True, decimals: int = 2) -> str:
    """``+0.52 [+0.31, +0.74]``, from the fields of an `Interval`."""
    form = f"{'+' if sign else ''}.{decimals}f"
    mean, low, high = (format(values[key], form) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
