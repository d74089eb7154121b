"""Write TensorBoard's curves of a run."""

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter


class Curves(AbstractContextManager["Curves"]):
    """Write the loss and the learning rate of each step to a folder for TensorBoard.

    The file is made when the first step is added, since only then the step from which the run resumes is
    known: what an interrupted run wrote from that step on is dropped.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def add(self, step: int, loss: float, learning_rate: float) -> SummaryWriter:
        """Add a step, and return the writer for anything else to show."""
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        self._writer.add_scalar("loss", loss, step)
        self._writer.add_scalar("learning_rate", learning_rate, step)
        return self._writer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
