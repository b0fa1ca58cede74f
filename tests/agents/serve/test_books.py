"""With a ledger a killed sidecar goes on from the true counts."""

import datetime
import json
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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


def test_slow_disk__makes_outcomes_wait_and_no_decision(
    bundles: tuple[Path, Path], ledger: Path
) -> None:
    features, at = example_features(bundles[0]), time.time()
    with running(bundles[0], ["--ledger", str(ledger)]) as made:
        assert tell(made, "c-0", "conversation", at) is True
        lock = sqlite3.connect(ledger, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")  # the sidecar cannot write now
        with ThreadPoolExecutor(4) as pool:
            outcomes = [
                pool.submit(tell, made, call, "conversation", at) for call in ("c-0", "c-1", "c-2")
            ]
            waits = []
            for seq in range(80):
                begin_s = time.perf_counter()
                ask = example_ask(features, "it-1", seq)
                assert made.request("POST", "/v1/decide", ask, JSON)[0] == 200
                waits.append(time.perf_counter() - begin_s)
            assert not any(one.done() for one in outcomes[1:])
            lock.execute("ROLLBACK")
            assert [one.result(30) for one in outcomes] == [False, True, True]
        assert sorted(waits)[len(waits) // 2] < 0.5
        lock.close()


def test_decisions__are_on_the_disk_a_second_later_though_they_are_few(
    bundles: tuple[Path, Path], ledger: Path
) -> None:
    features = example_features(bundles[0])
    with running(bundles[0], ["--ledger", str(ledger)]) as made:
        for seq in range(3):
            made.request("POST", "/v1/decide", example_ask(features, "it-1", seq), JSON)
        end_s = time.monotonic() + 20
        while kept(ledger) < 3 and time.monotonic() < end_s:
            time.sleep(0.05)
        made.kill()
    assert kept(ledger) == 3


def kept(ledger: Path) -> int:
    connection = sqlite3.connect(ledger.as_uri() + "?mode=ro", uri=True)
    try:
        found: int = connection.execute("SELECT count(*) FROM decisions").fetchone()[0]
    finally:
        connection.close()
    return found


def test_lines__are_answered_in_order_though_some_wait_for_the_disk(
    bundles: tuple[Path, Path], ledger: Path
) -> None:
    features, n = example_features(bundles[0]), 40
    with running(bundles[0], ["--ledger", str(ledger)]) as made:
        lines = []
        for i in range(n):
            outcome = {"campaign": "it-1", "call": f"c-{i}", "at": time.time(), "outcome": "cut"}
            if i == 7:
                outcome["at"] = 0.0  # before the campaign's first day
            lines += [json.dumps(outcome).encode() + b"\n", example_ask(features, "it-1", i)]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(made.socket))
            connection.sendall(b"".join(lines))
            reader = connection.makefile("rb")
            replies = [json.loads(reader.readline()) for _ in range(2 * n)]
    assert [reply["seq"] for reply in replies[1::2]] == list(range(n))
    assert [reply.get("counted") for reply in replies[::2]] == [i != 7 or None for i in range(n)]
    assert replies[14]["status"] == 409
