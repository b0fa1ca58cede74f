"""With a ledger a killed sidecar goes on from the true counts."""

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quietdial.agents.ledger import Ledger, Terms, WindowTerm, make_key
from quietdial.agents.ledger.reading import report, verify
from quietdial.experiments.sidecar.process import (
    Sidecars,
    example_ask,
    example_features,
    running,
)

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "calls.ledger"
    key = make_key(tmp_path / "calls.ledger.key")
    yesterday = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
    terms = Terms("it_2014", (WindowTerm("campaign", 0.03),), "UTC", yesterday)
    with Ledger(path, key, make=True) as book:
        book.agree("it-1", terms, who="test", at_ms=time.time_ns() // 1_000_000)
    return path


def tell(sidecar: Sidecars, call: str, outcome: str, at: float, campaign: str = "it-1") -> object:
    body = {"campaign": campaign, "call": call, "at": at, "outcome": outcome}
    status, reply = sidecar.request("POST", "/v1/outcome", json.dumps(body).encode(), JSON)
    return json.loads(reply)["counted"] if status == 200 else status


def test_kill__forgets_no_outcome(bundles: tuple[Path, Path], ledger: Path) -> None:
    features, at = example_features(bundles[0]), time.time()
    with running(bundles[0], ["--ledger", str(ledger)]) as made:

        def reason(seq: int) -> str:
            ask = example_ask(features, "it-1", seq)
            _, reply = made.request("POST", "/v1/decide", ask, JSON)
            found: str = json.loads(reply)["reason"]
            return found

        for i in range(90):
            assert tell(made, f"c-{i}", "conversation", at) is True
        assert reason(1) == ""
        for i in range(90, 100):
            assert tell(made, f"c-{i}", "cut", at) is True
        assert reason(2) == "silent_rate"
        made.kill()
        made.start()
        assert reason(3) == "silent_rate"
        assert tell(made, "c-99", "cut", at) is False
        assert tell(made, "other", "cut", at, "unknown-campaign") is True
        assert tell(made, "old", "cut", 0.0) == 409
        assert made.end() == 0
    (found,) = report(ledger, None, "it-1").campaigns
    assert sum(day.answered for day in found.days) == 100
    assert sum(day.silent for day in found.days) == 10
    key = Path(f"{ledger}.key").read_bytes().strip()
    assert verify(ledger, key, "") == []


def test_missing_ledger__is_an_error_and_never_a_new_one(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "quietdial.agents.serve", str(bundles[0]), "--unsigned"]
    command += ["--socket", str(tmp_path / "s"), "--ledger", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "none.key" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
