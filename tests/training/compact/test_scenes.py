import pytest
import torch

from clearpane.training.compact.scenes import brighten, lift_blacks, saturate, vary_scene, without_detail
from clearpane.training.loop import step_generator


def picture():
    return torch.rand(3, 24, 32, generator=step_generator(0, 0))


def test_lifted_blacks_are_no_longer_black_but_stay_in_range():
    black = torch.zeros(3, 24, 32)
    lifted = [lift_blacks(black, step_generator(0, step)) for step in range(60)]
    assert all(x.min() >= 0 and x.max() <= 0.45 for x in lifted)
    even = [x for x in lifted if x[0].std() < 1e-6]
    assert 35 < len(even) < 58  # the others are fog
    assert all(x.min() >= 0.05 * 0.5 for x in even)
    white = torch.ones(3, 24, 32)
    assert all(lift_blacks(white, step_generator(0, step)).min() > 0.7 for step in range(20))


@pytest.mark.parametrize("change", [saturate, brighten, lift_blacks])
def test_changed_scenes_stay_in_range_and_are_seeded(change):
    for step in range(10):
        changed = change(picture(), step_generator(1, step))
        assert changed.min() >= 0 and changed.max() <= 1
        assert torch.equal(changed, change(picture(), step_generator(1, step)))


def test_saturation_keeps_grey_and_moves_channels_apart():
    grey = torch.full((3, 4, 4), 0.4)
    torch.testing.assert_close(saturate(grey, step_generator(0, 0)), grey)
    pale = torch.tensor([0.5, 0.4, 0.45])[:, None, None].expand(3, 4, 4)
    assert (saturate(pale, step_generator(0, 0)).std(0) > pale.std(0)).all()


def test_a_good_third_of_the_scenes_is_pale():
    drawn = [vary_scene(picture(), step_generator(0, step)) for step in range(300)]
    pale = [scene for scene, light in drawn if light.pale]
    assert 85 < len(pale) < 130
    means = [torch.stack(scenes).mean() for scenes in (pale, [s for s, light in drawn if not light.pale])]
    assert means[0] > means[1] + 0.1
    for scene, light in drawn:
        assert scene.min() >= 0 and scene.max() <= 1
        assert 0 < light.exposure[0] <= light.exposure[1] and 0 <= light.veil_chance <= 1


def test_a_picture_without_detail_keeps_its_mean_and_is_smooth_or_uniform():
    square = torch.rand(3, 64, 64, generator=step_generator(0, 0))
    smooth = [without_detail(square, step_generator(0, step)) for step in range(40)]
    assert all((x.mean((1, 2)) - square.mean((1, 2))).abs().max() < 0.01 for x in smooth)
    uniform = [x for x in smooth if x.std((1, 2)).max() < 1e-6]
    assert 4 < len(uniform) < 18  # one in four
    assert max(x.diff(dim=-1).abs().max() for x in smooth) < 0.1 < square.diff(dim=-1).abs().max()
