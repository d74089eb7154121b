"""Glass scenes that the processes of a training share, each reading its own part of the shards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from accelerate import Accelerator

from clearpane.errors import ClearpaneError
from clearpane.training.runner import draws_per_step

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ScenesByDraw(Generic[T]):
    """Hold the scenes of the draws that this process computes.

    The draws of a step, not the processes, divide the data set. So a run draws the same scenes with any
    number of processes, and no two processes keep the same scene.

    Attributes:
        parts: Scenes by the number of the draw within its step.
        draws: Number of draws per step.
        total: Number of scenes of all processes.
    """

    parts: Mapping[int, Sequence[T]]
    draws: int
    total: int

    def of(self, draw: int) -> Sequence[T]:
        """Return the scenes of a draw, numbered from the start of the run as in `run_steps`."""
        return self.parts[draw % self.draws]

    @property
    def own(self) -> list[T]:
        """All scenes of this process."""
        return [scene for part in self.parts.values() for scene in part]


def load_by_draw(
    load: Callable[[Path, int, int], list[T]], folder: Path, run: Path, accelerator: Accelerator
) -> ScenesByDraw[T]:
    """Load the scenes of the draws that this process computes; all processes call this together.

    Args:
        load: Function from a folder, a part's number and the number of parts to scenes.
        folder: Folder of the data sets.
        run: Folder of the run, whose checkpoint sets the number of draws per step.
        accelerator: Accelerator of the run.

    Raises:
        ClearpaneError: A shard or the checkpoint cannot be read, or there are fewer scenes than draws.
    """
    draws = draws_per_step(run, accelerator)
    own = range(accelerator.process_index, draws, accelerator.num_processes)
    parts = {part: load(folder, part, draws) for part in own}
    if not all(parts.values()):
        raise ClearpaneError(
            f"{folder}: {draws} draws per step need {draws} glass scenes at least; make more with clearpane "
            "synthesize"
        )
    counted = torch.tensor(sum(map(len, parts.values())), device=accelerator.device)
    return ScenesByDraw(parts, draws, int(accelerator.reduce(counted, "sum")))
