"""Share averaged weights, the learning-rate schedule and checkpoints between all recipes."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.json_files import parse_untyped
from clearpane.tensor_files import save_tensors

# What damaged checkpoints raise.
_DAMAGED = (
    SafetensorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

# Tensors that are spread over several processes are gathered one at a time, in the first one's main memory.
_GATHER = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SPREAD = StateDictOptions(full_state_dict=True)
# A parameter that had no gradient yet has no moments.
_SPREAD_MOMENTS = StateDictOptions(full_state_dict=True, strict=False)
# Of a checkpoint: moments are stored by their parameters' names. Earlier files numbered the parameters.
_LAYOUT = "moments by name"


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
        draws: Number of draws per step, whose losses are averaged; the processes share them.
        recipe: Settings of the run in JSON types; checkpoints with other settings are refused.
        bfloat16: True if the run computes in bfloat16; None until that is measured.
        set_bfloat16: Number format that the recipe sets: True for bfloat16, False for float32; None for the
            faster one.
    """

    model: nn.Module
    average: AveragedWeights
    optimizer: torch.optim.Optimizer
    step: int = 0
    draws: int = 1
    recipe: dict[str, Any] = field(default_factory=dict)
    bfloat16: bool | None = None
    set_bfloat16: bool | None = None

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
        tensors: dict[str, Any] = {
            f"model.{name}": value
            for name, value in get_model_state_dict(self.model, options=_GATHER).items()
        }
        for name, value in self.average.weights.items():
            gathered = whole(value)
            if write:
                tensors[f"average.{name}"] = gathered.cpu()
        if self.optimizer.state:  # of an optimiser without, PyTorch makes them by a step
            gathered_state: Any = get_optimizer_state_dict(self.model, self.optimizer, options=_GATHER)
            for name, moments in gathered_state.get("state", {}).items():
                for key, value in _flat(moments).items():
                    # A copy: bitsandbytes has one table for many parameters.
                    tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value).clone()
        if not write:
            return
        facts = {
            "layout": _LAYOUT,
            "step": str(self.step),
            "draws": str(self.draws),
            "updates": str(self.average.updates),
            "recipe": json.dumps(self.recipe),
            "bfloat16": json.dumps(self.bfloat16),
        }
        with atomic_path(path, overwrite=True) as temporary:
            save_tensors(temporary, tensors, facts)

    def load(self, path: Path) -> None:
        """Restore the state from a checkpoint.

        Raises:
            ClearpaneError: The checkpoint is damaged, or of another network, recipe or earlier version.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata()
            self._check_recipe(path, parse_untyped(facts["recipe"]))
            if facts.get("layout") != _LAYOUT:
                raise ClearpaneError(
                    f"{path}: of an earlier version of Clearpane; finish the run with that one, or choose "
                    "another folder"
                )
            step, updates, draws = int(facts["step"]), int(facts["updates"]), int(facts["draws"])
            bfloat16 = parse_untyped(facts["bfloat16"])
            if min(step, updates) < 0 or not isinstance(bfloat16, bool | None):
                raise ValueError("its numbers of steps cannot be ones")
            if draws != self.draws:
                raise ValueError(f"it has {draws} draws per step, not {self.draws}")
            tensors = load_file(path)
            # The model spreads the averaged weights, too; then it takes its own.
            self._take_weights(_part(tensors, "average."))
            for name, value in self.model.state_dict().items():
                self.average.weights[name].copy_(value)
            self._take_moments(_part(tensors, "optimizer."))
            self._take_weights(_part(tensors, "model."))
        except _DAMAGED as error:
            raise _not_ours(path, error) from error
        self.step, self.average.updates, self.bfloat16 = step, updates, bfloat16

    def _take_weights(self, weights: dict[str, Any]) -> None:
        missing = self.model.state_dict().keys() - weights.keys()
        if missing:  # PyTorch would keep the model's own
            raise RuntimeError(f"missing: {min(missing)}")
        set_model_state_dict(self.model, weights, options=_SPREAD)

    def _take_moments(self, stored: dict[str, Tensor]) -> None:
        state: dict[str, dict[str, Any]] = {}
        own_parameters = dict(self.model.named_parameters())
        for name, value in stored.items():
            keys, _, parameter_name = name.partition(".")
            parameter = own_parameters[parameter_name]
            if keys.startswith("exp_avg") and value.shape != parameter.shape:
                raise ValueError(f"{name} is of another shape than its parameter")
            *outer, last = keys.split("/")
            place = state.setdefault(parameter_name, {})
            for key in outer:
                place = place.setdefault(key, {})
            # bitsandbytes counts its steps in a Python number.
            place[last] = value if value.ndim or value.is_floating_point() else int(value)
        if state:
            own = get_optimizer_state_dict(self.model, self.optimizer)
            taken: Any = {"state": state, "param_groups": own["param_groups"]}
            set_optimizer_state_dict(self.model, self.optimizer, taken, options=_SPREAD_MOMENTS)
        for name, parameter in self.model.named_parameters():
            if name not in state:  # PyTorch made some for all
                self.optimizer.state.pop(parameter, None)
            for key, value in self.optimizer.state.get(parameter, {}).items():
                # Fused optimisers walk memory: moments must lie in it as their parameter does. A file holds
                # them in the order of their indices.
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    laid_out = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
                    self.optimizer.state[parameter][key] = laid_out

    def _check_recipe(self, path: Path, there: dict[str, Any]) -> None:
        for name in {**there, **self.recipe}:
            old, new = there.get(name), self.recipe.get(name)
            if old != new:
                raise ClearpaneError(
                    f"{path}: belongs to another run ({name}: {old} there, {new} asked for); "
                    "choose another folder, or remove it"
                )


def read_draws(path: Path) -> int:
    """Return the number of draws per step of a checkpoint.

    Raises:
        ClearpaneError: The checkpoint is damaged or of an earlier version.
    """
    try:
        with safe_open(path, "pt") as file:
            draws = int(file.metadata()["draws"])
        if draws < 1:
            raise ValueError(f"{draws} draws per step")
    except _DAMAGED as error:
        raise _not_ours(path, error) from error
    return draws


def whole(value: Tensor) -> Tensor:
    """Gather a tensor that may be sharded over several processes; all of them must call this."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _flat(moments: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join the keys of nested dictionaries by slashes.

    bitsandbytes nests its moments of 8 bits; PyTorch flattens such ones, but cannot load them again.
    """
    flat = {}
    for key, value in moments.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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
    except _DAMAGED as error:
        raise _not_ours(path, error) from error


def _not_ours(path: Path, error: Exception) -> ClearpaneError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ClearpaneError(f"{path}: not a checkpoint of this network ({reason})")


def append_json_line(path: Path, facts: dict[str, float]) -> None:
    """Add one line of figures to a run's log."""
    with path.open("a") as file:
        file.write(json.dumps(facts) + "\n")
