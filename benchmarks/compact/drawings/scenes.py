"""Example scenes: each function returns (B, M) in linear light, drawn at the coordinates (x, y).

B is the scene behind the glass, M the view in a mirror instead of the glass.
"""

import numpy as np

from benchmarks.compact.drawings.brushes import (
    Array,
    Vessel,
    blank,
    box,
    disc,
    landscape,
    noise,
    paint,
    person,
    ramp,
    shade,
    turned,
    wood,
)


def shop(x: Array, y: Array) -> tuple[Array, Array]:
    """Draw a potter's shop by day; the glass reflects the street with its sky and the photographer."""
    boards = np.abs((x * 7.5) % 1 - 0.5)
    scene = wood(y * 1.5, x * 0.5, (0.36, 0.20, 0.11), 3)
    shade(scene, 0.7 * ramp(0.475, 0.5, boards))
    lamps = [(0.28, 0.16), (0.67, 0.13), (1.08, 0.17)]
    light = sum(1.7 / (1 + ((x - a) ** 2 + 0.6 * (y - b - 0.12) ** 2) / 0.035) for a, b in lamps) + 0.22
    rng = np.random.default_rng(8)
    glazes = [
        (0.55, 0.50, 0.42),
        (0.05, 0.16, 0.24),
        (0.42, 0.12, 0.05),
        (0.10, 0.22, 0.13),
        (0.6, 0.36, 0.10),
    ]
    outlines = [[0.4, 0.3, 0.7, 1, 0.9, 0.5], [0.5, 0.35, 0.35, 0.8, 1, 0.8], [1, 0.95, 0.85, 0.7, 0.45],
                [0.3, 0.22, 0.22, 0.5, 0.9, 0.9], [0.7, 0.9, 1, 1, 0.95, 0.8]]  # fmt: skip
    for shelf in (0.42, 0.66, 0.90):
        shade(scene, 0.75 * np.exp(-np.maximum(y - shelf - 0.035, 0) / 0.045) * (y > shelf))
        top = wood(x, (y - shelf) * 2, (0.62, 0.40, 0.22), 7)
        paint(scene, box(x, y, -0.1, shelf - 0.012, 1.5, shelf + 0.012), top)
        paint(scene, box(x, y, -0.1, shelf + 0.012, 1.5, shelf + 0.036), 0.35 * top)
        left = 0.05 + 0.04 * rng.random()
        while left < 1.28:
            width, kind = rng.uniform(0.05, 0.085), rng.integers(0, 7)
            if kind < 5:
                height = rng.uniform(1.6, 2.2) * width if kind != 2 else 0.8 * width
                glaze = np.array(glazes[rng.integers(0, 5)]) * rng.uniform(0.7, 1.2)
                radii = [width * 0.85 * r for r in outlines[kind]]
                turned(scene, x, y, Vessel(left + width, shelf - 0.004 - height, shelf - 0.012, radii, glaze))
                left += 2 * width + rng.uniform(0.02, 0.05)
            else:  # a few books
                for _ in range(rng.integers(4, 8)):
                    w, h = rng.uniform(0.014, 0.026), rng.uniform(0.10, 0.15)
                    cloth = rng.uniform(0.03, 0.4, 3) * (1, 0.75, 0.6)
                    spine = (
                        cloth * (0.35 + 0.9 * np.sin(np.pi * np.clip((x - left) / w, 0.05, 0.95)))[..., None]
                    )
                    paint(scene, box(x, y, left, shelf - h - 0.006, left + w, shelf - 0.006), spine)
                    paint(
                        scene,
                        box(x, y, left, shelf - 0.8 * h, left + w, shelf - 0.74 * h),
                        spine * 1.5 + 0.05,
                    )
                    left += w + 0.0015
                left += 0.03
    scene *= light[..., None] * np.array([1.0, 0.84, 0.64], np.float32)
    for a, b in lamps:
        paint(scene, box(x, y, a - 0.002, -1, a + 0.002, b - 0.05), (0.01, 0.01, 0.01))
        cone = np.maximum(np.abs(x - a) - 0.022 - 0.9 * (y - b + 0.05), np.maximum(b - 0.05 - y, y - b))
        paint(
            scene,
            cone,
            (0.03 + 0.10 * np.exp(-(((x - a + 0.02) / 0.02) ** 2)))[..., None] * np.array([1, 1.1, 1.1]),
        )
        paint(scene, disc(x, y, a, b, 0.066, 0.011), (5.0, 3.9, 2.4))
        scene += (
            0.35 * np.exp(-np.hypot(x - a, y - b) / 0.05)[..., None] * np.array([1, 0.75, 0.45], np.float32)
        )
    street = blank(x, (1, 1, 1)) * (2.6 - 1.2 * y)[..., None] * np.array([0.72, 0.9, 1.15], np.float32)
    street *= (0.8 + 0.7 * ramp(0.45, 0.7, noise(x * 2, y * 4, 41)))[..., None]
    for k, (a, b, roof) in enumerate(
        [(-0.1, 0.33, 0.20), (0.33, 0.52, 0.36), (0.83, 1.05, 0.30), (1.05, 1.5, 0.12)]
    ):
        wall = np.array([(0.9, 0.7, 0.55), (0.6, 0.6, 0.62), (0.8, 0.5, 0.4), (0.75, 0.72, 0.65)][k])
        panes = np.maximum(np.abs((x * 11) % 1 - 0.5) - 0.22, np.abs((y * 8) % 1 - 0.5) - 0.3)
        paint(street, box(x, y, a, roof, b, 0.8), np.where(panes[..., None] < 0, 0.08, wall * 0.45))
    paint(street, 0.78 - y, (0.8, 0.78, 0.75))
    paint(street, person(x, y, 0.70, 0.34, 0.75), (0.05, 0.05, 0.06))
    return scene, street


def painting(x: Array, y: Array) -> tuple[Array, Array]:
    """Draw a framed painting under glass, which reflects the room's window and a lamp."""
    scene = blank(x, (0.16, 0.20, 0.19)) * (0.75 + 0.25 * noise(x * 60, y * 60, 51, 4))[..., None]
    scene *= (1.25 - 0.5 * np.hypot(x - 0.45, y - 0.1))[..., None]
    outer, inner, mat = box(x, y, 0.13, 0.08, 1.20, 0.90), box(x, y, 0.21, 0.16, 1.12, 0.82), 0.075
    shade(scene, 0.75 * ramp(0.07, -0.03, box(x, y, 0.15, 0.12, 1.23, 0.94)))
    side = (
        np.abs(x - 0.665) - 0.535 > np.abs(y - 0.49) - 0.41
    )  # mitred: a left or right bar, not a top or bottom one
    profile = np.sin(np.clip(-outer / 0.08, 0, 1) * 9.4) * 0.45 + 0.6 * (-outer / 0.08 - 0.3)
    facing = np.where(
        side, np.sign(0.665 - x) * 0.55, np.sign(0.49 - y) * 0.85
    )  # the light comes from above, left
    gilt = np.array([0.62, 0.37, 0.11]) * (0.8 + 0.4 * noise(x * 30, y * 30, 53))[..., None]
    sheen = np.clip(0.42 - 0.55 * facing * profile, 0.04, 2)[..., None]
    paint(scene, outer, gilt * sheen + 0.25 * np.clip(sheen - 0.75, 0, 1))
    paint(scene, inner, (0.62, 0.58, 0.50) * (0.96 + 0.06 * noise(x * 90, y * 90, 55, 3))[..., None])
    shade(scene, np.where(inner < 0, 0.5 * ramp(0.03, 0.0, np.minimum(y - 0.16, x - 0.21)), 0))
    shadowed = np.minimum(y - 0.235, x - 0.285) < np.minimum(0.745 - y, 1.045 - x)
    paint(scene, inner + mat - 0.006, np.where(shadowed[..., None], 0.30, 0.85) * np.ones(3))
    u, v = (x - 0.285) / 0.51, (y - 0.235) / 0.51
    brush = 0.035 * (np.stack([noise(u * 7, v * 22, 57, 4), noise(u * 7, v * 22, 58, 4)]) - 0.5)
    sky = [(0.13, 0.30, 0.55), (0.42, 0.55, 0.62), (0.95, 0.75, 0.45)]
    canvas = landscape(u + brush[0], v + brush[1], 0.62, sky, (1.05, 0.52))
    meadow = (0.5 + noise(u * 12, v * 40, 61))[..., None] * np.array([0.20, 0.22, 0.05])
    paint(canvas, 0.84 - 0.12 * u + 0.03 * noise(u * 9, u * 0, 63) - v, meadow, 0.01)
    for tx, size in ((0.16, 0.30), (0.30, 0.22), (0.41, 0.15)):
        crown = disc(u, v, tx, 0.86 - 0.12 * tx - 1.05 * size, 0.42 * size, 0.75 * size)
        leaf = noise(u * 20, v * 20, 65)
        paint(
            canvas,
            box(u, v, tx - 0.03 * size, 0.8 - size, tx + 0.03 * size, 0.87 - 0.12 * tx),
            (0.05, 0.03, 0.02),
        )
        green = (0.25 + 1.6 * leaf**2)[..., None] * np.array([0.13, 0.17, 0.04])
        paint(
            canvas,
            crown + 0.10 * (leaf - 0.4),
            green * (1.5 - 2 * (u - tx) / size)[..., None].clip(0.4, 2),
            0.006,
        )
    weave = 0.93 + 0.10 * noise(u * 12, v * 200, 67, 2) + 0.05 * np.sin(u * 900) * np.sin(v * 900)
    paint(scene, inner + mat, canvas * weave[..., None] * 0.9)
    room = blank(x, (0.25, 0.22, 0.20)) * (0.6 + 0.6 * noise(x * 2, y * 2, 71))[..., None]
    a, b = x + 0.10 * (y - 0.5), y - 0.12 * (x - 0.5)  # the window hangs askew in the glass
    paint(room, box(a, b, 0.56, 0.10, 0.98, 0.72), (0.9, 0.85, 0.8))
    pane = np.maximum(
        np.abs(((a - 0.58) / 0.19) % 1 - 0.5) * 0.19, np.abs(((b - 0.12) / 0.29) % 1 - 0.5) * 0.29 - 0.05
    )
    garden = blank(x, (5.5, 6.6, 7.8)) * (1.1 - 0.5 * b)[..., None]
    tree = noise(a * 5, b * 5, 73)
    paint(
        garden, 0.42 - b - 0.5 * (tree - 0.4), np.array([0.9, 1.3, 0.5]) * (0.4 + 1.6 * tree)[..., None], 0.03
    )
    paint(room, np.maximum(box(a, b, 0.58, 0.12, 0.96, 0.70), pane - 0.085), garden)
    paint(room, disc(x, y, 0.36, 0.62, 0.055, 0.045), (9.0, 6.0, 3.0))
    return scene, room


def lake(x: Array, y: Array) -> tuple[Array, Array]:
    """Draw a lake at dusk through a window; double glazing doubles the reflected lamps of the room."""
    sky = [(0.035, 0.07, 0.19), (0.26, 0.20, 0.30), (0.95, 0.42, 0.16)]
    scene = landscape(x, y, 0.60, sky, (0.92, 0.425))
    path = np.exp(-(((x - 0.92) / (0.015 + 0.12 * np.clip(y - 0.6, 0, 1))) ** 2)) * (y > 0.603)
    scene += (path * ramp(0.45, 0.62, noise(x * 16, y * 130, 81)))[..., None] * np.array(
        [1.3, 0.55, 0.18], np.float32
    )
    bank = 0.93 - 0.10 * np.cos(x * 2.0) ** 2 + 0.03 * noise(x * 6, x * 0, 83)
    grass = (0.3 + noise(x * 25, y * 12, 84))[..., None] * np.array([0.02, 0.022, 0.014])
    paint(scene, bank - 0.03 * noise(x * 140, x * 0, 85, 2) - y, grass)
    spruces = ((0.10, 0.90, 0.62), (0.22, 0.87, 0.40), (1.22, 0.92, 0.50), (0.30, 0.86, 0.25))
    for seed, (tx, foot, size) in enumerate(spruces, 86):
        v = np.clip((y - foot + size) / size, 0, 1)
        tier = v * 13 % 1  # a spruce: tiers of branches that widen downward
        reach = 0.20 * size * v**0.85 * (0.55 + 0.5 * tier) * (0.75 + 0.5 * noise(x * 30, y * 45, seed, 4))
        edge = np.where((y > foot - size) & (y < foot + 0.01), np.abs(x - tx) - reach - 0.002, 1.0)
        paint(
            scene,
            edge,
            (0.006 + 0.02 * noise(x * 40, y * 60, seed))[..., None] * np.array([0.8, 1.0, 0.9]),
            0.004,
        )
    room = blank(x, (0.20, 0.13, 0.08)) * (0.5 + 0.5 * y)[..., None]
    shelves = box(x, y, 0.06, 0.28, 0.36, 0.98)
    paint(room, shelves, (0.10, 0.06, 0.03))
    row, rng = np.floor((y - 0.28) / 0.117).astype(int), np.random.default_rng(91)
    book = np.floor((x + 0.013 * row) / 0.021).astype(int) % 64
    spines = rng.uniform(0.1, 0.9, (64, 8, 1)) * rng.uniform(0.6, 1.2, (64, 8, 3)) * (1.0, 0.7, 0.5)
    filled = np.abs(((y - 0.28) / 0.117) % 1 - 0.55) < 0.36
    paint(room, np.where(filled, shelves + 0.01, 1.0), spines[book, row.clip(0, 7)])
    shadey = np.maximum(np.abs(x - 0.56) - 0.055 - 0.35 * (y - 0.50), np.abs(y - 0.57) - 0.07)
    glow = np.exp(-np.hypot((x - 0.56) / 0.20, (y - 0.57) / 0.22))
    room += 1.6 * glow[..., None] * np.array([1, 0.62, 0.3], np.float32)
    paint(
        room, shadey, np.array([7.5, 4.6, 2.1]) * (0.7 + 0.5 * np.exp(-(((y - 0.58) / 0.05) ** 2)))[..., None]
    )
    paint(room, box(x, y, 0.552, 0.64, 0.568, 0.80), (0.5, 0.35, 0.2))
    paint(room, box(x, y, 0.42, 0.80, 0.72, 0.83), (0.6, 0.38, 0.2))
    for cx, cy in ((0.80, 0.20), (0.97, 0.25), (1.12, 0.29)):
        paint(room, disc(x, y, cx, cy, 0.021), (24.0, 16.0, 8.5))
        paint(room, box(x, y, cx - 0.0015, -0.1, cx + 0.0015, cy - 0.02), (0.6, 0.5, 0.4))
    return scene, room


def vase(x: Array, y: Array) -> tuple[Array, Array]:
    """Draw a museum's display case, which reflects the hall's downlights, its bright door and two
    visitors."""
    scene = blank(x, (0.030, 0.052, 0.075)) * (0.85 + 0.3 * noise(x * 80, y * 80, 101, 3))[..., None]
    pool = np.exp(-(np.hypot((x - 0.62) / 0.55, (y - 0.42) / 0.5) ** 2)) + 0.12
    scene *= (5.2 * pool)[..., None] * np.array([1.05, 1.0, 0.92], np.float32)
    floor = np.clip((y - 0.70) / 0.30, 0, 1)
    linen = (0.9 + 0.2 * noise(x * 150, y * 300, 103, 2))[..., None] * np.array([0.42, 0.39, 0.34])
    paint(scene, 0.70 - y, linen * (0.35 + 0.75 * pool - 0.25 * floor)[..., None], 0.006)

    def stoneware(u: Array, t: Array) -> Array:
        band = np.abs(t - 0.40) < 0.15
        wave = np.sin(u * 9 + 5 * np.sin(t * 30)) > 0.15
        leaf = np.hypot(((u * 2.4) % 1 - 0.5) / 0.33, (t - 0.40) / 0.11 - 0.5 * np.sin(u * 7.5)) < 1
        line = (np.abs(t - 0.24) < 0.008) | (np.abs(t - 0.56) < 0.008) | (np.abs(t - 0.60) < 0.004)
        cobalt = (band & leaf) | line | ((t > 0.80) & (t < 0.93) & wave)
        glaze = (0.9 + 0.2 * noise(u * 6, t * 9, 107))[..., None] * np.array([0.72, 0.72, 0.68])
        blue = (0.7 + 0.8 * noise(u * 9, t * 12, 109))[..., None] * np.array([0.025, 0.06, 0.30])
        return np.where(cobalt[..., None], blue, glaze)

    outline = [0.075, 0.062, 0.06, 0.09, 0.155, 0.19, 0.195, 0.175, 0.14, 0.105, 0.095]
    bottle, bowl = [0.03, 0.026, 0.03, 0.075, 0.085, 0.075, 0.05], [0.125, 0.12, 0.10, 0.06, 0.045]
    turned(scene, x, y, Vessel(0.62, 0.22, 0.80, outline, stoneware, 1.2))
    turned(scene, x, y, Vessel(0.98, 0.68, 0.84, bowl, (0.20, 0.11, 0.04), 0.9))
    turned(scene, x, y, Vessel(0.27, 0.60, 0.86, bottle, (0.10, 0.22, 0.14), 1.0))
    label = np.maximum(np.abs(x - 0.62 + 0.1 * (y - 0.9)) - 0.10 - 0.12 * (y - 0.9), np.abs(y - 0.925) - 0.03)
    paint(scene, label, (0.6, 0.58, 0.54))
    for k in range(3):
        paint(
            scene,
            box(x, y, 0.55, 0.908 + 0.014 * k, (0.66, 0.69, 0.64)[k], 0.913 + 0.014 * k),
            (0.12, 0.11, 0.1),
        )
    hall = blank(x, (0.35, 0.32, 0.29)) * (0.5 + 0.5 * y)[..., None]
    paint(hall, 0.74 - y, (0.30, 0.25, 0.2))
    paint(hall, box(x, y, 0.86, 0.30, 1.14, 0.76), (3.4, 3.9, 4.4))
    paint(hall, box(x, y, 0.995, 0.30, 1.005, 0.76), (0.5, 0.5, 0.5))
    paint(hall, np.maximum(0.76 - y, np.abs(x - 1.0) - 0.14 - 0.5 * (y - 0.76)), (1.1, 1.15, 1.2), 0.02)
    for rank in range(4):
        far = 1 / (1 + 0.55 * rank)
        for aisle in (-1.5, -0.5, 0.5, 1.5):
            cx, cy = 0.80 + 0.62 * aisle * far, 0.34 - 0.42 * far + 0.06
            paint(hall, disc(x, y, cx, cy + 0.02, 0.030 * far, 0.016 * far), (22.0, 18.0, 13.0))
    paint(hall, person(x, y, 0.93, 0.36, 0.60), (0.12, 0.06, 0.05))
    paint(hall, person(x, y, 1.10, 0.40, 0.52), (0.05, 0.07, 0.12))
    return scene, hall
