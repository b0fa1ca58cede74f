"""Random sequences, planted bugs and seeds: a sample of each part, and that each can fail."""

import importlib.util
import re

import pytest

from quietdial.envs import ConfigError
from quietdial.envs.pacing import jit
from quietdial.experiments.proof import battery, flows, planted, seeds
from quietdial.experiments.proof.mutants import MUTANTS
from quietdial.experiments.proof.parts import failed
from quietdial.experiments.proof.reference_worlds import SCENARIOS

SAMPLE = ("plain: conversations are not counted", "one trunk too many", "quarantine ignored")


def silent(what, share):
    pass


def test_flows__hold_in_random_sequences():
    figures = flows.run(0.02, silent)
    assert [row["name"] for row in figures] == ["flows/full/broken", "flows/plain/broken"]
    assert not failed(figures), figures
    assert sum(row["n"] for row in figures) >= flows.FEWEST


def test_flows__say_so_if_hypothesis_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for part in (flows, planted):
        with pytest.raises(ConfigError, match="need hypothesis, which is not installed"):
            part.run(0.02, silent)


def test_mutants__stand_in_the_kernel_once_each():
    folder = planted.Path(jit.__file__).parent
    files = set()
    for mutant in MUTANTS:
        text = (folder / mutant.file).read_text(encoding="utf-8")
        assert planted.mutated(text, mutant) != text
        files.add(mutant.file)
    assert len({mutant.what for mutant in MUTANTS}) == len(MUTANTS) >= 24
    rooms = {path.relative_to(folder).as_posix() for path in folder.glob("full/[a-z]*.py")}
    assert rooms | {"plain.py", "levels.py", "timers.py", "control.py", "counts.py"} <= files


def test_mutated__says_what_to_do_when_the_kernel_has_changed():
    with pytest.raises(ConfigError, match=re.escape("stands 0 times in plain.py, not once")):
        planted.mutated("nothing", MUTANTS[0])


@pytest.mark.parametrize("what", SAMPLE)
def test_planted__bug_is_found(what):
    (mutant,) = (mutant for mutant in MUTANTS if mutant.what == what)
    found = planted.hunt(mutant)
    assert found.check == "by hand", found


@pytest.mark.parametrize("name", sorted(set(battery.CHECKS) - {"by hand", "sequences"}))
def test_battery__holds_for_the_kernel(name):
    assert list(battery.CHECKS[name]()) == []


def test_planted__figures_name_what_was_missed(monkeypatch):
    answers = iter([planted.Finding("by hand", "x", 1.0), planted.Finding(None, "", 1.0)])
    monkeypatch.setattr(planted, "MUTANTS", MUTANTS[:2])
    monkeypatch.setattr(planted, "hunt", lambda mutant: next(answers))
    rows = {row["name"]: row for row in planted.run(0.02, silent)}
    assert (rows["planted/bugs"]["value"], rows["planted/found"]["value"]) == (2, 1)
    assert rows["planted/missed"]["value"] == 1
    assert MUTANTS[1].what in rows["planted/missed"]["note"]


def test_seeds__sample_holds():
    figures = seeds.run(0.02, silent)
    assert not failed(figures), figures
    assert all(row["n"] > 20 for row in figures)


def test_trajectories__differ_when_anything_does():
    one = seeds.trajectories("study-real-10", [1, 2], 30)
    assert len(set(one)) == 2
    assert seeds.trajectories("study-real-10", [1, 2], 31) != one
    assert seeds.trajectories("study-real-5", [1, 2], 30) != one


def test_fates__without_a_list_are_those_of_the_dial_numbers():
    told, common = seeds.same_fates(SCENARIOS["plain"].scenario, 3, 300)
    assert told == []
    assert common > 50
    drifting = SCENARIOS["drift"].scenario
    told, _ = seeds.same_fates(drifting, 3, 600)
    assert not any("level" in line for line in told)
    assert told, "with a moving answer rate fates do depend on when the dial is placed"
