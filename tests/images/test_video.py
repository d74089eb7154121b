"""Films: what was written is what a player sees."""

from pathlib import Path

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.images.video import write_video

av = pytest.importorskip("av")


def frames(count: int = 4, height: int = 32, width: int = 48) -> list[np.ndarray]:
    return [np.full((height, width, 3), [200, 40 * i, 60], np.uint8) for i in range(count)]


def test_a_film_has_all_pictures_and_their_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, frames(), 12)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 12)
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited
        seen = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(seen) == 4
    for got, given in zip(seen, frames(), strict=True):
        assert np.abs(got.astype(int) - given).max() <= 6
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ([], "no pictures"),
        (frames(height=31), "even"),
        ([*frames(1), *frames(1, width=64)], "one size"),
    ],
)
def test_what_makes_no_film_is_said_and_leaves_nothing(
    tmp_path: Path, pictures: list[np.ndarray], said: str
) -> None:
    with pytest.raises(ClearpaneError, match=said):
        write_video(tmp_path / "a.mp4", pictures, 12)
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("mine")
    with pytest.raises(ClearpaneError, match="exists"):
        write_video(path, frames(), 12)
    assert path.read_text() == "mine"
    write_video(path, frames(), 12, overwrite=True)
    assert path.read_bytes() != b"mine"
