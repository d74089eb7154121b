"""A pane of glass before the camera: an integrator that keeps apart what passes it and what it reflects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drjit as dr
import mitsuba as mi

CHANNELS = tuple(
    f"{layer}.{name}"
    for layer in ("T", "R")
    for name in ("r", "g", "b", "albedo.r", "albedo.g", "albedo.b", "nx", "ny", "nz", "weight")
)
# The picture in three parts that add up, each with little noise of its own: what the first face reflects,
# what passes straight through every face, and all paths that are reflected further in.
PARTS = ("face", "through", "ghosts")
BRIGHTEST = 80.0  # radiance above which a path is a firefly; a lamp is white long before


@dataclass(frozen=True)
class Air:
    """Haze, for views of kilometres: L exp(-d / distance) + light (1 - exp(-d / distance))."""

    distance: float = 1e9
    light: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pane:
    """Upright slabs of glass in a scene of their own, so that it can be lifted away; the camera is at +z.

    Attributes:
        scene: Slabs with `dielectric` surfaces, or None without the glass.
        ior: Index of refraction.
        absorption: Absorption per metre for red, green and blue.
        meetings: Number of surfaces that a path may meet; it passes the rest without refraction.
    """

    scene: Any
    ior: float = 1.52
    absorption: tuple[float, float, float] = (2.6, 1.6, 2.0)
    meetings: int = 5


def layers_integrator(pane: Pane, air: Air, part: str, depth: int) -> Any:
    """Make an integrator with CHANNELS: the light T and R, and its first surfaces for the denoiser.

    The camera's paths go through the slabs as they are (every refraction, every ghost) until they leave them,
    on the far side (T) or on the camera's (R), and then through the world as if it had no pane: light that
    falls on the scene through the glass is not dimmed by it. So B, which is "through" without a pane, is the
    same scene in the same light.

    Args:
        pane: Glass.
        air: Haze.
        part: One of PARTS.
        depth: Length of the longest path in the world.
    """

    class Layers(mi.SamplingIntegrator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(mi.Properties())
            self.world = mi.load_dict({"type": "path", "max_depth": depth, "rr_depth": 5})

        def aov_names(self) -> list[str]:
            return list(CHANNELS)

        def sample(self, scene: Any, sampler: Any, ray: Any, medium: Any = None, active: Any = True) -> Any:
            throughput = mi.Color3f(1)
            met, bounced = mi.Mask(False), mi.Mask(False)
            for k in range(pane.meetings if pane.scene is not None else 0):
                mirrored = self.mirrored(sampler, k)
                throughput, ray, hit = self.meet(scene, ray, throughput, active, mirrored)
                if k > 0 and part == "ghosts":
                    throughput = dr.select(hit, 2 * throughput, throughput)  # either way, half of the time
                met |= hit
                bounced |= hit & mirrored
                if part == "face":
                    break
            if part != "through":
                throughput = dr.select(bounced, throughput, 0)
            reflected = met & (ray.d.z > 0)
            active = active & (dr.max(throughput) > 0)
            light, _, _ = self.world.sample(scene, sampler, ray, medium, active)
            first = scene.ray_intersect(mi.Ray3f(ray), active)
            solid = first.is_valid()
            clear = dr.select(solid, dr.exp(-first.t / air.distance), 1)
            light = dr.minimum(light, BRIGHTEST) * clear + mi.Color3f(air.light) * (1 - clear)
            albedo = mi.Color3f(1)
            if _any(solid):
                albedo = first.bsdf().eval_diffuse_reflectance(first, active & solid)
                albedo = dr.select(solid, dr.clip(albedo, 0, 1), mi.Color3f(1))
            normal = dr.select(solid, first.sh_frame.n, mi.Vector3f(0))
            weight = throughput.y
            values = [*(throughput * light), *(weight * albedo), *(weight * normal), weight]
            aovs = [dr.select(reflected, 0, v) for v in values] + [dr.select(reflected, v, 0) for v in values]
            return throughput * light, active, aovs

        def mirrored(self, sampler: Any, meeting: int) -> Any:
            """Return True if the path continues along the reflected ray, not the refracted one."""
            if part == "ghosts" and meeting > 0:
                return sampler.next_1d() < 0.5
            return mi.Mask(part == "face")

        def meet(self, scene: Any, ray: Any, throughput: Any, active: Any, mirrored: Any) -> Any:
            """Reflect or refract where the next thing on the ray is the pane."""
            si = pane.scene.ray_intersect(ray, active)
            near = mi.Ray3f(ray)
            near.maxt = si.t * (1 - 1e-5)
            hit = active & si.is_valid()
            hit = dr.select(scene.ray_test(near, hit), False, hit)
            if not _any(hit):
                return throughput, ray, hit
            cosine = si.wi.z
            fresnel, _, _, _ = mi.fresnel(cosine, pane.ior)
            outside = cosine > 0
            # The surface itself bends the ray: 0 makes it reflect, just under 1 makes it refract.
            chosen = dr.select(mirrored, 0.0, 0.999999)
            bent, _ = si.bsdf().sample(mi.BSDFContext(), si, chosen, mi.Point2f(0.5), hit)
            weight = dr.select(mirrored, fresnel, 1 - fresnel)
            inside = dr.exp(-mi.Color3f(pane.absorption) * si.t)
            weight = mi.Color3f(weight) * dr.select(outside, mi.Color3f(1), inside)
            leaving = si.spawn_ray(si.to_world(bent.wo))
            ray = mi.Ray3f(dr.select(hit, leaving.o, ray.o), dr.select(hit, leaving.d, ray.d))
            return dr.select(hit, throughput * weight, throughput), ray, hit

    return Layers()


def _any(mask: Any) -> bool:
    """False where a scalar variant has no surface to ask; the others ask for many rays at once."""
    return mask if isinstance(mask, bool) else True
