"""Decisions while everything goes wrong: kills, freezes, clocks, strangers, bad bundles."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quietdial.agents.serve.client import Decision, Floor, Sidecar
from quietdial.experiments.sidecar.process import Sidecars, example_features
from quietdial.experiments.sidecar.strangers import Loiterers, send_malformed

BATCH: Final = 50
"""Campaigns of the dialer, asked for together."""

PACE_S: Final = 0.015
"""Shortest time between two batches."""

FROZEN_S: Final = (0.1, 1.0)
JUMPED_S: Final = 0.5


@dataclass
class Chaos:
    """What a storm brought.

    Attributes:
        asked: decisions that the dialer wanted.
        unanswered: of these, without a number to dial by.
        by: answers by who made them and why.
        waits_s: the dialer's waits, one for each batch for which it asked the sidecar.
        kills: sidecars killed.
        freezes: times that one was frozen.
        jumps: times that its clock was put off.
        good: right bundles offered.
        bad: damaged bundles offered.
        reloads_seen: bundles that the sidecars say they took ("ok") and refused.
        crashes: sidecars that ended by themselves.
        strangers: what became of malformed requests.
        loiterers: clients that held their connections, by kind.
    """

    asked: int = 0
    unanswered: int = 0
    by: Counter[str] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    kills: int = 0
    freezes: int = 0
    jumps: int = 0
    good: int = 0
    bad: int = 0
    reloads_seen: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    strangers: Counter[str] = field(default_factory=Counter)
    loiterers: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        decisions: that the dialer wants.
        kills: kill -9, then a new start.
        freezes: SIGSTOP, then SIGCONT after 0.1 to 1 s.
        jumps: the sidecar's clock an hour off for half a second.
        reloads: another bundle in its place, every second one damaged.
        malformed: requests of strangers.
        loiterers: clients that hold their connections.
    """

    decisions: int
    kills: int
    freezes: int
    jumps: int
    reloads: int
    malformed: int
    loiterers: int

    def faults(self, rng: random.Random) -> list[str]:
        """The faults in a drawn order."""
        listed = ["kill"] * self.kills + ["freeze"] * self.freezes + ["jump"] * self.jumps
        listed += ["good", "bad"] * (self.reloads // 2)
        rng.shuffle(listed)
        return listed


class Storm:
    """Faults on a sidecar, one after the other, in a thread beside the dialer.

    Args:
        sidecars: the sidecar, running.
        link: the link that it serves; it is moved to other bundles.
        right: two bundles that are right.
        wrong: a damaged one.
        plan: how much of everything.
        seed: seed of the order and of the strangers.
    """

    def __init__(
        self,
        sidecars: Sidecars,
        link: Path,
        right: tuple[Path, Path],
        wrong: Path,
        plan: Plan,
        seed: int,
    ) -> None:
        self.found = Chaos()
        self._s, self._link, self._right, self._wrong = sidecars, link, right, wrong
        self._plan, self._seed = plan, seed
        self._rng = random.Random(seed)  # noqa: S311
        self._features = example_features(right[0])
        self._loiterers = Loiterers(sidecars.socket, self._features, seed + 2)
        self._asked = 0
        self._dead = threading.Event()

    def play(self, report: Callable[[int], None] = lambda _: None) -> Chaos:
        """Let the dialer ask as often as planned while the faults go on."""
        spawn = multiprocessing.get_context("spawn")
        with (
            ProcessPoolExecutor(1, mp_context=spawn) as strangers,
            ThreadPoolExecutor(1) as beside,
        ):
            faults = beside.submit(self._play_faults, strangers)
            try:
                self._dial(report)
            except BaseException:
                self._dead.set()
                raise
            faults.result()
        self._note_counters()
        self.found.crashes = self._s.crashes + (not self._s.alive())
        self.found.loiterers = self._loiterers.made
        return self.found

    def _dial(self, report: Callable[[int], None]) -> None:
        found, rng = self.found, random.Random(self._seed + 1)  # noqa: S311
        client = Sidecar(str(self._s.socket))
        while found.asked < self._plan.decisions:
            asks = [
                (
                    f"campaign-{i}",
                    Floor(rng.randrange(6), rng.randrange(4), rng.randrange(2), 40),
                    self._features,
                )
                for i in range(BATCH)
            ]
            begin_s = time.monotonic()
            decisions = client.decide_all(asks)
            if decisions[0].reason != "kept_away":
                found.waits_s.append(time.monotonic() - begin_s)
            for (_, floor, _), decision in zip(asks, decisions, strict=True):
                found.unanswered += not _usable(decision, floor)
                found.by[f"{decision.by}: {decision.reason or 'policy'}"] += 1
            found.asked += BATCH
            self._asked = found.asked
            if found.asked % (200 * BATCH) == 0:
                report(found.asked)
            time.sleep(max(begin_s + PACE_S - time.monotonic(), 0.0))
        client.close()

    # --- what goes wrong ------------------------------------------------------------------------

    def _play_faults(self, strangers: ProcessPoolExecutor) -> None:
        faults = self._plan.faults(self._rng)
        acts = {
            "kill": self._kill,
            "freeze": self._freeze,
            "jump": self._jump,
            "good": self._offer_right,
            "bad": self._offer_wrong,
        }
        shares = [len(part) for part in _parts(self._plan.malformed, len(faults))]
        busy: list[Future[Counter[str]]] = []
        for i, fault in enumerate(faults):
            self._wait_for((i + 0.5) / (len(faults) + 1), self._plan.loiterers / len(faults))
            if self._dead.is_set():
                return
            self._s.count_crash()
            more = (str(self._s.socket), self._features, shares[i], self._seed + 10 + i)
            busy.append(strangers.submit(send_malformed, *more))
            acts[fault]()
        for one in busy:
            self.found.strangers += one.result()
        self._loiterers.leave()

    def _wait_for(self, share: float, loiterers: float) -> None:
        """Wait until the dialer has that share of its decisions; some come to loiter meanwhile."""
        self._loiterers.more(math.ceil(loiterers))
        while self._asked < share * self._plan.decisions and not self._dead.wait(0.05):
            self._loiterers.drip()

    def _kill(self) -> None:
        self._note_counters()
        self._s.kill()
        self.found.kills += 1
        self._s.start()

    def _freeze(self) -> None:
        self._s.signal(signal.SIGSTOP)
        time.sleep(self._rng.uniform(*FROZEN_S))
        self._s.signal(signal.SIGCONT)
        self.found.freezes += 1

    def _jump(self) -> None:
        there, back = signal.SIGUSR1, signal.SIGUSR2
        if self._rng.random() < 0.5:
            there, back = back, there
        self._s.signal(there)
        time.sleep(JUMPED_S)
        self._s.signal(back)
        self.found.jumps += 1

    def _offer_right(self) -> None:
        now = Path(os.path.realpath(self._link))
        self._offer(self._right[now == self._right[0]])
        self.found.good += 1

    def _offer_wrong(self) -> None:
        """A damaged bundle, and back, so that the next start finds a right one."""
        now = Path(os.path.realpath(self._link))
        self._offer(self._wrong)
        move_link(self._link, now)
        self.found.bad += 1

    def _offer(self, bundle: Path) -> None:
        """Put a bundle in place, and wait until the sidecar has taken or refused it."""
        before = self._reloads()
        move_link(self._link, bundle)
        self._s.signal(signal.SIGHUP)
        end_s = time.monotonic() + 30
        while self._reloads() == before and time.monotonic() < end_s:
            time.sleep(0.05)

    def _reloads(self) -> Counter[str]:
        name = "quietdial_reloads_total"
        found: Counter[str] = Counter()
        for result in ("ok", "refused"):
            found[result] = int(self._s.metric(f'{name}{{result="{result}"}}'))
        return found

    def _note_counters(self) -> None:
        """Take down what a sidecar counted before it goes."""
        self.found.reloads_seen += self._reloads()


def damaged_copy(bundle: Path, out: Path, seed: int) -> Path:
    """A copy of a bundle with one bit of its weights turned."""
    shutil.copytree(bundle, out)
    path = out / "policy.safetensors"
    data = bytearray(path.read_bytes())
    data[-1 - random.Random(seed).randrange(len(data) // 2)] ^= 1  # noqa: S311
    path.write_bytes(data)
    return out


def move_link(link: Path, to: Path) -> None:
    """Let a link show elsewhere, in one step."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(to)
    new.replace(link)


def _parts(n: int, parts: int) -> list[range]:
    """`n` things in about equal parts."""
    return [range(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


def _usable(decision: Decision, floor: Floor) -> bool:
    """Whether a dialer can dial by it; the client's own is one line for each idle agent."""
    answer = decision.answer
    if decision.by == "client" or decision.fallback:
        return answer == max(floor.idle - floor.in_flight - floor.waiting, 0)
    return 0 <= answer <= 100 and answer == int(answer)
