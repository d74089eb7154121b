"""The variants of Mitsuba that run here; it has one at a time for the whole process."""

import os
from importlib import metadata
from pathlib import Path
from typing import Literal

from clearpane.errors import ClearpaneError, MissingExtraError

Variant = Literal["auto", "scalar_rgb", "llvm_ad_rgb", "llvm_ad_mono_polarized"]
_LLVM = (17,)  # older versions cannot compile the minimum of two numbers
_PACKAGE, _LIBRARY, _PATH = "karellen-llvm-core", "libLLVM.so", "DRJIT_LIBLLVM_PATH"


def use_variant(variant: Variant) -> str:
    """Set Mitsuba's variant for the process.

    Returns:
        Name of the variant; ``auto`` stands for the fastest one that runs here.

    Raises:
        MissingExtraError: Mitsuba is not installed.
        ClearpaneError: The variant does not run here.
    """
    try:
        import mitsuba
    except ImportError as error:
        raise MissingExtraError("path tracing", "synthesis") from error
    llvm = has_llvm()
    name = ("llvm_ad_rgb" if llvm else "scalar_rgb") if variant == "auto" else variant
    if name.startswith("llvm") and not llvm:
        raise ClearpaneError(f"path tracing: {name} needs LLVM 17 or newer; install it or take scalar_rgb")
    if mitsuba.variant() != name:
        mitsuba.set_variant(name)
    return name


def has_llvm() -> bool:
    """Return True if Mitsuba's LLVM variants run here; with an older LLVM they end the whole process."""
    try:
        import drjit
    except ImportError:
        return False
    return bool(drjit.has_backend(drjit.JitBackend.LLVM)) and drjit.detail.llvm_version() >= _LLVM


def llvm_source() -> str:
    """Describe the LLVM that path tracing compiles with, in a few words for ``doctor``."""
    if not has_llvm():
        return "none, so path tracing interprets (scalar_rgb)"
    import drjit

    version = ".".join(str(part) for part in drjit.detail.llvm_version())
    packaged = os.environ.get(_PATH) == _packaged_llvm()
    return f"{version} ({_PACKAGE if packaged else 'of the system'})"


def _packaged_llvm() -> str | None:
    """Return the path of the library in the package from PyPI."""
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())).resolve() for file in files if file.name.startswith(_LIBRARY))
    return next((str(path) for path in paths if path.is_file()), None)


def _offer_packaged_llvm() -> None:
    """Name the packaged library to Dr.Jit, which looks there before it searches the system."""
    packaged = _packaged_llvm()
    if packaged and _PATH not in os.environ:
        os.environ[_PATH] = packaged


_offer_packaged_llvm()  # Dr.Jit looks once, when it is imported
