"""Convert an asset to a Mitsuba scene: its mesh with glTF's material, an HDR map around it, cameras.

Mitsuba is imported when a function is called; by then its variant must be set
(`clearpane.mitsuba_variant.use_variant`). Its texture coordinates start in the upper left corner, as ours do.
"""

from typing import Any

import numpy as np

from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.relighting.lighting import Environment

# Mitsuba's camera has x to the left and y up.
_TURNED = np.diag([-1.0, -1.0, 1.0, 1.0])
# Normal maps that differ less than this from flat everywhere are treated as flat: 8 bits cannot show more.
_FLAT = 0.01


def asset_shapes(asset: Asset) -> dict[str, Any]:
    """Return the asset's triangles as Mitsuba shapes.

    A normal map's y points up in the texture. Mitsuba derives y from the normal and the texture's x, so
    triangles with a mirrored texture get a normal map of their own.
    """
    bent = np.abs(asset.normal_map - [0.0, 0.0, 1.0]).max() > _FLAT
    if not bent:
        return {"asset": _mesh(asset, asset.mesh.faces, _material(asset, None))}
    mirrored = _mirrored(asset)
    shapes = {}
    for name, chosen, sign in (("asset", ~mirrored, 1.0), ("mirrored", mirrored, -1.0)):
        if chosen.any():
            bsdf = _material(asset, asset.normal_map * [1.0, sign, 1.0])
            shapes[name] = _mesh(asset, asset.mesh.faces[chosen], bsdf)
    return shapes


def environment_light(environment: Environment) -> dict[str, Any]:
    """Return the map as a Mitsuba emitter."""
    import mitsuba as mi

    matrix = np.eye(4)
    matrix[:3, :3] = environment.to_world
    return {
        "type": "envmap",
        "bitmap": mi.Bitmap(np.ascontiguousarray(environment.radiance, np.float32)),
        "to_world": mi.ScalarTransform4f(matrix.tolist()),
    }


def sensor(cameras: Cameras, view: int) -> Any:
    """Return one camera as a pinhole with square pixels."""
    import mitsuba as mi

    fx, _, cx, cy = cameras.intrinsics[view].double().tolist()
    pose = cameras.camera_to_world[view].double().numpy() @ _TURNED
    distance = float(np.linalg.norm(pose[:3, 3])) + 1.0
    return mi.load_dict(
        {
            "type": "perspective",
            "fov": float(np.degrees(2 * np.arctan(cameras.width / 2 / fx))),
            "fov_axis": "x",
            "near_clip": 1e-5 * distance,
            "far_clip": 1e3 * distance,
            "principal_point_offset_x": 0.5 - cx / cameras.width,
            "principal_point_offset_y": 0.5 - cy / cameras.height,
            "to_world": mi.ScalarTransform4f(pose.tolist()),
            "film": {
                "type": "hdrfilm",
                "width": cameras.width,
                "height": cameras.height,
                "rfilter": {"type": "box"},
                "pixel_format": "rgba",
                "component_format": "float32",
            },
        }
    )


def _mirrored(asset: Asset) -> np.ndarray:
    """Return True for triangles whose texture appears mirrored from outside, [F] bool."""
    a, b, c = (asset.coordinates[asset.mesh.faces[:, i]] for i in range(3))
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    # Rows count downwards: triangles counter-clockwise from outside are clockwise in these coordinates.
    return np.asarray(ux * vy - uy * vx > 0)


def _material(asset: Asset, normal_map: np.ndarray | None) -> Any:
    import mitsuba as mi

    bsdf: dict[str, Any] = {
        "type": "principled",
        "base_color": _texture(asset.albedo),
        "metallic": _texture(asset.metallic[..., None]),
        "roughness": _texture(asset.roughness[..., None]),
        "specular": 0.5,  # an index of refraction of 1.5, F0 = 0.04
    }
    if normal_map is not None:
        bsdf = {"type": "normalmap", "normalmap": _texture(normal_map / 2 + 0.5), "bsdf": bsdf}
    # Open meshes are visible from behind as well.
    return mi.load_dict({"type": "twosided", "bsdf": bsdf})


def _texture(values: np.ndarray) -> dict[str, Any]:
    import mitsuba as mi

    return {
        "type": "bitmap",
        "bitmap": mi.Bitmap(np.ascontiguousarray(np.clip(values, 0, 1), np.float32)),
        "raw": True,
        "wrap_mode": "clamp",
    }


def _mesh(asset: Asset, faces: np.ndarray, bsdf: Any) -> Any:
    import mitsuba as mi

    properties = mi.Properties()
    properties["bsdf"] = bsdf
    count = len(asset.mesh.vertices)
    mesh = mi.Mesh(
        "asset", count, len(faces), has_vertex_normals=True, has_vertex_texcoords=True, props=properties
    )
    fields = mi.traverse(mesh)
    fields["vertex_positions"] = asset.mesh.vertices.astype(np.float32).ravel()
    fields["vertex_normals"] = asset.normals.astype(np.float32).ravel()
    fields["vertex_texcoords"] = asset.coordinates.astype(np.float32).ravel()
    fields["faces"] = np.ascontiguousarray(faces, np.uint32).ravel()
    fields.update()
    return mesh
