"""The parts of the proof: what each proves, how long it takes, where it lives.

A part is a module of this folder, named like the part, with one function

    run(scale: float, report: Report) -> list[Figure]

`scale` is 1 for the whole proof and smaller for a sample (fewer cells, less played time, the same
statistics). `report(what, share)` is called with the share of the part that is done. The figures
are rows made by `experiments.bench.results.figure`. A row with the unit `FAILURES` counts what must
not happen; a value above 0 fails the part, and its note says what happened (see `failures`).

To add a part, write its module and add a line to `PARTS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from quietdial.envs.errors import ConfigError
from quietdial.experiments.bench.results import figure
from quietdial.experiments.stats import clopper_pearson

Figure = dict[str, Any]
Report = Callable[[str, float], None]
Run = Callable[[float, Report], list[Figure]]

FAILURES = "failures"
"""Unit of the figures that must be 0."""

SAMPLE = 0.02
"""Scale of the sample that `quietdial proof --quick` plays."""

_MOST_NAMED = 20


class Part(NamedTuple):
    """One part of the proof."""

    name: str  # of the module in this folder
    proves: str
    minutes: float  # the whole part, on one core

    def load(self) -> Run:
        """Its function `run`; the module is imported only now."""
        module = importlib.import_module(f"quietdial.experiments.proof.{self.name}")
        run: Run = module.run
        return run


PARTS = (
    Part("erlang", "open-loop dialing has the closed forms of Erlang B, C, A and M/M/n + D", 8),
    Part("chain", "order-up-to policies have the figures and the law of the exact Markov chain", 8),
    Part("reference", "every total agrees with an independent SimPy model in 26 worlds", 10),
    Part("blend", "ContactCenters' example Blend has all its published figures", 1),
    Part("calendar", "hours, holidays, clock changes, pauses, caps and windows, row by row", 1),
    Part("flows", "nothing is lost in 10,240 random sequences of random worlds", 4),
    Part("planted", "48 bugs planted in the kernel are all found", 12),
    Part("seeds", "the seed alone fixes the world, bit for bit, and policies share its chances", 4),
)


def chosen(names: Sequence[str], parts: Sequence[Part] = PARTS) -> list[Part]:
    """The parts of these names, in the order of `parts`; all of them if no name is given."""
    known = [part.name for part in parts]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"no part {unknown[0]!r} in the proof; use one or more of: {', '.join(known)}"
        )
    return [part for part in parts if not names or part.name in names]


def failures(name: str, found: Sequence[str], n: int, what: str) -> Figure:
    """A figure that must be 0: how many of `n` checks failed, which ones, and a 95 % bound.

    Args:
        name: name of the figure.
        found: one description for each failure.
        n: number of checks, at least 1.
        what: what was checked.

    Returns:
        `lo` and `hi` bound the expected number of failures among `n` checks, at 95 % (for none of
        n: 3); see `experiments.stats.clopper_pearson`.
    """
    share = clopper_pearson(len(found), n)
    note = what
    if found:
        named = "; ".join(found[:_MOST_NAMED])
        more = len(found) - _MOST_NAMED
        note += f"; FAILED: {named}" + (f"; and {more} more" if more > 0 else "")
    return figure(name, float(len(found)), FAILURES, n * share.lo, n * share.hi, n, note)


def failed(figures: Sequence[Figure]) -> list[Figure]:
    """The figures of a part that must be 0 and are not."""
    return [row for row in figures if row["unit"] == FAILURES and row["value"] > 0]
