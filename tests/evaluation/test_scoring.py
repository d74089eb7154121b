import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.evaluation.protocols import PROTOCOLS, find_pairs
from clearpane.evaluation.scoring import (
    BASELINES,
    METRICS,
    NOTHING,
    ORACLE_GAIN,
    ORACLE_LINE,
    FolderMethod,
    Method,
    SeparatorMethod,
    score_pairs,
    summarise,
)
from clearpane.evaluation.tables import csv_text, json_text, write_text
from clearpane.images.picture import to_8bit
from clearpane.separation.interface import Quality
from clearpane.separation.layers import Layers
from clearpane.separation.separator import Separator

ORIGINAL = PROTOCOLS["original"]


@dataclass(frozen=True)
class Darken(Separator):
    """Takes a grey veil away: right for the pictures of ``make_pairs``, up to the gain."""

    veil: float = 0.2

    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        assert image.dtype == np.float32
        assert image.max() <= 1
        transmission = np.clip(image - self.veil, 0, 1)
        return Layers(transmission, image - transmission)


def make_pairs(folder: Path, count: int, *, reflection: bool = False, seed: int = 0) -> None:
    """Scenes of smooth colour under a veil of 0.2."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        colours = Image.fromarray(rng.integers(0, 180, (4, 5, 3), dtype=np.uint8))
        scene = np.asarray(colours.resize((50, 40), Image.Resampling.BILINEAR), np.float32)
        veil = np.full_like(scene, 51)
        layers = {"input": scene + veil, "transmission": scene} | ({"reflection": veil} if reflection else {})
        for name, values in layers.items():
            Image.fromarray(values.astype(np.uint8)).save(folder / f"{number}_{name}.png")


def score_folder(folder: Path, *methods: Method) -> list:
    return [scores for scores, _ in score_pairs(find_pairs(folder), methods, ORIGINAL)]


def test_a_separator_beside_the_baselines(tmp_path: Path) -> None:
    make_pairs(tmp_path / "set", 3, reflection=True)
    assert isinstance(Darken(), Separator)
    scores = score_folder(tmp_path, SeparatorMethod("ours", Darken()))
    assert list(scores[0].rows) == ["ours", *BASELINES, "ours: reflection"]
    for s in scores:
        assert (
            s.rows["ours"]["psnr"] == s.rows[ORACLE_LINE]["psnr"] == s.rows["ours: reflection"]["psnr"] == 100
        )
        assert s.rows[NOTHING]["psnr"] == pytest.approx(-20 * np.log10(0.2))
        assert s.rows[NOTHING]["psnr"] < s.rows[ORACLE_GAIN]["psnr"] < 100
        assert s.rows[NOTHING]["psnr_g"] == pytest.approx(s.rows[ORACLE_GAIN]["psnr"])
        assert s.gain("ours") == pytest.approx(100 + 20 * np.log10(0.2))


def test_results_of_another_program(tmp_path: Path) -> None:
    make_pairs(tmp_path / "set", 2)
    other = tmp_path / "other"
    (other / "set").mkdir(parents=True)
    for number, path in ((0, other / "0_transmission.png"), (1, other / "set" / "1_input.png")):
        Image.open(tmp_path / "set" / f"{number}_transmission.png").save(path)
    scores = score_folder(tmp_path / "set", FolderMethod("other", other, ORIGINAL))
    assert [s.rows["other"]["psnr"] for s in scores] == [100, 100]
    (other / "0_transmission.png").unlink()
    with pytest.raises(ClearpaneError, match=r"no result for .*0_input\.png; expected 0_transmission"):
        score_folder(tmp_path / "set", FolderMethod("other", other, ORIGINAL))


def test_all_sets_are_weighted_by_their_pictures(tmp_path: Path) -> None:
    make_pairs(tmp_path / "a", 1)
    make_pairs(tmp_path / "b", 3, seed=1)
    scores = score_folder(tmp_path, SeparatorMethod("half", Darken(0.1)))
    tables = summarise(scores)
    assert [(t.name, t.pictures) for t in tables] == [("a", 1), ("b", 3), ("all", 4)]
    a, b, everything = (t.rows[0].mean["ssim"] for t in tables)
    assert everything == pytest.approx((a + 3 * b) / 4)
    assert a != pytest.approx(b)


def test_summary_against_doing_nothing(tmp_path: Path) -> None:
    make_pairs(tmp_path / "a", 4)
    (table,) = summarise(
        score_folder(tmp_path, SeparatorMethod("half", Darken(0.1)), SeparatorMethod("no", Darken(0)))
    )
    half, no, nothing, *_ = table.rows
    assert (half.better, no.better, nothing.better, nothing.over_nothing) == (4, 0, None, None)
    assert half.over_nothing is not None
    over = half.over_nothing["psnr"]
    assert over.low <= over.mean <= over.high
    assert over.mean == pytest.approx(half.mean["psnr"] - nothing.mean["psnr"])
    assert no.over_nothing is not None
    assert no.over_nothing["psnr"].high == 0
    values = [s.rows["half"]["ncc"] for s in score_folder(tmp_path, SeparatorMethod("half", Darken(0.1)))]
    assert half.spread["ncc"] == pytest.approx(np.std(values, ddof=1))


def test_columns_of_learned_metrics_only_when_given(tmp_path: Path) -> None:
    make_pairs(tmp_path / "a", 1)
    error = lambda x, t: float(np.abs(to_8bit(x) - 1.0).mean())  # noqa: E731
    calls = score_pairs(find_pairs(tmp_path), [], ORIGINAL, {"lpips": error, "st_lpips": error})
    ((scores, _),) = calls
    assert {"lpips", "st_lpips"} <= scores.rows[NOTHING].keys()
    assert not {"lpips", "st_lpips"} & score_folder(tmp_path)[0].rows[NOTHING].keys()
    assert METRICS["st_lpips"].title == "ST-LPIPS"


def test_too_small_a_picture_is_named(tmp_path: Path) -> None:
    for name in ("1_input.png", "1_transmission.png"):
        Image.new("RGB", (40, 19)).save(tmp_path / name)
    with pytest.raises(ClearpaneError, match=r"1_input\.png: too small"):
        score_folder(tmp_path)


def test_csv_and_json_hold_every_row(tmp_path: Path) -> None:
    make_pairs(tmp_path / "a", 2, reflection=True)
    scores = score_folder(tmp_path, SeparatorMethod("half", Darken(0.1)))
    lines = list(csv.DictReader(io.StringIO(csv_text("original", scores))))
    assert len(lines) == 2 * 5
    assert lines[0]["row"] == "half"
    assert {line["protocol"] for line in lines} == {"original"}
    assert float(lines[0]["psnr"]) == pytest.approx(scores[0].rows["half"]["psnr"], abs=1e-5)
    document = json.loads(json_text("original", summarise(scores), scores))
    assert document["pictures"][1]["rows"]["do nothing"] == scores[1].rows[NOTHING]
    assert document["sets"][0]["rows"][0]["over_nothing"]["psnr"].keys() == {"mean", "low", "high"}


def test_files_are_not_overwritten_unasked(tmp_path: Path) -> None:
    write_text(tmp_path / "s.csv", "one")
    with pytest.raises(ClearpaneError, match=r"s\.csv"):
        write_text(tmp_path / "s.csv", "two")
    assert (tmp_path / "s.csv").read_text() == "one"
    write_text(tmp_path / "s.csv", "two", overwrite=True)
    assert (tmp_path / "s.csv").read_text() == "two"
