"""A museum's display case: an amphora, a bowl and gold; the hall, its lamps and two visitors in the glass."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shapes import ball, box, panel, person, spline, tube, vessel
from stage import Camera, Library, Stage
from surfaces import bumpy, cloth, matte, noise, picture, solid

CLAY, SLIP = np.array((0.47, 0.185, 0.070)), np.array((0.016, 0.013, 0.012))


def stage(library: Library) -> Stage:
    world: list[Any] = [*_case(library), *_exhibits(library), *_hall()]
    world.append(library.sky("st_fagans_interior", 150, 0.7))
    return Stage(
        world=world,
        slabs=[(-0.008, 0.0, 0.0)],
        opening=(-1.2, 0.6, 1.2, 2.4),
        camera=Camera((-0.20, 1.40, 1.10), (0.015, 1.262, -0.30), 43, 0.012, 1.42),
        exposure=2.1,
    )


def _case(library: Library) -> list[Any]:
    felt = cloth((0.055, 0.060, 0.075), 3)
    stone = library.materials("rock020", 1.3, (1.15, 1.1, 1.05), 1.1)
    return [
        panel((0, 1.5, -0.75), (0, 0, 1), (3, 2.4), felt),
        panel((-1.25, 1.5, -0.4), (1, 0, 0), (2, 2.4), felt),
        panel((1.25, 1.5, -0.4), (-1, 0, 0), (2, 2.4), felt),
        panel((0, 0.985, -0.38), (0, 1, 0), (2.6, 0.74), cloth((0.30, 0.27, 0.23), 5)),
        box((-0.19, 0.985, -0.55), (0.19, 1.055, -0.17), stone, 0.005),
        box((0.27, 0.985, -0.43), (0.50, 1.03, -0.20), stone, 0.005, 8),
        panel((-0.05, 2.05, -0.12), (0.10, -1, -0.22), (0.16, 0.16), glow=(52, 45, 35)),
        panel((0.55, 2.05, -0.45), (-0.3, -1, 0.1), (0.10, 0.10), glow=(30, 26, 20)),
        panel((-0.75, 2.05, -0.50), (0.35, -1, 0.1), (0.10, 0.10), glow=(26, 24, 22)),
    ]


def _exhibits(library: Library) -> list[Any]:
    amphora = [(0.062, 0), (0.066, 0.010), (0.045, 0.024), (0.052, 0.05), (0.098, 0.12), (0.130, 0.19),
               (0.136, 0.245),
               (0.118, 0.30), (0.078, 0.342), (0.053, 0.365), (0.047, 0.40), (0.052, 0.44),
               (0.068, 0.468), (0.073, 0.478)]  # fmt: skip
    bowl = [
        (0.030, 0),
        (0.034, 0.006),
        (0.022, 0.016),
        (0.045, 0.032),
        (0.080, 0.058),
        (0.092, 0.082),
        (0.095, 0.090),
    ]
    things: list[Any] = [
        vessel((0, 1.055, -0.36), amphora, _black_figure(), 0.006),
        vessel((0.385, 1.03, -0.315), bowl, _black_bowl(), 0.004),
        *_laurel(library, (-0.36, 1.0, -0.26)),
        box((-0.10, 0.986, -0.125), (0.10, 0.992, -0.055), matte((0.7, 0.68, 0.64)), 0.001),
    ]
    clay = solid(tuple(SLIP * 1.2), 0.25)
    for side in (-1, 1):
        curve = [(0.050, 0.435), (0.098, 0.445), (0.128, 0.405), (0.124, 0.345), (0.104, 0.302)]
        things.append(tube([(side * x, 1.055 + y, -0.36, 0.0115) for x, y in curve], clay, 0.7))
    card = panel((0, 0.9925, -0.09), (0, 1, 0), (0.185, 0.06), matte(picture(_label())))
    return [*things, card]


def _black_figure() -> dict[str, Any]:
    """Red clay with bands, rays, tongues, palmettes and dancers in black slip, as on an Attic amphora."""
    size = 1024
    image = Image.new("L", (3 * size, size), 0)
    pen = ImageDraw.Draw(image)
    wide = 3 * size

    def band(low: float, high: float) -> None:
        pen.rectangle((0, size * (1 - high), wide, size * (1 - low)), fill=255)

    for low, high in ((0, 0.10), (0.30, 0.312), (0.325, 0.331), (0.62, 0.626), (0.705, 0.711), (0.93, 1)):
        band(low, high)
    for k in range(28):  # rays above the foot
        x = (k + 0.5) / 28 * wide
        pen.polygon([(x - 34, size * 0.885), (x + 34, size * 0.885), (x, size * 0.72)], fill=255)
    for k in range(44):  # tongues on the shoulder
        x = (k + 0.5) / 44 * wide
        pen.rounded_rectangle((x - 22, size * 0.30, x + 18, size * 0.372), 18, fill=255 if k % 2 else 0)
    for k in range(7):
        _dancer(pen, (k + 0.5) / 7 * wide, size * 0.675, size * 0.265, 1 if k % 2 else -1)
    for k in range(16):  # palmettes on the neck
        x, y = (k + 0.5) / 16 * wide, size * 0.175
        for turn in np.linspace(-1.25, 1.25, 7):
            tip = (x + 70 * np.sin(turn), y - 62 * np.cos(turn))
            pen.line([(x, y), tip], fill=255, width=15)
            pen.ellipse((tip[0] - 11, tip[1] - 11, tip[0] + 11, tip[1] + 11), fill=255)
        pen.arc((x - 92, y - 12, x + 92, y + 40), 0, 180, fill=255, width=8)
    drawn = image.resize((wide // 2, size // 2), Image.Resampling.BOX)
    slip = np.asarray(drawn, np.float32)[..., None] / 255
    worn = noise(slip.shape[:2], (36, 16), 8, 5)[..., None]
    slip *= np.clip((worn - 0.17) / 0.05, 0, 1)  # chipped here and there
    clay = CLAY * (0.70 + 0.6 * noise(slip.shape[:2], (10, 5), 9))[..., None]
    colour = clay + slip * (SLIP * (0.8 + 0.9 * worn) - clay)
    rough = (0.62 - 0.34 * slip[..., 0] + 0.16 * worn[..., 0]).astype(np.float32)
    return bumpy(solid(picture(colour), picture(rough)), slip[..., 0] * 0.5 + 0.5 * worn[..., 0], 0.0006)


def _dancer(pen: ImageDraw.ImageDraw, x: float, foot: float, tall: float, way: int) -> None:
    """Draw a figure in profile with raised arms, drawn in strokes."""

    def at(u: float, v: float) -> tuple[float, float]:
        return x + way * 1.25 * u * tall, foot - v * tall

    def stroke(width: float, *knots: tuple[float, float]) -> None:
        for u, v in spline(knots, 40):
            px, py = at(u, v)
            r = width * tall / 2
            pen.ellipse((px - r, py - r, px + r, py + r), fill=255)

    pen.polygon([at(-0.13, 0.78), at(0.11, 0.79), at(0.055, 0.55), at(-0.055, 0.55)], fill=255)
    pen.polygon([at(-0.06, 0.58), at(0.07, 0.58), at(0.15, 0.33), at(-0.13, 0.30)], fill=255)
    stroke(0.10, (0.07, 0.40), (0.20, 0.30), (0.14, 0.14), (0.13, 0.02))
    stroke(0.10, (-0.05, 0.40), (-0.10, 0.24), (-0.22, 0.16), (-0.32, 0.12))
    stroke(0.055, (0.13, 0.02), (0.22, 0.02))
    stroke(0.06, (0.09, 0.75), (0.24, 0.70), (0.28, 0.86), (0.26, 0.96))
    stroke(0.06, (-0.11, 0.75), (-0.24, 0.66), (-0.33, 0.76), (-0.36, 0.84))
    stroke(0.07, (0, 0.78), (0.01, 0.86))
    stroke(0.13, (0.00, 0.90), (0.03, 0.91))
    stroke(0.05, (0.07, 0.90), (0.09, 0.885))
    stroke(0.07, (-0.05, 0.93), (-0.11, 0.87), (-0.12, 0.80))


def _black_bowl() -> dict[str, Any]:
    v = np.linspace(1, 0, 256)[:, None] * np.ones((1, 256))
    bare = ((v < 0.2) | (np.abs(v - 0.72) < 0.03)).astype(np.float32)[..., None]
    tone = SLIP + bare * (CLAY * (0.7 + 0.6 * noise((256, 256), (6, 6), 12))[..., None] - SLIP)
    return solid(picture(tone), picture((0.24 + 0.4 * bare[..., 0]).astype(np.float32)))


def _laurel(library: Library, at: tuple[float, float, float]) -> list[Any]:
    """Make a wreath of beaten gold leaves with berries, leaning on a stand."""
    gold = solid((0.95, 0.62, 0.22), 0.24, 1.0)
    rng = np.random.default_rng(4)
    stand = box(
        (-0.40, 0.985, -0.31),
        (-0.32, 1.0, -0.23),
        library.materials("marble006", 2, (1.2, 1.2, 1.2), 1.5),
        0.002,
    )
    turn = np.radians(-24)
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    centre = np.add(at, (0, 0.085, 0))

    def placed(points: np.ndarray) -> np.ndarray:
        return points @ tilt.T + centre

    parts: list[Any] = [stand]
    angles = np.linspace(np.radians(-62), np.radians(242), 25)
    ring = placed(np.stack([0.080 * np.cos(angles), 0.080 * np.sin(angles), 0 * angles], -1))
    parts.append(tube([(*p, 0.0022) for p in ring], gold))
    for angle in np.linspace(np.radians(-55), np.radians(235), 34):
        side = 1 if angle < np.pi / 2 else -1
        for out in (-0.55, 0.5):
            lean = angle + side * (np.pi / 2 + out * (0.8 + 0.3 * rng.random()))
            root = np.array((0.080 * np.cos(angle), 0.080 * np.sin(angle), 0.0))
            way = np.array((np.cos(lean), np.sin(lean), 0.25 + 0.35 * rng.random()))
            knots = [root, root + 0.016 * way, root + 0.036 * way + (0, 0, 0.003)]
            radii = (0.0012, 0.0070, 0.0002)
            parts.append(
                tube([(*p, r) for p, r in zip(placed(np.array(knots)), radii, strict=True)], gold, 0.18)
            )
    return parts


def _label() -> np.ndarray:
    image = Image.new("L", (740, 240), 232)
    pen = ImageDraw.Draw(image)
    pen.text((30, 24), "Neck amphora with dancers", fill=30, font=ImageFont.load_default(46))
    pen.text((30, 92), "Attic black figure, about 530 BC", fill=60, font=ImageFont.load_default(36))
    pen.text((30, 150), "Terracotta, painted with slip", fill=60, font=ImageFont.load_default(36))
    return (np.asarray(image, np.float32)[..., None] / 255) ** 2.2 * np.ones(3, np.float32) * 0.8


def _hall() -> list[Any]:
    """Make two visitors in front of the case, and rows of lamps above them."""
    coat, red = solid((0.045, 0.05, 0.075), 0.8), solid((0.34, 0.05, 0.04), 0.85)
    lamps = [
        ball((x, 2.45, z), 0.05, glow=(60, 47, 32)) for x in (-2.4, -0.9, 0.6, 2.1) for z in (3.6, 5.4, 8.0)
    ]
    return [*person(0.55, 2.0, 1.78, coat), *person(1.10, 2.5, 1.64, red), *lamps]
