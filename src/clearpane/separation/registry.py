"""Registry of models by name: their options, how they are loaded, which files they have."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from importlib import import_module, resources
from pathlib import Path
from typing import Any, cast

from clearpane.errors import ClearpaneError
from clearpane.separation.interface import SeparatorOptions
from clearpane.separation.model_folder import ModelFiles


@dataclass(frozen=True)
class Model:
    """Entry of the registry; its modules are imported when needed.

    Attributes:
        options: Path "module:class" of the model's options, importable without PyTorch.
        loader: Path "module:function" of the function that takes these options and returns a separator.
        extra: Name of the extra that the loader's module needs; None for the base install.
        summary: What the model does, for its card.
        files: Files of its directory, which the option ``weights`` names; None if it has none.
        exporter: Path "module:function" of a function that adds other programs' files to a copy of its
            directory; None if there are none.
    """

    options: str
    loader: str
    extra: str | None = None
    summary: str = ""
    files: ModelFiles | None = None
    exporter: str | None = None


_LORA, _TASK = "pytorch_lora_weights.safetensors", "task_embedding.safetensors"

# A module's name that starts with a dot is relative to clearpane.separation.
MODELS: dict[str, Model] = {
    "compact": Model(
        ".compact.options:CompactOptions",
        ".compact.runtime:load_compact",
        summary="Splits a photograph taken through glass into the scene behind the glass and the reflection, "
        "on any processor: `compact` of Clearpane, a U-Net with features of ImageNet.",
        files=ModelFiles("compact.onnx", parts=("onnx/*.onnx",)),
        exporter=".compact.onnx_files:write_onnx_files",
    ),
    "panel": Model(
        ".panel.options:PanelOptions",
        ".panel.separator:load_panel",
        "flux",
        "Paints the transmission and the reflection of a photograph taken through glass beside it: the panel "
        "of SIRR-LMM (arXiv 2601.07209), a LoRA.",
        ModelFiles("panel.json", (_TASK, _LORA)),
    ),
    "gensirr": Model(
        ".gensirr.options:GensirrOptions",
        ".gensirr.separator:load_gensirr",
        "flux",
        "Removes the reflection from a photograph taken through glass: GenSIRR (arXiv 2512.06358), an image "
        "editor with a task embedding.",
        ModelFiles(
            "gensirr.json",
            (_TASK,),
            (_LORA, "model_index.json", "transformer/*", "vae/*", "scheduler/*"),
        ),
    ),
    "windowseat": Model(
        ".windowseat.options:WindowseatOptions",
        ".windowseat.separator:load_windowseat",
        "flux",
        "Removes the reflection from a photograph taken through glass in one step: WindowSeat (arXiv "
        "2512.05000), a LoRA.",
        ModelFiles(
            "text_embeddings/state_dict.safetensors",
            (
                "model_index.json",
                "transformer_lora/adapter_config.json",
                "transformer_lora/pytorch_lora_weights.safetensors",
            ),
        ),
    ),
}


def options_class(name: str) -> type[SeparatorOptions]:
    """Return the options class of a model.

    Raises:
        ClearpaneError: There is no such model.
    """
    if name not in MODELS:
        raise ClearpaneError(f"unknown model {name!r}; known are: {', '.join(MODELS)}")
    return cast(type[SeparatorOptions], find(MODELS[name].options))


def make_options(name: str, given: Mapping[str, Any]) -> SeparatorOptions:
    """Make the options of a model.

    Args:
        name: Key of `MODELS`.
        given: Values by field; all other fields keep their defaults.

    Raises:
        ClearpaneError: There is no such model, it lacks a given field, a required field is missing, or a
            value is out of range.
    """
    kind = options_class(name)
    own = {field.name for field in fields(kind)}
    for field_name in given:
        if field_name not in own:
            owners = [m for m in MODELS if field_name in {field.name for field in fields(options_class(m))}]
            named = " or ".join([", ".join(owners[:-1]), owners[-1]][-len(owners) :]) if owners else ""
            where = f"goes with `model={named}`" if owners else "goes with no model"
            raise ClearpaneError(f"`{field_name}` {where}, not with {name}")
    for field in _required(kind):
        if field.name not in given:
            origin = field.metadata.get("origin")
            raise ClearpaneError(f"`model={name}` needs `{field.name}`" + (f", {origin}" if origin else ""))
    return kind(**given)


def own_weights(name: str) -> Path | None:
    """Return the directory of the weights that come with Clearpane, None if a model has none."""
    folder = Path(str(resources.files(options_class(name).__module__.rpartition(".")[0]))) / "weights"
    return folder if folder.is_dir() else None


def embedded_models() -> list[str]:
    """List the models that the base install can load without options."""
    return [name for name in MODELS if MODELS[name].extra is None and not _required(options_class(name))]


def _required(kind: type[SeparatorOptions]) -> list[Any]:
    return [f for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING]


def find(path: str) -> Any:
    """Import what a path "module:name" of the registry names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module, "clearpane.separation"), name)
