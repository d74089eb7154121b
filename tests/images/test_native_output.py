"""What native decoders print must not reach the terminal of the command line, whatever Python prints must."""

import os
import subprocess
import sys

from .dng import write_dng

_NESTED = """
import os, sys
from clearpane.images.native_output import hidden_native_output, python_detached

def native(text):
    os.write(2, text)

with hidden_native_output():
    native(b"a library does not hide its host's output\\n")
with python_detached():
    native(b"before\\n")
    with hidden_native_output():
        native(b"hidden\\n")
        with hidden_native_output():
            native(b"hidden too\\n")
            print("Python", file=sys.stderr)
        native(b"still hidden\\n")
    native(b"after\\n")
print("Python again", file=sys.stderr)
"""


def test_native_output_is_hidden_only_while_decoding():
    done = subprocess.run([sys.executable, "-c", _NESTED], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        "a library does not hide its host's output",
        "before",
        "Python",
        "after",
        "Python again",
    ]


def test_nothing_is_hidden_where_standard_error_is_closed():
    command = (
        "from clearpane.images import native_output as n\n"
        "with n.python_detached(), n.hidden_native_output(): print(1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2)
    )
    assert done.returncode == 0
    assert done.stdout.split() == [b"1"]


def test_a_truncated_raw_file_is_one_line(tmp_path):
    path = tmp_path / "short.dng"
    write_dng(path, 1.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    command = [sys.executable, "-m", "clearpane", "remove", str(path), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    error, summary = done.stderr.splitlines()
    assert error.startswith("error: ") and "truncated or damaged RAW file" in error and "b'" not in error
    assert "1 failed" in summary
