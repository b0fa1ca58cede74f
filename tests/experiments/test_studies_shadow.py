"""The study of off-policy estimates on simulated floors, in small."""

import numpy as np
import pytest

from quietdial.experiments.studies import shadow_estimates as study


def test_play__has_the_weights_and_the_truth_of_the_rule() -> None:
    played = study.play("study-stat-10", 6, 6, 0.6, 1)
    n_decisions = 18 * study.HORIZON
    assert played.ratio.shape == (n_decisions, 6)
    # moved decisions are worth nothing, the others 1 / .95, or less where nothing could be moved
    assert played.ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert np.mean(played.ratio == 0.0) == pytest.approx(study.SHARE / 2, abs=study.SHARE / 2)
    assert played.truth[1].shape == (3 * 6, 4)
    # the rule dials less than what explores: no more silent calls when it is longer in charge
    assert played.truth[30][:, 0].sum() <= played.truth[1][:, 0].sum() + 3
    found = study.estimates_of(played, 1, 6, 15)
    figures = study.figures_of("study-stat-10", found, played.truth[15], 15)
    assert {one["name"].split(": ")[1] for one in figures} > {"effective blocks"}
    assert "study-stat-10, 15 of 120" in study.page_table(figures)
