"""What every part of the model uses: SimPy, random draws, moments with a priority, the counters."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

from quietdial.envs.errors import MissingExtraError
from quietdial.envs.laws import Law

try:
    import simpy
    from simpy.events import EventPriority
except ImportError as error:  # pragma: no cover - the test set-up has it
    raise MissingExtraError("simpy", "bench", "the SimPy reference model") from error

__all__ = [
    "CONTROL",
    "DECISION",
    "FURTHER_COUNTS",
    "PLAIN_COUNTS",
    "SHORTEST_S",
    "STOP",
    "Counts",
    "Draws",
    "Moment",
    "Process",
    "Sampler",
    "new_counts",
    "simpy",
]

Process = Generator[simpy.Event, Any, None]
Sampler = Callable[[], float]
"""A new independent draw at every call."""

CONTROL, STOP, DECISION = EventPriority(2), EventPriority(3), EventPriority(4)
"""Priorities of moments that come after all other events of their instant (those have 0 and 1)."""

SHORTEST_S = 0.001
"""Anything drawn lasts at least so long [s]."""

PLAIN_COUNTS = (
    "dialed",
    "answered",
    "connected",
    "silent_cut",
    "silent_left",
    "silent_amd",
    "machine",
    "busy",
    "no_answer",
    "invalid",
)
FURTHER_COUNTS = (
    "counted",
    "late",
    "message",
    "failure",
    "cancelled",
    "machine_agent",
    "machine_dropped",
    "amd_machine",
    "reserved",
    "callbacks",
    "repeats",
    "harm",
    "people_done",
    "successes",
    "inbound_arrived",
    "inbound_served",
    "inbound_lost",
    "inbound_waited",
    "inbound_in_time",
)
Counts = dict[str, float]

_BLOCK = 512


def new_counts() -> Counts:
    """Every counter of the model, at 0."""
    return dict.fromkeys((*PLAIN_COUNTS, *FURTHER_COUNTS), 0)


class Moment(simpy.Event):
    """An event that happens `delay_s` from now, after those of smaller priority at that instant."""

    def __init__(self, env: simpy.Environment, delay_s: float, priority: EventPriority) -> None:
        # As in simpy.Timeout: what Event.__init__ does, without the call.
        self.env = env
        self.callbacks = []
        self._ok = True
        self._value = None
        env.schedule(self, priority, delay_s)


class Draws:
    """All random numbers of one floor.

    Attributes:
        random: numpy's generator.
        uniform: draws from [0, 1).
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.uniform: Sampler = _uniforms(self.random).__next__

    def sampler(self, law: Law) -> Sampler:
        """Independent durations of a law [s], by inversion, never shorter than `SHORTEST_S`."""
        return _durations(law, self.random).__next__

    def maybe(self, law: Law | None) -> Sampler | None:
        """The sampler of a law that a scenario may leave out."""
        return None if law is None else self.sampler(law)

    def normal(self, sd: float) -> float:
        """A normal number with mean 0."""
        return float(self.random.normal(0.0, sd))

    def factor(self, sd: float) -> float:
        """A lognormal factor with mean 1; `sd` is that of its logarithm."""
        return float(np.exp(self.random.normal(-0.5 * sd**2, sd)))


def _uniforms(random: np.random.Generator) -> Iterator[float]:
    while True:
        yield from random.random(_BLOCK).tolist()


def _durations(law: Law, random: np.random.Generator) -> Iterator[float]:
    while True:
        yield from np.maximum(law.quantile_s(random.random(_BLOCK)), SHORTEST_S).tolist()
