"""Measure seconds and memory, and describe the machine."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from clearpane.errors import ClearpaneError

ROOT = Path(__file__).parents[2]
"""Root folder of the repository."""

_REFERENCE_SIDE = 2048


@dataclass(frozen=True)
class Run:
    """Measurement of a process.

    Attributes:
        seconds: Wall time of the whole process.
        cpu_seconds: Processor time of all cores together.
        peak_bytes: Peak resident memory.
        output: Standard output.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def measure(command: list[str | Path]) -> Run:
    """Run a command in a child process.

    Raises:
        ClearpaneError: The command failed; the message holds its last line.
    """
    wrapped = [sys.executable, Path(__file__).with_name("child.py"), *command]
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run([str(part) for part in wrapped], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ClearpaneError(f"{' '.join(map(str, command[:4]))} ... failed: {reason}")
    return Run(**json.loads(done.stdout))


def reference_seconds() -> float:
    """Time a 2048 x 2048 real FFT in double precision (numpy, one thread): the median of five runs."""
    values = np.random.default_rng(0).random((_REFERENCE_SIDE, _REFERENCE_SIDE))
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        np.fft.rfft2(values)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


@dataclass(frozen=True)
class Machine:
    """Machine that figures were measured on."""

    processor: str
    cores: int
    memory_gb: int
    system: str
    python: str
    numpy: str
    onnxruntime: str

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gb} GB, {self.system}, "
            f"Python {self.python}, numpy {self.numpy}, ONNX Runtime {self.onnxruntime}"
        )


def describe_load() -> str:
    """Say how much other programs were in the way of a benchmark that needs all cores."""
    load = os.getloadavg()[1]
    shared = "other programs had a share of the cores, so times are too long and ratios rough"
    state = shared if load > 3 else "the cores were free for this"
    return f"load average {load:.1f} over the last five minutes: {state}"


def describe_machine() -> dict[str, str | int]:
    """Return the fields of `Machine` for this machine."""
    return asdict(
        Machine(
            _processor(),
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            platform.system(),
            platform.python_version(),
            version("numpy"),
            version("onnxruntime"),
        )
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
