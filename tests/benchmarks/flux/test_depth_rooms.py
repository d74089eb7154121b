"""Depth of rendered rooms, against the floor's."""

import numpy as np
from PIL import Image

from benchmarks.flux import depth_rooms


def test_rooms_lie_no_farther_than_their_floor_and_much_of_it_is_seen(tmp_path):
    """The floor's distance is known from the camera alone."""
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    for index in range(3):
        picture, depth = depth_rooms.render_room(4, [tmp_path / "a.png"], [tmp_path / "a.png"], index)
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8 and picture.std() > 5
        camera = depth_rooms.draw_camera(np.random.default_rng([4, index]))
        right = np.cross(camera.ahead, [0, 1, 0])
        right /= np.linalg.norm(right)
        up = np.cross(right, camera.ahead)
        half = np.tan(np.radians(camera.field_of_view) / 2)
        across = (np.arange(64) + 0.5) / 32 - 1
        rays = camera.ahead + half * (across[None, :, None] * right - across[:, None, None] * up)
        with np.errstate(divide="ignore"):
            floor = np.where(rays[..., 1] < 0, -camera.eye[1] / rays[..., 1], np.inf)
        # A ray's length along the axis is its parameter; a pixel's one ray is anywhere in it.
        seen = floor < 5
        assert (depth[seen] < 1.1 * floor[seen]).all()
        assert (np.abs(depth[seen] / floor[seen] - 1) < 0.1).mean() > 0.2
