"""The completion script, asked by a real shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clearpane.app import cli
from clearpane.app.completion import completion_script
from clearpane.app.doctor import Doctor
from clearpane.app.remove import Remove

COMMANDS = {
    "remove": Remove,
    "doctor": Doctor,
    "train compact": Doctor,
    "train panel": Doctor,
    "convert gensirr": Doctor,
}
ASK = """
source {script}
complete -p clearpane > /dev/null
ask() {{
  COMP_WORDS=("$@"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE="$*"; COMP_POINT=${{#COMP_LINE}}
  COMPREPLY=()
  _tyro_clearpane
  echo "${{COMPREPLY[*]}}"
}}
ask clearpane re
ask clearpane remove --st
ask clearpane train co
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_commands_options_and_values(tmp_path):
    script = tmp_path / "clearpane"
    script.write_text(completion_script(COMMANDS, "bash"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the script runs python3
    command = ["bash", "-c", ASK.format(script=script)]
    asked = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    assert asked.stdout.splitlines() == ["remove", "--strength --steps", "compact"]


def test_the_command_prints_it_without_what_is_not_installed(monkeypatch, capsys):
    missing = cli.Command("synthesize", "", "not_installed_here", "Nothing", extra="synthesis")
    installed = [command for command in cli.COMMANDS if command.name in ("remove", "doctor")]
    monkeypatch.setattr(cli, "COMMANDS", [*installed, missing])
    assert cli.main(["--tyro-print-completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("#compdef clearpane") and "synthesize" not in text


def test_another_shell_is_a_usage_error(capsys):
    assert cli.main(["--tyro-print-completion", "cmd"]) == 2
    assert "give bash, zsh, tcsh" in capsys.readouterr().err
