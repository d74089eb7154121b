"""The data card of a data set: its contents, how it was made and under which terms it may be used."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.filesize import decimal

from clearpane.synthesis.dataset.manifest import MANIFEST, DataSet

_RENDERERS = {
    "analytic": "by following every ray's specular paths through the glass, without noise; exact except "
    "for bounces beyond three orders, defocus (a blur of each layer as one plane) and rough glass (a blur of "
    "each order)",
    "mitsuba": "by path tracing with Mitsuba 3; T and R contain a little rendering noise",
}
_LAYERS = {
    "I": "the photograph as a camera saves it: T + R with the sensor's noise, tone curve and compression",
    "T": "transmission: the scene as seen through the glass, dimmed, tinted and shifted",
    "R": "reflection: the light added by the glass",
    "B": "background: the scene without the glass, same camera and exposure",
    "MR": "mirror image: what a perfect mirror instead of the glass's front face would show",
}
_FORMATS = {
    "png16": "16-bit PNG with the sRGB curve, clipped at white; invert the curve for linear light",
    "exr": "OpenEXR, half floats, linear light, not clipped: I before the sensor is T + R",
}

_CLIPPED = {"png16": ", where neither is clipped", "exr": ""}


def data_card(data_set: DataSet, command: str) -> str:
    """Return the card as Markdown; the same data set gives the same text.

    Args:
        data_set: Finished data set.
        command: Command that makes the data set.
    """
    recipe = data_set.recipe
    layers: list[str] = recipe["layers"]
    size = sum(entry.bytes for entry in data_set.entries.values())
    files = [f"| {letter} | {_file(letter, recipe['format'])} | {_LAYERS[letter]} |" for letter in layers]
    sources = [
        f"| {kind} | {facts['folder']} | {facts['pictures']} | `{facts['sha256']}` |"
        for kind in ("backgrounds", "environments")
        if (facts := recipe[kind]) is not None
    ]
    return f"""\
# {data_set.count} photographs through glass

{data_set.count} synthetic photographs of {recipe["width"]} x {recipe["height"]} pixels, each with its layers
and the rendered scene: {len(data_set.entries)} WebDataset shards, {decimal(size)}. Made by
Clearpane {recipe["version"]}.

```
{command}
```

The same command on the same pictures makes the same samples. `{MANIFEST}` holds the shards' checksums;
its own (SHA-256) is

    {data_set.checksum()}

## What is in a sample

| layer | file | content |
|---|---|---|
{_lines(files)}

- Layers other than I: {_FORMATS[recipe["format"]]}.
- They have no noise and no tone curve, at the photograph's exposure and white balance. In linear light,
  T + R is the light on the sensor{_CLIPPED[recipe["format"]]}.
- Rendered {_RENDERERS[recipe["renderer"]]}.

`KEY.json` is the scene (metres, degrees); `KEY.txt`, present with I, T and R, is the caption of the panel
[I:T:R].

## Random parameters

| scenes | |
|---|---|
{_lines(_counted(data_set))}

Lengths are in metres, angles in degrees, absorption and curvature per metre; probabilities and shares from 0
to 1. The documentation of `clearpane.synthesis.glass.ranges.SceneRanges` describes each of them.

| quantity | range |
|---|---|
{_lines(f"| {name} | {_range(name, value)} |" for name, value in recipe["ranges"].items())}

## Sources and licence

| pictures | folder | files | checksum of their names |
|---|---|---|---|
{_lines(sources)}

The scenes show these pictures, so their licences and terms apply to this data set too. Clearpane claims no
rights in it.

## Limits

The background and the reflected world are pictures on a flat surface or a dome, so there is no parallax
within them, and the glass has dust but no smears or scratches. Defects of the pictures (compression, blur)
are also in the layers.
"""


def _lines(rows: Iterable[str]) -> str:
    return "\n".join(rows)


def _file(letter: str, format: str) -> str:
    suffix = "exr" if format == "exr" and letter != "I" else "png"
    return f"`KEY.{letter.lower()}.{suffix}`"


def _counted(data_set: DataSet) -> list[str]:
    """Return table rows: scenes by shape of pane and of reflected world, and each layer's mean light."""
    panes: Counter[str] = Counter()
    worlds: Counter[str] = Counter()
    light: Counter[str] = Counter()
    for entry in data_set.entries.values():
        panes.update(entry.panes)
        worlds.update(entry.worlds)
        light.update({letter: mean * entry.samples for letter, mean in entry.light.items()})
    rows = [f"| panes | {_listed(panes)} |", f"| reflected worlds | {_listed(worlds)} |"]
    if light:
        means = ", ".join(f"{letter} {total / data_set.count:.3f}" for letter, total in light.items())
        rows.append(f"| mean linear light (1 is white) | {means} |")
    return rows


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{name} {number}" for name, number in sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    )


def _range(name: str, value: Any) -> str:
    if name == "blueness":
        return f"mean of the logarithm {value[0]:g}, its standard deviation {value[1]:g}"
    if name == "reflection_level":
        return f"median {value[0]:g}, standard deviation of the logarithm {value[1]:g}"
    if isinstance(value, list):
        return f"{value[0]:g} to {value[1]:g}"
    return f"{value:g}"
