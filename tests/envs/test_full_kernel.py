"""Worlds worked out by hand: the full kernel, the plain one where it can play, and the SimPy model.

The worlds and what is expected, with the reasons, stand in `experiments/proof/by_hand.py`.
"""

import numpy as np
import pytest

from quietdial.envs.pacing.params import is_full
from quietdial.envs.pacing.world import World
from quietdial.envs.testing import ContractError
from quietdial.envs.testing_log import LogCheck
from quietdial.experiments.proof.by_hand import (
    CASES,
    kernel_totals,
    simpy_totals,
    world,
    wrong,
)
from quietdial.experiments.proof.reference_worlds import SCENARIOS

FROM_THE_BEGINNING = {
    "pause after a refusal",
    "callback",
    "reserved call that nobody answers",
    "reserved call to a machine",
}
"""Worked out with pauses after a conversation counted from its beginning, as the kernel does; the
mended contract counts them from its end, and the SimPy model may already do so."""
PLAIN = [name for name, case in CASES.items() if not is_full(case.scenario)]


@pytest.mark.parametrize("name", CASES)
def test_full_kernel__plays_what_is_worked_out_by_hand(name):
    assert wrong(CASES[name], kernel_totals(CASES[name], full=True)) == []


@pytest.mark.parametrize("name", PLAIN)
def test_plain_kernel__plays_what_is_worked_out_by_hand(name):
    assert wrong(CASES[name], kernel_totals(CASES[name], full=False)) == []


@pytest.mark.parametrize("name", sorted(CASES.keys() - FROM_THE_BEGINNING))
def test_simpy_model__plays_what_is_worked_out_by_hand(name):
    assert wrong(CASES[name], simpy_totals(CASES[name])) == []


def test_cases__are_enough_of_both_kinds():
    assert len(CASES) >= 60
    assert len(PLAIN) >= 10


def test_wrong__finds_another_world():
    case = CASES["cut at the limit"]
    other = case._replace(scenario=world(rule={"wait_limit_s": 4}))
    assert wrong(case, kernel_totals(other, full=True)) == ["waiting_s is 4 at 300 s, not 3"]


# --- the log against the totals -------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_log__agrees_with_the_totals_and_the_rule(name):
    scenario, ratio = SCENARIOS[name]
    action = "blend" if scenario.action == "blend" else "ratio"
    played = World(2, scenario, observation="none", action=action, records=True)
    check = LogCheck(played)
    every = np.ones(2, np.bool_)
    played.begin(every, [1, 2])
    check.begin(every)
    for step in range(600):
        played.step(np.full((2, 1), ratio or 1.0, np.float32), every)
        check.check(step)
    assert played.totals()["dialed"].min() > 20


TAMPERED = {
    "an agent changes state unseen": lambda rows: [r for r in rows if r[1] != 8],
    "a dial is repeated": lambda rows: [
        row for r in rows for row in ([r, r] if r[1] == 1 else [r])
    ],
    "a dial goes to somebody on the line": lambda rows: [
        [*r[:3], 0, *r[4:]] if r[1] == 1 else r for r in rows
    ],
    "the clock goes back": lambda rows: rows[::-1],
    "a silent call is left out": lambda rows: [r for r in rows if r[1] != 6],
}


@pytest.mark.parametrize("name", TAMPERED)
def test_log__tampered_with_is_found(name):
    scenario = SCENARIOS["quarantine"].scenario
    played = World(1, scenario, observation="none", action="ratio", records=True)
    check = LogCheck(played)
    every = np.ones(1, np.bool_)
    played.begin(every, [1])
    check.begin(every)
    drain = played.drain_log
    played.drain_log = lambda: [np.array(TAMPERED[name](drain()[0].tolist())).reshape(-1, 6)]

    def play():
        for step in range(600):
            played.step(np.full((1, 1), 3.0, np.float32), every)
            check.check(step)

    with pytest.raises(ContractError, match=r"step \d+, row 0"):
        play()
