"""Conversion of a glass scene to Mitsuba: glass with real faces, emissive pictures, and the camera.

Mitsuba's world has the camera's axes (x right, y down, z forward), but its origin is in the pane's centre and
its unit is the millimetre: a new ray starts about 9e-5 (1 + |p|) off the surface at p, so that in metres the
glass would lose 0.2 mm at each crossing; in these units it loses 0.05 mm half a metre off the centre.

Mitsuba is imported when a function is called, and its variant must be set by then (see
`clearpane.synthesis.glass.path_tracing`).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clearpane.synthesis.glass.faces import Face, pane_faces, pane_grid
from clearpane.synthesis.glass.geometry import Rectangle, background_rectangle, pane_axes, screen_rectangle
from clearpane.synthesis.glass.scene import Camera, GlassScene, Pane

MILLIMETRES = 1000.0
_BEHIND = 0.001  # metres from the last face to the black face behind the glass


@dataclass(frozen=True)
class View:
    """A scene with the size and colour channel of its picture.

    Attributes:
        scene: Scene to render.
        height, width: Picture size in pixels; the rectangles of pictures have its aspect ratio.
        channel: Colour channel 0, 1 or 2 for a monochrome variant; None renders all three.
    """

    scene: GlassScene
    height: int
    width: int
    channel: int | None = None


def glass(view: View, *, behind: bool) -> dict[str, Any]:
    """Build the pane: its faces as dielectrics, an absorbing medium between, and a black rim.

    The rim absorbs light guided to it by the glass. For a lens that grows thicker outwards that may be 4 % of
    R, which a polished rim would send back.

    Args:
        view: View that the pane must fill; the glass extends beyond it.
        behind: True for a black face right behind the glass that blocks light from there.
    """
    import mitsuba as mi

    pane = view.scene.pane
    faces, grid = pane_faces(pane), pane_grid(view.scene, view.height, view.width)
    kind: dict[str, Any] = {"type": "dielectric"}
    if pane.roughness > 0:
        kind = {"type": "roughdielectric", "distribution": "ggx", "alpha": pane.roughness**2}
    bsdf, black = mi.load_dict({**kind, "int_ior": pane.ior, "ext_ior": 1.0}), _black()
    medium = _medium(pane, view.channel)
    shapes = {}
    for index in range(0, len(faces), 2):
        front, back = faces[index : index + 2]
        shapes[f"front_{index}"] = _face(pane, front, grid, bsdf, medium)
        shapes[f"back_{index}"] = _face(pane, back, grid, bsdf, medium, outwards=False)
        shapes[f"rim_{index}"] = _rim(pane, front, back, grid, black)
    if behind:
        shapes["behind"] = _face(pane, replace(faces[-1], depth=faces[-1].depth + _BEHIND), grid, black)
    return shapes


def mirror(view: View) -> dict[str, Any]:
    """Build a perfect mirror instead of the front face."""
    import mitsuba as mi

    bsdf = mi.load_dict({"type": "conductor", "material": "none"})
    grid = pane_grid(view.scene, view.height, view.width)
    return {"mirror": _face(view.scene.pane, pane_faces(view.scene.pane)[0], grid, bsdf)}


def background(view: View, texture: np.ndarray) -> dict[str, Any]:
    """Build the background's picture from a texture [H, W, 3], linear."""
    place = background_rectangle(view.scene, view.height, view.width)
    # Seen directly, the picture's down is the rectangle's; negating it turns the emitting side to the camera.
    return {"background": _rectangle(view, replace(place, down=-place.down), texture[::-1])}


def world(view: View, texture: np.ndarray) -> dict[str, Any]:
    """Build the screen or the dome from a texture [H, W, 3], linear."""
    import mitsuba as mi

    reflected = view.scene.world
    if reflected.shape == "screen":
        return {"world": _rectangle(view, screen_rectangle(view.scene, view.height, view.width), texture)}
    # The sphere's up is the camera's; its first meridian points backwards, and u runs to the left from there.
    axes = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    light = _emitter(view, texture[:, ::-1], wrap="repeat")
    light["radiance"]["to_uv"] = mi.ScalarTransform3f().translate([reflected.rotation / 360, 0])
    return {
        "world": {
            "type": "sphere",
            "flip_normals": True,
            "radius": reflected.distance * MILLIMETRES,
            "to_world": _transform(axes, np.zeros(3)),
            # Parts of a slanted pane may stand outside the dome and see it through its near side.
            "bsdf": {"type": "null"},
            "emitter": light,
        }
    }


def sensor(view: View) -> dict[str, Any]:
    """Build the camera: a pinhole or a thin lens, a box filter, float32 pixels."""
    camera: Camera = view.scene.camera
    turned = np.diag([-1.0, -1.0, 1.0])  # Mitsuba's camera has x to the left and y up
    kind: dict[str, Any] = {"type": "perspective"}
    if camera.lens_radius > 0:
        kind = {
            "type": "thinlens",
            "aperture_radius": camera.lens_radius * MILLIMETRES,
            "focus_distance": camera.focus_distance * MILLIMETRES,
        }
    return {
        **kind,
        "fov": camera.field_of_view,
        "fov_axis": "larger",
        "near_clip": 1.0,
        "far_clip": 1e7,
        "to_world": _transform(turned, np.array([0, 0, -view.scene.pane.distance]) * MILLIMETRES),
        "film": {
            "type": "hdrfilm",
            "width": view.width,
            "height": view.height,
            "rfilter": {"type": "box"},
            "pixel_format": "rgb" if view.channel is None else "luminance",
            "component_format": "float32",
        },
        "sampler": {"type": "independent"},
    }


def _face(
    pane: Pane,
    face: Face,
    grid: tuple[np.ndarray, np.ndarray],
    bsdf: Any,
    medium: Any = None,
    *,
    outwards: bool = True,
) -> Any:
    """Build a face as a mesh with its normal towards the camera, or away from it if not ``outwards``."""
    x, y = np.meshgrid(*grid)
    depth, normal = face.at(x, y)
    columns, rows = len(grid[0]), len(grid[1])
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    # Right is x and down is y, so these run clockwise for the camera, and the normal points towards it.
    halves = np.array([[0, columns, 1], [1, columns, columns + 1]])
    triangles = np.concatenate([corner + half for half in halves])
    sign = 1 if outwards else -1
    points = np.stack([x, y, depth], axis=-1).reshape(-1, 3)
    return _mesh(pane, points, triangles[:, ::sign], bsdf, medium, sign * normal.reshape(-1, 3))


def _rim(pane: Pane, front: Face, back: Face, grid: tuple[np.ndarray, np.ndarray], black: Any) -> Any:
    """Build the rim that closes the glass at its edges, far out of view."""
    x, y = grid
    low, high = np.full_like, np.full_like
    around = np.concatenate(
        [
            np.stack([x, low(x, y[0])], axis=-1)[:-1],
            np.stack([high(y, x[-1]), y], axis=-1)[:-1],
            np.stack([x, high(x, y[-1])], axis=-1)[:0:-1],
            np.stack([low(y, x[0]), y], axis=-1)[:0:-1],
        ]
    )
    edges = [np.column_stack([around, face.at(*around.T)[0]]) for face in (front, back)]
    count = len(around)
    here = np.arange(count)[:, None]
    following = (here + 1) % count
    triangles = np.concatenate(
        [np.hstack([here, following, here + count]), np.hstack([following, following + count, here + count])]
    )
    return _mesh(pane, np.concatenate(edges), triangles, black)


def _mesh(
    pane: Pane,
    points: np.ndarray,  # [N, 3], the pane's axes, metres
    triangles: np.ndarray,  # [M, 3]
    bsdf: Any,
    medium: Any = None,
    normals: np.ndarray | None = None,  # [N, 3]
) -> Any:
    import mitsuba as mi

    properties = mi.Properties()
    properties["bsdf"] = bsdf
    if medium is not None:
        properties["interior"] = medium
    smooth = normals is not None
    mesh = mi.Mesh("face", len(points), len(triangles), has_vertex_normals=smooth, props=properties)
    axes = pane_axes(pane)
    fields = mi.traverse(mesh)
    fields["vertex_positions"] = (points @ axes * MILLIMETRES).astype(np.float32).ravel()
    fields["faces"] = np.ascontiguousarray(triangles, np.uint32).ravel()
    if normals is not None:
        fields["vertex_normals"] = (normals @ axes).astype(np.float32).ravel()
    fields.update()
    return mesh


def _medium(pane: Pane, channel: int | None) -> Any:
    """Build the absorbing medium within the glass; None if the glass does not absorb."""
    import mitsuba as mi

    strongest = max(pane.absorption)
    if strongest == 0:
        return None
    # Mitsuba expects coefficients of at most 1, and draws the depth of the absorption from each channel's
    # exponential: a coefficient of 0 would give 0 / 0.
    shares = np.maximum(np.array(pane.absorption) / strongest, 1e-4)
    colour: Any = {"type": "rgb", "value": shares.tolist()} if channel is None else float(shares[channel])
    scale = strongest / MILLIMETRES
    return mi.load_dict({"type": "homogeneous", "albedo": 0.0, "sigma_t": colour, "scale": scale})


def _rectangle(view: View, place: Rectangle, texture: np.ndarray) -> dict[str, Any]:
    """Build an emissive picture facing ``across x down``, with row 0 opposite to ``down``."""
    normal = np.cross(place.across, place.down)
    normal /= np.linalg.norm(normal)
    centre = (place.centre - [0, 0, view.scene.pane.distance]) * MILLIMETRES
    columns = np.stack([place.across * MILLIMETRES, place.down * MILLIMETRES, normal], axis=1)
    return {
        "type": "rectangle",
        "to_world": _transform(columns, centre),
        "bsdf": {"type": "diffuse", "reflectance": 0.0},
        "emitter": _emitter(view, texture, wrap="clamp"),
    }


def _emitter(view: View, texture: np.ndarray, wrap: str) -> dict[str, Any]:
    import mitsuba as mi

    channels = texture if view.channel is None else texture[..., view.channel, None]
    bitmap = mi.Bitmap(np.ascontiguousarray(channels, np.float32))
    return {
        "type": "area",
        "radiance": {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": wrap},
    }


def _black() -> Any:
    import mitsuba as mi

    return mi.load_dict({"type": "diffuse", "reflectance": 0.0})


def _transform(columns: np.ndarray, origin: np.ndarray) -> Any:
    """Build the affine map with these images of the axes (as columns) and of the origin."""
    import mitsuba as mi

    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = columns, origin
    return mi.ScalarTransform4f(matrix.tolist())
