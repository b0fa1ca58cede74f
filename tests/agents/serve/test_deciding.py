"""What is decided: the policy's own answers, the ladder's fallbacks, outcomes, campaigns."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import Inputs
from quietdial.agents.bundle.load import Bundle, load_bundle
from quietdial.agents.serve import service as service_module
from quietdial.agents.serve.decider import BundleDecider
from quietdial.agents.serve.errors import RequestError
from quietdial.agents.serve.service import Service
from quietdial.experiments.sidecar.bundles import make_bundle
from quietdial.experiments.sidecar.process import example_features

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def bundle(bundles: tuple[Path, Path]) -> Bundle:
    return load_bundle(bundles[0], unsigned=True)


@pytest.fixture
def service(bundle: Bundle) -> Service:
    return Service(BundleDecider(bundle, 0))


@pytest.fixture
def ask(bundles: tuple[Path, Path]) -> Ask:
    features = example_features(bundles[0])

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "campaign": "it-1",
            "seq": 1,
            "observed_at": time.time(),
            "idle": 5,
            "in_flight": 1,
            "waiting": 1,
            "features": features,
        } | changes

    return make


def told(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(service.decide(request))
    return reply


def settled(service: Service, outcome: dict[str, Any]) -> bool:
    reply = service.outcome(outcome)
    assert isinstance(reply, bytes)  # without a ledger there is nothing to wait for
    found: bool = json.loads(reply)["counted"]
    return found


def test_answers__are_the_policys_own(service: Service, bundle: Bundle, ask: Ask) -> None:
    assert bundle.policy is not None
    rng = np.random.default_rng(0)
    names = [feature["name"] for feature in bundle.contract["features"]]
    seen = set()
    for seq in range(100):
        obs = rng.uniform(bundle.policy.low, bundle.policy.high).astype(np.float32)
        features = dict(zip(names, map(float, obs), strict=True))
        reply = told(service, ask(seq=seq, features=features))
        assert reply["answer"] == bundle.policy.answer(Inputs(obs[None])).answer[0]
        assert (reply["rung"], reply["fallback"], reply["seq"]) == ("policy", False, seq)
        seen.add(reply["answer"])
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"observed_at": 1000.0}, "stale"),
        ({"observed_at": 9e10}, "from_the_future"),
        ({"features": {}}, "missing_feature"),
        ({"features": "out"}, "out_of_range"),
        ({"features": "huge"}, "out_of_range"),
        ({"present": 0}, "few_agents"),
        ({"present": 5000}, "outside_envelope"),
    ],
)
def test_fallback__is_one_line_for_each_idle_agent(
    service: Service, ask: Ask, changes: dict[str, Any], reason: str
) -> None:
    request = ask()
    size = {"out": 1000.0, "huge": 1e15}.get(str(changes.get("features")))
    if size is not None:
        changes = {"features": {**request["features"], "waiting": size}}
    reply = told(service, request | changes)
    assert (reply["reason"], reply["rung"], reply["fallback"]) == (reason, "progressive", True)
    assert reply["answer"] == 5 - 1 - 1
    assert told(service, request | changes | {"seq": 2, "idle": 1})["answer"] == 0


def test_policy_that_fails__hands_over_to_the_table_or_to_progressive(
    bundle: Bundle, ask: Ask
) -> None:
    class Broken:
        memory, low, high, decode = None, None, None, bundle.policy and bundle.policy.decode

        def answer(self, _: Inputs) -> Any:
            raise BundleError("broken")

    class Table:
        def answer(self, _: Inputs) -> Any:
            return bundle.policy.answer(Inputs(np.zeros((1, 22), np.float32)))  # type: ignore[union-attr]

    decider = BundleDecider(replace(bundle, table=Table()), 0)  # type: ignore[arg-type]
    decider.policy = Broken()  # type: ignore[assignment]
    reply = told(Service(decider), ask())
    assert (reply["rung"], reply["fallback"], reply["reason"]) == ("table", True, "policy_failed")
    decider.bundle = bundle
    reply = told(Service(decider), ask())
    assert (reply["rung"], reply["answer"]) == ("progressive", 3)


def test_cold_start__is_progressive_until_enough_calls_were_answered(
    bundle: Bundle, ask: Ask
) -> None:
    service = Service(BundleDecider(bundle))
    needed = bundle.contract["guards"]["cold_start_answered"]
    assert needed == 50
    for i in range(needed):
        assert told(service, ask(seq=i))["reason"] == "cold_start"
        what = "conversation" if i % 30 else "left"
        service.outcome({"campaign": "it-1", "call": f"{i}", "at": time.time(), "outcome": what})
    assert told(service, ask(seq=needed))["rung"] == "policy"
    assert told(service, ask(campaign="it-2"))["reason"] == "cold_start"


def test_silent_rate__above_the_guard_ends_the_policys_word(service: Service, ask: Ask) -> None:
    def outcome(i: int, what: str) -> None:
        fields = {"campaign": "it-1", "call": f"c-{i}", "at": time.time(), "outcome": what}
        assert settled(service, fields)

    for i in range(96):
        outcome(i, "conversation")
    for i in range(96, 100):
        outcome(i, "cut")
    reply = told(service, ask())
    assert reply["reason"] == "silent_rate"
    assert told(service, ask(campaign="it-2"))["fallback"] is False
    again = {"campaign": "it-1", "call": "c-96", "at": time.time(), "outcome": "cut"}
    assert not settled(service, again)
    for i in range(100, 150):
        outcome(i, "conversation")
    assert told(service, ask(seq=2))["fallback"] is False


def test_same_request__gets_the_same_answer_and_counts_once(service: Service, ask: Ask) -> None:
    request = ask()
    assert service.decide(request) == service.decide(request)
    rungs = {labels[0]: n for labels, n in service.metrics.decisions.values.items()}
    assert rungs == {"policy": 1, "repeated": 1}


def test_stop_file__stops(bundle: Bundle, ask: Ask, tmp_path: Path) -> None:
    service = Service(BundleDecider(bundle, 0), state=tmp_path)
    request = ask()
    assert told(service, request)["rung"] == "policy"
    (tmp_path / "stop").touch()
    service._looked_s = -1.0
    reply = told(service, request)
    assert (reply["rung"], reply["answer"], reply["reason"]) == ("stop", 0, "stopped")


def test_too_many_campaigns__still_get_a_number(
    bundle: Bundle, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(BundleDecider(bundle, 0), max_campaigns=2)
    told(service, ask(campaign="a"))
    told(service, ask(campaign="b"))
    reply = told(service, ask(campaign="c"))
    assert (reply["reason"], reply["answer"]) == ("too_many_campaigns", 3)
    monkeypatch.setattr(service_module, "FORGET_S", 0.0)
    assert told(service, ask(campaign="c", seq=2))["rung"] == "policy"
    assert set(service.campaigns) == {"b", "c"}


def test_level__is_answered_in_lines_per_agent(ask: Ask, tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "level", 3, "vicidial_level"), unsigned=True)
    service = Service(BundleDecider(bundle, 0))
    reply = told(service, ask())
    assert reply["unit"] == "lines per agent"
    assert 1.0 <= reply["answer"] <= 4.0
    assert told(service, ask(observed_at=0.0))["answer"] == 1


def test_threshold__needs_counters_and_still_gets_a_number(ask: Ask, tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "threshold", 3, "threshold"), unsigned=True)
    reply = told(Service(BundleDecider(bundle)), ask())
    assert (reply["reason"], reply["answer"], reply["unit"]) == ("needs_counters", 3, "new calls")
    assert "/v1/pace, with ages" in reply["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": -1},
        {"seq": True},
        {"seq": 1.5},
        {"seq": "1"},
        {"idle": None},
        {"observed_at": "now"},
        {"observed_at": -1},
        {"campaign": "a b"},
        {"campaign": "a\n"},
        {"features": [1]},
        {"features": {"idle_few": True}},
        {"features": {"Idle": 1}},
        {"features": {"idle_few": 1e16}},
        {"windows": [3]},
        {"windows": 1},
        {"telephone": "+39"},
    ],
)
def test_malformed__is_refused_with_one_line(
    service: Service, ask: Ask, changes: dict[str, Any]
) -> None:
    with pytest.raises(RequestError) as caught:
        service.decide(ask(**changes))
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)
    assert next(iter(changes)) in str(caught.value)
    assert not service.metrics.decisions.values


def test_person__is_a_hash_and_never_a_number(service: Service) -> None:
    fields = {"campaign": "it-1", "call": "c", "at": 1.0, "outcome": "cut"}
    with pytest.raises(RequestError, match="a keyed hash, never a number"):
        service.outcome(fields | {"person": "+390236589741"})
    service.outcome(fields | {"person": "0123456789abcdef" * 2})
    kept = repr(vars(service.campaigns["it-1"].counts))
    assert "0123456789abcdef" not in kept
