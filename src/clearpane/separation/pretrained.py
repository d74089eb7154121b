"""Trained models in directories and on the model hub: find one, export one with its model card."""

from collections.abc import Sequence
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.hub.card import CARD, CardFacts, Figures, complete_card, write_card
from clearpane.hub.download import fetch, is_hub_name
from clearpane.json_files import read_object
from clearpane.separation.flux.folders import KONTEXT_PIPELINE, PICTURE_PARTS, check_directory, find_base
from clearpane.separation.model_folder import ModelFiles, copy_model
from clearpane.separation.registry import MODELS, find

BASE = "base model"
"""Name that `describe` gives a base model."""

_USE = """\
import clearpane

separator = clearpane.load_separator("OWNER/NAME")  # this directory, or its name on the hub
layers = clearpane.remove_reflection("window.jpg", separator=separator)
"""


# Base models by the class that diffusers stores them as: parts that separating needs.
_BASES = {KONTEXT_PIPELINE: PICTURE_PARTS, "QwenImageEditPlusPipeline": ("transformer", "vae")}
_INDEX = "model_index.json"


class UnknownModelError(ClearpaneError):
    """Neither a model of `MODELS`, nor a directory, nor a name that the model hub can have."""


def find_model(name: str) -> tuple[str, Path]:
    """Find a trained model: a directory, or a hub name, of which the model's files are downloaded.

    Returns:
        Key of `MODELS`, and the directory.

    Raises:
        UnknownModelError: There is no such directory.
        ClearpaneError: It cannot be downloaded, or holds no model or not all of one.
        MissingExtraError: A hub name is given and huggingface_hub is not installed.
    """
    if not is_hub_name(name) and not Path(name).is_dir():
        raise UnknownModelError(
            f"unknown model {name!r}; known are: {', '.join(MODELS)}, the directory of a trained model, and "
            "a name on the model hub, OWNER/NAME"
        )
    folder = fetch(name, _markers())
    model = _model_of(folder)
    if model is None:
        raise ClearpaneError(f"{name}: holds no separator, none of the files {', '.join(_markers())}")
    return model, _complete(name, folder, model)


def fetch_model(name: str) -> tuple[str, Path]:
    """Download a separator or a base model from the hub.

    Returns:
        What it is, see `describe`, and its directory.

    Raises:
        ClearpaneError: It cannot be downloaded, or is neither.
        MissingExtraError: huggingface_hub is not installed.
    """
    folder = fetch(name, [*_markers(), _INDEX])
    model, pipeline = _model_of(folder), _pipeline_of(folder)
    if model is not None:
        return model, _complete(name, folder, model)
    if pipeline in _BASES:
        return BASE, find_base(name, _BASES[pipeline], pipeline)
    raise ClearpaneError(f"{name}: neither a separator of Clearpane nor a base model that one needs")


def describe(folder: Path) -> tuple[str | None, bool]:
    """Return what a directory holds, a key of `MODELS` or `BASE` or None, and whether it is complete."""
    model, pipeline = _model_of(folder), _pipeline_of(folder)
    try:
        if model is not None:
            _files(model).check(folder)
        elif pipeline in _BASES:
            check_directory(folder, _BASES[pipeline], pipeline)
        else:
            return None, False
    except ClearpaneError:
        return model or BASE, False
    return model or BASE, True


def _files(model: str) -> ModelFiles:
    files = MODELS[model].files
    if files is None:
        raise ClearpaneError(f"{model}: has no directory of weights")
    return files


def _markers() -> list[str]:
    return [entry.files.marker for entry in MODELS.values() if entry.files is not None]


def _model_of(folder: Path) -> str | None:
    kept = ((model, entry.files) for model, entry in MODELS.items() if entry.files is not None)
    return next((model for model, files in kept if (folder / files.marker).is_file()), None)


def _pipeline_of(folder: Path) -> str:
    index = folder / _INDEX
    return str(read_object(index).get("_class_name")) if index.is_file() else ""


def _complete(name: str, folder: Path, model: str) -> Path:
    """Return the directory with all files of a model, downloaded if it is a hub name."""
    if is_hub_name(name):
        folder = fetch(name, _files(model).patterns)
    _files(model).check(folder)
    return folder


def export_model(
    name: str, target: Path, figures: Sequence[Figures] = (), licence: str | None = None
) -> None:
    """Write a trained model to a new directory as the model hub wants it; see `Separator.save_pretrained`.

    Args:
        name: Its directory or hub name.
        target: Directory to write.
        figures: Figures to add to the model card.
        licence: Licence to name in it, an identifier of the hub; None to keep what it says.

    Raises:
        ClearpaneError, MissingExtraError: See `Separator.save_pretrained`.
    """
    model, source = find_model(name)
    exporter = MODELS[model].exporter

    def complete(folder: Path) -> None:
        if exporter is not None:
            find(exporter)(folder)
        if not (folder / CARD).exists():
            write_card(folder, card_facts(model, base_of(folder)))
        if figures or licence is not None:
            complete_card(folder, figures, licence)

    copy_model(source, target, _files(model), complete)


def card_facts(model: str, base: str | None) -> CardFacts:
    """Return the part of a model's card that does not depend on its training.

    Args:
        model: Key of `MODELS`.
        base: Its base model, a hub name or a directory; None if it has none.
    """
    return CardFacts(f"{model}: reflection removal", MODELS[model].summary, _USE, base=base)


def base_of(folder: Path) -> str | None:
    """Return the base model that the settings in a directory name, None if they name none."""
    settings = [(folder / name, "base") for name in _markers() if name.endswith(".json")]
    for path, field in (*settings, (folder / _INDEX, "base_model")):
        base = read_object(path).get(field) if path.is_file() else None
        if isinstance(base, str):
            return base
    return None
