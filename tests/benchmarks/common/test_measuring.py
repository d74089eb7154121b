"""Memory and failures of child processes."""

import sys

import numpy as np
import pytest

from benchmarks.common import measuring
from benchmarks.common.measuring import measure
from clearpane.errors import ClearpaneError


def test_peak_memory_is_the_child_s_own():
    held = np.ones(300 << 17)  # 300 MiB here must not count there
    small = measuring.measure([sys.executable, "-c", "print('done')"])
    large = measuring.measure([sys.executable, "-c", "x = b'x' * (200 << 20); print('done')"])
    assert held[0] == 1 and small.output == "done\n"
    assert small.peak_bytes < 100 << 20
    assert large.peak_bytes - small.peak_bytes == pytest.approx(200 << 20, rel=0.2)


def test_a_failing_child_is_an_error_with_its_last_line():

    with pytest.raises(ClearpaneError, match="ValueError: the reason"):
        measure([sys.executable, "-c", "raise ValueError('the reason')"])
