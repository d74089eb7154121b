"""A process that reads files by request, `python -m benchmarks.robustness.worker`, and its handle.

The process survives errors; what ends it, hangs or fills its memory is seen from outside.
"""

import contextlib
import json
import os
import resource
import runpy
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Self

from benchmarks.common.measuring import ROOT

KINDS_FILE = Path(__file__).with_name("kinds.py")
RESULTS = ("read", "refused", "finding")
SECONDS = 10.0
"""A reading that takes more of the processor's time is a hang."""
_WAIT = 120.0
"""So is one without an answer for so long, on a machine with other work to do."""
MEMORY = 1 << 30
"""A reading that needs more bytes is a finding."""
_ADDRESSES = 4 << 30
_START_SECONDS = 300.0
_LONGEST = 2000
_UNCLEAR = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, halves of characters, line breaks."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of reading a file.

    Attributes:
        result: ``read``, ``refused`` (in one line), or ``finding``.
        what: The message, or what was found.
        seconds: Time of the processor that it took.
        memory: Bytes of memory that it needed.
        noise: Bytes that native libraries wrote to the terminal.
    """

    result: str
    what: str = ""
    seconds: float = 0.0
    memory: int = 0
    noise: int = 0


class Worker:
    """A process that reads files, started again when it ends.

    Args:
        folder: Where it puts its temporary files and its noise.
        kinds: Module with the kinds that it reads.
    """

    def __init__(self, folder: Path, kinds: Path = KINDS_FILE) -> None:
        self._folder, self._kinds = folder, kinds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(self, kind: str, path: Path) -> Outcome:
        """Read a file as its kind is read."""
        if self._process is None:
            self._start()
        answer = self._ask({"kind": kind, "path": str(path)}, _WAIT, SECONDS)
        if isinstance(answer, dict):
            return Outcome(**answer)
        ended = self.close()
        if answer == "silent":
            return Outcome("finding", f"hang of more than {SECONDS:g} s", SECONDS)
        name = signal.Signals(-ended).name if ended < 0 else f"exit code {ended}"
        return Outcome("finding", f"crash: {name}")

    def warm(self, kind: str, paths: list[Path]) -> None:
        """Read intact files, which loads all that reading needs.

        Raises:
            ValueError: one is not read.
        """
        if self._process is None:
            self._start()
        for path in paths:
            answer = self._ask({"kind": kind, "path": str(path), "warm": True}, _START_SECONDS)
            if not isinstance(answer, dict) or answer["result"] == "finding":
                raise ValueError(f"the intact file {path} is not read: {answer}")

    def close(self) -> int:
        """End the process; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert process.stdin is not None
            process.stdin.close()
            process.wait(1)
        process.kill()
        return process.wait()

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / "temporary"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.robustness.worker",
                str(self._kinds),
                str(self._folder / "noise"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
        )
        if self._ask({}, _START_SECONDS) != {}:
            raise ValueError("the worker cannot be started")

    def _ask(self, question: dict[str, Any], wait: float, seconds: float = inf) -> dict[str, Any] | str:
        """Return the answer, or ``ended``, or ``silent`` after so long or so many seconds of work."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        begun, busy = time.monotonic(), _processor_seconds(process.pid)
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return "ended"
        while not select.select([process.stdout], [], [], 1.0)[0]:
            if time.monotonic() - begun > wait or _processor_seconds(process.pid) - busy > seconds:
                return "silent"
        line = process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else "ended"


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def _read(question: dict[str, Any], kinds: Mapping[str, Any], noise: int) -> dict[str, Any]:
    from clearpane.errors import ClearpaneError, MissingExtraError

    path = Path(question["path"])
    kept = set(path.parent.iterdir())
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start, said = _memory("VmRSS"), time.process_time(), os.fstat(noise).st_size
    try:
        kinds[question["kind"]].read(path)
        result, what = "read", ""
    except MissingExtraError as error:
        result, what = "finding", str(error)
    except ClearpaneError as error:
        result, what = "refused", str(error)
        if _UNCLEAR & {unicodedata.category(letter) for letter in what} or len(what) > _LONGEST:
            result, what = "finding", f"not one clear line: {what[:200]!r}"
        elif "not enough memory" in what:
            result, what = "finding", f"wants more memory than {_ADDRESSES >> 30} GiB"
    except BaseException as error:  # also those that native libraries raise by themselves
        result, what = "finding", f"{type(error).__module__}.{type(error).__name__}: {error}"[:300]
    seconds = time.process_time() - start
    memory = max(0, _memory("VmHWM") - before)
    left = [p for p in (*path.parent.iterdir(), *Path(tempfile.gettempdir()).iterdir()) if p not in kept]
    if result != "finding" and "warm" not in question:  # what is loaded first leaves more
        if left:
            result, what = "finding", f"leaves {left[0].name}"
        elif memory > MEMORY:
            result, what = "finding", "more memory than the limit"
    for stray in left:
        shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
    said = os.fstat(noise).st_size - said
    return {"result": result, "what": what, "seconds": seconds, "memory": memory, "noise": said}


def _serve(kinds_file: str, noise_file: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    noise = os.open(noise_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(noise, 1)
    os.dup2(noise, 2)
    kinds, limited = runpy.run_path(kinds_file)["KINDS"], False
    for line in sys.stdin:
        question = json.loads(line)
        if question and "warm" not in question and not limited:
            limited = True
            limit = _memory("VmSize") + _ADDRESSES
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        elif "warm" in question and limited:
            limited = False
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        answers.write(json.dumps(_read(question, kinds, noise) if question else {}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
