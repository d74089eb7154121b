"""Print a script that completes the command ``clearpane`` in a shell."""

import contextlib
import dataclasses
import io
from collections.abc import Mapping
from typing import Annotated, Any, Union

import tyro

from clearpane.app.inputs import UsageError

FLAG = "--tyro-print-completion"
_SHELLS = ("bash", "zsh", "tcsh")


def check_shell(shell: str) -> None:
    """Raise UsageError if there is no completion for a shell."""
    if shell not in _SHELLS:
        raise UsageError(f"{FLAG} {shell}: give {', '.join(_SHELLS)}")


def completion_script(commands: Mapping[str, type], shell: str) -> str:
    """Return the script that tyro makes from the options of commands.

    Args:
        commands: Options class of each command, by its name of one or two words.
        shell: bash, zsh or tcsh.
    """
    groups: dict[str, list[Any]] = {"": []}
    for words, kind in commands.items():
        group, _, name = words.rpartition(" ")
        groups.setdefault(group, []).append(Annotated[kind, tyro.conf.subcommand(name)])
    top = groups.pop("")
    for group, kinds in groups.items():
        # tyro has no choice of one: such a group is completed up to its name
        fields: list[Any] = [("command", Union[tuple(kinds)])] if len(kinds) > 1 else []  # noqa: UP007 (as below)
        holder = dataclasses.make_dataclass(group, fields)
        top.append(Annotated[holder, tyro.conf.subcommand(group)])
    config = (
        tyro.conf.FlagCreatePairsOff,
        tyro.conf.HelptextFromCommentsOff,
        tyro.conf.OmitSubcommandPrefixes,
    )
    choice: Any = Union[tuple(top)]  # noqa: UP007 (a tuple of types cannot be joined by |)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(choice, prog="clearpane", args=(FLAG, shell), config=config)
    return "".join(map(_joined, printed.getvalue().splitlines(keepends=True)))


def _joined(line: str) -> str:
    """Join the lines of the options' descriptions, which the script would offer as words of their own."""
    return line.replace(r"\n", " ") if line.startswith("COMPLETION_SPEC = ") else line
