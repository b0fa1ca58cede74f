"""The rules of patents: their arithmetic by hand and twice, and every dial of an hour."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quietdial.agents.policy import Policy
from quietdial.agents.rules import (
    CallsInProgress,
    HazardWindow,
    OccupancyQuantile,
    PickUpSum,
    WeightedForecast,
)
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import params as of
from quietdial.envs.pacing import state as at
from quietdial.envs.pacing.chance import curves
from quietdial.envs.pacing.controllers import patents, quantile
from quietdial.envs.pacing.controllers.sight import MEMO
from quietdial.envs.pacing.world import World

CURVES = curves()
RULES: list[Any] = [
    CallsInProgress(),
    HazardWindow(),
    OccupancyQuantile(),
    PickUpSum(),
    WeightedForecast(),
]


# ------------------------------------------------------------------------------- arithmetic


def test_calls__by_hand() -> None:
    # room for 3 answers, 1.2 are expected, each new call is worth .25: 1.8 / .25 = 7.2
    assert patents.calls_below(3.0, 1.2, 0.25) == 8
    assert patents.calls_within(3.0, 1.2, 0.25) == 7
    # whole numbers stay whole: .3 / .1 = 3
    assert patents.calls_below(0.3, 0.0, 0.1) == patents.calls_within(0.3, 0.0, 0.1) == 3
    assert patents.calls_below(1.0, 1.0, 0.1) == patents.calls_within(1.0, 2.0, 0.1) == 0


def test_queue_limit__by_hand() -> None:
    # R = .1 / s, S = 10 s: N is Poisson with mean 1, P(N <= 0, 1, 2) = .3679, .7358, .9197.
    # Q(1) = .3679, Q(2) = 1.1036, Q(3) = 2.0233; D = Q / R = 3.68, 11.04, 20.2 s
    for delay_s, q_max in ((0.0, 0), (3.6, 0), (3.7, 1), (11.0, 1), (11.1, 2), (20.3, 3)):
        assert patents.queue_limit(CURVES, 0.1, 10.0, delay_s, 400) == q_max
    assert patents.queue_limit(CURVES, 0.1, 10.0, 3600.0, 7) == 7  # lines
    assert patents.queue_limit(CURVES, 0.0, 0.0, 3600.0, 400) == 0  # no connections yet: D = Q / 0


MANY = np.arange(601)
EXCESS = np.maximum(MANY[:, None] - MANY, 0)


def lowered(rate_per_s: float, setup_s: float, delay_s: float) -> int:
    """Q_MAX as the claim has it: from a large value down until the delay is small enough."""
    queue = EXCESS @ stats.poisson.pmf(MANY, rate_per_s * setup_s)
    q_max = 600
    while q_max and queue[q_max] / rate_per_s > delay_s:
        q_max -= 1
    return q_max


def test_queue_limit__is_what_the_claim_lowers_to() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        rate_per_s, setup_s = 10 ** rng.uniform(-2.5, 0.5), rng.uniform(2, 30)
        delay_s = 10 ** rng.uniform(-1, 2)
        found = patents.queue_limit(CURVES, rate_per_s, setup_s, delay_s, 600)
        # the exponential of the tables is right to 2e-6, so a tie may go either way
        nearly = {lowered(rate_per_s, setup_s, delay_s * f) for f in (1 - 1e-4, 1 + 1e-4)}
        assert found in nearly


def test_attended_dials__by_hand() -> None:
    # one agent, answers with .5 each: E(A - 1)+ = .25 of E(A) = 1 for two calls, .625 of 1.5 for 3
    for limit, dials in ((0.2, 1), (0.26, 2), (0.41, 2), (0.42, 3)):
        law = np.zeros(quantile.LAW)
        quantile.no_events(law)
        assert patents.attended_dials(law, 1.0, 0.0, 0.5, limit, 3) == dials
    law = np.zeros(quantile.LAW)
    quantile.no_events(law)
    assert patents.attended_dials(law, -1.0, 0.0, 0.5, 0.9, 3) == 0


class Occupancy:
    """Second transcription of the occupancy aim."""

    def __init__(self, begin: float, step: float) -> None:
        self.aim, self.step = begin, step

    def see(self, occupancy: float, share: float) -> float:
        self.aim += self.step * share
        if not occupancy < 1:
            self.aim -= self.step
        self.aim = sorted((0.1, self.aim, 2.0))[1]
        return self.aim


class Weight:
    """Second transcription of the weight: its logarithm."""

    def __init__(self, begin: float, up: float, down: float) -> None:
        self.log, self.up, self.down = math.log(begin), up, down

    def see(self, unattended: float, limit: float, idle_s: float, aim_s: float) -> float:
        if limit < unattended:
            self.log += math.log1p(self.up)
        elif aim_s < idle_s:
            self.log -= math.log1p(self.down)
        self.log = min(max(self.log, math.log(0.02)), math.log(50))
        return math.exp(self.log)


class Window:
    """Second transcription of the adapted window."""

    def __init__(self, begin_s: float, step: float) -> None:
        self.s, self.step = begin_s, step

    def see(self, unattended: float, limit: float) -> float:
        self.s = self.s / (1 + self.step) if unattended > limit else self.s * (1 + self.step)
        self.s = min(max(self.s, 0.05), 600.0)
        return self.s


def test_adaptation__by_hand() -> None:
    # below full: .8 + .01 x .03; at full: .8 + .01 x (.03 - 1)
    assert patents.aim_after(0.8, 0.9, 0.03, 0.01) == pytest.approx(0.8003)
    assert patents.aim_after(0.8, 1.0, 0.03, 0.01) == pytest.approx(0.7903)
    # 30 agents, 3 s and 90 s: of the calls that wait e^-1 = .368 are lost
    assert patents.share_full(CURVES, 0.03, 30, 3.0, 90.0) == pytest.approx(0.03 * math.e, rel=1e-5)
    assert patents.share_full(CURVES, 0.03, 300, 3.0, 90.0) == 0.5
    assert patents.weight_after(2.0, 0.04, 0.03, 99.0, 10.0, 0.05, 0.01) == pytest.approx(2.1)
    assert patents.weight_after(2.0, 0.03, 0.03, 11.0, 10.0, 0.05, 0.25) == pytest.approx(1.6)
    assert patents.weight_after(2.0, 0.03, 0.03, 10.0, 10.0, 0.05, 0.25) == 2.0
    assert patents.window_after(10.0, 0.03, 0.03, 0.25) == pytest.approx(12.5)
    assert patents.window_after(10.0, 0.031, 0.03, 0.25) == pytest.approx(8.0)


def test_adaptation__is_the_second_transcription_on_random_series() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        step, share, up, down = rng.uniform(0.001, 0.3, 4)
        aim = begin = rng.uniform(0.2, 1.4)
        weight, window_s = begin, 10 * begin
        occupancy, weights = Occupancy(begin, step), Weight(begin, up, down)
        window = Window(10 * begin, step)
        for _ in range(int(rng.integers(10, 120))):
            seen = rng.integers(8, 12) / 10
            aim = patents.aim_after(aim, seen, share, step)
            assert aim == pytest.approx(occupancy.see(seen, share), rel=1e-9)
            unattended, idle_s = rng.uniform(0, 0.06), rng.uniform(0, 30)
            weight = patents.weight_after(weight, unattended, 0.03, idle_s, 15.0, up, down)
            assert weight == pytest.approx(weights.see(unattended, 0.03, idle_s, 15.0), rel=1e-9)
            window_s = patents.window_after(window_s, unattended, 0.03, step)
            assert window_s == pytest.approx(window.see(unattended, 0.03), rel=1e-9)


# ------------------------------------------------------------------------------- in a world


class Floor:
    """What a rule saw at its tick, worked out from the arrays of the world in plain numpy.

    A floor of ten places at most six calls at a tick.
    """

    def __init__(self, world: World, before: Any, dialed: int) -> None:
        self.params, self.state, self.dialed = world.params, world.state, dialed
        head = world.state.head[0]
        self.now_ms = int(head[at.NOW])
        self.idle = int(head[at.COUNT + at.IDLE])
        self.waiting = int(head[at.WAITING])
        self.flying = int(head[at.IN_FLIGHT]) - dialed
        counts = head[at.COUNT : at.COUNT + at.N_AGENT_STATES]
        self.present = int(counts.sum() - counts[at.BREAK] - counts[at.OFF])
        self.served = int(counts[at.TALK] + counts[at.WRAP])
        finished = before.est[0, at.RATE_FINISHED] + 1e-6
        prior = self.params.x[of.PRIOR_RATE]
        rate = (before.est[0, at.RATE_ANSWERED] + 1e-6 * prior) / finished
        self.rate = float(np.clip(rate, 0.01, 0.99))

    def pick_ups(self, column: int) -> list[float]:
        """Probability of each call in flight, by its age."""
        cohort, ring, p = self.state.cohort[0], self.params.ring, self.rate
        out = []
        for age in range(len(cohort)):
            calls = int(cohort[(self.now_ms // 1000 - age) % len(cohort)])
            calls -= self.dialed if age == 0 else 0
            alive = p * ring[age, 0] + (1 - p) * ring[age, 1]
            out += [p * ring[age, column] / max(alive, 1e-9)] * calls
        return out

    def releases(self) -> Any:
        """Expected releases within each look-ahead and the wait limit."""
        ages = np.minimum((self.now_ms - self.state.agent[0, :, at.AGENT_SINCE]) // 2048, 511)
        states = self.state.agent[0, :, at.AGENT_STATE]
        busy = states != at.IDLE
        return self.params.release[states[busy] - 1, ages[busy]].sum(axis=0)

    def fresh(self, g: int) -> float:
        return float(self.rate * self.params.ring[0, 2 + g])


def played(
    rule: Any, seconds: int, name: str = "study-real-10", seed: int = 7
) -> Iterator[tuple[World, Floor, int]]:
    """(world, what the rule saw, dials) after each second of a day."""
    world = World(1, name, observation="none", action="controller", **rule.world_options)
    every, knob = np.ones(1, np.bool_), np.full((1, 1), rule.knob, np.float32)
    world.begin(every, [seed])
    for _ in range(seconds):
        before = at.State._make(array.copy() for array in world.state)
        world.step(knob, every)
        dialed = int(world.state.head[0, at.DIALED] - before.head[0, at.DIALED])
        yield world, Floor(world, before, dialed), dialed


def share_lost(history: list[tuple[int, int]], window_s: int) -> float:
    """Unattended share since the last row of the books at or after `window_s` ago.

    `history` has dropped and answered calls at each second, from second 0 on. The books are written
    every 15 s, before the rule dials.
    """
    now = len(history) - 1
    begin = max(-(-(now - window_s) // 15) * 15, 0)
    dropped, answered = np.subtract(history[now], history[begin])
    return float(dropped / answered) if answered > 0 else 0.0


def tally(world: World) -> tuple[int, int]:
    """Calls dropped by the dialer, and answered calls that were dropped or connected."""
    head = world.state.head[0]
    dropped = int(head[at.SILENT_CUT] + head[at.SILENT_LEFT])
    return dropped, dropped + int(head[at.CONNECTED])


def test_calls_in_progress__every_dial_of_an_hour() -> None:
    for by_chance in (0.0, 1.0):
        rule = CallsInProgress(30.0, 600.0, by_chance)
        taken, placed = [0], 0
        for second, (world, floor, dialed) in enumerate(played(rule, 3000), 1):
            head = world.state.head[0]
            taken.append(int(head[at.CONNECTED]))
            begin = max(-(-(second - 600) // 15) * 15, 0)
            rate_per_s = (taken[-1] - taken[begin]) / min(second, 600)
            setup_s = head[at.RING_S] / max(head[at.ANSWERED], 1)
            k = floor.present + patents.queue_limit(CURVES, rate_per_s, setup_s, 30.0, 112)
            each = floor.rate if by_chance else 1.0
            under_way, dials = floor.served + floor.waiting + floor.flying * each, 0
            while dials < 6 and under_way + dials * each < k - 1e-9:
                dials += 1
            assert dialed == dials, second
            placed += dialed
        assert placed > 400


def test_occupancy_quantile__every_dial_of_an_hour() -> None:
    rule = OccupancyQuantile(0.05, 14.0, 0.003, 0.75)
    aims, placed = Occupancy(0.75, 0.003), 0
    for world, floor, dialed in played(rule, 3000):
        handle_s = world.state.memo[0, 2]
        assert handle_s == pytest.approx(180, rel=0.01)
        occupied = floor.present - floor.idle + floor.waiting
        share = float(np.float32(0.05)) * math.exp(floor.present * 3.0 / handle_s)
        aim = aims.see(occupied / floor.present, share)
        assert world.state.memo[0, 0] == pytest.approx(aim, rel=1e-6)
        expected = occupied - floor.releases()[3] + sum(floor.pick_ups(2 + 3))
        dials = math.floor((aim * floor.present - expected) / floor.fresh(3) + 1e-9)
        assert dialed == min(max(dials, 0), 6)
        placed += dialed
    assert placed > 400


@pytest.mark.parametrize("horizon_s", [0.0, 9.0])
def test_pick_up_sum__every_dial_of_an_hour(horizon_s: float) -> None:
    placed = 0
    for _, floor, dialed in played(PickUpSum(0.5, horizon_s), 3000):
        agents = floor.idle - floor.waiting + (floor.releases()[1] if horizon_s else 0.0)
        dials = 0  # launched one by one, as the claim has it
        total = sum(floor.pick_ups(0))
        room = float(np.float32(0.5)) * agents + 1e-9
        while dials < 6 and total + (dials + 1) * floor.rate <= room:
            dials += 1
        assert dialed == dials
        placed += dialed
    assert placed > 400


def test_pick_up_sum__first_ticks_by_hand() -> None:
    # ten idle agents, the prior says 2 of 8: 10 / .25 = 40 calls, at most 6 a second;
    # .25 x 10 / .25 = 10 calls, 6 and then 4
    assert [dialed for _, _, dialed in played(PickUpSum(), 2)] == [6, 6]
    assert [dialed for _, _, dialed in played(PickUpSum(0.25), 2)] == [6, 4]


def test_weighted_forecast__every_dial_of_an_hour() -> None:
    rule = WeightedForecast(0.05, 14.0, 20.0, 0.2, 0.1, 60.0, 300.0, 1.2)
    weights, weight, history, placed, moves = Weight(1.2, 0.2, 0.1), 1.2, [(0, 0)], 0, set()
    last_taken, idle_ms, last_idle_ms = 0, 0, 0
    for second, (world, floor, dialed) in enumerate(played(rule, 3600), 1):
        head = world.state.head[0]
        history.append(tally(world))
        if second % 60 == 0:
            idle_ms = int(head[at.ACC + at.IDLE] + floor.idle * head[at.NOW])
            taken = int(head[at.CONNECTED])
            idle_s = (idle_ms - last_idle_ms) / 1000 / max(taken - last_taken, 1)
            last_taken, last_idle_ms = taken, idle_ms
            lost = share_lost(history, 300)
            weight = weights.see(lost, float(np.float32(0.05)), idle_s, 20.0)
            moves.add(weight)
        assert world.state.memo[0, MEMO + 1] == pytest.approx(weight, rel=1e-9)
        room = (floor.idle - floor.waiting + floor.releases()[3]) / weight
        dials = math.floor((room - sum(floor.pick_ups(2 + 3))) / floor.fresh(3) + 1e-9)
        assert dialed == min(max(dials, 0), 6), second
        placed += dialed
    assert placed > 400
    assert len(moves) > 20


def test_hazard_window__every_dial_of_an_hour() -> None:
    rule = HazardWindow(0.04, 4.0, 0.1, 60.0, 900.0)
    limit = float(np.float32(0.04))
    windows, window_s, history, placed = Window(4.0, 0.1), 4.0, [(0, 0)], 0
    for second, (world, floor, dialed) in enumerate(played(rule, 3600), 1):
        history.append(tally(world))
        if second % 60 == 0:
            window_s = windows.see(share_lost(history, 900), limit)
        assert world.state.memo[0, MEMO + 1] == pytest.approx(window_s, rel=1e-9)
        within_s = np.concatenate([[0.0], world.params.ahead_s[:, 1]])
        releases = np.concatenate([[0.0], floor.releases()])
        coming = np.interp(window_s, within_s, releases) * max(window_s / within_s[-1], 1.0)
        agents = floor.idle - floor.waiting + min(coming, floor.present - floor.idle)
        answers = floor.pick_ups(0)
        law = functools.reduce(np.convolve, [np.array([1 - q, q]) for q in answers], np.ones(1))
        dials, mean = 0, sum(answers)
        while dials < 6:  # one call more
            mean += floor.rate
            law = np.convolve(law, [1 - floor.rate, floor.rate])
            excess = np.sum(np.maximum(np.arange(len(law)) - agents, 0) * law)
            if excess > limit * mean:
                break
            dials += 1
        assert dialed == dials, second
        placed += dialed
    assert placed > 400


# ------------------------------------------------------------------------------- as policies


def day(rule: Any, name: str, n: int, seconds: int = 28_800) -> tuple[float, float]:
    """(utilisation, silent rate)."""
    world = World(n, name, observation="none", action="controller", **rule.world_options)
    every = np.ones(n, np.bool_)
    world.begin(every, list(range(n)))
    world.hold(rule.act(np.zeros((n, 0)))[0], every, seconds)
    totals = world.totals()
    assert (totals["dialed"] < 10 * 28_800).all()
    use = (totals["talk_s"] + totals["wrap_s"]).sum() / totals["available_s"].sum()
    return float(use), float(totals["silent"].sum() / totals["answered"].sum())


@pytest.mark.parametrize(
    ("careful", "bold"),
    [
        (CallsInProgress(5.0), CallsInProgress(60.0)),
        (HazardWindow(0.005), HazardWindow(0.06)),
        (OccupancyQuantile(0.001), OccupancyQuantile(0.1)),
        (PickUpSum(0.3), PickUpSum(0.8)),
        (WeightedForecast(0.01), WeightedForecast(0.15)),
    ],
)
def test_rules__dial_more_with_more_of_their_knob(careful: Any, bold: Any) -> None:
    (low, few), (high, many) = day(careful, "study-real-25", 4), day(bold, "study-real-25", 4)
    assert low < high
    assert few < 0.03 < many


@pytest.mark.parametrize("name", ["machines-50", "late-feed-50", "italy-month-10"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules__play_full_worlds(rule: Any, name: str) -> None:
    use, silent = day(rule, name, 1)
    assert 0.4 < use < 1
    assert silent < 0.3, silent


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules__are_policies(rule: Any) -> None:
    assert rule.with_knob(rule.knob_range[1]).knob == rule.knob_range[1]
    with pytest.raises(ConfigError, match=rule.knob_name):
        rule.with_knob(1e6)
    assert isinstance(rule, Policy)
