"""The command ``clearpane``: choose the subcommand, report errors in one line, return the exit code."""

import contextlib
import difflib
import inspect
import io
import logging
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import FrameType

from clearpane._version import __version__
from clearpane.app.inputs import UsageError
from clearpane.app.progress import describe_unexpected, print_error
from clearpane.app.verbosity import library_messages
from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.images.native_output import python_detached


@dataclass(frozen=True)
class Command:
    """A subcommand and where its code is.

    The module holds the dataclass named by ``options`` and ``run(options) -> int``, which returns the exit
    code. It may hold ``DESCRIPTION``, shown in the help. ``extra`` is the extra that the command needs, if
    any.
    """

    name: str
    summary: str
    module: str
    options: str
    extra: str | None = None


# Each command's module is imported only when it runs: training needs packages the base install lacks.
COMMANDS = (
    Command("remove", "Remove reflections from photographs.", "clearpane.app.remove", "Remove"),
    Command(
        "reconstruct",
        "Make a relightable 3D object from photographs of it.",
        "clearpane.app.reconstruct",
        "Reconstruct",
        extra="3d",
    ),
    Command(
        "relight",
        "Render a 3D object in other light, as pictures and videos.",
        "clearpane.app.relight",
        "Relight",
        extra="3d",
    ),
    Command(
        "serve",
        "Open a page in the browser that does all of this.",
        "clearpane.app.serve",
        "Serve",
        extra="web",
    ),
    Command(
        "doctor",
        "Check that Clearpane works on this computer.",
        "clearpane.app.doctor",
        "Doctor",
    ),
    Command(
        "evaluate",
        "Compare results with photographs taken without the glass.",
        "clearpane.app.evaluate",
        "Evaluate",
    ),
    Command(
        "evaluate-asset",
        "Compare a reconstructed object with test views and a scan.",
        "clearpane.app.evaluate_asset",
        "EvaluateAsset",
        extra="3d",
    ),
    Command(
        "synthesize",
        "Make a data set of photographs through glass, with their layers.",
        "clearpane.app.synthesize",
        "Synthesize",
        extra="synthesis",
    ),
    Command(
        "preview",
        "Draw a contact sheet of a synthesized data set.",
        "clearpane.app.preview",
        "Preview",
        extra="synthesis",
    ),
    Command(
        "train compact",
        "Train the separator that ships with Clearpane.",
        "clearpane.training.compact.recipe",
        "TrainCompact",
        extra="train",
    ),
    Command(
        "train panel",
        "Train FLUX.1 Kontext to paint the layers of a photograph (SIRR-LMM).",
        "clearpane.training.flux.panel",
        "TrainPanel",
        extra="train,flux",
    ),
    Command(
        "train gensirr-vae",
        "Make FLUX.1 Kontext's VAE equivariant to reflection.",
        "clearpane.training.flux.gensirr_vae",
        "TrainGensirrVae",
        extra="train,flux",
    ),
    Command(
        "train gensirr",
        "Train FLUX.1 Kontext to remove reflections (GenSIRR).",
        "clearpane.training.flux.gensirr",
        "TrainGensirr",
        extra="train,flux",
    ),
    Command(
        "train lirm",
        "Train LIRM, which predicts a relightable object from a few views.",
        "clearpane.training.lirm.recipe",
        "TrainLirm",
        extra="train",
    ),
    Command(
        "models list",
        "List the models on this computer and where they lie.",
        "clearpane.app.models.listing",
        "ModelsList",
    ),
    Command(
        "models download",
        "Download a model from the model hub, for use offline too.",
        "clearpane.app.models.downloading",
        "ModelsDownload",
        extra="hub",
    ),
    Command(
        "models remove",
        "Delete a downloaded model.",
        "clearpane.app.models.removing",
        "ModelsRemove",
        extra="hub",
    ),
    Command(
        "models export",
        "Write a trained model as the model hub wants it, with its card.",
        "clearpane.app.models.exporting",
        "ModelsExport",
        extra="hub",
    ),
    Command(
        "convert gensirr",
        "Convert the checkpoint that GenSIRR's authors publish.",
        "clearpane.app.convert_gensirr",
        "ConvertGensirr",
        extra="flux",
    ),
)

_HELP = """\
Clearpane removes reflections from photographs taken through glass: windows,
shop fronts and display cases.

Usage:  clearpane COMMAND ...

{commands}

Examples:
  clearpane remove window.jpg --output clean
      writes clean/window_transmission.jpg, without the reflection
  clearpane remove holiday --output clean --recursive --compare
      does a folder and its subfolders, with before/after pictures
  clearpane remove window.jpg --output clean --strength 0.6
      removes only 60 % of the reflection
  clearpane remove --help
      shows all options of remove

Your photographs are never changed. Exit codes: 0 success, 1 something failed
(the rest was done), 2 the command line is wrong, 130 interrupted.

  -h, --help     show this help
  --version      show the version

CLEARPANE_VERBOSITY in the environment: error, warning (default), info, debug.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    ``CLEARPANE_DEBUG=1`` in the environment shows the traceback of an unexpected error.
    """
    # Hugging Face's libraries and bitsandbytes print messages that are of no use to our users.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a file name may hold characters that the terminal cannot show
    if not words or words[0] in ("-h", "--help"):
        print(help_text(), end="")
        return 0
    if words[0] == "--version":
        print(f"clearpane {__version__}")
        return 0
    with python_detached():
        return _exit_code(words)


def _exit_code(words: list[str]) -> int:
    try:
        with library_messages(), _stopped_like_ctrl_c():
            return _dispatch(words)
    except UsageError as error:
        print_error(str(error))
        return 2
    except ClearpaneError as error:
        print_error(str(error))
        return 1
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130
    except BrokenPipeError:
        # The reader has closed the pipe (as in "| head"); without this, Python would complain on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        print_error(describe_unexpected(error))
        return 1


def help_text(prefix: str = "") -> str:
    """Return the help of all commands, or the list of those whose name starts with ``prefix``."""
    chosen = [command for command in COMMANDS if command.name.startswith(prefix)]
    lines = [
        textwrap.fill(command.summary, 78, initial_indent=f"  {command.name:<22}", subsequent_indent=" " * 24)
        for command in chosen
    ]
    commands = "Commands:\n" + "\n".join(lines)
    if prefix:
        return f"Usage:  clearpane {prefix}COMMAND ...\n\n{commands}\n"
    return _HELP.format(commands=commands)


@contextlib.contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """Let termination requests (kill, a closed terminal, a shutdown) clean up as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    here = threading.current_thread() is threading.main_thread()
    signals = [getattr(signal, name) for name in names if here]
    # an ignored signal (nohup) stays ignored
    replaced = [number for number in signals if signal.getsignal(number) is signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def _dispatch(words: Sequence[str]) -> int:
    flag, _, shell = words[0].partition("=")
    if flag == "--tyro-print-completion":
        return _print_completion(" ".join([*filter(None, [shell]), *words[1:]]))
    for command in COMMANDS:
        parts = command.name.split()
        if list(words[: len(parts)]) == parts:
            return _run(command, words[len(parts) :])
    groups = {command.name.split()[0] for command in COMMANDS if " " in command.name}
    if words[0] in groups and (len(words) == 1 or words[1] in ("-h", "--help")):
        print(help_text(f"{words[0]} "), end="")
        return 0
    asked = " ".join(words[:2]) if words[0] in groups else words[0]
    near = difflib.get_close_matches(asked, [command.name for command in COMMANDS], n=1)
    hint = f"did you mean clearpane {near[0]}?" if near else "clearpane --help lists the commands"
    raise UsageError(f"there is no command {asked!r}; {hint}")


def _print_completion(shell: str) -> int:
    from clearpane.app.completion import check_shell, completion_script

    check_shell(shell)
    kinds = {}
    for command in COMMANDS:
        with contextlib.suppress(ModuleNotFoundError):  # commands whose extras are missing are left out
            kinds[command.name] = getattr(import_module(command.module), command.options)
    print(completion_script(kinds, shell), end="")
    return 0


def _run(command: Command, words: Sequence[str]) -> int:
    try:
        import tyro

        module = import_module(command.module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("clearpane"):
            raise
        if command.extra is not None:
            raise MissingExtraError(f"clearpane {command.name}", command.extra) from error
        raise ClearpaneError(
            f"the package {error.name} is missing: pip install --force-reinstall clearpane"
        ) from error
    kind = getattr(module, command.options)
    if "-h" in words or "--help" in words:
        from clearpane.app.option_help import join_lines

        join_lines(kind)
        # tyro would join its lines and leave the wrapping to the terminal
        print(getattr(module, "DESCRIPTION", f"{inspect.getdoc(kind)}\n"))
    options = tyro.cli(
        kind,
        prog=f"clearpane {command.name}",
        description="",
        args=words,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
    )
    code: int = module.run(options)
    return code
