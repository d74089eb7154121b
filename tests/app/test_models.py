import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants
from PIL import Image

from clearpane.app.cli import main


@pytest.fixture
def repository(hub, toy):
    hub.repositories["owner/toy"] = toy
    return hub


def test_download_use_list_and_remove(repository, tmp_path, capsys, monkeypatch):
    assert main(["models", "download", "owner/toy"]) == 0
    printed = capsys.readouterr().out
    assert "owner/toy: toy, 3 files, their contents are the hub's" in printed
    assert "clearpane models download owner/base" in printed

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    Image.new("RGB", (16, 16), (200, 200, 200)).save(tmp_path / "window.png")
    photo, clean = str(tmp_path / "window.png"), tmp_path / "clean"
    command = ["remove", photo, "--output", str(clean), "--model", "owner/toy"]
    assert main(command) == 0
    assert Image.open(clean / "window_transmission.png").getpixel((3, 3)) == (150, 150, 150)

    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [(m["name"], m["kind"], m["complete"]) for m in facts["models"]] == [
        ("compact", "comes with Clearpane", True),
        ("owner/toy", "toy", True),
    ]
    assert facts["cache"] == constants.HF_HUB_CACHE
    assert main(["models", "remove", "owner/toy"]) == 0
    assert main(["models", "list"]) == 0
    printed = capsys.readouterr().out
    assert "owner/toy  " not in printed and f"Downloads lie in {constants.HF_HUB_CACHE}." in printed


def test_a_broken_download_is_listed_as_such(repository, toy, capsys):
    assert main(["models", "download", "owner/toy"]) == 0
    next(Path(constants.HF_HUB_CACHE).rglob("share.txt")).unlink()
    assert main(["models", "list"]) == 0
    assert "owner/toy  toy, 102.4 kB, not complete" in capsys.readouterr().out


def test_an_exported_model_has_the_figures_in_its_card(toy, tmp_path, capsys):
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for kind, level in (("input", 200), ("transmission", 150)):
        Image.new("RGB", (32, 32), (level, level, 90)).save(pairs / f"a_{kind}.png")
    scores = str(tmp_path / "scores.json")
    assert main(["evaluate", str(pairs), "--model", str(toy), "--json", scores]) == 0
    command = ["models", "export", str(toy), "--output", str(tmp_path / "ready"), "--license", "apache-2.0"]
    assert main([*command, "--scores", scores]) == 0
    assert "hf upload OWNER/NAME" in capsys.readouterr().out
    card = ModelCard.load(tmp_path / "ready" / "README.md")
    measured = json.loads((tmp_path / "scores.json").read_text())["sets"][0]["rows"][0]
    psnr = next(r for r in card.data.eval_results if r.metric_type == "psnr")
    assert measured["name"] == str(toy) and psnr.metric_value == round(measured["mean"]["psnr"], 4)
    assert card.data.base_model == "owner/base" and card.data.license == "apache-2.0"
    assert "do nothing" in card.text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["download", "compact"], 2, "compact: not a name on the model hub"),
        (["download", "owner/none"], 1, "the model hub has no such model"),
        (["remove", "compact"], 2, "compact: not OWNER/NAME"),
        (["remove", "owner/none"], 1, "owner/none: was not downloaded"),
        (["export", "nosuch", "--output", "x"], 1, "unknown model 'nosuch'"),
        (
            ["export", "{toy}", "--output", "x", "--scores", "no.json"],
            1,
            "no.json: there is no such file",
        ),
        (
            ["export", "{toy}", "--output", "x", "--scores", "{toy}/toy.json"],
            1,
            "not the JSON that clearpane evaluate writes",
        ),
    ],
)
def test_what_cannot_be_is_one_line(repository, toy, tmp_path, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(tmp_path)
    assert main(["models", *(word.format(toy=toy) for word in words)]) == code
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_the_weights_are_not_named_twice(toy, tmp_path, capsys):
    command = ["remove", "a.png", "--output", str(tmp_path), "--model", str(toy), "--weights", "x"]
    assert main(command) == 2
    assert "leave out --weights" in capsys.readouterr().err
