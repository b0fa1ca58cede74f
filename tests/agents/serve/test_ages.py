"""Thresholds and rules by counters with ages: what the pacer decides, through the sidecar."""

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.describe import Seen
from quietdial.agents.bundle.load import Bundle, load_bundle
from quietdial.agents.bundle.write import write_rule
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.vicidial import VICIdial
from quietdial.agents.runtime.bundled import pacer_of, tables_of
from quietdial.agents.runtime.calendar_session import calendar_session
from quietdial.agents.runtime.counters import Ages, Counters
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.serve.decider import BundleDecider
from quietdial.agents.serve.errors import RequestError
from quietdial.agents.serve.service import Service
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.sidecar.bundles import make_bundle
from quietdial.experiments.sidecar.process import running

OPENS = datetime.datetime(2026, 3, 3, 9, tzinfo=datetime.UTC).timestamp()  # 10:00 in Rome
DAY = {"n_agents": 50, "first_day": "2026-03-02", "opens_at": OPENS, "closes_at": OPENS + 28_800}
SEEN = Seen(np.zeros((1, 0), np.float32), (1.0, 50.0), (0.01, 0.99), (100.0, 300.0))


def marginal(folder: Path) -> Path:
    return write_rule(Marginal(0.02), load_scenario("italy-50"), folder, seen=SEEN)


@pytest.fixture(scope="module")
def rule(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(marginal(tmp_path_factory.mktemp("rules") / "rule"), unsigned=True)


def snapshot(second: int, rng: np.random.Generator) -> dict[str, Any]:
    talk, wrap, flying = (int(n) for n in rng.integers(0, (35, 10, 12)))
    counters = {"idle": second % 4, "talk": talk, "wrap": wrap, "on_break": 1, "waiting": 0}
    counters |= {"in_flight": flying, "picked_up": 1000 + second, "finished": 4000 + 4 * second}
    ages = {
        "talk": rng.exponential(150.0, talk).tolist(),
        "wrap": rng.exponential(30.0, wrap).tolist(),
        "on_break": [60],
        "in_flight": rng.uniform(0, 28, flying).tolist(),
    }
    told: dict[str, Any] = counters | {"lines_free": 300, "ages": ages}
    told["windows"] = [{"silent": 1, "answered": 1000 + second}]
    request = {"campaign": "it-1", "seq": second, "observed_at": OPENS + second}
    return request | DAY | {"counters": told}


@pytest.mark.parametrize("kind", ["threshold", "rule"])
def test_answers__are_those_of_the_pacer(
    rule: Bundle, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = rule
    if kind == "threshold":
        bundle = load_bundle(make_bundle(tmp_path / "bundle", 3, "threshold"), unsigned=True)
    service, rng = Service(BundleDecider(bundle)), np.random.default_rng(5)
    pacer = pacer_of(bundle, MemoryLedger(), n_agents=50)
    opens_ms = round(1000 * OPENS)
    day = datetime.date(2026, 3, 2)
    session = calendar_session(tables_of(bundle), day, opens_ms, opens_ms + 28_800_000)
    pacer.open_session(session)
    answers = set()
    for second in range(60):
        monkeypatch.setattr(time, "time", lambda now_s=OPENS + second: now_s)
        request = snapshot(second, rng)
        reply = json.loads(service.pace(request))
        told = dict(request["counters"])
        ages = Ages(**{name: tuple(map(float, of)) for name, of in told.pop("ages").items()})
        windows = ((1.0, 1000.0 + second),)
        seen = Counters(opens_ms + 1000 * second, **told | {"windows": windows, "ages": ages})
        wanted = pacer.decide_from(seen)
        assert (reply["answer"], reply["rung"]) == (wanted.dials, "policy")
        assert reply["unit"] == "new calls"
        answers.add(reply["answer"])
    assert len(answers) > 3


def test_without_ages__is_one_line_for_each_idle_agent(rule: Bundle) -> None:
    request = snapshot(3, np.random.default_rng(5))
    request |= {"observed_at": time.time()}
    del request["counters"]["ages"]
    reply = json.loads(Service(BundleDecider(rule)).pace(request))
    assert (reply["rung"], reply["reason"]) == ("progressive", "counters_refused")
    assert "give `ages` with" in reply["detail"]


@pytest.mark.parametrize(
    "ages", [3, {"idle": []}, {"talk": 3}, {"talk": [-1]}, {"talk": [True]}, {"talk": ["1"]}]
)
def test_malformed_ages__are_refused(rule: Bundle, ages: Any) -> None:
    request = snapshot(3, np.random.default_rng(5))
    request["counters"]["ages"] = ages
    with pytest.raises(RequestError, match=r"ages|idle"):
        Service(BundleDecider(rule)).pace(request)


def test_rule__is_served_without_a_model(tmp_path: Path) -> None:
    with running(marginal(tmp_path / "rule")) as sidecar:
        request = snapshot(3, np.random.default_rng(5))
        request["observed_at"] = request["opens_at"] = time.time()
        request["closes_at"] = time.time() + 3600
        kind = {"Content-Type": "application/json"}
        status, reply = sidecar.request("POST", "/v1/pace", json.dumps(request).encode(), kind)
        assert status == 200
        assert json.loads(reply)["unit"] == "new calls"
        status, reply = sidecar.get("/v2/models/marginal")
        assert status == 404
        assert b"a rule is served" in reply
        paths = json.loads(sidecar.get("/openapi.json")[1])["paths"]
        assert not any("models" in path for path in paths)


def test_product_rule__is_refused_at_the_start(tmp_path: Path) -> None:
    rule = VICIdial("RATIO", 2.5)
    folder = write_rule(rule, load_scenario("italy-50"), tmp_path / "rule", seen=SEEN)
    command = [sys.executable, "-m", "quietdial.agents.serve", str(folder), "--unsigned"]
    command += ["--socket", str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "the pacer plays 'marginal' and 'progressive'" in done.stderr
