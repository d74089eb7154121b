import numpy as np
import pytest

from clearpane.images import tiling
from clearpane.images.tiling import row_bands


@pytest.mark.parametrize("multiple", [1, 3, 7])
def test_bands_cover_the_rows_once_and_stay_small(monkeypatch, multiple):
    monkeypatch.setattr(tiling, "BAND_PIXELS", 200)
    picture = np.arange(50 * 30).reshape(50, 30)
    bands = list(row_bands(picture, multiple))
    np.testing.assert_array_equal(np.concatenate([picture[rows] for rows in bands]), picture)
    assert len(bands) > 1
    for rows in bands[:-1]:
        assert (rows.stop - rows.start) % multiple == 0
        assert (rows.stop - rows.start) * 30 <= max(200, multiple * 30)
