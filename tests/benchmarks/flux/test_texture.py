"""The transfer of a perfect editor's change to full size."""

import numpy as np

from benchmarks.flux import texture
from clearpane.separation.flux.keeping import with_detail


def test_a_perfect_editor_s_change_keeps_the_photograph_s_detail(monkeypatch):
    monkeypatch.setattr(texture, "SIDE", 150)  # as much smaller than the part as 512 is than the whole
    photo, truth = (x[300:500, 400:700] for x in texture.read_example("vase"))
    scores = texture.score_rules(photo, truth)
    wanted = scores["gain and offset, both averaged"] + 3
    assert scores["T enlarged, with the photograph's detail"] > wanted
    assert scores["the same, unchanged pixels kept (as shipped)"] > wanted


def test_texture_that_the_photograph_lacks_is_kept():
    assert texture.contrast_kept(with_detail, 8) > 0.9
    assert texture.contrast_kept(texture.gain_and_offset, 8) < 0.3


def test_detail_of_the_photograph_goes_to_t_and_not_to_r_where_it_is_flat():
    photo = np.full((64, 64, 3), 0.5, np.float32)
    photo[::2] += 0.02  # finer than the small picture shows
    small = np.full((16, 16, 3), 0.51, np.float32)
    scene = with_detail(photo, small, small - np.float32(0.1))
    light = with_detail(photo, small, 0 * small + np.float32(0.1), flat_gain=0)
    np.testing.assert_allclose(scene, photo - 0.1, atol=1e-3)
    np.testing.assert_allclose(light, 0.1, atol=1e-3)
