"""Keep what later views need of the earlier ones: LIRM's memory of an object and its place, in a file.

The memory holds no picture, and it has the same size after any number of views: LIRM's tokens, the sums of
the evidence (`clearpane.reconstruction.field.evidence`) and those of the views' features.

Source: LIRM (arXiv 2504.20026), section 3.3.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.json_files import parse_json, parse_untyped
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.field.evidence import Evidence, hull_depth
from clearpane.reconstruction.lirm.memory import Memory
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.observing import observe_capture
from clearpane.reconstruction.lirm.view_features import empty_sums
from clearpane.tensor_files import save_tensors

SUFFIX = ".safetensors"
"""Suffix of a state's file."""

_VERSION, _FACTS = 1, "object_state"
# Smallest fraction of a new view's mask that the earlier views' hull explains; the hull holds the whole
# object, so that it is 1 but for errors of the masks.
_EXPLAINED = 0.5
# Side of the pictures in which this is measured, pixels, and how far the hull is enlarged there.
_SIDE, _REACH = 96, 2
_AGAIN = "reconstruct the object again from all views"


@dataclass(frozen=True, eq=False)
class ObjectState:
    """Hold what is kept of the views of an object so far.

    Attributes:
        memory: LIRM's memory of a single object.
        placement: Transform from the photographs' world to the cube's, fixed by the first views.
        views: Number of views so far.
    """

    memory: Memory
    placement: Placement
    views: int


@dataclass(frozen=True, eq=False)
class Rounds:
    """Reconstruct in rounds, each with its own photographs.

    Attributes:
        lirm: Network that remembers the views.
        earlier: State after the earlier rounds, or None in the first one.
    """

    lirm: Lirm
    earlier: ObjectState | None = None

    def observe(self, capture: Capture) -> ObjectState:
        """Return the state after this round's views.

        Raises:
            ClearpaneError: A view does not show the object of the earlier rounds where they show it.
        """
        if self.earlier is None:
            return ObjectState(observe_capture(capture, self.lirm), capture.placement, len(capture.names))
        _check_overlap(capture, self.earlier.memory)
        memory = observe_capture(capture, self.lirm, self.earlier.memory)
        return ObjectState(memory, self.earlier.placement, self.earlier.views + len(capture.names))


@dataclass(frozen=True)
class _Facts:
    """Describe a state in its file; the placement's arrays are nested tuples."""

    version: int
    weights: str
    views: int
    centre: tuple[float, float, float]
    rotation: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    scale: float


def refuse_unknown_poses() -> None:
    """Raise ClearpaneError where poses would have to be computed: their world would be another one."""
    raise ClearpaneError(
        "the new views have no camera poses; give a transforms.json or a COLMAP model with their poses, in "
        "the world of the earlier views"
    )


def save_state(path: Path, state: ObjectState, lirm: Lirm, overwrite: bool = False) -> None:
    """Write a state to a safetensors file, completely or not at all.

    Args:
        lirm: Network that made it.

    Raises:
        ClearpaneError: The file exists and may not be overwritten, or cannot be written.
    """
    placement = state.placement
    rotation = placement.rotation.tolist()
    facts = _Facts(
        _VERSION, _digest(lirm), state.views, placement.centre.tolist(), rotation, float(placement.scale)
    )
    tensors = {name: value.contiguous() for name, value in _tensors(state.memory).items()}
    with atomic_path(path, overwrite) as temporary:
        save_tensors(temporary, tensors, {_FACTS: json.dumps(asdict(facts))})


def load_state(path: Path, lirm: Lirm) -> ObjectState:
    """Read a state that `save_state` wrote.

    Args:
        lirm: Network that will take in the new views.

    Raises:
        ClearpaneError: The file cannot be read, is damaged, holds no state or one of another version, or
            another network made it.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_FACTS)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ClearpaneError(f"{path}: cannot be read as safetensors; {_AGAIN}") from error
    if text is None:
        raise ClearpaneError(f"{path}: holds no state of an object; name a file that a reconstruction saved")
    try:
        facts = _read_facts(text)
        if facts.weights != _digest(lirm):
            raise ClearpaneError("other weights of LIRM made this state; give those")
        memory = _memory(tensors, lirm)
    except ClearpaneError as error:
        raise ClearpaneError(f"{path}: {error}") from error
    placement = Placement(np.asarray(facts.centre), np.asarray(facts.rotation), facts.scale)
    return ObjectState(memory, placement, facts.views)


def _read_facts(text: str) -> _Facts:
    """Parse and check a state's description.

    Raises:
        ClearpaneError: It is of another version, or its object frame is none.
    """
    try:
        untyped = parse_untyped(text)
    except ValueError as error:
        raise ClearpaneError(f"the description of its state is damaged; {_AGAIN}") from error
    version = untyped.get("version") if isinstance(untyped, dict) else None
    if version != _VERSION:
        raise ClearpaneError(f"is a state of version {version}, where {_VERSION} is needed; {_AGAIN}")
    facts = parse_json(_Facts, text)
    rotation = np.asarray(facts.rotation)
    numbers = np.asarray([*facts.centre, *rotation.ravel(), facts.scale])
    if (
        not np.isfinite(numbers).all()
        or np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-6
        or np.linalg.det(rotation) < 0
        or facts.scale <= 0
        or facts.views < 1
    ):
        raise ClearpaneError(f"the object's frame is damaged; {_AGAIN}")
    return facts


def _tensors(memory: Memory) -> dict[str, Tensor]:
    """Name the tensors of one object's memory."""
    named = {"tokens": memory.tokens}
    if memory.evidence:
        named |= {f"evidence.{f.name}": getattr(memory.evidence[0], f.name) for f in fields(Evidence)}
        named["features"] = memory.features[0]
    return named


def _memory(tensors: Mapping[str, Tensor], lirm: Lirm) -> Memory:
    """Return the memory whose tensors were read.

    Raises:
        ClearpaneError: They are not those of this network, or hold numbers that are not finite.
    """
    config, like = lirm.config, torch.zeros(())
    empty = Memory(like.new_zeros(1, len(lirm.token_positions()), config.width))
    if config.evidence:
        evidence = Evidence.empty(config.evidence, like)
        sums = empty_sums(config.view_features, config.volume, like)
        empty = Memory(empty.tokens, (evidence,), (sums,))
    expected = {name: (value.shape, value.dtype) for name, value in _tensors(empty).items()}
    if expected != {name: (value.shape, value.dtype) for name, value in tensors.items()}:
        raise ClearpaneError(f"its tensors are not those of a state of this network; {_AGAIN}")
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ClearpaneError(f"holds numbers that are not finite; {_AGAIN}")
    if not config.evidence:
        return Memory(tensors["tokens"])
    evidence = Evidence(**{f.name: tensors[f"evidence.{f.name}"] for f in fields(Evidence)})
    return Memory(tensors["tokens"], (evidence,), (tensors["features"],))


@torch.no_grad()
def _check_overlap(capture: Capture, memory: Memory) -> None:
    """Check that each new mask lies where the earlier views' hull is seen; without evidence, check nothing.

    Raises:
        ClearpaneError: A mask lies elsewhere by more than half.
    """
    if not memory.evidence:
        return
    cameras = capture.cameras.resized(_SIDE, _SIDE)
    hull = (hull_depth(memory.evidence[0].hull, cameras)[:, None] > 0).to(capture.masks)
    hull = F.max_pool2d(hull, 2 * _REACH + 1, 1, _REACH)
    masks = F.interpolate(capture.masks, (_SIDE, _SIDE), mode="area")
    explained = (masks * hull).sum((1, 2, 3)) / masks.sum((1, 2, 3)).clamp(min=1e-6)
    for name, share in zip(capture.names, explained.tolist(), strict=True):
        if share < _EXPLAINED:
            raise ClearpaneError(
                f"{name}: {1 - share:.0%} of its mask is where the earlier views show no object; check that "
                "it shows the same object, in the same place, with its pose in the same world"
            )


def _digest(lirm: Lirm) -> str:
    """Return the SHA-256 of a network's weights."""
    whole = hashlib.sha256()
    for name, value in sorted(lirm.state_dict().items()):
        whole.update(name.encode())
        whole.update(value.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()
