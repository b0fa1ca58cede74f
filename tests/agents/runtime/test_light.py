"""The runtime is light: what it imports, how soon, in how much memory, and how fast it decides."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quietdial.agents.runtime.tables import FILE, json_of_tables
from quietdial.agents.runtime_tables import pacing_tables

FORBIDDEN = ("numba", "gymnasium", "torch", "pydantic", "scipy", "onnx", "quietdial.envs")

PROGRAM = """
import json, os, sys, time
def peak_mb():
    if not os.path.exists("/proc/self/status"):
        return 0.0
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024.0
begin = time.perf_counter()
import numpy as np
numpy_s = time.perf_counter() - begin
from quietdial.agents.bundle.evaluate import Decode, PlainPolicy
from quietdial.agents.runtime.bundled import pacer_of
from quietdial.agents.runtime.evaluator import BundleEvaluator
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer, PacerSettings
from quietdial.agents.runtime.tables import tables_of_json
from quietdial.agents.runtime.windows import Session
import_s = time.perf_counter() - begin
tables = tables_of_json(open(sys.argv[1], "rb").read())
rng = np.random.default_rng(0)
sizes = [43, 64, 64, 6]
layers = tuple((rng.normal(size=(a, b)) * 0.3, np.zeros(b)) for a, b in zip(sizes, sizes[1:]))
wide = np.full(43, 100.0)
decode = Decode(
    "argmax", 0.0, float(tables.max_dials), 0.0, (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0), base=True
)
plain = PlainPolicy(-wide, wide, layers, decode)
policy = BundleEvaluator(plain, "net", "full", "residual", decode, base_theta=0.02)
settings = PacerSettings(cold_start_answered=0, unix_clock=False)
pacer = Pacer(tables, policy, MemoryLedger(), settings)
pacer.open_session(Session(0, 0, 8_000_000, 8_000_000))
for agent in range(tables.n_agents):
    pacer.agent(str(agent), 0, "idle")
free, calls, spent = list(range(tables.n_agents)), 0, []
busy = []
for second in range(2000):
    now = 1000 * second
    while busy and busy[0][0] <= now:
        at, agent = busy.pop(0)
        pacer.agent(agent, at, "idle")
        free.append(agent)
    pacer.tick(now)
    begin = time.perf_counter()
    decision = pacer.decide(now)
    spent.append(time.perf_counter() - begin)
    for _ in range(decision.dials):
        pacer.dialed(str(calls), now)
        if calls % 4 == 0 and free:
            agent = str(free.pop())
            pacer.picked_up(str(calls), now + 500)
            pacer.connected(str(calls), now + 500)
            pacer.agent(agent, now + 500, "talk")
            busy.append((now + 60_000, agent))
        elif calls % 4:
            pacer.ended(str(calls), now + 700)
        calls += 1
spent.sort()
print(json.dumps({
    "modules": sorted(sys.modules), "import_s": import_s, "numpy_s": numpy_s,
    "rss_mb": peak_mb(),
    "median_us": 1e6 * spent[1000], "calls": calls, "modes": decision.mode,
}))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("light")
    (folder / FILE).write_bytes(json_of_tables(pacing_tables("italy-50")))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / FILE)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def test_nothing_heavy_is_imported(measured):
    loaded = set(measured["modules"])
    heavy = [m for m in loaded for name in FORBIDDEN if m == name or m.startswith(f"{name}.")]
    assert heavy == []
    assert "numpy" in loaded
    assert measured["calls"] > 1000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_it_is_small(measured):
    assert measured["rss_mb"] < 100.0


def test_it_is_soon_there(measured):
    # numpy's own import is most of it; the time of a busy machine is no promise, the share is
    assert measured["import_s"] < max(0.5, 4.0 * measured["numpy_s"])


def test_one_decision_takes_some_ten_microseconds(measured):
    assert measured["median_us"] < 400.0  # 60 to 80 on an idle core; see docs/pacer.md
