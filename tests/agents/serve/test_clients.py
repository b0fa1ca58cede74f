"""The rule of the client, in Python and in Perl: never without a number, never one out of range."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quietdial.agents.serve.client import LEVEL, Decision, Floor, Sidecar
from quietdial.experiments.sidecar.process import example_features, running

PERL = Path(__file__).parents[3] / "examples" / "sidecar" / "pacing_client.pl"
FLOOR = Floor(idle=5, in_flight=1, waiting=1)
Reply = Callable[[dict[str, Any]], bytes]


@contextlib.contextmanager
def answering(path: Path, reply: Reply) -> Iterator[None]:
    """Something that answers each line as told."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
                for line in lines:
                    connection.sendall(reply(json.loads(line)))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def right(ask: dict[str, Any], **changes: Any) -> bytes:
    reply = {"campaign": ask["campaign"], "seq": ask["seq"], "answer": 2, "unit": "new calls"}
    reply |= {"fallback": False, "reason": "", "lease_s": 3.0}
    return json.dumps(reply | changes).encode() + b"\n"


def in_python(path: Path, deadline_s: float = 0.5) -> Decision:
    client = Sidecar(str(path), deadline_s=deadline_s)
    try:
        return client.decide("it-1", FLOOR, {"a": 1.0})
    finally:
        client.close()


def in_perl(path: Path, deadline_s: float = 0.5) -> Decision:
    ask = {"campaign": "it-1", "idle": 5, "in_flight": 1, "waiting": 1, "features": {"a": 1.0}}
    told = perl(path, ask, deadline_s)
    names = ("answer", "fallback", "reason", "by", "until", "wait")
    answer, fallback, reason, by, until_s, wait_s = (told[name] for name in names)
    return Decision(answer, bool(fallback), reason, by, until_s, wait_s)


def perl(path: Path, ask: dict[str, Any], deadline_s: float) -> dict[str, Any]:
    """What the client in Perl decides."""
    program = f'require "{PERL}"; my $s = Sidecar->new(path => $ARGV[0], deadline => $ARGV[1]);'
    program += "print JSON::PP::encode_json($s->decide(JSON::PP::decode_json(<STDIN>)));"
    done = subprocess.run(
        ["perl", "-e", program, str(path), str(deadline_s)],
        input=json.dumps(ask),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    return told


CLIENTS = pytest.mark.parametrize("ask", [in_python, in_perl])


@CLIENTS
def test_right_answer__is_taken(ask: Callable[[Path], Decision], tmp_path: Path) -> None:
    with answering(tmp_path / "s", right):
        decision = ask(tmp_path / "s")
    assert decision[:4] == (2, False, "", "sidecar")
    assert 0.0 < decision.until_s - time.monotonic() <= 3.0


@CLIENTS
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda ask: right(ask, answer=101), "out_of_range"),
        (lambda ask: right(ask, answer=-1), "out_of_range"),
        (lambda ask: right(ask, answer=1.5), "out_of_range"),
        (lambda ask: right(ask, answer="many"), "out_of_range"),
        (lambda ask: right(ask, unit="lines per agent"), "out_of_range"),
        (lambda ask: right(ask, seq=ask["seq"] + 1), "wrong_reply"),
        (lambda ask: right(ask, campaign="it-2"), "wrong_reply"),
        (lambda ask: b'{"error": "no", "status": 400}\n', "refused"),
        (lambda ask: right(ask)[:20], "no_answer"),
        (lambda ask: b"not JSON\n", "no_sidecar"),
    ],
)
def test_whatever_is_wrong__is_one_line_for_each_idle_agent(
    ask: Callable[[Path], Decision], reply: Reply, reason: str, tmp_path: Path
) -> None:
    with answering(tmp_path / "s", reply):
        decision = ask(tmp_path / "s")
    assert decision[:4] == (3, True, reason, "client")


@CLIENTS
def test_no_sidecar__costs_nothing(ask: Callable[[Path], Decision], tmp_path: Path) -> None:
    decision = ask(tmp_path / "nobody")
    assert decision[:4] == (3, True, "no_sidecar", "client")
    assert decision.wait_s < 0.45


@CLIENTS
def test_frozen_sidecar__costs_the_deadline(
    ask: Callable[[Path, float], Decision], bundles: tuple[Path, Path]
) -> None:
    with running(bundles[0]) as made:
        made.signal(signal.SIGSTOP)
        decision = ask(made.socket, 0.05)
        made.signal(signal.SIGCONT)
    assert decision[:4] == (3, True, "no_answer", "client")
    assert 0.045 < decision.wait_s < 2.0


def test_after_a_failure__the_sidecar_is_left_alone_for_a_while(tmp_path: Path) -> None:
    client = Sidecar(str(tmp_path / "s"), deadline_s=0.5, backoff_s=1.0)
    assert client.decide("it-1", FLOOR, {}).reason == "no_sidecar"
    with answering(tmp_path / "s", right):
        assert client.decide("it-1", FLOOR, {}).reason == "kept_away"
        time.sleep(1.01)
        assert client.decide("it-1", FLOOR, {}).by == "sidecar"
        client.close()


def test_late_answer__is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    def slow_once(ask: dict[str, Any]) -> bytes:
        if ask["campaign"] == "slow":
            time.sleep(0.6)
        return right(ask, answer=7 if ask["campaign"] == "slow" else 2)

    client = Sidecar(str(tmp_path / "s"), deadline_s=0.4, backoff_s=0.0)
    with answering(tmp_path / "s", slow_once):
        assert client.decide("slow", FLOOR, {}).by == "client"
        time.sleep(0.4)
        assert client.decide("it-1", FLOOR, {})[:4] == (2, False, "", "sidecar")
        client.close()


def test_lease__ends(tmp_path: Path) -> None:
    client = Sidecar(str(tmp_path / "s"), deadline_s=0.5)
    with answering(tmp_path / "s", lambda ask: right(ask, lease_s=0.6)):
        decision = client.decide("it-1", FLOOR, {})
        client.close()
    assert decision.holds()
    time.sleep(0.61)
    assert not decision.holds()


def test_level__falls_back_to_one_line_per_agent(tmp_path: Path) -> None:
    client = Sidecar(str(tmp_path / "s"), unit=LEVEL, highest=4.0)
    assert client.decide("it-1", FLOOR, {}).answer == 1.0


def test_clients__agree_on_a_real_sidecar(bundles: tuple[Path, Path]) -> None:
    features = example_features(bundles[0])
    with running(bundles[0]) as made:
        client = Sidecar(str(made.socket), deadline_s=5.0)
        found = client.decide_all([(f"c-{i}", FLOOR, features) for i in range(20)])
        client.close()
        ask = {"campaign": "c", "idle": 5, "in_flight": 1, "waiting": 1, "features": features}
        told = perl(made.socket, ask, 5.0)
    assert {decision.by for decision in found} == {"sidecar"}
    assert {decision.answer for decision in found} == {told["answer"]}
    assert told["by"] == "sidecar"
