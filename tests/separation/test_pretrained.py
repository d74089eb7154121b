import json
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants

from clearpane import Separator, load_separator
from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.separation.compact.runtime import WEIGHTS, CompactSeparator
from clearpane.separation.pretrained import base_of, describe, export_model, fetch_model, find_model

from ..hub.toy_model import ToyOptions, ToySeparator


def test_a_directory_and_a_hub_name_load_the_same(hub, toy):
    hub.repositories["owner/toy"] = toy
    local, fetched = load_separator(str(toy)), load_separator("owner/toy", times=2)
    assert (local.share, fetched.share) == (0.25, 0.5)
    assert sorted(hub.downloaded()) == ["more/big.bin", "share.txt", "toy.json"]  # and no checkpoint
    hub.repositories.clear()
    assert Separator.from_pretrained("owner/toy", times=3).share == 0.75  # from the cache


def test_only_the_class_asked_for_is_given(toy):
    assert ToySeparator.from_pretrained(toy).share == 0.25
    with pytest.raises(ClearpaneError, match="holds a ToySeparator, not a CompactSeparator"):
        CompactSeparator.from_pretrained(toy)


def test_what_is_saved_is_the_model_alone_with_a_card(toy, tmp_path):
    (toy / "toy.json").write_text(json.dumps({"base": str(tmp_path / "bases" / "mine")}))
    load_separator(str(toy)).save_pretrained(tmp_path / "saved")
    files = sorted(p.relative_to(tmp_path / "saved").as_posix() for p in (tmp_path / "saved").rglob("*.*"))
    assert files == ["README.md", "more/big.bin", "share.txt", "toy.json"]
    assert json.loads((tmp_path / "saved" / "toy.json").read_text()) == {
        "base": "mine"
    }  # no path of this disk
    assert "mine (a directory; give yours as `base`)" in (tmp_path / "saved" / "README.md").read_text()
    image = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    layers = Separator.from_pretrained(tmp_path / "saved").separate(image)
    np.testing.assert_array_equal(layers.reflection, image * 0.25)
    with pytest.raises(ClearpaneError, match="exists and is not empty"):
        load_separator(str(toy)).save_pretrained(tmp_path / "saved")


def test_a_card_that_is_there_is_kept(toy, tmp_path):
    (toy / "README.md").write_text("---\nlicense: mit\n---\n\n# mine\n")
    export_model(str(toy), tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text() == (toy / "README.md").read_text()


def test_compact_loads_from_a_directory_of_a_training(tmp_path):
    (tmp_path / WEIGHTS.name).symlink_to(WEIGHTS)
    separator = CompactSeparator.from_pretrained(tmp_path)
    image = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    assert np.abs(separator.separate(image).transmission - image).max() > 0
    (tmp_path / WEIGHTS.name).unlink()
    with pytest.raises(
        ClearpaneError, match=r"compact\.onnx: the separator's weights are missing; name another"
    ):
        load_separator("compact", weights=tmp_path)


def test_the_weights_that_come_with_clearpane_have_a_card_that_the_hub_reads():
    card = ModelCard.load(WEIGHTS.parent / "README.md")
    assert card.data.license == "apache-2.0" and card.data.library_name == "clearpane"
    assert describe(WEIGHTS.parent) == ("compact", True)


def test_a_base_model_is_fetched_in_its_parts(hub, base):
    hub.repositories["owner/kontext"] = base
    kind, folder = fetch_model("owner/kontext")
    assert kind == "base model" and describe(folder) == ("base model", True)
    assert {Path(file).parts[0] for file in hub.downloaded()} == {
        *("model_index.json", "transformer", "vae", "scheduler"),
    }


def test_the_base_model_of_a_directory_is_found(toy, tmp_path):
    assert base_of(toy) == "owner/base"
    (tmp_path / "model_index.json").write_text('{"base_model": "owner/qwen"}')
    assert (base_of(tmp_path), base_of(toy / "more")) == ("owner/qwen", None)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("nosuch", {}, "unknown model 'nosuch'; known are: .*OWNER/NAME"),
        ("./nosuch", {}, "unknown model"),
        ("{empty}", {}, "holds no separator, none of the files compact.onnx, panel.json, gensirr.json"),
        ("{toy}", {"weights": "x"}, "is the weights already"),
        ("{toy}", {"colour": 1}, "`colour` goes with no model, not with toy"),
        ("{half}", {}, r"share\.txt: missing; of the 2 files that this model needs 1 are there"),
    ],
)
def test_what_is_no_model_is_one_line(toy, tmp_path, name, given, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "toy.json").write_text("{}")
    place = name.format(toy=toy, empty=tmp_path / "empty", half=tmp_path / "half")
    with pytest.raises(ClearpaneError, match=said):
        load_separator(place, **given)


def test_another_repository_is_refused_before_its_weights_are_downloaded(hub, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"large")
    hub.repositories["owner/other"] = tmp_path / "other"
    for ask in (find_model, fetch_model):
        with pytest.raises(ClearpaneError, match=r"owner/other: (holds no|neither a) separator"):
            ask("owner/other")
    assert hub.downloaded() == []


def test_a_half_finished_download_offline_says_how_much_is_missing(hub, toy, monkeypatch):
    hub.repositories["owner/toy"] = toy
    _, folder = find_model("owner/toy")
    (folder / "share.txt").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ClearpaneError, match=r"^owner/toy: is not complete here \(1 files are missing\)"):
        find_model("owner/toy")


def test_options_beside_options_are_refused(toy):
    with pytest.raises(ClearpaneError, match="`times`: set it in the options"):
        load_separator("toy", ToyOptions(toy), times=2)
    with pytest.raises(ClearpaneError, match="is the weights already"):
        load_separator(str(toy), ToyOptions(toy))


def test_a_separator_of_one_s_own_cannot_be_saved(tmp_path):
    with pytest.raises(ClearpaneError, match="no files to save"):
        ToySeparator(0.5).save_pretrained(tmp_path / "saved")


def test_a_directory_needs_no_hub_and_a_name_says_what_it_needs(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert load_separator(str(toy)).share == 0.25
    with pytest.raises(MissingExtraError, match=r"owner/toy.*clearpane\[hub\]"):
        load_separator("owner/toy")
