import pytest

from clearpane.separation.flux.editing_size import EditingSize


@pytest.mark.parametrize(
    ("photo", "area", "short_side"),
    [
        ((300, 400), (300, 400), (512, 683)),
        ((3000, 4000), (443, 591), (512, 683)),
        ((4000, 3000), (591, 443), (683, 512)),
        ((512, 512), (512, 512), (512, 512)),
        ((100, 800), (100, 800), (256, 2048)),  # twice the area at most
        ((1000, 8000), (181, 1448), (256, 2048)),
    ],
)
def test_the_area_is_kept_to_or_the_short_side_is_set(photo, area, short_side):
    assert EditingSize(512).fit(*photo) == area
    assert EditingSize(512, enlarge=True).fit(*photo) == short_side


def test_the_largest_area_is_that_of_its_square():
    assert (EditingSize(512).square, EditingSize(512, enlarge=True).square) == (512, 724)
    wide = EditingSize(768, enlarge=True)
    height, width = wide.fit(400, 1200)
    assert height * width == pytest.approx(wide.pixels, rel=1e-2) == pytest.approx(2 * 768**2)
