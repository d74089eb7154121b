"""Scene of the examples: a world, a pane, a camera, an exposure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mitsuba as mi

from glass import Air
from surfaces import Materials

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A camera with a thin lens: degrees across, metres."""

    at: Point
    towards: Point
    across: float
    aperture: float
    focus: float


@dataclass(frozen=True)
class Stage:
    """A scene. Shapes are in metres; the pane's front is in the plane z = 0 and the camera at z > 0.

    Attributes:
        world: Everything but the glass, including lamps and sky.
        slabs: Panes, each (from, to) in z, and its tilt in degrees.
        camera: Camera.
        exposure: Factor from radiance to linear values.
        air: Haze.
        opening: Left, bottom, right and top of the glass.
    """

    world: list[Any]
    slabs: list[tuple[float, float, float]]
    opening: tuple[float, float, float, float]
    camera: Camera
    exposure: float
    air: Air = field(default_factory=Air)

    def load_world(self) -> Any:
        # In parallel, or merged, things come in any order, and the noise with them.
        return mi.load_dict(
            {"type": "scene", **{f"thing{i}": thing for i, thing in enumerate(self.world)}},
            parallel=False,
            optimize=False,
        )

    def load_glass(self, ior: float) -> Any:
        left, bottom, right, top = self.opening
        slabs: dict[str, Any] = {"type": "scene"}
        for i, (back, front, askew) in enumerate(self.slabs):
            place = mi.ScalarTransform4f().translate(
                [(left + right) / 2, (bottom + top) / 2, (back + front) / 2]
            )
            turn = mi.ScalarTransform4f().rotate([1, 0.6, 0], askew)
            size = mi.ScalarTransform4f().scale([(right - left) / 2, (top - bottom) / 2, (front - back) / 2])
            slabs[f"slab{i}"] = {
                "type": "cube",
                "to_world": place @ turn @ size,
                "surface": {"type": "dielectric", "int_ior": ior, "ext_ior": 1.0},
            }
        return mi.load_dict(slabs)

    def load_sensor(self, width: int) -> Any:
        camera = self.camera
        return mi.load_dict(
            {
                "type": "thinlens",
                "to_world": mi.ScalarTransform4f().look_at(
                    origin=list(camera.at), target=list(camera.towards), up=[0, 1, 0]
                ),
                "fov": camera.across,
                "fov_axis": "x",
                "aperture_radius": camera.aperture,
                "focus_distance": camera.focus,
                "near_clip": 0.01,
                "far_clip": 1e5,
                "film": {
                    "type": "hdrfilm",
                    "width": width,
                    "height": width * 3 // 4,
                    "pixel_format": "rgb",
                    "component_format": "float32",
                    "rfilter": {"type": "box"},
                },
            }
        )


@dataclass(frozen=True)
class Library:
    """The photographs that the scenes are lit and covered with."""

    folder: Path

    @property
    def materials(self) -> Materials:
        return Materials(self.folder / "materials")

    def environment(self, name: str) -> Path:
        return self.folder / "environments" / f"{name}_1k.hdr"

    def sky(self, name: str, turn: float, brightness: float = 1.0) -> dict[str, Any]:
        """Make the surroundings, as light from all directions, turned about the upright axis by degrees."""
        return {
            "type": "envmap",
            "filename": str(self.environment(name)),
            "scale": brightness,
            "to_world": mi.ScalarTransform4f().rotate([0, 1, 0], turn),
        }
