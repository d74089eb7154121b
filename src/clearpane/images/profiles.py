"""Convert between the colours of an ICC profile and sRGB, at float precision."""

import struct

import numpy as np

from clearpane.images.picture import SampleType
from clearpane.optics.color import linear_to_srgb, srgb_to_linear

INVERTIBLE_TO = 0.02
"""Largest error of a profile's round trip (of full scale); a profile beyond it is not written back."""


def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB."""
    import imagecodecs

    return _undated(imagecodecs.cms_profile("srgb"))


def rgb_profile(
    primaries: tuple[float, ...], curve: np.ndarray, white: tuple[float, float] = (0.3127, 0.3290)
) -> bytes:
    """Make a profile from primaries (xr, yr, xg, yg, xb, yb), a curve or ``[gamma]``, and a white point."""
    import imagecodecs

    points = [value for k in range(0, 6, 2) for value in (*primaries[k : k + 2], 1.0)]
    curve = np.asarray(curve, np.float32)
    named = {"gamma": float(curve[0])} if curve.size == 1 else {"transferfunction": curve}
    return _undated(imagecodecs.cms_profile("rgb", whitepoint=[*white, 1.0], primaries=points, **named))


def gray_profile(curve: np.ndarray) -> bytes:
    """Make a grey profile from a sampled curve or ``[gamma]``."""
    import imagecodecs

    curve = np.asarray(curve, np.float32)
    named = {"gamma": float(curve[0])} if curve.size == 1 else {"transferfunction": curve}
    return _undated(imagecodecs.cms_profile("gray", **named))


def display_p3_profile() -> bytes:
    """Return an ICC profile of Display P3: the P3 primaries, white D65, the sRGB curve."""
    curve = srgb_to_linear(np.linspace(0, 1, 4096, dtype=np.float32))
    return rgb_profile((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), curve)


class ProfileConversion:
    """Conversion from a profile's colours to extended sRGB, and back.

    LittleCMS converts between the profile and linear sRGB, relative-colorimetric, in float, so that colours
    outside sRGB survive. It rounds curves stored as tables to 16 bits of linear light, which loses a dozen
    steps near black; such matrix profiles are therefore computed here. Near black, the infinite slope of a
    pure-gamma profile amplifies float32 rounding: saturated colours there return within 0.1 % of full scale.

    Args:
        profile: ICC profile.
        channels: Number of colour channels of the picture, 1 or 3.

    Raises:
        ValueError: The profile is broken or meant for other channels.
    """

    def __init__(self, profile: bytes, channels: int) -> None:
        space = profile[16:20]
        if space != {1: b"GRAY", 3: b"RGB "}[channels]:
            raise ValueError(f"its colour space is {space.decode('ascii', 'replace').strip() or 'unknown'}")
        self._profile = profile
        self._space = "gray" if channels == 1 else "rgb"
        self._channels = channels
        self._linear = rgb_profile((0.64, 0.33, 0.30, 0.60, 0.15, 0.06), np.array([1.0]))
        self._shaper = _MatrixShaper.parse(profile, self._linear) if channels == 3 else None
        probe = _probe(channels)
        try:
            srgb = self.to_srgb(probe)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        self.deviation = float(np.abs(srgb - probe).max())
        """Largest difference between the profile and sRGB, of full scale."""
        try:
            self.invertible = bool(np.abs(self.from_srgb(srgb) - probe).max() <= INVERTIBLE_TO)
            """True if `from_srgb` undoes `to_srgb`."""
        except RuntimeError:
            self.invertible = False

    def to_srgb(self, samples: np.ndarray) -> np.ndarray:
        """Convert [H, W, C] uint8, uint16 or float32 in the profile to [H, W, 3] float32, extended sRGB."""
        import imagecodecs

        if self._shaper is not None:
            return linear_to_srgb(self._shaper.forward(samples))
        samples = np.ascontiguousarray(samples)
        if self._channels == 1:
            samples = samples.reshape(samples.shape[:2])
        linear = imagecodecs.cms_transform(
            samples, self._profile, self._linear, colorspace=self._space, outcolorspace="rgb",
            outdtype="float32", intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        )  # fmt: skip
        if self._channels == 1:
            linear[...] = linear[..., 1:2]
        return linear_to_srgb(linear)

    def from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """Convert [H, W, 3] float32, extended sRGB, to [H, W, C] float32 in the profile."""
        import imagecodecs

        linear = srgb_to_linear(pixels)
        if self._shaper is not None:
            return self._shaper.inverse(linear)
        samples = imagecodecs.cms_transform(
            linear, self._linear, self._profile, colorspace="rgb", outcolorspace=self._space,
            outdtype="float32", intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        )  # fmt: skip
        return samples.reshape(*linear.shape[:2], self._channels)


class _MatrixShaper:
    """Matrix profile whose three curves are tables: linear sRGB = M curve(x), at float precision."""

    def __init__(self, matrix: np.ndarray, curves: list[np.ndarray]) -> None:
        self._matrix = matrix
        self._curves = curves

    @classmethod
    def parse(cls, profile: bytes, linear_srgb: bytes) -> "_MatrixShaper | None":
        """Parse such a profile; return None for any other kind."""
        tags, reference = _tags(profile), _tags(linear_srgb)
        curves = [_table(tags.get(name, b"")) for name in (b"rTRC", b"gTRC", b"bTRC")]
        names = (b"rXYZ", b"gXYZ", b"bXYZ")
        columns = [_xyz(tags.get(name, b"")) for name in names]
        known = [c for c in curves if c is not None]
        if b"A2B0" in tags or len(known) < 3 or any(c is None for c in columns):
            return None
        to_xyz = np.array(columns, np.float64).T
        matrix = np.linalg.inv(np.array([_xyz(reference[n]) for n in names], np.float64).T) @ to_xyz
        return cls(matrix, known) if abs(np.linalg.det(matrix)) > 1e-6 else None

    def forward(self, samples: np.ndarray) -> np.ndarray:
        light = np.empty(samples.shape, np.float32)
        for c, curve in enumerate(self._curves):
            nodes = np.linspace(0, 1, curve.size)
            if samples.dtype.kind == "u":
                codes = np.linspace(0, 1, np.iinfo(samples.dtype).max + 1)
                light[..., c] = np.interp(codes, nodes, curve).astype(np.float32)[samples[..., c]]
            else:
                light[..., c] = np.interp(samples[..., c], nodes, curve)
        return light @ self._matrix.T.astype(np.float32)

    def inverse(self, linear: np.ndarray) -> np.ndarray:
        light = linear @ np.linalg.inv(self._matrix).T.astype(np.float32)
        for c, curve in enumerate(self._curves):
            light[..., c] = np.interp(light[..., c], curve, np.linspace(0, 1, curve.size))
        return light


def _undated(profile: bytes) -> bytes:
    """Set a fixed date of creation, so that the same picture gives the same file."""
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile.ljust(132, b"\0"), 128)
    table = profile[132 : 132 + 12 * min(count, 200)]
    entries = [struct.unpack_from(">4sII", table, k) for k in range(0, len(table) - 11, 12)]
    return {name: profile[at : at + size] for name, at, size in entries}


def _table(tag: bytes) -> np.ndarray | None:
    """Return a curve's table as float64 in [0, 1], rising; None for a gamma, a formula or a broken tag."""
    if tag[:4] != b"curv" or len(tag) < 16 or (count := struct.unpack_from(">I", tag, 8)[0]) < 2:
        return None
    curve = np.frombuffer(tag[12 : 12 + 2 * count], ">u2") / 65535.0
    return curve if curve.size == count and bool(np.all(np.diff(curve) >= 0)) else None


def _xyz(tag: bytes) -> np.ndarray | None:
    return np.frombuffer(tag[8:20], ">i4") / 65536.0 if tag[:4] == b"XYZ " and len(tag) >= 20 else None


def conversion(profile: bytes | None, channels: int, sample_type: SampleType) -> ProfileConversion | None:
    """Return the conversion that a profile needs; None if it is sRGB to a tenth of a sample step.

    Raises:
        ValueError: The profile is broken or meant for other channels.
    """
    if profile is None:
        return None
    found = ProfileConversion(profile, channels)
    return None if found.deviation < (0.1 / 255 if sample_type == "uint8" else 0.1 / 65535) else found


def _probe(channels: int) -> np.ndarray:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    if channels == 1:
        return ramp[None, :, None]
    steps = np.linspace(0, 1, 9, dtype=np.float32)
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate([np.repeat(ramp[:, None], 3, axis=1), lattice])[None]
