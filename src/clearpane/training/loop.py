"""What all recipes share: averaged weights, learning-rate schedule, checkpoints that a run resumes from."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clearpane.errors import ClearpaneError
from clearpane.images.writing import atomic_path


def cosine_learning_rate(step: int, steps: int, peak: float, warmup: int = 200, floor: float = 0.01) -> float:
    """Linear warm-up to ``peak``, then half a cosine down to ``floor * peak`` at ``steps``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class AveragedWeights:
    """Exponential moving average (EMA) of a model's parameters: ``a <- d a + (1 - d) w``.

    The decay starts low, ``d = min(decay, (1 + n) / (10 + n))`` after n updates: the start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: p.detach().clone() for name, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = model.state_dict()
        torch._foreach_lerp_([self.weights[name] for name in current], list(current.values()), 1 - decay)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step: a resumed run draws what the uninterrupted one would have drawn."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


@dataclass
class TrainingState:
    """All that a run needs to go on.

    Attributes:
        model, average, optimizer: with their weights and moments.
        step: how many are done.
        recipe: what the run is made by, as JSON holds it; a checkpoint of another one is not gone on with.
    """

    model: nn.Module
    average: AveragedWeights
    optimizer: torch.optim.Optimizer
    step: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write a checkpoint (safetensors), whole or not at all.

        Raises:
            ClearpaneError: it cannot be written; the earlier checkpoint stays.
        """
        tensors: dict[str, Tensor] = {}
        for name, value in self.model.state_dict().items():
            tensors[f"model.{name}"] = value
        for name, value in self.average.weights.items():
            tensors[f"average.{name}"] = value
        for index, moments in self.optimizer.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"optimizer.{index}.{key}"] = value
        facts = {
            "step": str(self.step),
            "updates": str(self.average.updates),
            "recipe": json.dumps(self.recipe),
        }
        with atomic_path(path, overwrite=True) as temporary:
            try:
                save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary, facts)
            except SafetensorError as error:  # its own name for what the system says
                raise OSError(str(error)) from error

    def load(self, path: Path) -> None:
        """Take everything back from a checkpoint.

        Raises:
            ClearpaneError: the checkpoint is damaged, of another network or of another recipe.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata()
            self._check_recipe(path, json.loads(facts["recipe"]))
            tensors = load_file(path)
            self.model.load_state_dict(_part(tensors, "model."))
        except (SafetensorError, RuntimeError, OSError, TypeError, KeyError) as error:
            raise _not_ours(path, error) from error
        for name, value in _part(tensors, "average.").items():
            self.average.weights[name].copy_(value)  # they may lie on another device
        self.average.updates = int(facts["updates"])
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, key = name.split(".", 1)
            parameter = parameters[int(index)]
            if value.shape == parameter.shape:
                # Fused optimisers walk memory: moments must lie in it as their parameter does.
                value = torch.empty_like(parameter).copy_(value)
            moments.setdefault(int(index), {})[key] = value
        state = self.optimizer.state_dict()
        state["state"] = moments
        self.optimizer.load_state_dict(state)
        self.step = int(facts["step"])

    def _check_recipe(self, path: Path, there: dict[str, Any]) -> None:
        for name in {**there, **self.recipe}:
            old, new = there.get(name), self.recipe.get(name)
            if old != new:
                raise ClearpaneError(
                    f"{path}: is of another run ({name}: {old} there, {new} asked for); "
                    "choose another folder, or remove it"
                )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_average(model: nn.Module, path: Path, optional: tuple[str, ...] = ()) -> None:
    """Load a checkpoint's averaged weights into ``model``, as the start of another stage.

    Args:
        optional: beginnings of names that the checkpoint may lack; the model keeps its own weights there.

    Raises:
        ClearpaneError: the checkpoint is damaged or of another network.
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
