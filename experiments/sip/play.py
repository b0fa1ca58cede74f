"""Real SIP calls: dialers beside their sidecars, SIPp as the network, many floors at one time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from quietdial.envs.errors import QuietDialError
from quietdial.experiments.sidecar.process import running
from quietdial.experiments.sip.callees import Fate, network
from quietdial.experiments.sip.fates import Draws
from quietdial.experiments.sip.real_time import prefer
from quietdial.experiments.sip.worlds import Setting, bundle_of

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
"""Where the dialer is in a checkout; an installed wheel has none."""

_FIRST_NUMBER: Final = 10_000_000
_NUMBERS: Final = 1_000_000
"""Telephone numbers of each session; the list of a session begins at a multiple of it."""
_DIALS_PER_AGENT_S: Final = 0.25
_HANDLED_PER_AGENT_S: Final = 0.08
_SPARE: Final = 100
_START_S: Final = 6.0
_LATE_S: Final = 60.0


class Session(NamedTuple):
    """What came of one session of real calls.

    Attributes:
        setting: name of its setting.
        seed: seed of the simulated day whose draws it lived.
        totals: what the dialer printed.
        records: its dials, as in the project's call records.
        decisions: what it saw and was told, one for each decision.
        fates: what was to become of the dials, in their order.
    """

    setting: str
    seed: int
    totals: dict[str, Any]
    records: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    fates: list[Fate]


class Played(NamedTuple):
    """What came of all sessions.

    Attributes:
        sessions: one for each setting and seed.
        networks: what SIPp counted, by setting.
        preferred: how the processes were put before others.
    """

    sessions: list[Session]
    networks: dict[str, dict[str, int]]
    preferred: str


def play(
    settings: Sequence[Setting],
    seeds: Sequence[int],
    folder: Path,
    report: Callable[[str], None],
) -> Played:
    """Play every setting with every seed, all side by side, in real time.

    Args:
        settings: who decides; each gets a sidecar and a network of its own.
        seeds: of the simulated days whose draws are lived.
        folder: for all files.
        report: told how far it is.

    Raises:
        QuietDialError: a process does not work; or there is no checkout.
    """
    if not (EXAMPLES / "sip_dialer").is_dir():
        raise QuietDialError("the dialer, examples/sip_dialer, is not here; use a checkout")
    ways: set[str] = set()
    with contextlib.ExitStack() as stack:
        networks, lines = {}, []
        for at, setting in enumerate(settings):
            home = folder / f"setting-{at}"
            bundle = bundle_of(setting, home / "bundle", seeds[0])
            sidecars = stack.enter_context(running(bundle))
            ways.add(prefer([sidecars.pid]))
            fates = {seed: _fates(setting, seed, run) for run, seed in enumerate(seeds)}
            every = [fate for some in fates.values() for fate in some]
            made = stack.enter_context(network(home / "network", every))
            ways.add(made.preferred)
            networks[setting.name] = made
            for run, seed in enumerate(seeds):
                path = home / f"session-{run}.json"
                lines.append((setting, seed, path, fates[seed]))
                _write(setting, seed, run, path, sidecars.socket, made.port)
        report(f"{len(lines)} dialers, {len(networks)} sidecars and networks")
        dialers = _start([path for _, _, path, _ in lines])
        for dialer in dialers:
            stack.callback(dialer.kill)
        ways.add(prefer([dialer.pid for dialer in dialers]))
        seconds = max(setting.scenario.episode.duration_s for setting in settings)
        printed = _wait(dialers, seconds + _START_S + _LATE_S, report)
        counted = {name: made.end() for name, made in networks.items()}
    sessions = [
        Session(setting.name, seed, json.loads(text), *_logs(path), fates=some)
        for (setting, seed, path, some), text in zip(lines, printed, strict=True)
    ]
    return Played(sessions, counted, ", ".join(sorted(ways)))


def _fates(setting: Setting, seed: int, run: int) -> list[Fate]:
    scenario = setting.scenario
    draws = Draws(scenario, seed)
    size = scenario.floor.n_agents * scenario.episode.duration_s
    first = _FIRST_NUMBER + _NUMBERS * run
    return [
        draws.fate(dial, first + dial) for dial in range(round(_DIALS_PER_AGENT_S * size) + _SPARE)
    ]


def _write(setting: Setting, seed: int, run: int, path: Path, sidecar: Path, port: int) -> None:
    """The settings of one dialer, but for the time of its opening."""
    scenario = setting.scenario
    draws = Draws(scenario, seed)
    size = scenario.floor.n_agents * scenario.episode.duration_s
    planned = path.with_suffix(".csv")
    lengths = [draws.conversation(k) for k in range(round(_HANDLED_PER_AGENT_S * size) + _SPARE)]
    planned.write_text("".join(f"{t},{w},{k % 2}\n" for k, (t, w) in enumerate(lengths)))
    settings = {
        "peer": ["127.0.0.1", port],
        "local": ["127.0.0.1", 0],
        "sidecar": str(sidecar),
        "campaign": f"sip-{run}",
        "n_agents": scenario.floor.n_agents,
        "seconds": scenario.episode.duration_s,
        "close_s": scenario.episode.close_s,
        "interval_s": scenario.episode.decision_interval_s,
        "limit_s": scenario.rule.wait_limit_s,
        "ring_timeout_s": scenario.calls.ring_timeout_s,
        "first_number": _FIRST_NUMBER + _NUMBERS * run,
        "lines": 8 * scenario.floor.n_agents + 32,
        "conversations": str(planned),
        "log": str(path.with_suffix(".jsonl")),
    }
    path.write_text(json.dumps(settings))


def _start(paths: Sequence[Path]) -> list[subprocess.Popen[str]]:
    """One process for each dialer; their seconds begin at different moments."""
    opens_at = time.time() + _START_S
    dialers = []
    for at, path in enumerate(paths):
        settings = json.loads(path.read_text())
        path.write_text(json.dumps(settings | {"opens_at": opens_at + at / len(paths)}))
        dialers.append(
            subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "sip_dialer", str(path)],
                cwd=EXAMPLES,
                env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return dialers


def _wait(
    dialers: Sequence[subprocess.Popen[str]], most_s: float, report: Callable[[str], None]
) -> list[str]:
    begin_s = told_s = time.monotonic()
    while any(dialer.poll() is None for dialer in dialers):
        now_s = time.monotonic()
        if now_s - begin_s > most_s:
            raise QuietDialError(f"the dialers did not end within {most_s:.0f} s")
        if now_s - told_s >= 60:
            told_s = now_s
            report(f"{now_s - begin_s:.0f} s")
        time.sleep(0.5)
    printed = []
    for dialer in dialers:
        text, complaint = dialer.communicate()
        if dialer.returncode or not text:
            raise QuietDialError(f"a dialer failed: {' '.join(complaint.split())[-400:]}")
        printed.append(text)
    return printed


def _logs(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    log = path.with_suffix(".jsonl")
    records, decisions = (
        [json.loads(line) for line in file.read_text().splitlines()]
        for file in (log, log.with_suffix(".decisions.jsonl"))
    )
    return records, decisions
