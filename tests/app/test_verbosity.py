"""Check what is printed, and what a program that uses the library can read in its log."""

import io
import logging

import pytest
from PIL import Image

import clearpane
from clearpane.app.cli import main


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGBA", (24, 16), (200, 100, 50, 128)).save(path)
    return path


@pytest.mark.parametrize(
    ("level", "warned", "logged"),
    [(None, True, False), ("error", False, False), ("WARNING", True, False), ("debug", True, True)],
)
def test_the_variable_chooses_what_the_command_prints(picture, monkeypatch, capsys, level, warned, logged):
    monkeypatch.delenv("CLEARPANE_VERBOSITY", raising=False)
    if level:
        monkeypatch.setenv("CLEARPANE_VERBOSITY", level)
    out = str(picture.parent / "out")
    assert main(["remove", str(picture), "--output", out, "--format", "jpeg", "--strength", "0"]) == 0
    said = capsys.readouterr().err
    assert ("warning: " in said) is warned
    assert (f"debug: read {picture}: png, 24 x 16, uint8" in said) is logged
    assert (f"debug: wrote {out}" in said) is logged
    assert "1 done" in said
    assert not logging.getLogger("clearpane").isEnabledFor(logging.DEBUG)  # as before


def test_an_unknown_level_is_one_line(picture, monkeypatch, capsys):
    monkeypatch.setenv("CLEARPANE_VERBOSITY", "loud")
    assert main(["remove", str(picture), "--output", str(picture.parent / "out")]) == 1
    said = capsys.readouterr().err
    assert said == "error: CLEARPANE_VERBOSITY=loud: set it to error, warning, info, debug\n"


def test_the_library_logs_and_prints_nothing(picture, caplog, capfd):
    data = io.BytesIO()
    Image.new("RGB", (24, 16)).save(data, "PNG")
    damaged = data.getvalue()[:-12]  # its end is missing
    with caplog.at_level(logging.DEBUG, "clearpane"):
        clearpane.remove_reflection(damaged)
    levels = {record.levelname: record.getMessage() for record in caplog.records}
    assert levels["WARNING"].startswith("the picture: the file is damaged")
    assert levels["INFO"].startswith("loaded the separator compact in ")
    assert levels["DEBUG"] == "read a picture: png, 24 x 16, uint8"
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("clearpane").handlers)
