"""``clearpane doctor``: report what is installed and usable, and how to install the rest."""

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from packaging.requirements import Requirement
from rich.filesize import decimal
from tyro.conf import arg

from clearpane._version import __version__
from clearpane.app.editor_needs import editor_needs, print_needs, windowseat_needs
from clearpane.app.flags import name_flags
from clearpane.app.inputs import UsageError
from clearpane.errors import ClearpaneError
from clearpane.files import temporary_folder
from clearpane.hub.card import CARD
from clearpane.mitsuba_variant import llvm_source
from clearpane.separation.flux.options import FluxOptions
from clearpane.separation.registry import MODELS, embedded_models, options_class
from clearpane.separation.separator import load_separator
from clearpane.separation.windowseat.options import WindowseatOptions

DESCRIPTION = """\
Check that Clearpane works on this computer: which packages are installed,
which devices and models can be used, and how to install what is missing.

Examples:
  clearpane doctor
  clearpane doctor --json
  clearpane doctor --model panel
"""

# Purpose of each extra.
EXTRAS = {
    "photo": "HEIC and camera RAW files",
    "watch": "clearpane remove --watch",
    "train": "training models",
    "synthesis": "rendering glass scenes",
    "3d": "3D objects from photographs",
    "flux": "separators built on FLUX.1 Kontext",
    "hub": "models of the model hub",
    "web": "the page, clearpane serve",
    "cluster": "work on a Ray cluster, --ray",
}


@dataclass(frozen=True)
class Doctor:
    """Check that Clearpane works on this computer."""

    json: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print the report as one JSON object, for scripts and bug reports."""

    model: Annotated[str, arg(metavar="NAME", help_behavior_hint="(default: compact)")] = "compact"
    """Also report the memory that a model needs (panel, gensirr or windowseat), before you download or load
    its base model."""

    base: Annotated[str | None, arg(metavar="DIR", help_behavior_hint="(default: the published one)")] = None
    """Directory of the base model of --model. The published ones, FLUX.1 Kontext and Qwen-Image-Edit-2509,
    need not be on this computer."""

    side: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 512; windowseat: 768)")] = None
    """Size at which --model processes a photograph: about N x N pixels; for windowseat that of a tile."""


def run(options: Doctor) -> int:
    """Print the report; return 0 if photographs can be separated here, else 1."""
    try:
        kind = options_class(options.model)
    except ClearpaneError as error:
        raise UsageError(str(error)) from error
    if issubclass(kind, FluxOptions):
        needs = editor_needs(options.model, kind, options.base, options.side)
    elif issubclass(kind, WindowseatOptions):
        needs = windowseat_needs(options.base, options.side)
    else:
        if options.base is not None or options.side is not None:
            *first, last = (
                m for m in MODELS if issubclass(options_class(m), FluxOptions | WindowseatOptions)
            )
            raise UsageError(f"--base and --side go with --model {', '.join(first)} and {last}")
        facts = examine()
        print(json.dumps(facts) if options.json else _as_text(facts))
        return 0 if facts["works"] else 1
    print_needs(needs, options.json)
    return 0 if needs["works"] else 1


def examine() -> dict[str, Any]:
    """Return the whole report as a JSON-ready dictionary; ``problems`` is empty if everything works."""
    packages = {name: _version(name) for name in required_packages()}
    problems = [
        f"the package {name} is missing: pip install --force-reinstall clearpane"
        for name, found in packages.items()
        if found is None
    ]
    models = {name: _try_model(name) for name in embedded_models()}
    problems += [
        f"the model {name} does not work: {model['error']}"
        for name, model in models.items()
        if model["error"]
    ]
    files_error = _try_files()
    if files_error:
        problems.append(f"pictures cannot be read and written: {files_error}")
    return {
        "clearpane": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "extras": {name: _extra(name) for name in EXTRAS},
        "devices": _devices(),
        "models": models,
        "disk_free_bytes": {
            "here": shutil.disk_usage(Path.cwd()).free,
            **_free_for_temporary_files(),
        },
        "problems": problems,
        "works": not problems,
    }


def _free_for_temporary_files() -> dict[str, int]:
    try:
        return {"temporary files": shutil.disk_usage(tempfile.gettempdir()).free}
    except OSError:  # reported as a problem: pictures cannot be read and written
        return {}


def required_packages(extra: str | None = None) -> list[str]:
    """List the packages that the base install or an extra needs on this platform, by Clearpane's metadata."""
    found = []
    for text in requires("clearpane") or []:
        requirement = Requirement(text)
        marker = requirement.marker
        in_base = marker is None or marker.evaluate({"extra": ""})
        in_extra = marker is not None and not in_base and marker.evaluate({"extra": extra or ""})
        if in_base if extra is None else in_extra:
            found.append(requirement.name)
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extra(name: str) -> dict[str, Any]:
    packages = {package: _version(package) for package in required_packages(name)}
    return {
        "purpose": EXTRAS[name],
        "packages": packages,
        "installed": None not in packages.values(),
        "install": f'pip install "clearpane[{name}]"',
    }


def _devices() -> dict[str, Any]:
    return {
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory(),
        "onnxruntime_providers": _providers(),
        "torch": _torch(),
        "path_tracing": llvm_source() if find_spec("mitsuba") else None,
    }


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not available on Windows
        return None


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _torch() -> dict[str, Any] | None:
    if find_spec("torch") is None:
        return None
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"version": _version("torch"), "cuda": [], "mps": False, "error": str(error)}
    from clearpane.training.precision import bfloat16_speed, has_bfloat16

    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "version": torch.__version__,
        "cuda": cuda,
        "mps": torch.backends.mps.is_available(),
        "error": None,
        "bfloat16_speed": bfloat16_speed(),
        "cpu_precision": "bfloat16" if has_bfloat16("cpu") else "float32",
    }


def _try_model(name: str) -> dict[str, Any]:
    started = time.perf_counter()
    error = None
    try:
        picture = np.linspace(0, 1, 32 * 32 * 3, dtype=np.float32).reshape(32, 32, 3)
        layers = load_separator(name).separate(picture)
        if layers.transmission.shape != picture.shape or not np.isfinite(layers.transmission).all():
            error = "it returned a wrong result for a test picture"
    except Exception as failure:  # any fault of the installation belongs in the report
        error = _one_line(failure)
    return {
        "weights": _weights(name),
        "trial_seconds": round(time.perf_counter() - started, 3),
        "error": error,
    }


def _weights(name: str) -> dict[str, dict[str, Any]]:
    folder = resources.files(options_class(name).__module__.rpartition(".")[0]) / "weights"
    if not folder.is_dir():
        return {}
    weights = (entry for entry in folder.iterdir() if entry.is_file() and entry.name != CARD)
    files = sorted(weights, key=lambda entry: entry.name)
    contents = {entry.name: entry.read_bytes() for entry in files}
    return {
        file: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for file, content in contents.items()
    }


def _try_files() -> str | None:
    try:
        from clearpane.images.picture import Picture
        from clearpane.images.reading import read_picture
        from clearpane.images.writing import WriteOptions, write_picture

        with temporary_folder() as folder:
            path = folder / "trial.png"
            values = np.arange(16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3) / (16 * 16 * 3)
            write_picture(path, Picture(values, "png", "uint16"), WriteOptions())
            worst = float(np.abs(read_picture(path).pixels - values).max())
        return None if worst < 1e-4 else f"a test picture changed by {worst:.4f} when written and read again"
    except Exception as failure:
        return _one_line(failure)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return name_flags(text) if isinstance(error, ClearpaneError) else f"{type(error).__name__}: {text}"


def _as_text(facts: dict[str, Any]) -> str:
    lines = [f"Clearpane {facts['clearpane']}, Python {facts['python']}, {facts['platform']}"]
    for title, rows in _sections(facts).items():
        lines += ["", title]
        lines += [f"  {name:<20}{text}" for name, text in rows]
    lines.append("")
    if facts["works"]:
        lines.append("Everything works. Try it: clearpane remove PICTURE --output FOLDER")
    lines += [f"problem: {problem}" for problem in facts["problems"]]
    return "\n".join(lines)


def _sections(facts: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    extras = []
    for name, extra in facts["extras"].items():
        missing = [package for package, found in extra["packages"].items() if found is None]
        state = f"missing {', '.join(missing)}" if missing else "installed"
        extras.append((name, f"{extra['purpose']}: {state}"))
        if missing:
            extras.append(("", f"install it: {extra['install']}"))

    devices = facts["devices"]
    torch = devices["torch"]
    precision = []
    if torch is None:
        pytorch = "not installed (only training needs it)"
    else:
        gpus = torch["cuda"] + ["Apple GPU"] * torch["mps"] or ["no GPU found"]
        pytorch = f"{torch['version']}, {torch['error'] or ', '.join(gpus)}"
        if torch["error"] is None:
            speed = torch["bfloat16_speed"]
            note = f"bfloat16 runs at {speed:.2g} times the speed of float32"
            precision = [("", f"trains in {torch['cpu_precision']} on the processor ({note})")]

    models = []
    for name, model in facts["models"].items():
        works = f"works (a test took {model['trial_seconds']:.1f} s)"
        models.append((name, f"does not work: {model['error']}" if model["error"] else works))
        for file, weights in model["weights"].items():
            size = _bytes(weights["bytes"])
            models.append(("", f"{file}, {size}, sha256 {weights['sha256'][:16]}"))

    return {
        "Packages": [(name, found or "MISSING") for name, found in facts["packages"].items()],
        "Optional": extras,
        "Devices": [
            ("processor", f"{devices['cpu_cores']} cores"),
            ("memory", _bytes(devices["memory_bytes"])),
            ("ONNX Runtime", ", ".join(devices["onnxruntime_providers"]) or "MISSING"),
            ("PyTorch", pytorch),
            *precision,
            ("Mitsuba", _path_tracing(devices["path_tracing"])),
        ],
        "Models": models,
        "Free disk space": [(place, _bytes(free)) for place, free in facts["disk_free_bytes"].items()],
    }


def _path_tracing(llvm: str | None) -> str:
    return "not installed (rendering glass scenes and relighting need it)" if llvm is None else f"LLVM {llvm}"


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else decimal(count)
