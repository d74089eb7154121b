"""``clearpane convert gensirr``: convert the published checkpoint of GenSIRR."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

DESCRIPTION = """\
Converts the checkpoint that GenSIRR's authors publish (GenSIRR.pt) to the
files that clearpane remove --model gensirr reads. Code inside the checkpoint
is never run.

Example:
  clearpane convert gensirr GenSIRR.pt --output gensirr
"""


@dataclass(frozen=True)
class ConvertGensirr:
    """Convert GenSIRR's published checkpoint (needs the extra [flux])."""

    checkpoint: Positional[Path]
    """The published checkpoint, GenSIRR.pt."""
    output: Path
    """Folder to write, about 24 GB."""


def run(options: ConvertGensirr) -> int:
    """Convert the checkpoint and return the exit code.

    Raises:
        ClearpaneError: The file is missing, damaged or of another kind, or the result cannot be written.
    """
    from clearpane.separation.gensirr.checkpoint import convert

    convert(options.checkpoint, options.output)
    print(f"wrote {options.output}")
    print(f"clearpane remove PICTURE --output FOLDER --model gensirr --weights {options.output}")
    return 0
