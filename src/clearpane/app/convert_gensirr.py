"""``clearpane convert gensirr``: the published checkpoint of GenSIRR's authors, as Clearpane uses it."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

DESCRIPTION = """\
Makes the weights that GenSIRR's authors publish (GenSIRR.pt) usable with
clearpane remove --model gensirr. Nothing in the file is run.

Example:
  clearpane convert gensirr GenSIRR.pt --output gensirr
"""


@dataclass(frozen=True)
class ConvertGensirr:
    """Convert GenSIRR's published checkpoint (needs the extra [flux])."""

    checkpoint: Positional[Path]
    """The file GenSIRR.pt."""
    output: Path
    """Folder for the result, some 24 GB."""


def run(options: ConvertGensirr) -> int:
    """Convert. Returns the exit code.

    Raises:
        ClearpaneError: the file is missing, damaged or something else, or the result cannot be written.
    """
    from clearpane.separation.gensirr.checkpoint import convert

    convert(options.checkpoint, options.output)
    print(f"wrote {options.output}")
    print(f"clearpane remove PICTURE --output FOLDER --model gensirr --weights {options.output}")
    return 0
