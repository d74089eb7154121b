"""The network that finds an object before any backdrop, where its package is installed."""

from pathlib import Path

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.reconstruction.capture import object_network
from clearpane.reconstruction.capture.object_network import find_network, network_segmenter

HEIGHT, WIDTH = 240, 320
ROW, COLUMN = np.mgrid[:HEIGHT, :WIDTH] + 0.5


def test_a_ball_on_a_table_in_a_room_is_found() -> None:
    try:
        find_network()
    except ClearpaneError:
        pytest.skip("the network is not installed")
    # A striped wall, a table, and a ball lit from above to the left.
    wall = np.where((COLUMN // 20 % 2 > 0)[..., None], [0.75, 0.72, 0.62], [0.55, 0.6, 0.62])
    room = np.where((ROW > 150)[..., None], [0.45, 0.32, 0.22], wall)
    across, down = (COLUMN - 130) / 45, (ROW - 130) / 45
    ball = across**2 + down**2 < 1
    lit = 0.25 + 0.75 * np.clip(0.8 * np.sqrt(np.clip(1 - across**2 - down**2, 0, 1)) - 0.4 * down, 0, 1)
    picture = np.where(ball[..., None], lit[..., None] * [0.9, 0.15, 0.1], room).astype(np.float32)
    mask = network_segmenter()(picture)
    assert mask.shape == ball.shape and mask.min() >= 0 and mask.max() <= 1
    assert ((mask > 0.5) & ball).sum() / ((mask > 0.5) | ball).sum() > 0.9


def test_a_file_that_is_no_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "u2netp.onnx").write_bytes(b"nothing")
    monkeypatch.setattr(object_network, "find_network", lambda: tmp_path / "u2netp.onnx")
    with pytest.raises(ClearpaneError, match=r"u2netp\.onnx: cannot be loaded .* install rembg"):
        network_segmenter()


def test_the_second_look_sees_a_square_around_the_object() -> None:
    mask = np.zeros((100, 200), np.float32)
    mask[40:60, 100:140] = 1
    rows, columns = object_network._window(mask)
    assert (rows.start, rows.stop) == (25, 76) and (columns.start, columns.stop) == (95, 146)
    mask[0, 0] = 1
    assert object_network._window(mask)[0] == slice(0, 100)
