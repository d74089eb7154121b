"""The plug-in of integrations/gimp with stand-ins of GIMP's modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest

FILE = Path(__file__).parents[2] / "integrations/gimp/clearpane-reflection/clearpane-reflection.py"


@pytest.fixture
def plugin(monkeypatch):
    gi, repository = ModuleType("gi"), ModuleType("gi.repository")
    gi.require_version = lambda name, version: None
    for name in ("Gimp", "GimpUi", "Gio", "GLib", "GObject"):
        setattr(repository, name, MagicMock())
    repository.Gimp.PlugIn = object
    repository.Gio.File.new_for_path = Path
    repository.Gimp.file_save = lambda mode, image, file, options: file.write_bytes(b"photo")
    repository.Gimp.file_load_layer = lambda mode, image, file: MagicMock(content=file.read_text())
    monkeypatch.setitem(sys.modules, "gi", gi)
    monkeypatch.setitem(sys.modules, "gi.repository", repository)
    spec = importlib.util.spec_from_file_location("clearpane_gimp", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short_and_lies_where_gimp_looks():
    assert len(FILE.read_text().splitlines()) < 150
    assert FILE.stem == FILE.parent.name and FILE.stat().st_mode & 0o111


def test_the_results_become_layers_in_one_step_of_undo(plugin, monkeypatch):
    commands = []

    def run(words, **options):
        commands.append(words)
        output = Path(words[words.index("--output") + 1])
        output.mkdir()
        for kind in ("transmission", "reflection"):
            (output / f"photo_{kind}.png").write_text(kind)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(plugin.subprocess, "run", run)
    image = MagicMock()
    plugin.separate(image, "clearpane", 0.5, "best")
    layers = [call.args[0].content for call in image.insert_layer.call_args_list]
    assert layers == ["reflection", "transmission"]  # each above the last
    names = [call[0] for call in image.method_calls]
    assert names == ["undo_group_start", "insert_layer", "insert_layer", "undo_group_end"]
    assert commands[0][:2] == ["clearpane", "remove"] and not Path(commands[0][2]).exists()


def test_the_command_is_one_that_clearpane_understands(plugin, tmp_path, capsys):
    from PIL import Image

    from clearpane.app.cli import main

    Image.new("RGB", (16, 16), (90, 120, 150)).save(tmp_path / "photo.png")
    words = plugin.command("clearpane", tmp_path / "photo.png", tmp_path / "layers", 0.5, "fast")
    assert main(words[1:]) == 0
    made = {path.name for path in (tmp_path / "layers").iterdir()}
    assert made == {"photo_transmission.png", "photo_reflection.png"}


@pytest.mark.parametrize(
    ("program", "said"),
    [("no-such-program", "no-such-program: cannot be run"), (sys.executable, "can't open file")],
)
def test_a_failure_is_one_line_and_leaves_the_image_alone(plugin, program, said):
    image = MagicMock()
    with pytest.raises(RuntimeError, match=said):
        plugin.separate(image, program, 1.0, "fast")
    assert image.method_calls == []
