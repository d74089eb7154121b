"""Which of Mitsuba's variants runs here; it has one at a time for the whole process."""

from typing import Literal

from clearpane.errors import ClearpaneError, MissingExtraError

Variant = Literal["auto", "scalar_rgb", "llvm_ad_rgb", "llvm_ad_mono_polarized"]
_LLVM = (17,)  # older ones cannot compile the smaller of two numbers


def use_variant(variant: Variant) -> str:
    """Set Mitsuba's variant for the process; the name of the one that ``auto`` stands for.

    Raises:
        MissingExtraError: Mitsuba is not installed.
        ClearpaneError: the variant does not run here.
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
    """Whether Mitsuba's LLVM variants run here; with an older LLVM they end the whole process."""
    import drjit

    return bool(drjit.has_backend(drjit.JitBackend.LLVM)) and drjit.detail.llvm_version() >= _LLVM
