"""Say at the end of a batch what became of its pictures."""

import sys
from pathlib import Path

from clearpane.app.inputs import Inputs
from clearpane.app.progress import Status


def summarize(counts: dict[Status, int], inputs: Inputs, ending: str | None = None) -> None:
    """Print the result of a batch on standard error, in one line.

    Args:
        counts: Number of pictures that are done, skipped and failed.
        inputs: Pictures of the batch, and what was left out.
        ending: First words of the line; None for a batch that came to its end.
    """
    parts = [f"{counts['done']} done"]
    if counts["skipped"]:
        parts.append(
            f"{counts['skipped']} skipped because their results exist (--overwrite makes them again)"
        )
    if inputs.results_left_out:
        parts.append(f"{inputs.results_left_out} earlier results in the folders left out")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    if inputs.not_taken:
        named = ", ".join(str(path) for path in inputs.not_taken)
        parts.append(f"{len(inputs.not_taken)} not read because of their format or file extension: {named}")
    print("; ".join(parts) if ending is None else f"{ending}: {'; '.join(parts)}", file=sys.stderr)


def summarize_interrupted(done: int, total: int, overwrite: bool) -> None:
    """Print on standard error how far an interrupted batch came and how to resume it."""
    again = "the same command without --overwrite" if overwrite else "the same command"
    print(f"interrupted: {done} of {total} done; run {again} again to resume", file=sys.stderr)


def summarize_watch(counts: dict[Status, int], inputs: Inputs, folder: Path) -> None:
    """Print on standard error what was done until the watching of a folder was stopped."""
    summarize(counts, inputs, f"stopped watching {folder}")
