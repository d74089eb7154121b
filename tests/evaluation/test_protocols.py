from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.evaluation.protocols import PROTOCOLS, REAL20, Pair, find_pairs, read_pair, read_result


def draw(path: Path, width: int = 40, height: int = 30, colour: tuple[int, int, int] = (9, 99, 199)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)
    return path


def relative(pairs: list[Pair], root: Path) -> list[tuple[str, str, str, str, str | None]]:
    return [
        (
            p.dataset,
            p.name,
            p.input.relative_to(root).as_posix(),
            p.transmission.relative_to(root).as_posix(),
            p.reflection.relative_to(root).as_posix() if p.reflection else None,
        )
        for p in pairs
    ]


def test_suffixed_files_in_natural_order(tmp_path: Path) -> None:
    for name in (
        "10_input.jpg",
        "10_transmission.png",
        "9_input.png",
        "9_transmission.png",
        "9_reflection.png",
    ):
        draw(tmp_path / "mine" / name)
    (tmp_path / "mine" / "notes_input.txt").write_text("no picture")
    assert relative(find_pairs(tmp_path / "mine"), tmp_path / "mine") == [
        ("mine", "9", "9_input.png", "9_transmission.png", "9_reflection.png"),
        ("mine", "10", "10_input.jpg", "10_transmission.png", None),
    ]


def test_several_sets_in_the_prepared_layout(tmp_path: Path) -> None:
    draw(tmp_path / "Nature/blended/1_2.jpg")
    draw(tmp_path / "Nature/transmission_layer/1_2.jpg")
    draw(tmp_path / "SIR2/PostcardDataset/blended/ab-10-m-3.png")
    draw(tmp_path / "SIR2/PostcardDataset/transmission_layer/ab-10-g-3.png")
    draw(tmp_path / "SIR2/PostcardDataset/reflection/ab-10-r-3.png")
    draw(tmp_path / "SIR2/SolidObjectDataset/blended/1-m.png")
    draw(tmp_path / "SIR2/SolidObjectDataset/transmission_layer/1-m.png")
    draw(tmp_path / "SIR2/SolidObjectDataset/reflection_layer/1-m.png")
    draw(tmp_path / "phone/input/x.png")
    draw(tmp_path / "phone/gt/x.jpg")
    assert relative(find_pairs(tmp_path), tmp_path) == [
        ("Nature", "1_2", "Nature/blended/1_2.jpg", "Nature/transmission_layer/1_2.jpg", None),
        (
            "PostcardDataset",
            "ab-10-m-3",
            "SIR2/PostcardDataset/blended/ab-10-m-3.png",
            "SIR2/PostcardDataset/transmission_layer/ab-10-g-3.png",
            "SIR2/PostcardDataset/reflection/ab-10-r-3.png",
        ),
        (
            "SolidObjectDataset",
            "1-m",
            "SIR2/SolidObjectDataset/blended/1-m.png",
            "SIR2/SolidObjectDataset/transmission_layer/1-m.png",
            "SIR2/SolidObjectDataset/reflection_layer/1-m.png",
        ),
        ("phone", "x", "phone/input/x.png", "phone/gt/x.jpg", None),
    ]


def test_sir2_as_its_authors_ship_it(tmp_path: Path) -> None:
    for layer in "mgr":
        draw(tmp_path / f"SolidObjectDataset/2/Focus/11/{layer}.jpg")
        draw(tmp_path / f"WildSceneDataset/withgt/7/{layer}.jpg")
        draw(tmp_path / f"Postcard Dataset/ab/Focus/11/ab-11-{layer}-1.png")
    pairs = find_pairs(tmp_path)
    assert [(p.dataset, p.name) for p in pairs] == [
        ("Postcard Dataset", "ab-Focus-11-ab-11-m-1"),
        ("SolidObjectDataset", "2-Focus-11-m"),
        ("WildSceneDataset", "withgt-7-m"),
    ]
    assert pairs[0].transmission.name == "ab-11-g-1.png"
    assert [p.reflection and p.reflection.name for p in pairs] == ["ab-11-r-1.png", "r.jpg", "r.jpg"]


def test_the_folder_one_stands_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "mine/1_input.png")
    draw(tmp_path / "mine/1_transmission.png")
    draw(tmp_path / "mine/sub/input/2.png")
    draw(tmp_path / "mine/sub/gt/2.png")
    monkeypatch.chdir(tmp_path / "mine")
    assert [p.dataset for p in find_pairs(Path())] == ["mine", "sub"]
    monkeypatch.chdir(tmp_path / "mine" / "sub")
    assert [p.dataset for p in find_pairs(Path(".."))] == ["mine", "sub"]


def test_real20_is_the_published_twenty(tmp_path: Path) -> None:
    for number in (*sorted(REAL20), 1, 2, 90):
        draw(tmp_path / f"real20_420/blended/{number}.jpg")
        draw(tmp_path / f"real20_420/transmission_layer/{number}.jpg")
    pairs = find_pairs(tmp_path)
    assert len(REAL20) == 20
    assert [int(p.name) for p in pairs] == sorted(REAL20)


def test_a_missing_truth_names_the_input(tmp_path: Path) -> None:
    draw(tmp_path / "7_input.png")
    with pytest.raises(ClearpaneError, match=r"7_input\.png: its truth 7_transmission"):
        find_pairs(tmp_path)


def test_no_pairs_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ClearpaneError, match="no pairs found"):
        find_pairs(tmp_path)
    with pytest.raises(ClearpaneError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")


def test_two_sets_of_one_name_are_told_apart_or_refused(tmp_path: Path) -> None:
    for folder in ("a/val", "b/val"):
        draw(tmp_path / folder / "1_input.png")
        draw(tmp_path / folder / "1_transmission.png")
    with pytest.raises(ClearpaneError, match="two pairs are both named 1"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("protocol", "size"),
    [("original", (415, 620)), ("multiple-of-32", (384, 608)), ("long-side-512", (343, 512))],
)
def test_both_pictures_come_at_the_protocols_size(
    protocol: str, size: tuple[int, int], tmp_path: Path
) -> None:
    draw(tmp_path / "1_input.png", 620, 415)
    draw(tmp_path / "1_transmission.png", 620, 415)
    image, truth, reflection = read_pair(find_pairs(tmp_path)[0], PROTOCOLS[protocol])
    assert image.shape == truth.shape == (*size, 3)
    assert image.dtype == truth.dtype == np.uint8
    assert reflection is None
    assert (image == (9, 99, 199)).all()


def test_resizing_is_pillows_bicubic(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8))
    noise.save(tmp_path / "1_input.png")
    draw(tmp_path / "1_transmission.png", 100, 70)
    image, _, _ = read_pair(find_pairs(tmp_path)[0], PROTOCOLS["multiple-of-32"])
    assert np.array_equal(image, np.asarray(noise.resize((96, 64), Image.Resampling.BICUBIC)))


def test_sizes_that_differ_name_both_files(tmp_path: Path) -> None:
    draw(tmp_path / "1_input.png", 64, 64)
    draw(tmp_path / "1_transmission.png", 64, 60)
    for protocol in PROTOCOLS.values():
        with pytest.raises(
            ClearpaneError, match=r"1_input\.png is 64 x 64 but .*1_transmission\.png is 64 x 60"
        ):
            read_pair(find_pairs(tmp_path)[0], protocol)


def test_results_may_have_the_files_or_the_protocols_size(tmp_path: Path) -> None:
    draw(tmp_path / "1_input.png", 100, 70)
    draw(tmp_path / "1_transmission.png", 100, 70)
    pair, protocol = find_pairs(tmp_path)[0], PROTOCOLS["multiple-of-32"]
    for width, height in ((100, 70), (96, 64)):
        path = draw(tmp_path / f"{width}.png", width, height)
        assert read_result(path, pair, (64, 96, 3), protocol).shape == (64, 96, 3)
    with pytest.raises(ClearpaneError, match=r"50\.png is 50 x 35, but .*1_input\.png is scored at 96 x 64"):
        read_result(draw(tmp_path / "50.png", 50, 35), pair, (64, 96, 3), protocol)
