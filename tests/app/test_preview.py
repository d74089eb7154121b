from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app.cli import main
from clearpane.app.preview import draw_sheet, spread_samples
from clearpane.synthesis.dataset.manifest import DataSet
from clearpane.synthesis.dataset.shards import StoredSample, encode_sample, panel_caption, sample_key
from clearpane.synthesis.glass.scene import Background, GlassScene, ReflectedWorld


def sample(index: int, letters: str = "I T R B MR", reflection: float = 0.01) -> StoredSample:
    names = letters.split()
    flat = {"T": 0.5, "R": reflection, "B": 0.6, "MR": 0.9}
    layers = {n: np.full((20, 30, 3), flat[n], np.float32) for n in names if n != "I"}
    photograph = np.full((20, 30, 3), index / 20, np.float32) if "I" in names else None
    scene = GlassScene(Background("a.png"), ReflectedWorld("b.png"), seed=index)
    return StoredSample(sample_key(index), scene, photograph, layers, panel_caption(names))


@pytest.fixture
def data_set(tmp_path: Path) -> DataSet:
    """Ten samples of twelve are written."""
    made = DataSet.prepare(tmp_path / "set", {"samples_per_shard": 5}, 12)
    for shard in made.missing()[:2]:
        made.write(shard, (encode_sample(sample(i), "png16") for i in shard.samples))
    return made


def test_draws_a_sheet_once(data_set: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    command = ["preview", str(data_set.folder), "--output", str(sheet), "--count", "4"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{data_set.folder} -> {sheet} (4 of 10 samples)\n"
    with Image.open(sheet) as drawn:
        assert drawn.width == 5 * 200 + 8
    before = sheet.read_bytes()
    assert main(command) == 1
    assert "exists already" in capsys.readouterr().err
    assert sheet.read_bytes() == before
    assert main([*command, "--overwrite"]) == 0


def test_samples_are_spread_over_what_is_written(data_set: DataSet) -> None:
    chosen = spread_samples(DataSet.load(data_set.folder), 4)
    assert [s.scene.seed for s in chosen] == [0, 2, 5, 7]
    assert len(spread_samples(data_set, 60)) == 10


def test_a_sheet_shows_each_layer_in_its_column() -> None:
    sheet = draw_sheet([sample(5), sample(10)])
    first_row = sheet[28 + 64, 8 + 96 :: 200]  # the middles of its pictures, 192 x 128
    srgb = {0.01 * 16: 0.437, 0.5: 0.735, 0.6: 0.797, 0.9: 0.954}
    expected = [0.25, srgb[0.5], srgb[0.16], srgb[0.6], srgb[0.9]]
    np.testing.assert_allclose(first_row[:, 1], expected, atol=0.005)
    second_row = sheet[28 + 64 + 158, 8 + 96]
    np.testing.assert_allclose(second_row, 0.5, atol=0.005)


def test_a_sheet_of_some_layers_has_no_other_columns() -> None:
    assert draw_sheet([sample(0, "T R", reflection=2.0)]).shape[1] == 2 * 200 + 8


def test_what_cannot_be_drawn_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    DataSet.prepare(tmp_path / "begun", {"samples_per_shard": 5}, 12)
    out = ["--output", str(tmp_path / "sheet.jpg")]
    for words, code, line in (
        ([str(tmp_path / "other"), *out], 1, "no data set here"),
        ([str(tmp_path / "begun"), *out], 1, "no shard is finished yet"),
        ([str(tmp_path / "begun"), *out, "--count", "61"], 2, "from 1 to 60"),
    ):
        assert main(["preview", *words]) == code
        (error,) = capsys.readouterr().err.splitlines()
        assert line in error
    assert not (tmp_path / "sheet.jpg").exists()
