import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from clearpane.app import doctor
from clearpane.app.cli import main
from clearpane.app.doctor import Doctor, run
from clearpane.errors import ClearpaneError
from clearpane.separation.layers import Layers

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


class Same:
    def separate(self, image, *, quality="fast", confidence=False):
        return Layers(image, np.zeros_like(image))


@pytest.fixture(autouse=True)
def separator(monkeypatch):
    monkeypatch.setattr(doctor, "load_separator", lambda name: Same())


def names(requirements):
    return {re.split(r"[\[<>=~ ]", name)[0].lower().replace("_", "-") for name in requirements}


def test_lists_agree_with_the_package():
    assert names(doctor.required_packages()) == names(PROJECT["dependencies"])
    extras = {
        name: names(needed)
        for name, needed in PROJECT["optional-dependencies"].items()
        if name not in ("all", "test", "docs")
    }
    assert {name: names(doctor.required_packages(name)) for name in doctor.EXTRAS} == extras


def test_a_working_installation(monkeypatch, capsys):
    # Another machine may have longer lists of either.
    monkeypatch.setattr(doctor, "_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(doctor, "_torch", lambda: None)
    assert run(Doctor()) == 0
    text = capsys.readouterr().out
    words = ("onnxruntime", "cores", "CPUExecutionProvider", "compact", "Free disk space", "Everything works")
    for word in words:
        assert word in text
    assert max(map(len, text.splitlines()[1:])) <= 80


def test_json_is_one_object(capsys):
    assert run(Doctor(json=True)) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["works"] is True and facts["problems"] == []
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["devices"]["cpu_cores"] >= 1
    assert "CPUExecutionProvider" in facts["devices"]["onnxruntime_providers"]
    assert facts["disk_free_bytes"]["here"] > 0


def test_a_missing_extra_is_named_with_its_install_line_and_is_no_problem(monkeypatch, capsys):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "rawpy" else version(name))
    assert run(Doctor()) == 0
    text = capsys.readouterr().out
    assert "missing rawpy" in text and 'pip install "clearpane[photo]"' in text


def test_a_missing_base_package_is_a_problem(monkeypatch, capsys):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "rich" else version(name))
    assert run(Doctor()) == 1
    assert "problem: the package rich is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "said"),
    [(ClearpaneError("weights are missing"), "weights are missing"), (RuntimeError("bad\nfile"), "bad file")],
)
def test_a_model_that_fails_is_a_problem(monkeypatch, capsys, error, said):
    def fail(name):
        raise error

    monkeypatch.setattr(doctor, "load_separator", fail)
    assert run(Doctor()) == 1
    assert said in capsys.readouterr().out.splitlines()[-1]


def test_a_model_that_answers_nonsense_is_a_problem(monkeypatch, capsys):
    class Nonsense:
        def separate(self, image):
            return Layers(np.full_like(image, np.nan), image)

    monkeypatch.setattr(doctor, "load_separator", lambda name: Nonsense())
    assert run(Doctor()) == 1
    assert "returned a wrong result" in capsys.readouterr().out


def test_files_that_do_not_come_back_are_a_problem(monkeypatch):
    from clearpane.images import reading

    def fail(path):
        raise OSError("no such codec")

    monkeypatch.setattr(reading, "read_picture", fail)
    facts = doctor.examine()
    assert not facts["works"] and "no such codec" in facts["problems"][0]


def test_weights_are_listed_with_size_and_checksum(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "compact.onnx").write_bytes(b"abc")
    monkeypatch.setattr(doctor.resources, "files", lambda package: tmp_path)
    assert doctor._weights("compact") == {
        "compact.onnx": {
            "bytes": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
    }


def test_what_the_panel_needs_is_said_before_anything_is_loaded(capsys, base, monkeypatch):
    from clearpane.separation.flux import loading

    for kind in (loading.AutoencoderKL, loading.FluxTransformer2DModel, loading.FluxKontextPipeline):
        monkeypatch.setattr(kind, "from_pretrained", pytest.fail)
    assert main(["doctor", "--model", "panel", "--base", str(base), "--side", "64", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["precision"] for row in facts["precisions"]] == ["float32", "bfloat16", "8bit", "nf4"]
    assert facts["precisions"][1]["fits"]["remove"]
    main(["doctor", "--model", "panel"])
    printed = capsys.readouterr().out
    assert "11.99 billion parameters" in printed and "nf4" in printed
    assert "9.8 GB of main memory" in printed


def test_gensirr_needs_less_than_the_panel_and_branching_more(capsys, base):
    needs = {}
    for model in ("panel", "gensirr"):
        main(["doctor", "--model", model, "--json"])
        needs[model] = json.loads(capsys.readouterr().out)["precisions"][3]["bytes"]
    assert needs["gensirr"]["remove"] < needs["panel"]["remove"]
    assert needs["gensirr"]["train"] < needs["panel"]["train"]
    assert needs["gensirr"]["remove"] < needs["gensirr"]["remove_branching"]
    main(["doctor", "--model", "gensirr", "--base", str(base)])
    printed = capsys.readouterr().out
    assert "GenSIRR on" in printed and "--candidates 4" in printed and "a picture of" in printed


def test_options_of_the_panel_are_refused_without_it(capsys):
    assert main(["doctor", "--side", "64"]) == 2
    assert "--base and --side go with --model panel, gensirr and windowseat" in capsys.readouterr().err


def test_a_base_model_that_is_none_is_one_line(capsys, tmp_path):
    assert main(["doctor", "--model", "panel", "--base", str(tmp_path)]) == 1
    assert "model_index.json: missing" in capsys.readouterr().err


def test_windowseat_s_memory_is_said_in_its_own_terms(capsys, monkeypatch):
    assert main(["doctor", "--model", "windowseat", "--json"]) in (0, 1)
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == 20_557_293_619 and facts["side"] == 768
    needed = {row["precision"]: row["bytes"]["remove"] for row in facts["precisions"]}
    # Weights of 2 bytes, and 20 tensors of 48 x 48 tokens and the prompt's 1,024, 3,072 wide, 2 bytes.
    assert needed["bfloat16"] == 2 * 20_557_293_619 + 20 * (48**2 + 1024) * 3072 * 2
    main(["doctor", "--model", "windowseat", "--side", "512"])
    printed = capsys.readouterr().out
    assert "WindowSeat on Qwen-Image-Edit-2509, 20.56 billion parameters" in printed
    assert "512 x 512" in printed and "train" not in printed
