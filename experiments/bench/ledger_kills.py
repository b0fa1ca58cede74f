"""The ledger under kill -9: what was acknowledged is there, and everything is there once.

A client sends batches of calls to the ledger's writer, another process, and notes which batches
were acknowledged. At a random moment the writer is killed with SIGKILL. The client starts it again,
sends what was not acknowledged once more, and goes on. After every kill the ledger is read: each
acknowledged call must be in it, each window must count each call once.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from quietdial.agents.ledger import Ledger, Terms, WindowTerm, make_key
from quietdial.agents.ledger.__main__ import event_of
from quietdial.agents.ledger.errors import LedgerError
from quietdial.agents.ledger.reading import report, verify
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.stats import clopper_pearson

SEED: Final = 20_140_220
_CAMPAIGN: Final = "kills"
_TERMS: Final = Terms(
    rule="it_2014",
    windows=(WindowTerm("campaign", 0.03), WindowTerm("day", 0.04)),
    time_zone="Europe/Rome",
    first_day=datetime.date(2026, 3, 2),
    quarantine_s=432_000.0,
)
_BEGIN_MS: Final = 1_772_442_000_000  # 2 March 2026, 10:00 in Rome
_LONGEST_S: Final = 0.15
"""Latest moment of a kill after the writer is ready."""
_OUTCOMES: Final = ("connected", "connected", "connected", "cut", "left", "no_answer", "machine")
_PATIENCE_S: Final = 60.0


class Kills(NamedTuple):
    """What became of all counts.

    Attributes:
        kills: writers killed.
        in_flight: of these, killed with a batch sent and not acknowledged.
        acknowledged: calls whose record was acknowledged before some kill.
        lost: of these, missing from the ledger after a kill.
        twice: calls that some window or day counted more than once.
        sent: calls sent in all; at the end each must be counted.
        missing: of these, not counted at the end.
        faults: what the check of the ledger found.
        slowest_s: longest time from a kill to the writer being ready again [s].
    """

    kills: int
    in_flight: int
    acknowledged: int
    lost: int
    twice: int
    sent: int
    missing: int
    faults: tuple[str, ...]
    slowest_s: float

    @property
    def passed(self) -> bool:
        """Nothing lost, nothing counted twice, nothing wrong."""
        return not (self.lost or self.twice or self.missing or self.faults)


class _Writer:
    """The ledger's writer in a process of its own, with pipes."""

    def __init__(self, ledger: Path, key: Path) -> None:
        command = [sys.executable, "-m", "quietdial.agents.ledger", str(ledger), str(key)]
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._left = b""
        if self.line(time.monotonic() + _PATIENCE_S) is None:
            self.kill()
            raise LedgerError(f"the ledger's writer did not start within {_PATIENCE_S:g} s")

    def send(self, batch: int, events: list[dict[str, Any]]) -> None:
        """Send a batch; a writer that is dead is noticed later."""
        text = json.dumps({"batch": batch, "events": events}) + "\n"
        pipe = self.process.stdin
        if pipe is not None:
            pipe.write(text.encode())
            pipe.flush()

    def line(self, until: float) -> dict[str, Any] | None:
        """The next answer; None if there is none by `until` (monotonic clock) or at all."""
        pipe = self.process.stdout
        if pipe is None:
            return None
        while b"\n" not in self._left:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                return None
            read = os.read(pipe.fileno(), 65_536)
            if not read:
                return None
            self._left += read
        line, _, self._left = self._left.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def kill(self) -> None:
        """SIGKILL, and read what was acknowledged before it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def run_kills(kills: int, folder: Path, seed: int = SEED) -> Kills:
    """Kill the writer of a new ledger in `folder` so often; see the module."""
    rng = np.random.default_rng(seed)
    path, key_file = folder / "ledger.db", folder / "key"
    key = make_key(key_file)
    with Ledger(path, key, make=True) as book:
        book.agree(_CAMPAIGN, _TERMS, who="proof", at_ms=_BEGIN_MS)
    numbers = itertools.count()
    batches: dict[int, list[dict[str, Any]]] = {}
    acknowledged: set[int] = set()
    calls_acknowledged, in_flight, lost, twice, slowest_s = 0, 0, 0, 0, 0.0
    for _ in range(kills):
        began = time.monotonic()
        writer = _Writer(path, key_file)
        slowest_s = max(slowest_s, time.monotonic() - began)
        until = time.monotonic() + _LONGEST_S * float(rng.random())
        resend = [batch for batch in batches if batch not in acknowledged]
        pending = 0
        while time.monotonic() < until or not pending:
            batch = resend.pop(0) if resend else len(batches)
            if batch not in batches:
                batches[batch] = _calls(rng, next(numbers))
            writer.send(batch, batches[batch])
            pending = batch + 1
            told = writer.line(until)
            if told is None:
                break
            if "error" in told:
                raise LedgerError(f"the ledger's writer refused a batch: {told['error']}")
            acknowledged.add(int(told["batch"]))
        in_flight += pending - 1 not in acknowledged
        writer.kill()
        sure = {e["call_id"] for batch in acknowledged for e in batches[batch]}
        calls_acknowledged = len(sure)
        counted, kept = _counted(path)
        lost += len(sure - kept)
        twice += max(counted - len(kept), 0)
    with Ledger(path, key) as book:
        for batch, events in batches.items():
            if batch not in acknowledged:
                book.record([event_of(event) for event in events])
    counted, kept = _counted(path)
    sent = {event["call_id"] for events in batches.values() for event in events}
    return Kills(
        kills,
        in_flight,
        calls_acknowledged,
        lost,
        twice + max(counted - len(kept), 0),
        len(sent),
        len(sent - kept) + max(len(kept) - counted, 0),
        tuple(verify(path, key)),
        slowest_s,
    )


def _calls(rng: np.random.Generator, batch: int) -> list[dict[str, Any]]:
    """Between 1 and 60 calls with their outcomes, a millisecond apart."""
    return [
        {
            "what": "ended",
            "call_id": f"c{batch}-{i}",
            "campaign": _CAMPAIGN,
            "at_ms": _BEGIN_MS + 1000 * batch + i,
            "outcome": str(rng.choice(_OUTCOMES)),
            "number": f"+39021{int(rng.integers(10**6)):06d}",
        }
        for i in range(int(rng.integers(1, 61)))
    ]


def _counted(path: Path) -> tuple[int, set[str]]:
    """Calls that the statistics of days count, and the ids of the calls that are kept."""
    totals: Counter[str] = Counter()
    for campaign in report(path).campaigns:
        for day in campaign.days:
            totals.update({name: day.counts[name] for name in set(_OUTCOMES)})
    connection = sqlite3.connect(path.as_uri() + "?mode=ro", uri=True)
    try:
        ids = {row[0] for row in connection.execute("SELECT call_id FROM calls WHERE ended = 1")}
    finally:
        connection.close()
    return totals.total(), ids


def run(kills: int, output: Path | None, command: str) -> Kills:
    """Kill the writer, and write the figures to `output` if given."""
    with tempfile.TemporaryDirectory() as folder:
        found = run_kills(kills, Path(folder))
    if output is not None:
        write_json_atomic(output, result_file("ledger", command, str(SEED), _figures(found)))
    return found


def _figures(found: Kills) -> list[dict[str, Any]]:
    lost = clopper_pearson(min(found.lost, found.acknowledged), found.acknowledged)
    twice = clopper_pearson(min(found.twice, found.sent), found.sent)
    bad = 0 if found.passed else 1
    kills = clopper_pearson(bad, found.kills)
    flying = clopper_pearson(found.in_flight, found.kills)
    note = "95 %: Clopper-Pearson, one-sided at zero"
    return [
        figure("counts-lost", lost.value, "1", lost.lo, lost.hi, lost.n, f"of those told; {note}"),
        figure("counted-twice", twice.value, "1", twice.lo, twice.hi, twice.n, note),
        figure("kills-with-harm", kills.value, "1", kills.lo, kills.hi, kills.n, note),
        figure(
            "kills-with-a-batch-under-way", flying.value, "1", flying.lo, flying.hi, flying.n, note
        ),
        figure(
            "slowest-restart",
            found.slowest_s,
            "s",
            0.0,
            found.slowest_s,
            found.kills,
            "from the start of the process to its being ready; the check of all pages included",
        ),
    ]
