"""Decode EXR files: choose the part and channels that form the picture, and place its data window."""

from typing import Any, NamedTuple

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images.decoded import CheckSize, Decoded, is_header_text
from clearpane.streams import Content

_REC709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
_BEAUTY = ("", "combined", "beauty", "rgba", "rgb", "color", "colour", "composite")
_NOT_COLOURS = ("Z", "ZBACK", "DEPTH", "A", "ALPHA", "ID", "U", "V")
_PART_NAMES = ("name", "view", "chunkCount", "version", "type")


class _Choice(NamedTuple):
    """Channels of one part.

    Attributes:
        rank: Rank; lower is better.
        part: Number of the part.
        colour: Numbers of the channels R, G and B, or of one grey channel.
        alpha: Number of the alpha channel, or None.
    """

    rank: int
    part: int
    colour: tuple[int, ...]
    alpha: int | None


def decode_exr(source: Content, check_size: CheckSize) -> Decoded:
    """Read the colours of an EXR file, of whatever part and layer.

    The position of the data window is kept as the attributes ``dataWindow`` (x, y) and ``displayWindow`` (x,
    y, width, height) if the two windows differ.
    """
    import OpenImageIO as oiio

    with source.on_disk() as path:
        image: Any = oiio.ImageInput.open(str(path))
        if image is None:
            raise OSError(oiio.geterror())
        try:
            choice = _choose(source, image)
            image.seek_subimage(choice.part, 0)
            spec = image.spec()
            check_size(spec.width, spec.height)
            picked = [*choice.colour, *(() if choice.alpha is None else (choice.alpha,))]
            first, last = min(picked), max(picked) + 1
            kind = "half" if str(spec.format) == "half" else "float"
            samples = image.read_image(choice.part, 0, first, last, kind)
            if samples is None:
                raise OSError(image.geterror())
        finally:
            image.geterror()
            image.close()
    samples = np.asarray(samples).reshape(spec.height, spec.width, last - first)
    if picked != list(range(first, last)):
        samples = samples[..., [k - first for k in picked]]
    attributes = {a.name: a.value for a in spec.extra_attribs}
    orientation = attributes.pop("Orientation", 1)
    chromaticities = attributes.pop("chromaticities", None)
    warnings = []
    dropped = [name for k, name in enumerate(spec.channelnames) if k not in picked]
    if dropped:
        warnings.append(f"further channels dropped ({', '.join(dropped)})")
    if chromaticities is not None and not np.allclose(np.array(chromaticities), _REC709, atol=2e-3):
        warnings.append("its primaries are not those of sRGB; colours are taken as sRGB")
    kept: dict[str, object] = {
        name: value
        for name, value in attributes.items()
        if is_header_text(name, value) and name not in _PART_NAMES
    }
    full = (spec.full_x, spec.full_y, spec.full_width, spec.full_height)
    if full != (spec.x, spec.y, spec.width, spec.height) and orientation == 1:
        kept |= {"dataWindow": (spec.x, spec.y), "displayWindow": full}
    return Decoded(
        samples,
        has_alpha=choice.alpha is not None,
        premultiplied=choice.alpha is not None,
        linear=True,
        orientation=orientation if isinstance(orientation, int) else 1,
        attributes=kept,
        warnings=warnings,
    )


def _choose(source: Content, image: Any) -> _Choice:
    """Return the best colours of all parts.

    Raises:
        ClearpaneError: The file holds deep data or no colours.
    """
    choices, names, deep, part = [], [], False, 0
    while image.seek_subimage(part, 0):
        spec = image.spec()
        if spec.deep:
            deep = True
        else:
            names += list(spec.channelnames)
            choices += _choices(part, list(spec.channelnames), spec.getattribute("name") or "")
        part += 1
    image.geterror()
    if choices:
        return min(choices, key=lambda choice: (choice.rank, choice.part))
    if deep:
        raise ClearpaneError(f"{source}: deep data, many samples a pixel; flatten it first")
    raise ClearpaneError(f"{source}: its channels are {', '.join(names)}; R, G, B or Y are needed")


def _choices(part: int, names: list[str], part_name: str) -> list[_Choice]:
    layers: dict[str, dict[str, int]] = {}
    for k, name in enumerate(names):
        layer, _, channel = name.rpartition(".")
        layers.setdefault(layer, {})[_LONG_NAMES.get(channel.upper(), channel.upper())] = k
    found = []
    for order, (layer, channels) in enumerate(layers.items()):
        beauty = (layer or part_name).rpartition(".")[2].lower() in _BEAUTY or not layer
        alpha = channels.get("A")
        if all(c in channels for c in "RGB"):
            colour, rank = tuple(channels[c] for c in "RGB"), 0 if not layer else 10 if beauty else 20 + order
        elif "Y" in channels and not ("RY" in channels or "BY" in channels):
            colour, rank = (channels["Y"],), 1000 + order
        elif len(names) - (alpha is not None) == 1 and not set(channels) - {"A"} & set(_NOT_COLOURS):
            colour, rank = tuple(k for c, k in channels.items() if c != "A"), 2000
        else:
            continue
        found.append(_Choice(rank, part, colour, alpha))
    return found


_LONG_NAMES = {"RED": "R", "GREEN": "G", "BLUE": "B", "ALPHA": "A"}
