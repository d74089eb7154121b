"""``clearpane models export``: write a trained model as the model hub wants it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from clearpane.evaluation.tables import read_figures
from clearpane.hub.card import CARD
from clearpane.separation.pretrained import export_model
from clearpane.separation.registry import own_weights

DESCRIPTION = """\
Writes a model to a new directory that holds nothing else: its files and its
model card, README.md, with the figures that clearpane evaluate measured. For
compact also onnx/: float32, float16 and 8 bits.

Examples:
  clearpane evaluate pairs --model run --json scores.json
  clearpane models export run --output ready --scores scores.json
  hf upload OWNER/NAME ready
"""


@dataclass(frozen=True)
class ModelsExport:
    """Write a trained model as the model hub wants it, with its card (needs the extra [hub])."""

    model: Annotated[Positional[str], arg(metavar="DIR")]
    """Folder that clearpane train wrote, the name of a model on the hub, or compact."""

    output: Path
    """Directory to write."""

    scores: Annotated[tuple[Path, ...], arg(metavar="FILE.json...", help_behavior_hint="")] = ()
    """Files that clearpane evaluate --json wrote for this model; their figures go into the card."""

    license: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Licence for the card, an identifier of the hub such as apache-2.0. Default: what the card says."""


def run(options: ModelsExport) -> int:
    """Write the directory and return 0.

    Raises:
        ClearpaneError: There is no such model, it is not complete, a file of scores is none, or the directory
            exists or cannot be written.
    """
    figures = [f for path in options.scores for f in read_figures(path)]
    own = None if Path(options.model).is_dir() else own_weights(options.model)
    export_model(str(own or options.model), options.output, figures, options.license)
    print(f"wrote {options.output}; read {options.output / CARD} before you publish it:")
    print(f"hf upload OWNER/NAME {options.output}")
    return 0
