"""``clearpane models remove``: delete a downloaded model."""

from dataclasses import dataclass
from typing import Annotated

from rich.filesize import decimal
from tyro.conf import Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.hub.cache import remove
from clearpane.hub.download import is_hub_name
from clearpane.separation.registry import MODELS

DESCRIPTION = """\
Deletes all that was downloaded of a model. Directories of your own are never
deleted.

Example:
  clearpane models remove OWNER/NAME
"""


@dataclass(frozen=True)
class ModelsRemove:
    """Delete a downloaded model (needs the extra [hub])."""

    name: Annotated[Positional[str], arg(metavar="OWNER/NAME")]
    """Name on the model hub."""


def run(options: ModelsRemove) -> int:
    """Delete the download and return 0.

    Raises:
        UsageError: It is not a name on the hub.
        ClearpaneError: It was not downloaded, or cannot be deleted.
    """
    if options.name in MODELS or not is_hub_name(options.name):
        raise UsageError(f"{options.name}: not OWNER/NAME; only what was downloaded is deleted")
    print(f"deleted {options.name}, {decimal(remove(options.name))}")
    return 0
