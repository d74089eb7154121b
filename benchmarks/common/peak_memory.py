"""Measure the peak memory of tensors by tracking their creation and deletion."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class PeakMemory(TorchDispatchMode):
    """Tracker of the tensors made while it is active.

    Args:
        module: Module whose own weights are not counted.

    Attributes:
        peak: Largest sum of bytes that were alive at once.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, int] = {}
        self._weights = {p.untyped_storage()._cdata for p in module.parameters()}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                key = storage._cdata
                if key not in self._alive and key not in self._weights:
                    self._alive[key] = storage.nbytes()
                    weakref.finalize(storage, self._alive.pop, key, None)
                    self.peak = max(self.peak, sum(self._alive.values()))
        return result
