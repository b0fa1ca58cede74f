"""A dialer that hands in counters: the pacer's own decisions, through the sidecar."""

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quietdial.agents.bundle.load import Bundle, load_bundle
from quietdial.agents.runtime.bundled import pacer_of, tables_of
from quietdial.agents.runtime.calendar_session import calendar_session
from quietdial.agents.runtime.counters import Counters
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.serve.decider import BundleDecider
from quietdial.agents.serve.errors import RequestError
from quietdial.agents.serve.pacing import slug
from quietdial.agents.serve.service import Service
from quietdial.experiments.sidecar.bundles import make_bundle

OPENS = datetime.datetime(2026, 3, 3, 9, tzinfo=datetime.UTC).timestamp()  # 10:00 in Rome
DAY = {"n_agents": 50, "first_day": "2026-03-02", "opens_at": OPENS, "closes_at": OPENS + 28_800}


@pytest.fixture(scope="module")
def bundle(bundles: tuple[Path, Path]) -> Bundle:
    return load_bundle(bundles[0], unsigned=True)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the wall clock to so long after the opening [s]."""

    def put(after_s: float) -> None:
        monkeypatch.setattr(time, "time", lambda: OPENS + after_s)

    put(0.0)
    return put


def snapshot(second: int, **changes: Any) -> dict[str, Any]:
    counters = {"idle": 4, "talk": 30, "wrap": 10, "on_break": 6, "waiting": 0, "in_flight": 1}
    counters |= {"picked_up": 1000 + second, "finished": 4000 + 4 * second, "lines_free": 300}
    counters["windows"] = [{"silent": 1, "answered": 1000 + second}]  # type: ignore[assignment]
    own = {name: value for name, value in changes.items() if name in (*DAY, "campaign", "extra")}
    counters |= {name: value for name, value in changes.items() if name not in own}
    request = {"campaign": "it-1", "seq": second, "observed_at": OPENS + second}
    return request | DAY | own | {"counters": counters}


def told(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(service.pace(request))
    return reply


def test_answers__are_those_of_the_pacer(bundle: Bundle, at: Callable[[float], None]) -> None:
    service = Service(BundleDecider(bundle))
    pacer = pacer_of(bundle, MemoryLedger(), n_agents=50)
    opens_ms, closes_ms = round(1000 * OPENS), round(1000 * OPENS) + 28_800_000
    day = datetime.date(2026, 3, 2)
    pacer.open_session(calendar_session(tables_of(bundle), day, opens_ms, closes_ms))
    modes = set()
    for second in range(60):
        at(second)
        idle = second % 5
        windows = [{"silent": second % 40, "answered": 1000 + second}]
        reply = told(service, snapshot(second, idle=idle, windows=windows))
        seen = Counters(
            opens_ms + 1000 * second, idle, 30, 10, 6, 0, 1, 1000 + second, 4000 + 4 * second,
            ((float(second % 40), 1000.0 + second),), 300,
        )  # fmt: skip
        wanted = pacer.decide_from(seen)
        assert (reply["answer"], reply["rung"]) == (wanted.dials, wanted.mode)
        assert reply["detail"] == wanted.reason
        assert tuple(reply.get("guards", ())) == wanted.guards
        modes.add(reply["rung"])
    assert modes == {"policy", "progressive"}


def test_crash__loses_nothing_that_counts(bundle: Bundle, at: Callable[[float], None]) -> None:
    """The totals are the dialer's own, so a new sidecar needs no cold start."""
    for second in range(2):
        at(second)
        assert told(Service(BundleDecider(bundle)), snapshot(second))["rung"] == "policy"


@pytest.mark.parametrize(
    ("changes", "rung", "reason"),
    [
        ({"windows": [{"silent": 0, "answered": 10}]}, "progressive", "cold_start"),
        ({"windows": [{"silent": 99, "answered": 1000}]}, "progressive", "cap_reached"),
        ({"windows": []}, "progressive", "counters_refused"),
        ({"idle": 4000}, "progressive", "counters_refused"),
        ({"closes_at": 0.0}, "progressive", "counters_refused"),
        ({"first_day": "2026-03-04"}, "progressive", "counters_refused"),
        ({"closes_at": OPENS + 20}, "stop", "outside_dialing_hours"),
    ],
)
def test_fallback__says_why(
    bundle: Bundle,
    at: Callable[[float], None],
    changes: dict[str, Any],
    rung: str,
    reason: str,
) -> None:
    at(0)
    reply = told(Service(BundleDecider(bundle)), snapshot(0, **changes))
    assert (reply["rung"], reply["reason"], reply["fallback"]) == (rung, reason, True)
    idle = changes.get("idle", 4)
    assert reply["answer"] == (0 if rung == "stop" else min(idle - 1, reply["answer"]))


def test_late_snapshot__dials_nothing(bundle: Bundle, at: Callable[[float], None]) -> None:
    at(60)
    reply = told(Service(BundleDecider(bundle)), snapshot(0))
    assert (reply["reason"], reply["answer"]) == ("stale_observation", 0)


def test_totals_that_are_set_back__do_not_lock_the_campaign_out(
    bundle: Bundle, at: Callable[[float], None]
) -> None:
    service = Service(BundleDecider(bundle))
    assert told(service, snapshot(0))["rung"] == "policy"
    at(1)
    assert told(service, snapshot(1, picked_up=0))["reason"] == "counters_refused"
    at(2)
    assert told(service, snapshot(2, picked_up=1))["rung"] == "policy"


def test_new_day_and_new_bundle__go_on(
    bundles: tuple[Path, Path], bundle: Bundle, at: Callable[[float], None]
) -> None:
    service = Service(BundleDecider(bundle))
    assert told(service, snapshot(0))["rung"] == "policy"
    service.use(BundleDecider(load_bundle(bundles[1], unsigned=True)))
    at(86_400)
    day = {"opens_at": OPENS + 86_400, "closes_at": OPENS + 86_400 + 28_800}
    assert told(service, snapshot(86_400, **day))["rung"] == "policy"


def test_level__comes_out_as_a_level(tmp_path: Path, at: Callable[[float], None]) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "level", 3, "vicidial_level"), unsigned=True)
    reply = told(Service(BundleDecider(bundle)), snapshot(0))
    assert reply["unit"] == "lines per agent"
    assert 1.0 <= reply["answer"] <= 4.0


@pytest.mark.parametrize(
    "changes",
    [
        {"idle": -1},
        {"idle": True},
        {"list_left": 2},
        {"windows": [{"silent": 1}]},
        {"windows": 3},
        {"n_agents": 0},
        {"first_day": "2026-02-30"},
        {"first_day": "3 March"},
        {"opens_at": "9:00"},
        {"telephone": 1},
    ],
)
def test_malformed__is_refused(bundle: Bundle, changes: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        Service(BundleDecider(bundle)).pace(snapshot(0, **changes))
    assert caught.value.status == 400


def test_reasons__are_few_words() -> None:
    assert slug("cold start: 3 of 50 answered calls") == "cold_start"
    assert slug("cap reached: 3 of 9 in the day window") == "cap_reached"
    assert slug("???") == "unnamed"
