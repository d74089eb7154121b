"""A mountain lake at dusk through double glazing; the lit room, its lamps doubled, and the photographer."""

from __future__ import annotations

from typing import Any

import numpy as np

from glass import Air
from shapes import ball, box, panel, person, surface, tube, vessel
from stage import Camera, Library, Stage
from surfaces import cloth, glaze, matte, noise, picture, plaster, solid

WARM = np.array((1.0, 0.62, 0.31))
LAKE = -34.0  # metres below the floor of the room


def stage(library: Library) -> Stage:
    world = [*_mountains(), *_shore(), *_frame(library), *_sill(library), *_room(library), *_lamps()]
    world += person(0.20, 1.92, 1.76, solid((0.05, 0.045, 0.05), 0.9), photographing=True)
    world.append(library.sky("kiara_1_dawn", 178, 0.085))
    return Stage(
        world=world,
        slabs=[(-0.004, 0.0, 0.0), (-0.024, -0.020, 0.28)],
        opening=(-1.25, 0.90, 1.25, 2.5),
        camera=Camera((0.16, 1.56, 1.58), (0.08, 1.432, 0.0), 52, 0.003, 3.4),
        exposure=1.6,
        air=Air(13000.0, (0.20, 0.155, 0.23)),
    )


def _mountains() -> list[Any]:
    """Make three ranges, one behind another, with a gap for the lake; snow where it is high and flat."""
    ranges: list[Any] = []
    for k, (near, deep, high, gap) in enumerate(
        ((-1500, 1500, 430, 0.75), (-3200, 2600, 1050, 0.55), (-7000, 4200, 2750, 0.0))
    ):
        wide = -2.6 * near + 2500
        rows, columns = 240, 420
        x, z = np.meshgrid(np.linspace(-wide / 2, wide / 2, columns), np.linspace(near, near - deep, rows))
        coarse = noise((rows, columns), (5, 2), 50 + k, 9)
        ridged = 1 - np.abs(2 * noise((rows, columns), (9, 4), 40 + k, 8) - 1)
        across = (x - 0.10 * near) / wide
        valley = 1 - gap * np.exp(-((across / 0.13) ** 2)) + 0.5 * np.abs(across)
        foot = np.sin(np.pi * np.clip((near - z) / deep, 0, 1)) ** 0.8
        height = high * foot * valley * (0.35 * coarse + 0.75 * ridged**2 * (0.4 + coarse))
        steep = np.hypot(*np.gradient(height, deep / rows, wide / columns))
        snow = np.clip((height - 620 + 260 * (coarse - 0.5)) / 160, 0, 1) * np.clip(1.7 - steep, 0, 1)
        woods = np.clip((330 - height + 300 * (ridged - 0.5)) / 120, 0, 1)[..., None]
        rock = (0.5 + coarse)[..., None] * np.array((0.12, 0.105, 0.10))
        tone = rock + woods * (np.array((0.018, 0.030, 0.022)) - rock)
        tone = tone + snow[..., None] * (np.array((0.78, 0.80, 0.84)) - tone)
        points = np.stack([x, height + LAKE - 4, z], -1)[:, ::-1]
        u, v = np.meshgrid(np.linspace(1, 0, columns), np.linspace(1, 0, rows))
        ranges.append(
            surface(points, np.stack([u, v], -1), {"type": "twosided", "inside": matte(picture(tone))})
        )
    water = solid((0.006, 0.014, 0.020), 0.09)
    return [*ranges, panel((0, LAKE, -4500), (0, 1, 0), (20000, 9200), water)]


def _shore() -> list[Any]:
    """Make the slope below the house, with spruces."""
    rows, columns = 60, 160
    x, z = np.meshgrid(np.linspace(-90, 90, columns), np.linspace(-8, -95, rows))
    bank = (
        -5.5
        - 30 * ((-8 - z) / 80) ** 0.8
        + 5 * noise((rows, columns), (9, 4), 71)
        + 3.5 * np.abs(x / 60) ** 2
    )
    grass = (0.4 + noise((256, 256), (30, 30), 72))[..., None] * np.array((0.022, 0.030, 0.014))
    u, v = np.meshgrid(np.linspace(0, 4, columns), np.linspace(0, 2, rows))
    slope = surface(
        np.stack([x, bank, z], -1),
        np.stack([u, v], -1),
        {"type": "twosided", "inside": matte(picture(grass))},
    )
    trees = [(-11.5, -27, 17), (-16, -33, 21), (-8.4, -36, 15), (-21, -38, 20), (-13, -48, 20),
             (13.5, -30, 12.5), (19, -34, 19),
             (16.5, -44, 16), (25, -42, 21), (9.5, -52, 11), (-3.5, -66, 11), (1.5, -72, 9),
             (31, -50, 20), (-29, -46, 22)]  # fmt: skip
    made = [slope]
    for k, (a, b, tall) in enumerate(trees):
        ground = float(bank[np.abs(z[:, 0] - b).argmin(), np.abs(x[0] - a).argmin()]) - 0.6
        made.append(_spruce((a, ground, b), tall, 80 + k))
    return made


def _spruce(at: tuple[float, float, float], tall: float, seed: int) -> Any:
    """Whorls of branches that hang, each of its own length."""
    rng = np.random.default_rng(seed)
    levels, sides, whorls = 260, 60, int(rng.integers(30, 40))
    v = np.linspace(0.03, 1, levels)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    tier = 1 - (v * whorls) % 1
    reach = rng.uniform(0.15, 0.35, (whorls + 1, sides))
    for row in reach:  # a few long branches among twigs
        chosen = rng.choice(sides, 11, replace=False)
        row[chosen] = rng.uniform(0.5, 1.0, 11)
    reach = np.concatenate([reach, reach[:, :1]], 1)[(v * whorls).astype(int)]
    radius = 0.17 * tall * (1 - v)[:, None] ** 0.8 * (0.12 + 0.88 * tier[:, None] * reach) + 0.02
    y = tall * (v[:, None] - 0.05 * (1 - v)[:, None] * tier[:, None] * reach)
    points = np.stack([radius * np.cos(angle), np.broadcast_to(y, radius.shape), -radius * np.sin(angle)], -1)
    uv = np.zeros((*radius.shape, 2))
    needles = {"type": "twosided", "inside": matte((0.016, 0.026, 0.018))}
    return surface(points + np.asarray(at, float), uv, needles)


def _frame(library: Library) -> list[Any]:
    """Make the window's frame with its mullion, and the sill."""
    wood = library.materials("woodfloor043", 1.5, (1.25, 1.1, 0.95), 1.3)
    return [
        box((-1.5, 0.86, -0.06), (1.5, 0.97, 0.05), wood, 0.006),
        box((-0.63, 0.9, -0.06), (-0.55, 2.6, 0.05), wood, 0.008),
        box((1.02, 0.9, -0.06), (1.12, 2.6, 0.05), wood, 0.008),
        box((-1.7, 0.84, 0.03), (1.7, 0.905, 0.36), wood, 0.008),
    ]


def _sill(library: Library) -> list[Any]:
    """Make a mug, two books and a pot with a young plant."""
    top = 0.905
    mug = [(0.036, 0), (0.040, 0.004), (0.042, 0.03), (0.042, 0.088), (0.043, 0.092)]
    handle = [(0.412, 0.978), (0.448, 0.980), (0.452, 0.940), (0.412, 0.928)]
    things: list[Any] = [
        box((0.44, top, 0.10), (0.70, top + 0.030, 0.28), solid((0.05, 0.12, 0.16), 0.6), 0.004, 12),
        box((0.46, top + 0.030, 0.11), (0.69, top + 0.052, 0.27), solid((0.42, 0.10, 0.05), 0.6), 0.004, 4),
        vessel((0.37, top, 0.20), mug, glaze((0.60, 0.56, 0.48), 91, dip=0.1), 0.004),
        tube([(x, y, 0.20, 0.0065) for x, y in handle], solid((0.55, 0.5, 0.42), 0.25), 0.8),
        vessel(
            (-0.34, top, 0.19),
            [(0.045, 0), (0.048, 0.003), (0.066, 0.105), (0.070, 0.115)],
            glaze((0.16, 0.24, 0.26), 92),
            0.006,
        ),
        ball((-0.34, top + 0.055, 0.19), 0.058, matte((0.03, 0.02, 0.015))),
    ]
    leaf = solid((0.055, 0.16, 0.045), 0.4)
    rng = np.random.default_rng(94)
    for k in range(19):
        turn, lean, long = 2.4 * k, 0.25 + 0.05 * k, 0.26 - 0.006 * k
        way = np.array((np.cos(turn) * lean, 1.0, 0.7 * np.sin(turn) * lean)) / np.hypot(1, lean)
        root = np.array((-0.34, top + 0.10, 0.19))
        out = np.array((np.cos(turn), 0, 0.7 * np.sin(turn)))
        knots = [root, root + 0.5 * long * way, root + long * way + 0.05 * lean * out - (0, 0.03 * lean, 0)]
        middle = rng.uniform(0.012, 0.019)
        things.append(
            tube([(*p, r) for p, r in zip(knots, (0.004, middle, 0.0005), strict=True)], leaf, 0.25)
        )
    return things


def _room(library: Library) -> list[Any]:
    """Make the room behind the photographer: shelves of books, an open door, a sofa."""
    rng = np.random.default_rng(96)
    back = 4.7
    floor = library.materials("woodfloor043", 0.8)
    wood = solid((0.16, 0.085, 0.04), 0.5)
    things: list[Any] = [
        panel((0, 1.35, back), (0, 0, -1), (6.4, 2.7), plaster((0.48, 0.42, 0.34), 97)),
        panel((-3.0, 1.35, 2.4), (1, 0, 0), (4.8, 2.7), plaster((0.42, 0.37, 0.30), 98)),
        panel((3.0, 1.35, 2.4), (-1, 0, 0), (4.8, 2.7), plaster((0.42, 0.37, 0.30), 99)),
        panel((0, 2.7, 2.4), (0, -1, 0), (6.4, 4.8), matte((0.6, 0.57, 0.52))),
        panel((0, 0, 2.4), (0, 1, 0), (6.4, 4.8), floor),
        panel((0.2, 2.65, 0.7), (0, -1, -0.4), (0.5, 0.4), glow=tuple(5.0 * WARM)),
        panel((1.75, 1.02, back - 0.01), (0, 0, -1), (0.85, 2.04), glow=tuple(0.35 * WARM)),
        *(box((a, 0, back - 0.05), (a + 0.08, 2.12, back), wood, 0.004) for a in (1.25, 2.17)),
        box((1.25, 2.04, back - 0.05), (2.25, 2.12, back), wood, 0.004),
        box((-0.5, 0.0, back - 0.95), (1.1, 0.42, back - 0.1), cloth((0.20, 0.07, 0.05), 61), 0.06),
        box((-0.5, 0.3, back - 0.30), (1.1, 0.85, back - 0.1), cloth((0.20, 0.07, 0.05), 62), 0.06),
        panel((0.32, 1.55, back - 0.02), (0, 0, -1), (0.80, 0.55), matte((0.35, 0.45, 0.5))),
        box((-0.12, 1.24, back - 0.02), (0.76, 1.86, back - 0.012), solid((0.02, 0.02, 0.02), 0.4), 0.004),
    ]
    for y in np.arange(0.1, 2.3, 0.36):
        things.append(box((-2.7, y - 0.03, back - 0.32), (-0.8, y, back), wood, 0.003))
        x = -2.66
        while x < -0.86:
            thick, tall = rng.uniform(0.025, 0.05), rng.uniform(0.20, 0.30)
            hue = np.array(
                (
                    (0.45, 0.10, 0.06),
                    (0.06, 0.16, 0.26),
                    (0.60, 0.52, 0.36),
                    (0.10, 0.18, 0.09),
                    (0.60, 0.30, 0.06),
                )[rng.integers(0, 5)]
            )
            if rng.random() < 0.92:
                things.append(
                    box((x, y, back - 0.27), (x + thick, y + tall, back - 0.06), matte(tuple(hue)), 0.004)
                )
            x += thick + 0.002
    return things


def _lamps() -> list[Any]:
    """Make three globes over the table, and a standing lamp by the sofa."""
    things: list[Any] = []
    cord = solid((0.02, 0.02, 0.02), 0.6)
    for x in (-0.95, -0.45, 0.05):
        z = 2.9
        things += [
            ball((x - 0.15, 2.05, z), 0.085, glow=tuple(32 * WARM)),
            tube([(x - 0.15, 2.13, z, 0.004), (x - 0.15, 2.4, z, 0.004), (x - 0.15, 2.7, z, 0.004)], cord),
        ]
    shade = {
        "type": "cylinder",
        "p0": [1.02, 1.28, 4.0],
        "p1": [1.02, 1.56, 4.0],
        "radius": 0.17,
        "light": {"type": "area", "radiance": {"type": "rgb", "value": [float(c) for c in 8 * WARM]}},
    }
    stand = tube(
        [(1.02, 0, 4.0, 0.012), (1.02, 0.7, 4.0, 0.012), (1.02, 1.3, 4.0, 0.012)],
        solid((0.5, 0.35, 0.15), 0.3, 1.0),
    )
    return [*things, shade, stand]
