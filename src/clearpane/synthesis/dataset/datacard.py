"""The data card of a data set: what is in it, how it was made, what may be done with it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from clearpane.synthesis.dataset.manifest import MANIFEST, DataSet

_RENDERERS = {
    "analytic": "by following every ray's specular paths through the glass, without noise; exact but "
    "for bounces beyond three orders, defocus (a blur of each layer as one plane) and rough glass (a blur of "
    "each order)",
    "mitsuba": "by path tracing with Mitsuba 3; a little noise of the renderer is left in T and R",
}
_LAYERS = {
    "I": "the photograph as a camera saves it: T + R with the sensor's noise, tone curve and compression",
    "T": "transmission: the scene as seen through the glass, dimmed, tinted and shifted",
    "R": "reflection: what the glass adds",
    "B": "background: the scene with the glass away, same camera and exposure",
    "MR": "mirror reflection: what a perfect mirror in the place of the glass's front face would show",
}
_FORMATS = {
    "png16": "16-bit PNG with the sRGB curve, clipped at white; undo the curve for linear light",
    "exr": "OpenEXR, half floats, linear light, not clipped: I before the sensor is T + R",
}

_CLIPPED = {"png16": ", where neither is clipped", "exr": ""}


def data_card(data_set: DataSet, command: str) -> str:
    """The card as Markdown; the same data set gives the same text.

    Args:
        data_set: finished.
        command: that makes it.
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
and the scene that was rendered: {len(data_set.entries)} WebDataset shards, {size / 1e6:.1f} MB. Made by
Clearpane {recipe["version"]}.

```
{command}
```

The same command on the same pictures makes the same samples. `{MANIFEST}` holds the shards' checksums;
its own (SHA-256) is

    {data_set.checksum()}

## What is in a sample

| layer | file | what it is |
|---|---|---|
{_lines(files)}

- Layers but I: {_FORMATS[recipe["format"]]}.
- They are free of noise and tone curve, at the photograph's exposure and white balance. In linear light,
  T + R is what the sensor saw{_CLIPPED[recipe["format"]]}.
- Rendered {_RENDERERS[recipe["renderer"]]}.

`KEY.json` is the scene (metres, degrees); `KEY.txt`, where I, T and R are there, the caption of the panel
[I:T:R].

## What was drawn

| of the scenes | |
|---|---|
{_lines(_counted(data_set))}

Lengths are in metres, angles in degrees, absorption and curvature per metre; chances and shares from 0 to 1.
The documentation of `clearpane.synthesis.glass.ranges.SceneRanges` says what each is.

| quantity | range |
|---|---|
{_lines(f"| {name} | {_range(name, value)} |" for name, value in recipe["ranges"].items())}

## Sources and licence

| pictures | folder | files | checksum of their names |
|---|---|---|---|
{_lines(sources)}

The scenes show these pictures, so their licences and terms hold for this data set too. Clearpane claims no
right in it.

## What it is not

The background and the reflected world are pictures on a flat surface or a dome: nothing in them moves against
anything else, and the glass has no smears or scratches but dust. Whatever is wrong with the pictures
(compression, blur) is in the layers.
"""


def _lines(rows: Iterable[str]) -> str:
    return "\n".join(rows)


def _file(letter: str, format: str) -> str:
    suffix = "exr" if format == "exr" and letter != "I" else "png"
    return f"`KEY.{letter.lower()}.{suffix}`"


def _counted(data_set: DataSet) -> list[str]:
    """Rows: scenes by shape of pane and of reflected world, and each layer's mean light."""
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
        return f"mean of the logarithm {value[0]:g}, its deviation {value[1]:g}"
    if name == "reflection_level":
        return f"median {value[0]:g}, deviation of the logarithm {value[1]:g}"
    if isinstance(value, list):
        return f"{value[0]:g} to {value[1]:g}"
    return f"{value:g}"
