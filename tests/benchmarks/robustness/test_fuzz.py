"""A bounded run of the fuzzing, and what it is made of."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.robustness import mutations
from benchmarks.robustness.fuzz import Options, fuzz, measure, replay
from benchmarks.robustness.kinds import KINDS
from benchmarks.robustness.worker import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and figures of memory are Linux's")
for package in ("torch", "pycolmap", "trimesh", "pillow_heif", "rawpy", "onnx", "webdataset"):
    pytest.importorskip(package)
INPUTS = 18
"""Damaged files of each kind."""


def test_damaged_files_of_every_kind_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rows = fuzz(tuple(KINDS), INPUTS, 0, tmp_path)
    assert {kind: row.findings for kind, row in rows.items() if row.findings} == {}
    assert {sum(row.outcomes.values()) for row in rows.values()} == {INPUTS}
    assert all(row.outcomes["refused"] for row in rows.values())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise KeyError(1)", "KeyError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crash: SIGSEGV"),
        ("x = bytearray(1100 << 20); x[::4096] = b'a' * len(x[::4096])", "more memory than the limit"),
        ("(path.parent / 'left').touch()", "leaves left"),
        ("import os; os.write(2, b'noise')", ""),
    ],
)
def test_the_worker_sees_what_goes_wrong(tmp_path: Path, code: str, says: str) -> None:
    script = tmp_path / "kinds.py"
    script.write_text(
        "from types import SimpleNamespace\n"
        f"def read(path):\n    if path.name == 'bad':\n        exec({code!r}, {{'path': path}})\n"
        "KINDS = {'x': SimpleNamespace(read=read)}\n"
    )
    (tmp_path / "files").mkdir()
    for name in ("good", "bad"):
        (tmp_path / "files" / name).touch()
    with Worker(tmp_path / "worker", script) as worker:
        worker.warm("x", [tmp_path / "files" / "good"])
        outcome = worker.read("x", tmp_path / "files" / "bad")
        assert (outcome.result, outcome.noise) == (("finding", 0) if says else ("read", 5))
        assert says in outcome.what
        assert worker.read("x", tmp_path / "files" / "good").result == "read"


def test_the_same_state_gives_the_same_damage() -> None:
    data = bytes(range(256)) * 4

    def damage(seed: int) -> list[bytes]:
        random = np.random.default_rng(seed)
        return [mutations.mutate(data, data[::-1], random, mutations.blocks(16)) for _ in range(50)]

    assert damage(0) == damage(0) != damage(1)
    assert sum(found != data for found in damage(0)) > 40


def test_damage_to_json_stays_json_but_for_its_depth() -> None:
    random = np.random.default_rng(0)
    text = json.dumps({"a": [1, 2.5, {"b": None}], "c": "text"}).encode()
    found = [mutations.mutate_json(text, random) for _ in range(50)]
    assert sum(f != text for f in found) > 40
    assert all(json.loads(f) is not ... for f in found if b"[" * 500 not in f)


def test_a_finding_is_replayed(tmp_path: Path) -> None:
    kept = tmp_path / "hdr-000001-a.hdr"
    kept.write_bytes(b"#?RADIANCE")
    assert replay(kept, tmp_path / "work").result == "refused"


def test_the_figures_are_written(tmp_path: Path) -> None:
    text = measure(Options(inputs=4, only=("hdr", "webp"), workers=1, folder=tmp_path / "w", output=tmp_path))
    document = json.loads((tmp_path / "robustness_fuzz.json").read_text())
    assert sum(document["kinds"]["hdr"]["outcomes"].values()) == 2
    page = (tmp_path / "robustness_fuzz.md").read_text()
    assert page == f"{text}\n<sub>Written by `python -m benchmarks.robustness.fuzz`.</sub>\n"
    assert "| webp | 2 |" in text
