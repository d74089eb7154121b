"""``clearpane models download``: fetch a model from the model hub and check it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.hub.download import check_contents, is_hub_name
from clearpane.separation.pretrained import base_of, fetch_model

DESCRIPTION = """\
Downloads a model from the model hub: a separator, or the base model that one
needs. A download that broke off continues where it ended. The files' contents
are compared with the hub's checksums. The model can then be used offline.

Examples:
  clearpane models download OWNER/NAME
  clearpane remove window.jpg --output clean --model OWNER/NAME
"""


@dataclass(frozen=True)
class ModelsDownload:
    """Download a model from the model hub, for use offline too (needs the extra [hub])."""

    name: Annotated[Positional[str], arg(metavar="OWNER/NAME")]
    """Name on the model hub."""


def run(options: ModelsDownload) -> int:
    """Download the model, say what else it needs, and return 0.

    Raises:
        UsageError: It is not a name on the hub.
        ClearpaneError: It cannot be downloaded, or is not a model of Clearpane.
    """
    name = options.name
    if not is_hub_name(name):
        raise UsageError(f"{name}: not a name on the model hub; give OWNER/NAME")
    kind, folder = fetch_model(name)
    count = check_contents(name, folder)
    print(f"{name}: {kind}, {count} files, their contents are the hub's")
    print(folder)
    base = base_of(folder)
    if base is not None and is_hub_name(base):
        print(f"It needs a base model: clearpane models download {base}")
    elif base is not None and not Path(base).is_dir():
        print(f"It needs a base model, {base}, which has no name on the hub: give yours as --base")
    return 0
