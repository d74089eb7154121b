"""A potter's shop front by day, under warm lamps; the street, its sky and the photographer in the glass."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shapes import ball, box, panel, person, tube, vessel
from stage import Camera, Library, Stage
from surfaces import cloth, glaze, matte, picture, plaster, solid

WARM = np.array((1.0, 0.66, 0.36))
GLAZES = ((0.62, 0.58, 0.50), (0.035, 0.12, 0.21), (0.10, 0.20, 0.13), (0.36, 0.085, 0.03),
             (0.50, 0.30, 0.075),
          (0.24, 0.34, 0.36), (0.70, 0.66, 0.60), (0.03, 0.035, 0.04))  # fmt: skip
# Outlines (radius, height) of pots one unit high.
JAR = [(0.20, 0), (0.22, 0.03), (0.36, 0.25), (0.43, 0.52), (0.36, 0.80), (0.22, 0.94), (0.21, 1.0)]
BOTTLE = [
    (0.17, 0),
    (0.19, 0.03),
    (0.27, 0.22),
    (0.25, 0.44),
    (0.11, 0.60),
    (0.065, 0.75),
    (0.065, 0.92),
    (0.09, 1.0),
]
BOWL = [(0.42, 0), (0.45, 0.08), (0.40, 0.14), (0.80, 0.45), (1.05, 0.85), (1.10, 1.0)]
CUP = [(0.30, 0), (0.36, 0.05), (0.42, 0.3), (0.43, 0.7), (0.41, 1.0)]
VASE = [(0.16, 0), (0.18, 0.03), (0.26, 0.25), (0.33, 0.55), (0.27, 0.78), (0.16, 0.90), (0.20, 1.0)]
MOON = [(0.24, 0), (0.27, 0.04), (0.45, 0.30), (0.50, 0.52), (0.42, 0.78), (0.24, 0.95), (0.23, 1.0)]


def stage(library: Library) -> Stage:
    world = [*_room(library), *_lamps(), *_shelves(library), *_table(library), *_front(library)]
    world += person(-0.50, 2.35, 1.80, solid((0.035, 0.04, 0.05), 0.8), photographing=True)
    world.append(library.sky("potsdamer_platz", 60, 2.2))
    return Stage(
        world=world,
        slabs=[(-0.008, 0.0, 0.0)],
        opening=(-1.5, 0.52, 1.5, 2.6),
        camera=Camera((-0.42, 1.42, 2.05), (0.08, 1.33, -0.7), 47, 0.006, 2.55),
        exposure=2.1,
    )


def _room(library: Library) -> list[Any]:
    wall = plaster((0.10, 0.145, 0.13), 21)
    return [
        panel((0, 1.6, -1.45), (0, 0, 1), (6, 3.4), wall),
        panel((-1.9, 1.6, -0.7), (1, 0, 0), (2, 3.4), wall),
        panel((1.9, 1.6, -0.7), (-1, 0, 0), (2, 3.4), wall),
        panel((0, 3.0, -0.7), (0, -1, 0), (4, 2), matte((0.6, 0.58, 0.55))),
        panel((0, 0.4, -0.7), (0, 1, 0), (4, 2), library.materials("woodfloor043", 1.0)),
        panel((0.1, 2.9, -0.55), (0, -1, -0.25), (2.4, 0.25), glow=tuple(5.0 * WARM)),
    ]


def _front(library: Library) -> list[Any]:
    """Make the frame of the shop front, outside and in."""
    paint = solid((0.012, 0.035, 0.030), 0.28, coat=0.5)
    stone = library.materials("rock020", 0.8, (1.3, 1.25, 1.2), 1.2)
    return [
        box((-2.5, 0.30, -0.10), (2.5, 0.60, 0.06), paint, 0.01),
        box((-2.5, 0.22, -0.10), (2.5, 0.32, 0.16), stone, 0.01),
        box((-1.32, 0.5, -0.05), (-1.23, 2.7, 0.05), paint, 0.008),
        box((1.42, 0.5, -0.05), (1.51, 2.7, 0.05), paint, 0.008),
    ]


def _lamps() -> list[Any]:
    """Enamelled domes on cords, their bulbs showing."""
    brass, white = solid((0.55, 0.33, 0.12), 0.3, 1.0), solid((0.75, 0.70, 0.62), 0.5)
    things: list[Any] = []
    for x, y, z in ((-0.72, 1.98, -0.62), (0.16, 2.05, -0.72), (0.98, 1.96, -0.60)):
        dome = [
            (0.150, 0),
            (0.138, 0.040),
            (0.105, 0.080),
            (0.050, 0.105),
            (0.022, 0.115),
            (0.020, 0.160),
            (0.004, 0.165),
        ]
        outer = [(r, h) for r, h in dome]
        things += [
            vessel((x, y, z), outer, {"type": "twosided", "inside": brass}, 0.002, 0.0),
            vessel(
                (x, y + 0.0015, z),
                [(r * 0.985, h * 0.98) for r, h in dome[:5]],
                {"type": "twosided", "inside": white},
                0.001,
                0.0,
            ),
            ball((x, y - 0.004, z), 0.034, glow=tuple(42 * WARM)),
            tube(
                [(x, y + 0.16, z, 0.003), (x, 2.5, z, 0.003), (x, 2.98, z, 0.003)],
                solid((0.02, 0.02, 0.02), 0.6),
            ),
        ]
    return things


def _shelves(library: Library) -> list[Any]:
    """Make two boards on the back wall, with pots and books."""
    wood = library.materials("woodfloor043", 1.4, (1.5, 1.35, 1.2), 1.2)
    rng = np.random.default_rng(17)
    things: list[Any] = []
    for y in (1.18, 1.60):
        things.append(box((-1.45, y - 0.032, -1.44), (1.55, y, -1.14), wood, 0.004))
        x = -1.30
        while x < 1.45:
            kind = rng.integers(0, 6)
            if kind == 5:
                books, x = _books(rng, x, y, -1.30)
                things += books
            else:
                outline, tall = ((JAR, 0.20), (BOTTLE, 0.29), (BOWL, 0.085), (VASE, 0.26), (CUP, 0.11))[kind]
                tall = tall * rng.uniform(0.85, 1.15)
                wide = max(r for r, _ in outline) * tall
                for _ in range(3 if outline is CUP else 1):
                    pot = [(r * tall, h * tall) for r, h in outline]
                    things.append(
                        vessel((x + wide, y, -1.28 + 0.03 * rng.standard_normal()), pot, _glaze(rng))
                    )
                    x += 2 * wide + 0.015
                x += rng.uniform(0.03, 0.09)
    return things


def _books(rng: np.random.Generator, x: float, y: float, z: float) -> tuple[list[Any], float]:
    made: list[Any] = []
    for _ in range(rng.integers(4, 7)):
        thick, tall, deep = rng.uniform(0.016, 0.034), rng.uniform(0.17, 0.25), rng.uniform(0.13, 0.17)
        hue = np.array(
            (
                (0.30, 0.06, 0.04),
                (0.05, 0.11, 0.18),
                (0.42, 0.36, 0.25),
                (0.08, 0.13, 0.07),
                (0.45, 0.22, 0.05),
            )[rng.integers(0, 5)]
        )
        made.append(
            box(
                (x, y, z - deep / 2),
                (x + thick, y + tall, z + deep / 2),
                solid(tuple(hue * rng.uniform(0.7, 1.2)), 0.6),
                0.003,
            )
        )
        band = y + tall * rng.uniform(0.70, 0.82)
        made.append(
            panel(
                (x + thick / 2, band, z + deep / 2 + 0.0006),
                (0, 0, 1),
                (thick * 0.8, 0.012),
                solid((0.75, 0.55, 0.25), 0.35, 1.0),
            )
        )
        x += thick + 0.001
    return made, x + rng.uniform(0.03, 0.08)


def _table(library: Library) -> list[Any]:
    """Make the display on blocks by the window."""
    rng = np.random.default_rng(5)
    wood = library.materials("woodfloor043", 1.6, (1.7, 1.45, 1.2), 1.3)
    pale = library.materials("woodfloor043", 2.1, (2.6, 2.3, 1.9), 1.2)
    linen = cloth((0.52, 0.47, 0.39), 9)
    top = 0.62
    things: list[Any] = [
        box((-1.6, 0.45, -1.0), (1.6, top, -0.12), wood, 0.006),
        box((-1.05, top, -0.72), (-0.62, top + 0.17, -0.36), pale, 0.004, 6),
        box((0.44, top, -0.80), (0.92, top + 0.24, -0.42), pale, 0.004, -7),
        box((-0.34, top, -0.62), (0.24, top + 0.006, -0.24), linen, 0.002, 3),
    ]

    def pot(
        x: float, y: float, z: float, tall: float, outline: list[tuple[float, float]], colour: int, seed: int
    ) -> None:
        bsdf = glaze(GLAZES[colour], seed)
        things.append(vessel((x, y, z), [(r * tall, h * tall) for r, h in outline], bsdf, 0.006))

    pot(-0.84, top + 0.17, -0.54, 0.40, VASE, 1, 1)
    pot(0.66, top + 0.24, -0.60, 0.36, MOON, 6, 2)
    pot(-0.12, top + 0.006, -0.44, 0.34, JAR, 3, 3)
    pot(0.14, top + 0.006, -0.36, 0.10, BOWL, 2, 4)
    pot(0.14, top + 0.030, -0.36, 0.085, BOWL, 0, 5)
    pot(-0.50, top, -0.36, 0.16, CUP, 4, 6)
    pot(-0.38, top, -0.30, 0.11, CUP, 5, 7)
    pot(1.10, top, -0.40, 0.30, BOTTLE, 2, 8)
    pot(1.26, top, -0.52, 0.40, BOTTLE, 4, 9)
    pot(0.36, top, -0.28, 0.12, CUP, 7, 10)
    pot(-1.10, top, -0.30, 0.15, MOON, 5, 11)
    for k in range(11):  # dry grass in the tall vase
        lean, turn, long = rng.uniform(0.05, 0.30), rng.uniform(0, 6.3), rng.uniform(0.35, 0.58)
        root = np.array((-0.84, top + 0.50, -0.54))
        way = np.array((np.cos(turn) * lean, 1.0, np.sin(turn) * lean))
        tip = root + way * long + (0.25 * lean * np.cos(turn), -0.04, 0)
        straw = matte((0.50, 0.36, 0.18))
        things.append(tube([(*root, 0.0018), (*(root + 0.5 * way * long), 0.0016),
                            (*(root + 0.78 * way * long), 0.002),
                            (*(root + 0.88 * way * long), 0.012), (*tip, 0.001)], straw))  # fmt: skip
        if k % 3 == 0:
            things.append(ball(tuple(root + 0.6 * way * long), 0.010, matte((0.45, 0.16, 0.06))))
    for x, z, price in (
        (-0.22, -0.16, "48.-"),
        (0.62, -0.30, "120.-"),
        (-0.70, -0.26, "65.-"),
        (1.02, -0.22, "36.-"),
    ):
        card = panel((x, top + 0.032, z), (0.1, 0.25, 1), (0.085, 0.058), matte(picture(_card(price))))
        things.append(card)
    return things


def _card(text: str) -> np.ndarray:
    image = Image.new("L", (340, 232), 235)
    pen = ImageDraw.Draw(image)
    pen.rectangle((12, 12, 327, 219), outline=120, width=4)
    pen.text((170, 116), text, fill=35, font=ImageFont.load_default(96), anchor="mm")
    return (np.asarray(image, np.float32)[..., None] / 255) ** 2.2 * np.array((0.85, 0.82, 0.74), np.float32)


def _glaze(rng: np.random.Generator) -> dict[str, Any]:
    return glaze(GLAZES[rng.integers(0, len(GLAZES))], int(rng.integers(0, 1000)))
