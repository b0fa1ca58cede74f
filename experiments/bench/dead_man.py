"""The dead man's switch under kill -9: how long an aggressive level outlives its adapter.

The adapter, a process of its own, holds a level of 3 on a campaign in a real MariaDB. At a random
moment it is killed with SIGKILL; the table is read until the level is 1.0. The moment of death is
taken after the kill was seen to have worked, so the time is never too short by the wait for it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from quietdial.envs.errors import QuietDialError
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.dialer import mariadb
from quietdial.experiments.dialer.process import start_adapter
from quietdial.experiments.dialer.tables import make_tables
from quietdial.experiments.stats import clopper_pearson

SEED: Final = 50
LEASE_S: Final = 3.0
GRACE_S: Final = 1.5
_LEVEL: Final = 3.0
_RENEW_S: Final = 0.5
_CAMPAIGN: Final = "DEADMAN"
_PATIENCE_S: Final = 60.0


class DeadMan(NamedTuple):
    """Times from a kill to level 1.0 [s], in the order of the kills."""

    seconds: tuple[float, ...]

    @property
    def late(self) -> int:
        """Kills after which the level was not 1.0 within lease + 1.5 s."""
        return sum(s > LEASE_S + GRACE_S for s in self.seconds)


def run_kills(kills: int, seed: int = SEED) -> DeadMan:
    """Kill the adapter so often on a private server; see the module."""
    rng = np.random.default_rng(seed)
    with mariadb.private_server() as socket:
        root = mariadb.connect(socket)
        make_tables(root, _CAMPAIGN)
        found = tuple(_killed(root, socket, float(rng.random())) for _ in range(kills))
        root.close()
    return DeadMan(found)


def _killed(root: Any, socket: Path, share: float) -> float:
    process = start_adapter(
        socket,
        _CAMPAIGN,
        *("--policy", f"level:{_LEVEL}", "--lease", str(LEASE_S), "--renew", str(_RENEW_S)),
        *("--step-up", "10", "--interval", "0.2"),
    )
    try:
        _until(root, _LEVEL)
        time.sleep(2 * _RENEW_S * share)
        process.kill()
        process.wait()
        began = time.monotonic()
        if _level(root) != _LEVEL:
            raise QuietDialError("the adapter had given up its level before it was killed")
        return _until(root, 1.0) - began
    finally:
        process.kill()
        process.wait()


def _level(root: Any) -> float:
    with root.cursor() as cursor:
        cursor.execute("SELECT auto_dial_level FROM vicidial_campaigns")
        return float(cursor.fetchone()[0])


def _until(root: Any, level: float) -> float:
    """Wait for a level; the moment at which it was seen (monotonic clock)."""
    limit = time.monotonic() + _PATIENCE_S
    while _level(root) != level:
        if time.monotonic() > limit:
            raise QuietDialError(f"the level is not {level:g} after {_PATIENCE_S:g} s")
        time.sleep(0.02)
    return time.monotonic()


def run(kills: int, output: Path | None, command: str) -> DeadMan:
    """Kill the adapter, and write the figures to `output` if given."""
    found = run_kills(kills)
    if output is not None:
        write_json_atomic(output, result_file("dead-man", command, str(SEED), _figures(found)))
    return found


def _figures(found: DeadMan) -> list[dict[str, Any]]:
    seconds, n = np.array(found.seconds), len(found.seconds)
    late = clopper_pearson(found.late, n)
    low, high = float(seconds.min()), float(seconds.max())
    note = f"lease {LEASE_S:g} s, renewed every {_RENEW_S:g} s; lo and hi: shortest and longest"
    return [
        figure(
            "late",
            late.value,
            "1",
            late.lo,
            late.hi,
            n,
            f"kills with the level above 1.0 later than {LEASE_S + GRACE_S:g} s; Clopper-Pearson, "
            "95 %, one-sided at zero",
        ),
        figure("worst", high, "s", low, high, n, f"from the kill to level 1.0; {note}"),
        figure("median", float(np.median(seconds)), "s", low, high, n, note),
    ]
