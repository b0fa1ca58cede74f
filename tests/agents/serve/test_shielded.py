"""The pacer's shield behind answers by features, where the request tells the windows' counts."""

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.evaluate import Answers
from quietdial.agents.bundle.load import Bundle, load_bundle
from quietdial.agents.runtime.shield import most_in_flight
from quietdial.agents.serve.decider import BundleDecider
from quietdial.agents.serve.service import Service
from quietdial.envs.pacing.state import (
    CONNECTED,
    COUNT,
    IDLE,
    IN_FLIGHT,
    SILENT_CUT,
    SILENT_LEFT,
    WAITING,
)
from quietdial.envs.pacing.world import World
from quietdial.experiments.sidecar.bundles import make_bundle
from quietdial.experiments.sidecar.process import example_features
from quietdial.experiments.studies.adversary import Adversary, floor, set_rates

Ask = Callable[..., dict[str, Any]]
CAP = 0.03


@pytest.fixture
def bundle(bundles: tuple[Path, Path]) -> Bundle:
    return load_bundle(bundles[0], unsigned=True)


@pytest.fixture
def ask(bundles: tuple[Path, Path]) -> Ask:
    features, numbers = example_features(bundles[0]), itertools.count()

    def make(silent: int, answered: int, **changes: Any) -> dict[str, Any]:
        windows = [{"silent": silent, "answered": answered}]
        plain = {"campaign": "it-1", "seq": next(numbers), "observed_at": time.time()}
        plain |= {"idle": 0, "in_flight": 0, "waiting": 0, "features": features}
        return plain | {"windows": windows} | changes

    return make


class Greedy:
    """A policy that always asks for the most."""

    def __init__(self, most: float) -> None:
        self._most = most

    def answer(self, _: object) -> Answers:
        return Answers(np.array([self._most]), np.zeros(1, np.int64), np.ones(1, np.bool_))


def greedy(bundle: Bundle) -> Service:
    decider = BundleDecider(bundle, 0)
    decider.policy = Greedy(decider.highest)  # type: ignore[assignment]
    return Service(decider)


def told(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(service.decide(request))
    return reply


def test_adversarial_hour__stays_within_the_cap_only_if_windows_are_told(
    bundle: Bundle, ask: Ask
) -> None:
    scenario = floor("short", duration_s=3600.0)
    highest = []
    for tells in (True, False):
        service = greedy(bundle)
        seeds = np.array([7])
        world = World(1, scenario, action="dials", observation="none")
        world.begin(np.ones(1, np.bool_), seeds.tolist())
        adversary, head, cut, most = Adversary(seeds, 3600.0), world.state.head[0], 0, -1.0
        over = False
        while not over:
            set_rates(world, adversary.rates(world))
            silent, waiting = int(head[SILENT_CUT] + head[SILENT_LEFT]), int(head[WAITING])
            answered = int(head[CONNECTED]) + silent
            counts = {"idle": int(head[COUNT + IDLE]), "in_flight": int(head[IN_FLIGHT])}
            request = ask(silent, answered, waiting=waiting, **counts)
            if not tells:
                del request["windows"]
            reply = told(service, request)
            cut += "shield" in reply.get("guards", [])
            over = bool(world.step(np.array([reply["answer"]]), np.ones(1, np.bool_))[0, 4])
            silent = int(head[SILENT_CUT] + head[SILENT_LEFT] + head[WAITING])
            most = max(most, silent - CAP * (int(head[CONNECTED]) + silent))
        highest.append(most)
        assert (cut > 500) == tells
    assert highest[0] <= 1e-9
    assert highest[1] > 50


def test_answer__is_cut_to_what_the_pacers_shield_allows(bundle: Bundle, ask: Ask) -> None:
    service, rng = greedy(bundle), np.random.default_rng(1)
    wanted = service.decider.highest
    cut = 0
    for _ in range(300):
        idle, flying, waiting, answered = (int(n) for n in rng.integers(0, (9, 9, 3, 2000)))
        silent = int(rng.integers(0, int(CAP * answered) + 1))
        request = ask(silent, answered, idle=idle, in_flight=flying, waiting=waiting)
        reply = told(service, request)
        room = most_in_flight(idle, silent + waiting, answered + waiting, 30_000)
        assert reply["answer"] == min(wanted, max(room - flying, 0))
        assert reply.get("guards", []) == (["shield"] if reply["answer"] < wanted else [])
        cut += reply["answer"] < wanted
    assert 30 < cut < 300


@pytest.mark.parametrize(
    ("counts", "reason"),
    [((1, 49), "cold_start"), ((4, 100), "cap_reached"), ((3, 100), "")],
)
def test_guards__go_by_the_windows(
    bundle: Bundle, ask: Ask, counts: tuple[int, int], reason: str
) -> None:
    service = Service(BundleDecider(bundle))
    assert told(service, ask(*counts, idle=3))["reason"] == reason


def test_windows_of_another_rule__are_refused(bundle: Bundle, ask: Ask) -> None:
    windows = [{"silent": 0, "answered": 500}] * 2
    reply = told(Service(BundleDecider(bundle)), ask(0, 0, windows=windows, idle=2))
    assert (reply["reason"], reply["answer"]) == ("counters_refused", 2)


def test_level__goes_to_one_line_where_it_would_place_too_many(ask: Ask, tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "level", 3, "vicidial_level"), unsigned=True)
    service = greedy(bundle)
    assert told(service, ask(0, 1000))["reason"] == "missing_feature"
    floor_ = {"present": 20, "idle": 2, "in_flight": 19}
    assert told(service, ask(29, 1000, **floor_))["answer"] == 1  # room for 3 more, level 4 is 61
    reply = told(service, ask(0, 9000, present=20, in_flight=19))
    assert (reply["answer"], reply.get("guards")) == (4, None)
