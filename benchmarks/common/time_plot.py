"""Draw quality over time as SVG: PSNR in dB over milliseconds on a logarithmic scale."""

import math
from collections.abc import Sequence

BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"
"""Colours that colour-blind readers can distinguish (Okabe and Ito)."""

_LEFT, _TOP, _WIDTH, _HEIGHT = 52, 62, 460, 260
_BOTTOM = _TOP + _HEIGHT
_ENTRY = 110  # width of an entry of the legend

Place = tuple[float, float]
"""Milliseconds, and PSNR in dB."""


class TimePlot:
    """Collect the parts of a plot.

    Attributes:
        first, last: Binary logarithms of the least and the most milliseconds.
    """

    def __init__(self, title: str, signs: str, places: Sequence[Place], levels: Sequence[float] = ()) -> None:
        """Draw title, explanation of the signs, and horizontal lines.

        Args:
            places: All points that will be drawn.
            levels: Further PSNRs that must fit.
        """
        self.first, self.last = (f(math.log2(x) for x, _ in places) for f in (min, max))
        self.last = max(self.last, self.first + 1)
        values = [*levels, *(y for _, y in places)]
        self._low = math.floor(min(values))
        self._high = max(self._low + 1, math.ceil(max(values)))
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 16}" height="{_BOTTOM + 64}" '
            'font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="12" y="18" fill="#333">{title}</text>',
            f'<text x="12" y="36" fill="#333">{signs}</text>',
        ]
        self._entries = 0
        for tick in range(self._low, self._high + 1):
            _, y = self._at((2**self.first, tick))
            self._parts.append(
                f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#333">{tick}</text>'
            )

    def _at(self, place: Place) -> tuple[float, float]:
        """Return the position in pixels."""
        across = (math.log2(place[0]) - self.first) / (self.last - self.first)
        down = (self._high - place[1]) / (self._high - self._low)
        return _LEFT + 14 + across * (_WIDTH - 28), _TOP + down * _HEIGHT

    def tick(self, milliseconds: float, lines: Sequence[str]) -> None:
        """Write below a place on the horizontal axis."""
        x, _ = self._at((milliseconds, self._low))
        for y, text in zip((18, 33), lines, strict=False):
            self._parts.append(
                f'<text x="{x:.1f}" y="{_BOTTOM + y}" text-anchor="middle" fill="#333">{text}</text>'
            )

    def level(self, psnr: float) -> None:
        """Draw a dashed horizontal line."""
        _, y = self._at((2**self.first, psnr))
        self._parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#777" '
            'stroke-dasharray="4 3"/>'
        )

    def line(self, places: Sequence[Place], colour: str) -> None:
        """Draw a line with a dot at each place."""
        points = [self._at(place) for place in places]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        self._parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]

    def square(self, place: Place, colour: str) -> None:
        """Draw a square."""
        x, y = self._at(place)
        self._parts.append(f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{colour}"/>')

    def named_dot(self, place: Place, colour: str, name: str) -> None:
        """Draw a larger dot with its name beside it."""
        x, y = self._at(place)
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
            f'<text x="{x + 9:.1f}" y="{y + 4:.1f}" fill="#333">{name}</text>'
        )

    def entry(self, name: str, colour: str) -> None:
        """Add to the legend."""
        x = _LEFT + _ENTRY * self._entries
        self._entries += 1
        self._parts.append(
            f'<rect x="{x}" y="{_BOTTOM + 46}" width="11" height="11" fill="{colour}"/>'
            f'<text x="{x + 16}" y="{_BOTTOM + 56}" fill="#333">{name}</text>'
        )

    def svg(self) -> str:
        """Return the whole picture."""
        return "\n".join([*self._parts, "</svg>\n"])
