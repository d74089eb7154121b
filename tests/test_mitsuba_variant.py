"""LLVM for Mitsuba: the packaged library is found without environment variables, and refused when absent."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from clearpane import mitsuba_variant

PACKAGED = mitsuba_variant._packaged_llvm()


@pytest.mark.skipif(PACKAGED is None, reason="karellen-llvm-core is for Linux on x86-64")
def test_the_packaged_llvm_serves_a_fresh_process() -> None:
    pytest.importorskip("mitsuba")
    assert PACKAGED is not None and Path(PACKAGED).name.startswith("libLLVM.so")
    code = (
        "from clearpane.mitsuba_variant import llvm_source, use_variant\n"
        "print(use_variant('auto'), llvm_source())\n"
        "import drjit, mitsuba\n"
        "from drjit.llvm import Float\n"
        "assert drjit.sum(Float(1, 2, 3))[0] == 6"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    name, version, source = done.stdout.split(maxsplit=2)
    assert (name, source.strip()) == ("llvm_ad_rgb", "(karellen-llvm-core)")
    assert version.split(".")[0] == metadata.version("karellen-llvm-core").split(".")[0]


def test_a_path_that_the_user_gives_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", "/their/libLLVM.so")
    monkeypatch.setattr(mitsuba_variant, "_packaged_llvm", lambda: "/packaged/libLLVM.so")
    mitsuba_variant._offer_packaged_llvm()
    assert mitsuba_variant.os.environ["DRJIT_LIBLLVM_PATH"] == "/their/libLLVM.so"


def test_without_the_package_nothing_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    assert mitsuba_variant._packaged_llvm() is None
