"""Description of a glass scene: a pane before a camera, a background behind it and a world that it reflects.

World space is the camera's: origin at the lens, OpenCV axes (x right, y down, z forward). Lengths are in
metres, angles in degrees, for people to read and write; radiance is relative to the sensor's white level.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal, Self

from clearpane.errors import ClearpaneError
from clearpane.json_files import parse_json

PaneShape = Literal["flat", "wedged", "double", "bent", "lens"]


@dataclass(frozen=True)
class Pane:
    """The glass. Its front face meets the optical axis ``distance`` in front of the camera.

    Attributes:
        shape: Shape: ``flat``, plane-parallel; ``wedged``, the back face tilted; ``double``, two flat panes
            with air between; ``bent``, concentric cylinders with a vertical axis; ``lens``, two spherical
            faces.
        distance: Distance from camera to front face along the optical axis, metres.
        yaw, pitch: Rotation of the pane's normal about the camera's y and x axis, degrees; 0 faces the
            camera.
        thickness: Thickness on the axis, metres; for a double pane, that of each pane.
        ior: Index of refraction.
        absorption: Absorption per metre for red, green and blue (Beer-Lambert).
        roughness: Perceptual roughness, 0 (polished) to 1; the microfacet alpha of the faces is its square.
        wedge_angle, wedge_direction: Tilt of the back face, and direction in the pane's plane of its thickest
            side (0: right, 90: down), degrees; ``wedged`` only.
        gap: Air gap between the panes, metres; ``double`` only.
        front_curvature, back_curvature: Reciprocal of the radius, 1/metre, positive if the face is convex
            towards the camera; ``bent`` and ``lens`` only. A bent pane's back follows from its front.
        dust: Largest share of the front face that dust covers, 0 to 1.
        dust_seed: Random seed of the dust pattern.
    """

    shape: PaneShape = "flat"
    distance: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0
    thickness: float = 0.006
    ior: float = 1.52
    absorption: tuple[float, float, float] = (4.0, 2.0, 3.0)
    roughness: float = 0.0
    wedge_angle: float = 0.0
    wedge_direction: float = 0.0
    gap: float = 0.012
    front_curvature: float = 0.0
    back_curvature: float = 0.0
    dust: float = 0.0
    dust_seed: int = 0

    def __post_init__(self) -> None:
        _require(self.distance > 0 and self.thickness > 0, "pane: distance and thickness must be above 0")
        _require(self.ior > 1, "pane: ior must be above 1")
        _require(min(self.absorption) >= 0, "pane: absorption must not be negative")
        _require(0 <= self.roughness <= 1 and 0 <= self.dust <= 1, "pane: roughness and dust lie in 0 to 1")
        _require(abs(self.yaw) < 90 and abs(self.pitch) < 90, "pane: yaw and pitch lie within 90 degrees")
        _require(self.gap > 0, "pane: gap must be above 0")
        if self.shape == "bent":
            _require(self.front_curvature != 0, "pane: a bent pane needs a front_curvature")
        steepest = max(abs(self.front_curvature), abs(self.back_curvature))
        _require(steepest * self.thickness < 0.5, "pane: thicker than half its radius of curvature")


@dataclass(frozen=True)
class Camera:
    """A thin-lens camera.

    Attributes:
        field_of_view: Field of view along the picture's longer side, degrees.
        lens_radius: Lens radius in metres; 0 for a pinhole.
        focus_distance: Focus distance along the axis, metres.
        vignetting: Loss of light in the corners, 0 to 1 (1: black corners).
        chromatic_aberration: Lateral aberration: relative magnification of red over blue, minus 1; 0.002 is
            two pixels across a thousand.
        polarizer: Direction that a polarising filter passes, degrees from the camera's x axis towards its y
            axis; None for no filter.
    """

    field_of_view: float = 50.0
    lens_radius: float = 0.0
    focus_distance: float = 3.0
    vignetting: float = 0.0
    chromatic_aberration: float = 0.0
    polarizer: float | None = None

    def __post_init__(self) -> None:
        _require(0 < self.field_of_view < 120, "camera: field_of_view lies between 0 and 120 degrees")
        _require(self.lens_radius >= 0, "camera: lens_radius must not be negative")
        _require(self.focus_distance > 0, "camera: focus_distance must be above 0")
        _require(0 <= self.vignetting <= 1, "camera: vignetting lies in 0 to 1")
        _require(abs(self.chromatic_aberration) < 0.05, "camera: chromatic_aberration lies within 0.05")


@dataclass(frozen=True)
class Background:
    """A picture behind the glass, upright and facing the camera, large enough to fill its view.

    Attributes:
        picture: File name relative to the folder of backgrounds; sRGB pictures are decoded to linear light.
        distance: Distance from the camera along the axis, metres; must lie behind the pane.
        radiance: Factor on the picture's linear values, of which 1 is white.
        contrast: Exponent of the picture's linear values, at least 1: larger ones darken shadows and keep
            highlights.
        mirrored: True to swap left and right.
    """

    picture: str
    distance: float = 3.0
    radiance: float = 1.0
    contrast: float = 1.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        _require(self.distance > 0 and self.radiance >= 0, "background: distance and radiance above 0")
        _require(self.contrast >= 1, "background: contrast must be at least 1")


@dataclass(frozen=True)
class Light:
    """A lamp or a window, painted onto the reflected world at its distance.

    Attributes:
        shape: Shape: ``disc`` (a lamp) or ``rectangle`` (a window).
        x, y: Centre in the world's picture, each from 0 (left, top) to 1 (right, bottom).
        width, height: Size in the same units.
        radiance: Red, green and blue radiance, in units of the world's own (before its ``radiance``).
    """

    shape: Literal["disc", "rectangle"]
    x: float
    y: float
    width: float
    height: float
    radiance: tuple[float, float, float]

    def __post_init__(self) -> None:
        _require(min(self.width, self.height) > 0, "light: width and height must be above 0")
        _require(min(self.radiance) >= 0, "light: radiance must not be negative")


@dataclass(frozen=True)
class ReflectedWorld:
    """The world in front of the glass.

    Attributes:
        shape: Shape: ``screen``, a picture on the mirror image of an upright rectangle that faces the camera
            and fills its view; ``dome``, an equirectangular HDR map on a sphere about the pane's centre.
        picture: File name relative to the folder of backgrounds (screen) or of environments (dome).
        distance: Distance from the pane's centre, metres; the radius of a dome.
        radiance: Radiance of the picture's 95th percentile of brightness; pictures differ in scale, so they
            are normalised by it.
        rotation: Rotation of a dome about the vertical axis, degrees.
        contrast: Exponent of a screen's linear values, at least 1; much of what is in front of glass is dark.
        tint: Factors on red, green and blue, often those of a sky.
        highlight_gain: Gain on a screen's clipped highlights.
        lights: Lamps and windows on it.
    """

    picture: str
    shape: Literal["screen", "dome"] = "screen"
    distance: float = 2.0
    radiance: float = 1.0
    rotation: float = 0.0
    contrast: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    highlight_gain: float = 0.0
    lights: tuple[Light, ...] = ()

    def __post_init__(self) -> None:
        _require(self.distance > 0, "reflected world: distance must be above 0")
        _require(
            self.radiance >= 0 and self.highlight_gain >= 0, "reflected world: radiance must not be negative"
        )
        _require(self.contrast >= 1, "reflected world: contrast must be at least 1")
        _require(min(self.tint) > 0, "reflected world: tint must be above 0")


@dataclass(frozen=True)
class Post:
    """Processing from light to a file. Exposure and white balance apply to all layers, the rest to I alone.

    Attributes:
        exposure: Exposure in stops.
        white_balance: Gains of red, green and blue.
        full_well, read_noise: Sensor noise, see `clearpane.optics.sensor.SensorNoise`; a full well of 0 gives
            a sensor without noise.
        contrast: Contrast of the S-shaped tone curve; 1 leaves values unchanged.
        jpeg_quality: JPEG quality; None for no compression.
    """

    exposure: float = 0.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    full_well: float = 0.0
    read_noise: float = 0.0
    contrast: float = 1.0
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        _require(min(self.white_balance) > 0 and self.contrast > 0, "post: gains and contrast above 0")
        _require(self.full_well >= 0 and self.read_noise >= 0, "post: noise must not be negative")
        _require(self.jpeg_quality is None or 1 <= self.jpeg_quality <= 100, "post: jpeg_quality is 1 to 100")


@dataclass(frozen=True)
class GlassScene:
    """One photograph through glass, complete.

    Attributes:
        seed: Random seed of everything drawn after rendering (the sensor's noise).
    """

    background: Background
    world: ReflectedWorld
    pane: Pane = field(default_factory=Pane)
    camera: Camera = field(default_factory=Camera)
    post: Post = field(default_factory=Post)
    seed: int = 0

    def __post_init__(self) -> None:
        _require(
            self.background.distance > self.pane.distance + self.pane.thickness,
            "background: must lie behind the pane",
        )
        _require(
            self.world.shape != "dome" or self.world.distance > 1.1 * self.pane.distance,
            "reflected world: a dome must hold the camera (1.1 times the pane's distance, or more)",
        )

    def to_json(self) -> str:
        """Return the scene as one line of JSON, keys in the order of the fields."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a scene written by `to_json`.

        Raises:
            ClearpaneError: The text is not JSON, or a field is unknown, of the wrong type or out of range.
        """
        try:
            return parse_json(cls, text)
        except ClearpaneError as error:
            raise ClearpaneError(f"glass scene: {error}") from error


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ClearpaneError(message)
