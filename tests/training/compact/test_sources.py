import numpy as np
import pytest
import torch
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.training.compact.sources import align, by_scene, is_held_out, load_pictures, room_paths
from clearpane.training.pictures import Pair


def textured(height=60, width=80, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 4, width // 4, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def test_a_hash_of_the_name_holds_pictures_out():
    names = [f"house_{index}_kitchen.webp" for index in range(2000)]
    assert 180 < sum(map(is_held_out, names)) < 280
    # Fixed for good: what was held out once is never trained on.
    assert [name for name in names[:24] if is_held_out(name)] == ["house_13_kitchen.webp"]


def test_rooms_are_listed_without_those_held_out(tmp_path):
    with pytest.raises(ClearpaneError, match="house_"):
        room_paths(tmp_path)
    for index in range(30):
        Image.new("RGB", (8, 6), (index, 0, 0)).save(tmp_path / f"house_{index}_kitchen.png")
    Image.new("RGB", (8, 6)).save(tmp_path / "mall_1.png")
    kept, held_out = room_paths(tmp_path), room_paths(tmp_path, held_out=True)
    assert len(kept) + len(held_out) == 30 and held_out
    assert all(is_held_out(path.name) for path in held_out)
    assert [picture[0, 0, 0].item() for picture in load_pictures(kept[:2])] == [
        int(path.name.split("_")[1]) for path in kept[:2]
    ]


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-3, 3)])
def test_a_shifted_truth_is_brought_back(down, right):
    scene = textured(80, 100)
    photo = scene[:, 8:68, 8:88]
    truth = scene[:, 8 - down : 68 - down, 8 - right : 88 - right]
    aligned = align(Pair("a", (0.8 * photo).byte(), truth.contiguous()))
    assert aligned.exact
    assert aligned.pair.input.shape == (3, 60 - abs(down), 80 - abs(right))
    difference = aligned.pair.input.float() - 0.8 * aligned.pair.truth.float()
    assert difference.abs().max() <= 1


def test_half_a_pixel_is_not_called_exact():
    scene = textured(60, 80).float()
    half = ((scene + scene.roll(1, dims=-1)) / 2).byte()
    assert not align(Pair("a", scene.byte(), half)).exact


def test_pictures_that_have_nothing_in_common_stay_as_they_are():
    pair = Pair("a", textured(seed=1), torch.full((3, 60, 80), 90, dtype=torch.uint8))
    aligned = align(pair)
    assert aligned.pair.input.shape == pair.input.shape or not aligned.exact
    tiny = Pair("b", *(torch.zeros(3, 12, 12, dtype=torch.uint8) for _ in range(2)))
    assert align(tiny).pair is tiny


def test_pairs_are_grouped_by_scene():
    picture = textured()
    pairs = [align(Pair(name, picture, picture)) for name in ("002-01", "001-02", "002-03", "17")]
    assert [[a.pair.name for a in scene] for scene in by_scene(pairs)] == [
        ["001-02"],
        ["002-01", "002-03"],
        ["17"],
    ]
