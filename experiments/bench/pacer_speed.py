"""How soon the pacer is there, how small it is, and how long one decision takes.

Run as a program, this file plays a floor by hand through a pacer and prints what it measured; it
imports nothing but the runtime. `measure` starts it in a process of its own, which nothing else has
filled with modules.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 2000
"""Decisions, one a second."""
_EVERY: Final = 4
"""Every fourth call is answered."""


def measure(preset: str = "italy-50") -> dict[str, Any]:
    """Measure a pacer of a preset's floor with a network of two layers of 64.

    Returns:
        modules: names of all modules loaded; import_s, numpy_s: processor time until the runtime,
        and numpy alone, are imported [s]; peak_mb: largest resident memory [MB], 0 where it is not
        known; median_us: median time of one decision [us]; calls: dials placed.
    """
    from quietdial.agents.runtime.tables import FILE, json_of_tables
    from quietdial.agents.runtime_tables import pacing_tables

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        path.write_bytes(json_of_tables(pacing_tables(preset)))
        done = subprocess.run(  # noqa: S603  # this very file
            [sys.executable, __file__, str(path)],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024.0


def _main(path: str) -> dict[str, Any]:
    begin = time.process_time()
    import numpy as np

    numpy_s = time.process_time() - begin
    from quietdial.agents.bundle.evaluate import Decode, PlainPolicy
    from quietdial.agents.runtime.bundled import pacer_of  # noqa: F401  # as a dialer would
    from quietdial.agents.runtime.decision import PacerSettings
    from quietdial.agents.runtime.evaluator import BundleEvaluator
    from quietdial.agents.runtime.memory_ledger import MemoryLedger
    from quietdial.agents.runtime.pacer import Pacer
    from quietdial.agents.runtime.tables import tables_of_json
    from quietdial.agents.runtime.windows import Session

    import_s = time.process_time() - begin
    tables = tables_of_json(Path(path).read_bytes())
    rng = np.random.default_rng(0)
    sizes = [43, 64, 64, 6]
    layers = tuple((rng.normal(size=(a, b)) * 0.3, np.zeros(b)) for a, b in pairwise(sizes))
    wide = np.full(43, 100.0)
    most, residuals = float(tables.max_dials), (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    decode = Decode("argmax", 0.0, most, 0.0, residuals, base=True)
    plain = PlainPolicy(-wide, wide, layers, decode)
    policy = BundleEvaluator(plain, "net", "full", "residual", decode, base_theta=0.02)
    settings = PacerSettings(cold_start_answered=0, unix_clock=False)
    pacer = Pacer(tables, policy, MemoryLedger(), settings)
    end_ms = 1000 * (SECONDS + 100)
    pacer.open_session(Session(0, 0, end_ms, end_ms))
    free = [str(agent) for agent in range(tables.n_agents)]
    for agent in free:
        pacer.agent(agent, 0, "idle")
    busy: list[tuple[int, str]] = []
    calls, spent = 0, []
    for second in range(SECONDS):
        now_ms = 1000 * second
        while busy and busy[0][0] <= now_ms:
            at_ms, agent = busy.pop(0)
            pacer.agent(agent, at_ms, "idle")
            free.append(agent)
        pacer.tick(now_ms)
        begin = time.perf_counter()
        decision = pacer.decide(now_ms)
        spent.append(time.perf_counter() - begin)
        for _ in range(decision.dials):
            call = str(calls)
            pacer.dialed(call, now_ms)
            if calls % _EVERY == 0 and free:
                agent = free.pop(0)
                pacer.picked_up(call, now_ms + 500)
                pacer.connected(call, now_ms + 500)
                pacer.agent(agent, now_ms + 500, "talk")
                busy.append((now_ms + 60_000, agent))
            elif calls % _EVERY:
                pacer.ended(call, now_ms + 700)
            calls += 1
    spent.sort()
    return {
        "modules": sorted(sys.modules),
        "import_s": import_s,
        "numpy_s": numpy_s,
        "peak_mb": _peak_mb(),
        "median_us": 1e6 * spent[len(spent) // 2],
        "calls": calls,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(sys.argv[1])))
