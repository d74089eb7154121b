"""Share averaged weights, the learning-rate schedule and checkpoints between all recipes."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path


def cosine_learning_rate(step: int, steps: int, peak: float, warmup: int = 200, floor: float = 0.01) -> float:
    """Return a linear warm-up to ``peak``, then half a cosine down to ``floor * peak`` at ``steps``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class AveragedWeights:
    """Average a model's state exponentially (EMA): ``a <- d a + (1 - d) w``.

    The decay starts low, ``d = min(decay, (1 + n) / (10 + n))`` after n updates, so that the initial weights
    are forgotten. Integer values are copied instead of averaged.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: p.detach().clone() for name, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's current state."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = model.state_dict()
        averaged = [name for name, value in current.items() if value.is_floating_point()]
        for name in current.keys() - set(averaged):
            self.weights[name].copy_(current[name])
        torch._foreach_lerp_(
            [self.weights[name] for name in averaged], [current[name] for name in averaged], 1 - decay
        )


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the random generator of one step: a resumed run draws what an uninterrupted one would."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


@dataclass
class TrainingState:
    """Hold everything that a run resumes from.

    Attributes:
        model, average, optimizer: Objects whose weights and moments are saved.
        step: Number of finished steps.
        recipe: Settings of the run in JSON types; checkpoints with other settings are refused.
        bfloat16: True if the run computes in bfloat16; None until that is measured.
    """

    model: nn.Module
    average: AveragedWeights
    optimizer: torch.optim.Optimizer
    step: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)
    bfloat16: bool | None = None

    @property
    def sharded(self) -> bool:
        """Return True if the weights are sharded over processes; all of them must then call `save`."""
        return any(isinstance(p, DTensor) for p in self.model.parameters())

    def save(self, path: Path, write: bool = True) -> None:
        """Write a checkpoint (safetensors), whole or not at all.

        Args:
            write: False in all processes but one; these only contribute their shards.

        Raises:
            ClearpaneError: The checkpoint cannot be written; the earlier one stays.
        """
        tensors: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor) -> None:
            gathered = whole(value)  # one at a time: no device holds more than one beside its shards
            if write:
                tensors[name] = gathered.to("cpu", copy=True).contiguous()

        for name, value in self.model.state_dict().items():
            keep(f"model.{name}", value)
        for name, value in self.average.weights.items():
            keep(f"average.{name}", value)
        for index, moments in self.optimizer.state_dict()["state"].items():
            for key, value in _flat(moments).items():
                keep(f"optimizer.{index}.{key}", torch.as_tensor(value))
        if not write:
            return
        facts = {
            "step": str(self.step),
            "updates": str(self.average.updates),
            "recipe": json.dumps(self.recipe),
            "bfloat16": json.dumps(self.bfloat16),
        }
        with atomic_path(path, overwrite=True) as temporary:
            save_file(tensors, temporary, facts)

    def load(self, path: Path) -> None:
        """Restore the state from a checkpoint.

        Raises:
            ClearpaneError: The checkpoint is damaged, or belongs to another network or recipe.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata()
            self._check_recipe(path, json.loads(facts["recipe"]))
            tensors = load_file(path)
            own = self.model.state_dict()
            weights = _part(tensors, "model.")
            self.model.load_state_dict({n: like(v, own[n]) if n in own else v for n, v in weights.items()})
        except (SafetensorError, RuntimeError, OSError, TypeError, KeyError) as error:
            raise _not_ours(path, error) from error
        for name, value in _part(tensors, "average.").items():
            held = self.average.weights[name]
            held.copy_(like(value, held))  # they may lie on another device
        self.average.updates = int(facts["updates"])
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Any]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, *keys = name.split(".")
            parameter = parameters[int(index)]
            place = moments.setdefault(int(index), {})
            for key in keys[:-1]:
                place = place.setdefault(key, {})
            place[keys[-1]] = _as_moment(value, parameter)
        state = self.optimizer.state_dict()
        state["state"] = moments
        self.optimizer.load_state_dict(state)
        self.step = int(facts["step"])
        self.bfloat16 = json.loads(facts.get("bfloat16", "null"))

    def _check_recipe(self, path: Path, there: dict[str, Any]) -> None:
        for name in {**there, **self.recipe}:
            old, new = there.get(name), self.recipe.get(name)
            if old != new:
                raise ClearpaneError(
                    f"{path}: belongs to another run ({name}: {old} there, {new} asked for); "
                    "choose another folder, or remove it"
                )


def whole(value: Tensor) -> Tensor:
    """Gather a tensor that may be sharded over several processes; all of them must call this."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, other: Tensor) -> Tensor:
    """Shard a whole tensor over the processes in the same way as ``other``."""
    if not isinstance(other, DTensor):
        return value
    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)


def _flat(moments: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries, which bitsandbytes uses; keys are joined by dots."""
    flat = {}
    for key, value in moments.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _as_moment(value: Tensor, parameter: Tensor) -> Tensor | int:
    """Convert a stored tensor to the type that the optimiser holds."""
    if value.ndim == 0 and not value.is_floating_point():
        return int(value)  # bitsandbytes counts its steps in a Python integer
    if value.shape != parameter.shape:
        return value
    if isinstance(parameter, DTensor):
        return like(value, parameter)
    # Fused optimisers walk memory: moments must have the memory layout of their parameter.
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_average(model: nn.Module, path: Path, optional: tuple[str, ...] = ()) -> None:
    """Load a checkpoint's averaged weights into ``model``, as the start of another stage.

    Args:
        optional: Prefixes of names that the checkpoint may lack; the model keeps its own weights there.

    Raises:
        ClearpaneError: The checkpoint is damaged or belongs to another network.
    """
    try:
        weights = _part(load_file(path), "average.")
        own = {name: p for name, p in model.state_dict().items() if name.startswith(optional)}
        model.load_state_dict(own | weights)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise _not_ours(path, error) from error


def _not_ours(path: Path, error: Exception) -> ClearpaneError:
    reason = str(error).splitlines()[0]
    return ClearpaneError(f"{path}: not a checkpoint of this network ({reason})")


def append_json_line(path: Path, facts: dict[str, float]) -> None:
    """Add one line of figures to a run's log."""
    with path.open("a") as file:
        file.write(json.dumps(facts) + "\n")
