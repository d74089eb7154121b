"""Keep what later views need of the earlier ones: LIRM's memory of an object, its place, and some pixels.

A state holds no picture, and it has the same size after any number of views: LIRM's tokens, the sums of the
evidence (`clearpane.reconstruction.field.evidence`), those of the views' features, and for a fit a sample of
the views' pixels (`clearpane.reconstruction.fitting.kept_rays`).

Source: LIRM (arXiv 2504.20026), section 3.3.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.json_files import parse_json, parse_untyped
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.capture.placement import Placement
from clearpane.reconstruction.changes import added_part, explained_masks, forgotten, outdated
from clearpane.reconstruction.field.evidence import Evidence
from clearpane.reconstruction.fitting.kept_rays import KEPT, KeptRays, no_rays, ray_tensors, rays_of
from clearpane.reconstruction.fitting.true_rays import TrueRays
from clearpane.reconstruction.lirm.memory import Memory
from clearpane.reconstruction.lirm.model import Lirm
from clearpane.reconstruction.lirm.observing import observe_capture
from clearpane.reconstruction.lirm.view_features import empty_sums
from clearpane.tensor_files import save_tensors

SUFFIX = ".safetensors"
"""Suffix of a state's file."""

_VERSION, _FACTS = 2, "object_state"
# Smallest fraction of a new view's mask that the earlier views' hull explains; the hull holds the whole
# object, so that it is 1 but for errors of the masks and for what was added.
_EXPLAINED = 0.5
_AGAIN = "reconstruct the object again from all views"


@dataclass(frozen=True, eq=False)
class ObjectState:
    """Hold what is kept of the views of an object so far.

    Attributes:
        memory: LIRM's memory of a single object.
        placement: Transform from the photographs' world to the cube's, fixed by the first views.
        kept: Sample of the pixels of all views so far.
    """

    memory: Memory
    placement: Placement
    kept: KeptRays

    @property
    def views(self) -> int:
        """Return the number of views so far."""
        return self.kept.views


@dataclass(frozen=True, eq=False)
class Rounds:
    """Reconstruct in rounds, each with its own photographs.

    Attributes:
        lirm: Network that remembers the views.
        earlier: State after the earlier rounds, or None in the first one.
    """

    lirm: Lirm
    earlier: ObjectState | None = None

    def observe(self, capture: Capture) -> "Observed":
        """Take in this round's views.

        Raises:
            ClearpaneError: A view does not show the object of the earlier rounds where they show it.
        """
        if self.earlier is None:
            memory, old = observe_capture(capture, self.lirm), no_rays()
            placement = capture.placement
        else:
            memory, old = _update(capture, self.lirm, self.earlier)
            placement = self.earlier.placement
        kept = old.with_views(capture, Generator().manual_seed(old.views))
        return Observed(ObjectState(memory, placement, kept), old)


@dataclass(frozen=True, eq=False)
class Observed:
    """Hold what a round has changed.

    Attributes:
        state: State after the round.
        earlier: Pixels of the earlier rounds that the object has not outdated.
    """

    state: ObjectState
    earlier: KeptRays


def _update(capture: Capture, lirm: Lirm, earlier: ObjectState) -> tuple[Memory, KeptRays]:
    """Return the memory after some new views, and the earlier pixels that still show the object.

    Raises:
        ClearpaneError: A view does not show the object of the earlier rounds where they show it.
    """
    memory = earlier.memory
    if not memory.evidence:
        return observe_capture(capture, lirm, memory), earlier.kept
    before = memory.evidence[0]
    _check_overlap(capture, before)
    added = added_part(before, capture)
    memory = observe_capture(capture, lirm, replace(memory, evidence=(forgotten(before, added),)))
    rays = earlier.kept.rays
    old = outdated(rays, before, memory.evidence[0], added)
    return memory, replace(earlier.kept, rays=rays[(~old).nonzero()[:, 0]])


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
    named = _tensors(state.memory) | ray_tensors(state.kept.rays)
    tensors = {name: value.contiguous() for name, value in named.items()}
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
        memory, rays = _memory(tensors, lirm), rays_of(tensors)
    except ClearpaneError as error:
        raise ClearpaneError(f"{path}: {error}") from error
    placement = Placement(np.asarray(facts.centre), np.asarray(facts.rotation), facts.scale)
    return ObjectState(memory, placement, KeptRays(rays, facts.views))


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
    nothing = torch.zeros(KEPT, 3)
    named = _tensors(empty) | ray_tensors(TrueRays(nothing, nothing, nothing, nothing[:, :1], nothing[:, :1]))
    expected = {name: (value.shape, value.dtype) for name, value in named.items()}
    if expected != {name: (value.shape, value.dtype) for name, value in tensors.items()}:
        raise ClearpaneError(f"its tensors are not those of a state of this network; {_AGAIN}")
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ClearpaneError(f"holds numbers that are not finite; {_AGAIN}")
    if not config.evidence:
        return Memory(tensors["tokens"])
    evidence = Evidence(**{f.name: tensors[f"evidence.{f.name}"] for f in fields(Evidence)})
    return Memory(tensors["tokens"], (evidence,), (tensors["features"],))


def _check_overlap(capture: Capture, evidence: Evidence) -> None:
    """Check that each new mask lies where the earlier views' hull is seen.

    Raises:
        ClearpaneError: A mask lies elsewhere by more than half.
    """
    masks, hull = explained_masks(evidence, capture)
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
