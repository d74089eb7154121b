"""``clearpane models list``: the models on this computer, and where they lie."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from rich.filesize import decimal
from tyro.conf import arg

from clearpane.errors import MissingExtraError
from clearpane.hub.cache import cache_folder, downloads
from clearpane.separation.pretrained import describe
from clearpane.separation.registry import MODELS, own_weights

DESCRIPTION = """\
Lists the models that come with Clearpane and those downloaded from the model
hub: separators and their base models. Other programs' downloads are left out.

HF_HOME in the environment moves the folder of downloads, HF_ENDPOINT names a
mirror of the hub, and HF_HUB_OFFLINE=1 forbids the network.

Examples:
  clearpane models list
  clearpane models list --json
"""


@dataclass(frozen=True)
class ModelsList:
    """List the models on this computer and where they lie."""

    json: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print the list as one JSON object."""


def run(options: ModelsList) -> int:
    """Print the list and return 0."""
    facts = examine()
    if options.json:
        print(json.dumps(facts))
        return 0
    for model in facts["models"]:
        size = decimal(model["bytes"])
        print(f"{model['name']}  {model['kind']}, {size}" + ("" if model["complete"] else ", not complete"))
        print(f"    {model['folder']}")
    where = facts["cache"]
    print(f"Downloads lie in {where}." if where else f"No downloads: {facts['cache_problem']}.")
    return 0


def examine() -> dict[str, Any]:
    """Return the list as a JSON-ready dictionary; ``cache`` is None if the hub's client is not installed."""
    models = []
    for name in MODELS:
        if (folder := own_weights(name)) is not None:
            size = sum(path.stat().st_size for path in folder.iterdir())
            models.append(_entry(name, "comes with Clearpane", size, str(folder), True))
    try:
        cache = str(cache_folder())
        for download in downloads():
            kind, complete = describe(download.folder)
            if kind is not None:
                models.append(_entry(download.name, kind, download.bytes, str(download.folder), complete))
    except MissingExtraError as error:
        return {"models": models, "cache": None, "cache_problem": str(error)}
    return {"models": models, "cache": cache, "cache_problem": None}


def _entry(name: str, kind: str, size: int, folder: str, complete: bool) -> dict[str, Any]:
    return {"name": name, "kind": kind, "bytes": size, "folder": folder, "complete": complete}
