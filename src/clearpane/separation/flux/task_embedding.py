"""Task embedding of the transformer: the encoding of a sentence, or a learnt one."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path


@dataclass(frozen=True, eq=False)
class TaskEmbedding:
    """Task of an editor, in the form that a text encoder returns.

    Attributes:
        prompt_embeds: [1, tokens, channels] or [B, tokens, channels], T5's encoding of each token.
        pooled_prompt_embeds: [1, channels] or [B, channels], CLIP's encoding of the whole sentence.
    """

    prompt_embeds: Tensor
    pooled_prompt_embeds: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "TaskEmbedding":
        """Return the embedding on a device and in a type."""
        return TaskEmbedding(
            self.prompt_embeds.to(device, dtype), self.pooled_prompt_embeds.to(device, dtype)
        )

    def expand(self, count: int) -> "TaskEmbedding":
        """Return the same task for ``count`` pictures, without copying it."""
        return TaskEmbedding(
            self.prompt_embeds.expand(count, -1, -1), self.pooled_prompt_embeds.expand(count, -1)
        )

    def save(self, path: Path) -> None:
        """Write a safetensors file with the tensors named as the attributes, atomically."""
        tensors = {
            "prompt_embeds": self.prompt_embeds.detach().contiguous(),
            "pooled_prompt_embeds": self.pooled_prompt_embeds.detach().contiguous(),
        }
        with atomic_path(path, overwrite=True) as temporary:
            save_file(tensors, temporary)


def load_task_embedding(path: Path) -> TaskEmbedding:
    """Read a file written by `TaskEmbedding.save`.

    Raises:
        ClearpaneError: The file is missing or damaged, or holds something else.
    """
    try:
        tensors = load_file(path)
        prompt, pooled = tensors["prompt_embeds"], tensors["pooled_prompt_embeds"]
    except (SafetensorError, OSError, KeyError) as error:
        raise ClearpaneError(f"{path}: not a task embedding ({error})") from error
    whole = prompt.numel() and pooled.numel() and prompt.is_floating_point() and pooled.is_floating_point()
    if not whole or (prompt.ndim, pooled.ndim, len(prompt), len(pooled)) != (3, 2, 1, 1):
        raise ClearpaneError(
            f"{path}: not a task embedding (its tensors are {list(prompt.shape)} and {list(pooled.shape)})"
        )
    return TaskEmbedding(prompt, pooled)


class LearnableTask(nn.Module):
    """Trainable task embedding (LTE, GenSIRR, arXiv 2512.06358, stage II).

    Args:
        start: Initial embedding. GenSIRR found that random numbers do not converge.
    """

    def __init__(self, start: TaskEmbedding) -> None:
        super().__init__()
        self.prompt_embeds = nn.Parameter(start.prompt_embeds.detach().float().clone())
        self.pooled_prompt_embeds = nn.Parameter(start.pooled_prompt_embeds.detach().float().clone())

    def forward(self) -> TaskEmbedding:
        """Return the current embedding."""
        return TaskEmbedding(self.prompt_embeds, self.pooled_prompt_embeds)


def random_task(like: TaskEmbedding, generator: Generator) -> TaskEmbedding:
    """Draw Gaussian numbers with the mean and deviation of another embedding."""

    def draw(values: Tensor) -> Tensor:
        return values.mean() + values.std() * torch.randn(values.shape, generator=generator).to(values)

    return TaskEmbedding(draw(like.prompt_embeds), draw(like.pooled_prompt_embeds))
