"""Read the repository that WindowSeat's authors publish: which base model, the LoRA, the encoded prompt."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import QwenImageTransformer2DModel
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clearpane.errors import ClearpaneError, first_line
from clearpane.hub.download import fetch
from clearpane.json_files import read_object

INDEX = "model_index.json"
LORA_FOLDER, LORA_CONFIG, LORA_FILE = (
    "transformer_lora",
    "adapter_config.json",
    "pytorch_lora_weights.safetensors",
)
TEXT_FILE = Path("text_embeddings") / "state_dict.safetensors"
_PREFIXES = ("base_model.model.", "transformer.")


@dataclass(frozen=True, eq=False)
class Prompt:
    """The encoded prompt.

    Attributes:
        embeds: [1, L, D], the text encoder's states.
        mask: [1, L] bool, True for tokens, False for padding.
    """

    embeds: Tensor
    mask: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "Prompt":
        """Return the prompt on a device, its states in a type."""
        return Prompt(self.embeds.to(device, dtype), self.mask.to(device))


@dataclass(frozen=True)
class Repository:
    """Repository of WindowSeat on this computer.

    Attributes:
        folder: Its directory.
        base: Directory or hub name of the base model.
        side: Side of the model's square tiles in pixels.
    """

    folder: Path
    base: str
    side: int


def find_repository(name: str) -> Repository:
    """Find the repository, a directory or a hub name, and check that its files are there.

    Raises:
        ClearpaneError: It cannot be found or downloaded, or it is not WindowSeat's.
    """
    wanted = [INDEX, f"{LORA_FOLDER}/*", f"{TEXT_FILE.parent}/*"]
    folder = fetch(name, wanted)
    needed = [Path(INDEX), *(Path(LORA_FOLDER) / x for x in (LORA_CONFIG, LORA_FILE)), TEXT_FILE]
    missing = [path for path in needed if not (folder / path).is_file()]
    if missing:
        present = len(needed) - len(missing)
        raise ClearpaneError(
            f"{folder / missing[0]}: missing; of the {len(needed)} files of WindowSeat's repository "
            f"{present} are there, fetch it again"
        )
    index = read_object(folder / INDEX)
    base, side = index.get("base_model"), index.get("processing_resolution")
    if not isinstance(base, str) or not isinstance(side, int) or side < 16 or side % 16:
        raise ClearpaneError(
            f"{folder / INDEX}: not WindowSeat's; it needs `base_model`, a name, and "
            "`processing_resolution`, a multiple of 16"
        )
    return Repository(folder, base, side)


def load_prompt(folder: Path, width: int) -> Prompt:
    """Load the encoded prompt, the first if there are several.

    Args:
        width: Number of channels that the transformer takes.

    Raises:
        ClearpaneError: The file is damaged, or was made for another base model.
    """
    path = folder / TEXT_FILE
    try:
        tensors = load_file(path)
        embeds, mask = tensors["prompt_embeds"], tensors["prompt_mask"]
    except (SafetensorError, OSError, KeyError) as error:
        raise ClearpaneError(f"{path}: damaged, not an encoded prompt ({first_line(error)})") from error
    if embeds.ndim != 3 or len(embeds) < 1 or mask.shape != embeds.shape[:2] or not mask[0].any():
        raise ClearpaneError(
            f"{path}: not an encoded prompt (its tensors are {list(embeds.shape)} and {list(mask.shape)})"
        )
    if embeds.shape[-1] != width:
        raise ClearpaneError(
            f"{path}: has {embeds.shape[-1]} channels, the base model takes {width}; it is of another base"
        )
    return Prompt(embeds[:1], mask[:1] > 0)


def load_adapter(transformer: QwenImageTransformer2DModel, folder: Path) -> None:
    """Add the LoRA, which peft wrote, to the transformer.

    Raises:
        ClearpaneError: A file is damaged, or the LoRA is incomplete or belongs to another base model.
    """
    place = folder / LORA_FOLDER
    path = place / LORA_FILE
    try:
        config = LoraConfig.from_pretrained(str(place))
        tensors = {_layer_name(name): value for name, value in load_file(path).items()}
    except Exception as error:  # of peft, safetensors or the file system: no common base class
        raise ClearpaneError(f"{place}: damaged, not a LoRA of peft ({first_line(error)})") from error
    try:
        transformer.add_adapter(config)
    except Exception as error:  # of peft: a configuration that no layer of the base fits
        raise ClearpaneError(f"{place}: is of another base model ({first_line(error)})") from error
    own = {_layer_name(name): p for name, p in transformer.named_parameters() if ".lora_" in name}
    for name in sorted(own.keys() ^ tensors.keys()):
        if name in own:
            raise ClearpaneError(
                f"{path}: is not complete or of another base model; of {len(own)} tensors "
                f"{len(own.keys() & tensors.keys())} are there, {name} is missing"
            )
        raise ClearpaneError(f"{path}: is of another base model, which has a layer {name}")
    for name, parameter in own.items():
        if parameter.shape != tensors[name].shape:
            raise ClearpaneError(
                f"{path}: is of another base model; {name} is {list(tensors[name].shape)}, this one's is "
                f"{list(parameter.shape)}"
            )
        parameter.data.copy_(tensors[name])
    transformer.requires_grad_(False)


def _layer_name(name: str) -> str:
    """Return the name in the transformer, without prefixes of the file and the name of the adapter."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace(".default.weight", ".weight")
