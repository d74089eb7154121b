"""`reconstruct --ray`, with captures and results at addresses; the work is done in this process."""

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fsspec")

from clearpane.app import ray_reconstruct
from clearpane.app.cli import main
from clearpane.errors import ClearpaneError


@pytest.fixture
def captures(store, tmp_path: Path, monkeypatch) -> Path:
    """Three captures, one of which cannot be used, as local files and at memory://captures; quick work."""
    folder = tmp_path / "captures"
    for name in ("cup", "duck", "vase"):
        (folder / name / "images").mkdir(parents=True)
        (folder / name / "transforms.json").write_text(name)
        (folder / name / "images" / "0.jpg").write_bytes(b"photograph")
    (folder / ".hidden").mkdir()
    store.put(f"{folder}/", "/captures/", recursive=True)

    def make(options, on_stage):
        name = (options.views / "transforms.json").read_text()
        assert (options.views / "images" / "0.jpg").exists() and options.overwrite
        if name == "vase":
            raise ClearpaneError(f"{options.views}: shows nothing")
        return SimpleNamespace(reconstruction=SimpleNamespace(warnings=(f"{name} is dark",)), name=name)

    def write(made, options):
        options.output.write_text(made.name)
        options.output.with_name(f"{options.output.stem}_views.jpg").write_text("sheet")

    monkeypatch.setattr(ray_reconstruct, "make_object", make)
    monkeypatch.setattr(ray_reconstruct, "write_object", write)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


WRITTEN = ["cup/cup.glb", "cup/cup_views.jpg", "duck/duck.glb", "duck/duck_views.jpg"]


def test_each_capture_gets_its_folder(captures: Path, in_process, tmp_path: Path, capsys) -> None:
    out = tmp_path / "objects"
    command = ["reconstruct", str(captures), "--output", str(out), "--ray", "auto"]
    assert main(command) == 1 and len(in_process) == 3
    printed = capsys.readouterr()
    assert names(out) == WRITTEN and (out / "duck" / "duck.glb").read_text() == "duck"
    assert f"{captures / 'cup'} -> {out / 'cup' / 'cup.glb'}, " in printed.out
    assert f"error: {captures / 'vase'}: shows nothing" in printed.err and "2 done" in printed.err
    assert f"warning: {captures / 'cup'}: cup is dark" in printed.err

    (out / "cup" / "cup_views.jpg").unlink()  # as a run leaves it that was killed between the two files
    assert main(command) == 1 and len(in_process) == 3 + 2
    assert names(out) == WRITTEN and "1 skipped" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 1 and len(in_process) == 5 + 3


def test_captures_and_results_lie_at_addresses(captures, store, in_process, capsys) -> None:
    command = ["reconstruct", "memory://captures", "--output", "memory://objects", "--ray", "auto"]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert [path.removeprefix("/objects/") for path in store.find("/objects")] == WRITTEN
    assert "memory://captures/duck -> memory://objects/duck/duck.glb" in printed.out
    assert "error: memory://captures/vase: shows nothing" in printed.err
    assert main(command) == 1 and len(in_process) == 3 + 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("captures/cup --output out", "holds the photographs of one object"),
        ("captures --output captures", "is the folder of the captures"),
        ("captures --output out.glb", "--output out.glb: with --ray, name a folder for all results"),
        ("captures --output out --update a.safetensors", "--update belongs to one object"),
        ("captures/cup/images/0.jpg --output out", "cannot be read as a folder"),
        ("captures/.hidden --output out", "holds no folders"),
    ],
)
def test_what_is_no_folder_of_captures_is_refused(
    words: str, said: str, captures: Path, in_process, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(captures.parent)
    assert main(["reconstruct", *words.split(), "--ray", "auto"]) in (1, 2)
    assert said in capsys.readouterr().err and not in_process
