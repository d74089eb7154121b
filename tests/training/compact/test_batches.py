import numpy as np
import pytest
import torch
from PIL import Image

from clearpane.optics.color import srgb_to_linear
from clearpane.synthesis.dataset.sources import Sources
from clearpane.training.compact.batches import (
    CropDrawer,
    Shares,
    TrainingPictures,
    draw_gain,
    draw_rows,
    mixed,
    relit,
)
from clearpane.training.compact.sources import AlignedPair
from clearpane.training.loop import step_generator
from clearpane.training.pictures import GlassPictures, Pair

SIZE = 32


def even(*colour):
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, 48, 64).contiguous()


def drawer(**pictures):
    natural = torch.randint(0, 255, (3, 48, 64), dtype=torch.uint8, generator=step_generator(0, 0))
    return CropDrawer(TrainingPictures(**({"natural": [[natural]]} | pictures)), Shares(), SIZE)


def pair_of(photo, truth, name="a", exact=True):
    return AlignedPair(Pair(name, photo, truth), exact)


@pytest.fixture
def sources(tmp_path):
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(tmp_path / f"{index}.png")
    return Sources.open(tmp_path)


def test_light_adds_up_in_blends_without_a_tone_curve():
    rows = [drawer().blend_row(step_generator(1, step)) for step in range(40)]
    lawful = [row for row in rows if isinstance(row.transmittance, torch.Tensor)]
    assert 20 < len(lawful) < 40
    for row in lawful:
        background, added, seen = map(srgb_to_linear, (row.target, row.reflection, row.photo))
        light = (row.transmittance[:, None, None] * background + added).clamp(max=1)
        open_ended = (row.reflection < 0.99) & (row.target < 0.99)
        assert (light - seen)[open_ended].mean().abs() < 0.02


def test_clean_rows_are_their_own_targets():
    for step in range(10):
        row = drawer().clean_row(step_generator(0, step))
        assert torch.equal(row.photo, row.target) and not row.reflection.any() and row.transmittance == 1


def test_one_clean_row_in_four_has_no_detail():
    rows = [drawer().clean_row(step_generator(0, step)) for step in range(100)]
    smooth = [row for row in rows if row.photo.diff(dim=-1).abs().mean() < 0.03]
    assert 15 < len(smooth) < 40


def test_sets_of_pairs_are_drawn_alike_whatever_their_size():
    large = [[pair_of(even(200, 0, 0), even(200, 0, 0), f"{k:03}-01")] for k in range(9)]
    small = [[pair_of(even(0, 0, 200), even(0, 0, 200))]]
    crops = drawer(pair_sets=[large, small])
    drawn = [crops.pair(step_generator(0, step)).pair.input[0, 0, 0].item() for step in range(200)]
    assert 70 < sum(value == 200 for value in drawn) < 130


def test_a_transfer_brings_the_light_that_was_added_to_a_pair():
    """The pair gained light in red alone, before a black truth; the scenes have none of it."""
    crops = drawer(pair_sets=[[[pair_of(even(255, 0, 0), even(0, 0, 0))]]], natural=[[even(0, 0, 0)]])
    rows = [crops.transfer_row(step_generator(0, step)) for step in range(20)]
    assert all(row.reflection.mean() > 0.05 for row in rows)
    assert all(not row.real for row in rows)


def test_real_rows_are_marked_and_have_no_reflection():
    row = drawer(pair_sets=[[[pair_of(even(90, 90, 90), even(60, 60, 60))]]]).real_row(step_generator(0, 0))
    assert row.real and not row.reflection.any() and np.isnan(row.transmittance)


@pytest.mark.parametrize("blend", ["ceilnet", "zhang", "dsrnet", "rdnet"])
def test_blends_of_the_literature_have_a_reflection_but_no_t(blend):
    rows = [drawer().published_row(blend, step_generator(0, step)) for step in range(8)]
    assert all(np.isnan(row.transmittance) and not row.real for row in rows)
    assert all(row.reflection.max() > 0.05 for row in rows)
    assert np.mean([(row.photo - row.target).abs().mean() for row in rows]) > 0.01


def test_glass_scenes_are_rendered_when_drawn(sources):
    crops = drawer(sources=sources)
    first, again, other = (crops.glass_row(step_generator(0, step)) for step in (0, 0, 1))
    assert torch.equal(first.photo, again.photo) and not torch.equal(first.photo, other.photo)
    for row in (first, other):
        assert row.photo.shape == row.target.shape == row.reflection.shape == (3, SIZE, SIZE)
        assert row.photo.isfinite().all() and row.target.any()


def test_glass_scenes_rendered_before_are_taken_as_they_are():
    layers = even(153, 153, 153), even(102, 102, 102), even(51, 51, 51)
    crops = drawer(glass=[GlassPictures(*layers, torch.full((3,), 0.9))])
    row = crops.glass_row(step_generator(0, 0))
    torch.testing.assert_close(row.target, torch.full((3, SIZE, SIZE), 0.4))
    assert row.transmittance.tolist() == pytest.approx([0.9] * 3)


def test_backgrounds_are_relit_within_reason():
    scene = torch.rand(3, 16, 16, generator=step_generator(0, 0))
    drawn = [relit(scene, step_generator(0, step)) for step in range(60)]
    means = [background.mean().item() for background, _ in drawn]
    assert 10 < sum(pale for _, pale in drawn) < 32
    assert min(means) > 0.1 and max(means) < 0.85 and max(means) > 2 * min(means)


def test_backgrounds_brighter_than_white_are_clipped_before_the_pane():
    generator = step_generator(0, 0)
    gain = draw_gain(generator)
    row = mixed(torch.full((3, 16, 16), 2.0), torch.zeros(3, 16, 16), gain, generator, pale=False)
    assert row.target.max() <= 1 and (gain > 0.7).all() and (gain <= 1).all()


def test_batches_hold_the_stated_shares_and_are_seeded(sources):
    crops = drawer(pair_sets=[[[pair_of(even(90, 90, 90), even(60, 60, 60))]]], sources=sources)
    shares = Shares(real=0.4, transfer=0, glass=0.1, clean=0.3)
    crops = CropDrawer(crops.pictures, shares, SIZE)
    batch, again = (draw_rows(crops, 120, crops.blend_row, step_generator(0, 3)) for _ in range(2))
    assert torch.equal(batch.input, again.input)
    clean = (batch.input == batch.target).flatten(1).all(1) & ~batch.real
    assert 34 < batch.real.sum() < 62
    assert 22 < clean.sum() < 50
    assert batch.transmittance[batch.real].isnan().all()
