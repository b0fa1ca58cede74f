"""A plain rule for the dial level, for trying the adapter out and where no policy was exported."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

IDLE_SHARE, WAITING, OVER_BUDGET = 1, 2, 13
"""Places of the features that the rule reads in the observation `counters`."""
ENOUGH_IDLE: Final = 0.45
"""3 x ready agents / agents at work above which the level rises."""
MOST_WAITING: Final = 2
"""Callees who wait: with so many the level is 1."""
SPENT: Final = 0.1
THRIFTY: Final = -0.4
"""Of `over_budget_rate`: above the first the level is 1, below the second it may rise."""

STEP: Final = 0.25
"""Levels are 1, 1.25, 1.5, ..., 4, as those of the action `vicidial_level`."""
N_LEVELS: Final = 13


def level_number(obs: NDArray[np.float32]) -> int:
    """Number of the level, 0 to 12, for one observation `counters`.

    1.0 when the budget of silent calls is spent or callees wait, 1.5 when it is far from spent and
    many agents are ready, else 1.25.
    """
    if obs[OVER_BUDGET] > SPENT or obs[WAITING] >= MOST_WAITING:
        return 0
    return 2 if obs[IDLE_SHARE] > ENOUGH_IDLE and obs[OVER_BUDGET] < THRIFTY else 1


def level_of(number: int) -> float:
    """The dial level of an action of `vicidial_level`; `ValueError` out of range."""
    if not 0 <= number < N_LEVELS:
        raise ValueError(f"action {number} must lie between 0 and {N_LEVELS - 1}")
    return 1.0 + STEP * number
