"""Set the length of a fit in steps, shorten it to a time limit, and estimate the time left.

Steps are the unit, so that the same settings give the same object on a busy machine as on a free one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Quality = Literal["draft", "standard", "fine"]
"""Names for numbers of steps."""

STEPS: dict[Quality, int] = {"draft": 400, "standard": 1700, "fine": 5000}
"""Steps of a fit by quality; on two cores, 1,700 take about five minutes."""

# The speed is a mean over about this many steps: they take longer once materials are fitted.
_PACE_STEPS = 50


@dataclass(frozen=True)
class RefineSettings:
    """Configure how an object is fitted.

    Attributes:
        steps: Number of steps; learning rates and surface width follow their share that is done. See `STEPS`.
        time_limit: Longest time of the fit, seconds. A fit that would take longer makes fewer steps, as many
            as fit into the time at the measured speed. Without a limit, results do not depend on the speed.
        seed: Random seed.
    """

    steps: int = STEPS["standard"]
    time_limit: float = math.inf
    seed: int = 0


@dataclass(frozen=True)
class FitProgress:
    """Report how far a fit has come.

    Attributes:
        share: Share of the fit that is done, in [0, 1].
        psnr: Best PSNR so far, dB.
        seconds_left: Estimated time to the end, seconds.
    """

    share: float
    psnr: float
    seconds_left: float


class Schedule:
    """Track the share of a fit that is done, from 0 at its first step to 1 at its end.

    Each step is an equal part of what is left of the fit. A time limit allows as many more steps as fit into
    the time left at the speed of the last ones: the share then grows faster, and everything that follows it
    is compressed.

    Attributes:
        share: Share that is done.
        steps: Number of steps made.
        seconds_left: Estimated time to the end, seconds.
    """

    def __init__(self, settings: RefineSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._began = self._last = clock()
        self._pace = 0.0
        self.steps = 0
        self.share = 0.0 if settings.steps > 0 and settings.time_limit > 0 else 1.0
        self.seconds_left = 0.0

    def advance(self) -> None:
        """Count one step."""
        now = self._clock()
        self.steps += 1
        self._pace += (now - self._last - self._pace) / min(self.steps, _PACE_STEPS)
        self._last = now
        left: float = self._settings.steps - self.steps
        time_left = self._settings.time_limit - (now - self._began)
        if time_left < left * self._pace:
            left = max(0.0, time_left / self._pace)
        self.share = 1.0 if left < 1 else self.share + (1 - self.share) / (left + 1)
        self.seconds_left = left * self._pace
