"""Peak memory of tensors."""

import torch

from benchmarks.common import peak_memory


def test_peak_memory_of_tensors_counts_what_is_alive_and_no_weights():
    layer = torch.nn.Linear(1000, 10)
    with torch.no_grad(), peak_memory.PeakMemory(layer) as memory:
        first = torch.zeros(2000)
        second = first + 1
        del first
        third = second.reshape(2, 1000) * 2
        layer(third)
    assert 2 * 8000 <= memory.peak <= 2 * 8000 + 200
