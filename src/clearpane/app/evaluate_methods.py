"""What ``clearpane evaluate`` measures, and by which metrics."""

from pathlib import Path

from clearpane.app.evaluate_options import Evaluate
from clearpane.cluster.addresses import is_remote, local_folder, shown
from clearpane.errors import ClearpaneError
from clearpane.evaluation.judge import INPUT
from clearpane.evaluation.lpips import Lpips
from clearpane.evaluation.protocols import PROTOCOLS
from clearpane.evaluation.scoring import BASELINES, FolderMethod, Method, PictureMetric, SeparatorMethod
from clearpane.evaluation.st_lpips import StLpips
from clearpane.separation.separator import load_separator


def load_methods(options: Evaluate) -> list[Method]:
    """Load the model, or open the folders of finished pictures.

    Raises:
        ClearpaneError: The model cannot be loaded, or a folder does not exist.
    """
    if not options.results:
        choice = options.choice
        separator = load_separator(choice.name, choice.make_options())
        return [SeparatorMethod(choice.model, separator, options.quality)]
    protocol = PROTOCOLS[options.protocol]
    return [FolderMethod(name, folder, protocol) for name, folder in _result_folders(options).items()]


def first_method(options: Evaluate) -> str:
    """Return the name of the first method, without loading it.

    Raises:
        ClearpaneError: A folder of finished pictures does not exist.
    """
    return next(iter(_result_folders(options)), options.choice.model)


def load_metrics(options: Evaluate) -> dict[str, PictureMetric]:
    """Load the metrics that need a network.

    Raises:
        ClearpaneError: Their weights cannot be read, or a package is missing.
    """
    learned: dict[str, PictureMetric] = {}
    if options.lpips_weights:
        learned["lpips"] = Lpips(options.lpips_weights)
    if "st-lpips" in options.metrics:
        learned["st_lpips"] = StLpips()
    return learned


def _result_folders(options: Evaluate) -> dict[str, Path]:
    """Return the folders of finished pictures on this machine, by the names of their rows."""
    folders: dict[str, Path] = {}
    taken = {*BASELINES, INPUT}
    for named in options.results:
        folder = local_folder(named)
        if not folder.is_dir():
            raise ClearpaneError(f"{folder}: no such folder; --results names folders of finished pictures")
        whole = folder.resolve()
        if any(other.resolve() == whole for other in folders.values()):
            raise ClearpaneError(f"{shown(named)}: named twice in --results; name it once")
        name = whole.name
        if name in taken:
            name = shown(named) if is_remote(named) else str(whole)
        taken.add(name)
        folders[name] = folder
    return folders
