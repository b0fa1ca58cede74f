"""The published example Blend: a sample of the proof, and that a wrong world would be found."""

import numpy as np
import pytest

from quietdial.envs.laws import ExponentialLaw
from quietdial.experiments.proof import blend
from quietdial.experiments.proof.parts import SAMPLE, failed


def test_blend__sample_agrees_with_every_published_measure():
    """22 z-tests at 3 combined standard errors: at most 5.9 % false alarms, with fixed seeds."""
    figures = blend.run(SAMPLE, lambda what, share: None)
    assert [row["note"] for row in failed(figures)] == []
    rows = {row["name"]: row for row in figures}
    assert rows["blend/off"]["n"] == len(blend.MEASURES) >= 18
    assert rows["blend/dialed"]["n"] == blend.SAMPLE_DAYS
    assert rows["blend/smallest_bias"]["value"] < 0.1


def test_blend__the_decision_interval_changes_nothing():
    often = blend.play(3, world=blend.scenario(5.0))
    rarely = blend.play(3)
    assert often.keys() == rarely.keys()
    for name, values in often.items():
        assert np.array_equal(values, rarely[name]), name


def test_agent_times__are_the_totals_of_the_world():
    days = blend.play(5)
    busy = 1000 * (days["talk_s"] + days["inbound_s"])
    assert np.allclose(days["busy_all"], busy, rtol=0, atol=1)
    assert np.allclose(days["there_all"], 1000 * days["available_s"], rtol=0, atol=1)


def _changed(part, **values):
    world = blend.scenario()
    return world.model_copy(update={part: getattr(world, part).model_copy(update=values)})


@pytest.mark.parametrize(
    ("part", "values", "measure"),
    [
        ("blend", {"min_free": 3}, "outbound_lost"),
        ("blend", {"less_in_flight": True, "extra": 1}, "outbound_lost"),
        ("rule", {"wait_limit_s": 6.0}, "wait/outbound"),
        ("floor", {"talk": ExponentialLaw(mean_s=600.0)}, "outbound_served"),
        ("inbound", {"p_balk": 0.5}, "inbound_lost"),
        ("inbound", {"capacity": 1}, "inbound_lost"),
    ],
)
def test_blend__another_world_is_found(part, values, measure):
    """Biases far above the smallest detectable one (power above 99.9 % each)."""
    rows = blend.compare(blend.play(600, world=_changed(part, **values)))
    off = {row.measure.name for row in rows if abs(row.z) > blend.LIMIT}
    assert measure in off, off
