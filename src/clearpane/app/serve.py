"""``clearpane serve``: a page in the browser that does what the commands do."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from clearpane.app.flags import name_flags
from clearpane.app.inputs import UsageError
from clearpane.errors import ClearpaneError
from clearpane.separation.registry import MODELS, make_options
from clearpane.web.server import serve
from clearpane.web.settings import Limits, OfferedModel, PageSettings

DESCRIPTION = """\
Open a page in the browser: take the reflection out of photographs, tune and
download the result, work through many at once, make 3D objects and compare
results. Everything happens on this computer, and nobody else can reach the
page unless --host says so.

Examples:
  clearpane serve
      then open http://127.0.0.1:7860
  clearpane serve --port 8080 --panel panel
      also offers a panel that clearpane train panel made
  clearpane serve --host 0.0.0.0 --auth alice:password.txt
      for other computers too, with a user name and the password in the file
"""


@dataclass(frozen=True)
class Serve:
    """Open a page in the browser that does what the commands do."""

    host: Annotated[str, arg(metavar="ADDRESS", help_behavior_hint="(default: 127.0.0.1)")] = "127.0.0.1"
    """Address to listen on. 127.0.0.1 is this computer alone, 0.0.0.0 every network it is in; then give
    --auth too."""

    port: Annotated[int, arg(metavar="NUMBER", help_behavior_hint="(default: 7860)")] = 7860
    """Port to listen on."""

    auth: Annotated[str | None, arg(metavar="USER:PASSWORD-FILE", help_behavior_hint="")] = None
    """Ask visitors for this user name and for the password that the file holds."""

    panel: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder that a panel was trained into; it is loaded when a visitor asks for it."""

    gensirr: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder that GenSIRR was trained into; it is loaded when a visitor asks for it."""

    base: Annotated[str | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Their base model, a directory or a name on the model hub. Usually the one they were trained on."""

    megabytes: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 200)")] = 200
    """Largest file that is taken; an upload, and a zip unpacked, may be ten times as large."""

    megapixels: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 100)")] = 100
    """Largest picture that is taken."""

    files: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 200)")] = 200
    """Most files of an upload, or in a zip."""

    queue: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 64)")] = 64
    """Most jobs that wait for their turn; further ones are refused."""


def run(options: Serve) -> int:
    """Serve the page until it is asked to stop.

    Raises:
        UsageError: an option cannot be meant.
        ClearpaneError: the address cannot be listened on.
    """
    if not 0 < options.port < 65536:
        raise UsageError(f"--port {options.port}: give 1 to 65535")
    for name in ("megabytes", "megapixels", "files", "queue"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} {getattr(options, name)}: give 1 or more")
    size = options.megabytes * 1_000_000
    limits = Limits(size, 10 * size, options.megapixels * 1_000_000, options.files, options.queue)
    account = None if options.auth is None else read_account(options.auth)
    serve(PageSettings(options.host, options.port, account, limits, offered_models(options)))
    return 0


def read_account(text: str) -> tuple[str, str]:
    """Read USER:PASSWORD-FILE.

    Raises:
        UsageError: it has another form, or the file cannot be read or is empty.
    """
    user, _, file = text.partition(":")
    if not user or not file:
        raise UsageError(f"--auth {text}: give a user name, a colon and the file that holds the password")
    try:
        password = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--auth: cannot read {file} ({getattr(error, 'strerror', error)})") from error
    if not password:
        raise UsageError(f"--auth: {file} is empty; write the password into it")
    return user, password


def offered_models(options: Serve) -> tuple[OfferedModel, ...]:
    """List all models: those that can be used here, and what the others need."""
    weights = {"panel": options.panel, "gensirr": options.gensirr}
    return tuple(_offer(name, weights.get(name), options.base) for name in MODELS)


def _offer(name: str, weights: Path | None, base: str | None) -> OfferedModel:
    if MODELS[name].extra is None:
        return OfferedModel(name, make_options(name, {}), "needs no GPU; comes with Clearpane")
    if find_spec("diffusers") is None or find_spec("torch") is None:
        return OfferedModel(name, None, f'needs packages: pip install "clearpane[{MODELS[name].extra}]"')
    if weights is None:
        need = f"needs trained weights: start the page with --{name} DIR; a GPU is better"
        return OfferedModel(name, None, need)
    given = {"weights": weights, **({} if base is None else {"base": base})}
    try:
        made = make_options(name, given)
    except ClearpaneError as error:
        return OfferedModel(name, None, name_flags(str(error)))
    return OfferedModel(name, made, _editor_needs(name))


def _editor_needs(name: str) -> str:
    import torch

    if torch.cuda.is_available():
        return f"runs on {torch.cuda.get_device_name()}; clearpane doctor --model {name} says what it needs"
    return "needs a GPU to be quick: without one here, a picture takes minutes to hours"
