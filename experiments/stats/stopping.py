"""When enough days are played.

Days may be played in rounds until an interval is narrow enough (`Stopping`). The rule looks at the
interval's width only, never at the sign or the size of the difference, so it cannot stop at a
result that pleases. Width and mean of few days are still not quite independent, and a spread
that is small by luck stops too early. So no rule stops before a fixed least number of days, and
it looks only at the ends of rounds that grow by half. What is left of the effect is measured by a
test: intervals of 95 % then cover at least 93 % if the daily differences are normal or skewed by .7
at most. With a skewness of 1 it is 92 %, of 1.4 91 %, of 2 88 %, most of it from Student's
interval itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from quietdial.envs.errors import ConfigError
from quietdial.experiments.stats.intervals import Interval


@dataclass(frozen=True, slots=True)
class Stopping:
    """When enough days are played: the interval is narrow enough, or the days are used up.

    It looks at the width only, and only after rounds that grow by half, from `least` on.

    Attributes:
        half_width: Wanted half-width of the interval, in the unit of what is estimated.
        least: Days of the first round, at least 2.
        most: Days after which it is enough in any case.
    """

    half_width: float
    least: int
    most: int

    def __post_init__(self) -> None:
        """Refuse rounds that cannot be."""
        if not self.half_width >= 0.0:
            raise ConfigError(f"half_width is {self.half_width!r}, allowed is a number >= 0")
        if not 2 <= self.least <= self.most:
            raise ConfigError(
                f"least = {self.least} and most = {self.most} days: 2 <= least <= most is allowed"
            )

    def rounds(self) -> Iterator[int]:
        """Days played in all after each round: `least`, half as many more, ..., `most`."""
        n = self.least
        while n < self.most:
            yield n
            n += n // 2
        yield self.most

    def enough(self, interval: Interval) -> bool:
        """Whether an interval is narrow enough."""
        return interval.half_width <= self.half_width
