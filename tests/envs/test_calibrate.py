"""Calibration: laws recovered from synthetic samples, tables of calls read, bad tables refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quietdial.envs.calibrate import (
    NOT_IDENTIFIED,
    Calibration,
    fit_talk_law,
    progressive_utilisation,
    read_calls,
    sample_quantiles_s,
)
from quietdial.envs.errors import CalibrationError, RunFolderError
from quietdial.envs.laws import (
    ExponentialLaw,
    GammaLaw,
    LognormalLaw,
    MixtureLaw,
    MixturePart,
    QuantileLaw,
    WeibullLaw,
)
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.calibration.talk_report import summary_lines, write_calibration

N = 10_000
# The standard errors of the means, shapes and coefficients of variation below are .7 % to 1.5 % of
# their values (.5 points for the share of a mixture). More than three of them are allowed; the
# samples are fixed, so a failure is a change of the code and not bad luck.
TOLERANCE = 0.05


def sample(law: object, seed: int = 1, n: int = N) -> NDArray[np.float64]:
    u = np.random.default_rng(seed).random(n)
    return law.quantile_s(u)  # type: ignore[attr-defined]


MIXTURE = MixtureLaw(
    parts=(
        MixturePart(weight=0.3, law=LognormalLaw(mean_s=20, cv=0.4)),
        MixturePart(weight=0.7, law=LognormalLaw(mean_s=240, cv=0.6)),
    )
)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit_talk_law(np.rint(sample(MIXTURE)), source="made up", credits=("A. Author",))


def test_fit__recovers_an_exponential() -> None:
    law = fit_talk_law(sample(ExponentialLaw(mean_s=180))).fit("exponential").law
    assert isinstance(law, ExponentialLaw)
    assert law.mean_s == pytest.approx(180, rel=TOLERANCE)


def test_fit__recovers_a_lognormal() -> None:
    law = fit_talk_law(sample(LognormalLaw(mean_s=150, cv=1))).fit("lognormal").law
    assert isinstance(law, LognormalLaw)
    assert law.mean_s == pytest.approx(150, rel=TOLERANCE)
    assert law.cv == pytest.approx(1, rel=TOLERANCE)


def test_fit__recovers_a_gamma() -> None:
    law = fit_talk_law(sample(GammaLaw(shape=2.5, scale_s=60))).fit("gamma").law
    assert isinstance(law, GammaLaw)
    assert law.shape == pytest.approx(2.5, rel=TOLERANCE)
    assert law.shape * law.scale_s == pytest.approx(150, rel=TOLERANCE)


def test_fit__recovers_a_weibull() -> None:
    law = fit_talk_law(sample(WeibullLaw(shape=0.8, scale_s=120))).fit("weibull").law
    assert isinstance(law, WeibullLaw)
    assert law.shape == pytest.approx(0.8, rel=TOLERANCE)
    assert law.scale_s == pytest.approx(120, rel=TOLERANCE)


def test_fit__recovers_and_chooses_a_mixture_from_whole_seconds(calibration: Calibration) -> None:
    assert calibration.chosen.name == "two lognormals"
    assert calibration.resolution_s == 1.0
    law = calibration.chosen.law
    assert isinstance(law, MixtureLaw)
    short, long = law.parts
    assert isinstance(short.law, LognormalLaw)
    assert isinstance(long.law, LognormalLaw)
    assert short.weight == pytest.approx(0.3, abs=0.02)
    assert short.law.mean_s == pytest.approx(20, rel=TOLERANCE)
    assert long.law.mean_s == pytest.approx(240, rel=TOLERANCE)
    assert long.law.cv == pytest.approx(0.6, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("truth", "name"),
    [
        (LognormalLaw(mean_s=150, cv=1), "lognormal"),
        (GammaLaw(shape=2.5, scale_s=60), "gamma"),
        (WeibullLaw(shape=2.0, scale_s=120), "weibull"),
    ],
)
def test_choice__true_law_is_within_noise_of_the_best_and_accepted(
    truth: object, name: str
) -> None:
    fit = fit_talk_law(sample(truth)).fit(name)
    assert fit.behind <= 3 * fit.behind_se + 1e-12
    assert fit.ks_p_value > 0.001
    assert fit.ks < 0.02


def test_choice__empirical_law_wins_where_no_formula_fits() -> None:
    steps = QuantileLaw(p=(0, 0.4, 0.5, 0.9, 1), value_s=(5, 10, 100, 105, 300))
    result = fit_talk_law(sample(steps))
    assert result.chosen.name == "empirical quantiles"
    assert result.chosen is result.empirical
    assert result.best_parametric.ks_p_value < 1e-6
    assert result.empirical.ks < 0.02


def test_empirical_law__follows_the_sample(calibration: Calibration) -> None:
    x = np.rint(sample(MIXTURE))
    x = x[x > 0]
    law = calibration.empirical.law
    assert isinstance(law, QuantileLaw)
    assert law.value_s[-1] == x.max()
    p = np.linspace(0.02, 0.98, 49)
    np.testing.assert_allclose(law.quantile_s(p), sample_quantiles_s(x, p), rtol=0.02, atol=0.5)
    assert calibration.empirical.mean_error_s == pytest.approx(0, abs=0.01 * x.mean())


def test_fits__are_sorted_and_measured_from_the_best(calibration: Calibration) -> None:
    scores = [fit.held_out for fit in calibration.fits]
    assert scores == sorted(scores, reverse=True)
    assert calibration.chosen.behind == 0.0
    for fit in calibration.fits:
        assert fit.behind == pytest.approx(scores[0] - fit.held_out)
        assert fit.mean_error_s == pytest.approx(fit.law.sampled_mean_s() - calibration.mean_s)
        assert 0.01 <= fit.largest_error_p <= 0.99
    assert [row["law"] for row in calibration.rows()] == [fit.name for fit in calibration.fits]


def test_fit__is_the_same_for_the_same_seed() -> None:
    x = sample(LognormalLaw(mean_s=60, cv=1), n=2000)
    assert fit_talk_law(x, seed=3) == fit_talk_law(x, seed=3)
    assert fit_talk_law(x, seed=3).chosen.held_out != fit_talk_law(x, seed=4).chosen.held_out


def test_fit__counts_zeros_and_leaves_them_out() -> None:
    x = sample(ExponentialLaw(mean_s=100), n=500)
    result = fit_talk_law(np.concatenate([x, np.zeros(7)]))
    assert (result.n_rows, result.n_zero, result.n_calls) == (507, 7, 500)
    assert result.mean_s == pytest.approx(x.mean())


@pytest.mark.parametrize("spread", [1e-4, 500.0])
def test_fit__stays_within_the_laws_limits_on_strange_samples(spread: float) -> None:
    x = 100.0 * spread ** np.random.default_rng(0).random(300)
    result = fit_talk_law(x)
    assert all(np.isfinite(fit.held_out) for fit in result.fits)
    nearly_constant = fit_talk_law(50.0 + 1e-3 * np.random.default_rng(0).random(300))
    assert all(np.isfinite(fit.held_out) for fit in nearly_constant.fits)


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (np.full(200, 60.0), "different durations"),
        (np.arange(1.0, 100.0), "at least 100"),
        (np.zeros(200), "at least 100"),
        (np.array([1.0] * 150 + [np.nan]), "nan"),
        (np.array([1.0] * 150 + [np.inf]), "inf"),
        (np.array([1.0] * 150 + [-3.0]), "-3.0"),
        (np.ones((20, 20)), "shape"),
        (["ten", "twelve"], "numbers"),
    ],
)
def test_fit__refuses_what_are_not_durations(bad: object, what: str) -> None:
    with pytest.raises(CalibrationError, match=what) as error:
        fit_talk_law(bad)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_calibration__refuses_an_unknown_law(calibration: Calibration) -> None:
    with pytest.raises(CalibrationError, match=r"pareto.*two lognormals"):
        calibration.fit("pareto")


def test_to_scenario__changes_the_talk_law_and_its_record_only(calibration: Calibration) -> None:
    base = load_scenario("study-real-25")
    scenario = calibration.to_scenario(base, "mine-25")
    assert scenario.name == "mine-25"
    assert scenario.floor == base.floor.model_copy(update={"talk": calibration.chosen.law})
    assert scenario.credits == ("A. Author",)
    for part in ("calls", "rule", "episode", "belief", "observation", "action"):
        assert getattr(scenario, part) == getattr(base, part)
    assert "floor.talk" not in scenario.assumptions
    assert set(NOT_IDENTIFIED) <= set(scenario.assumptions)
    assert scenario.assumptions["floor.wrap"] == base.assumptions["floor.wrap"]
    again = calibration.to_scenario(scenario, "mine-25", law="empirical quantiles")
    assert again.credits == ("A. Author",)
    assert again.description == scenario.description
    assert again.floor.talk == calibration.empirical.law


@pytest.mark.parametrize(
    ("name", "published"),
    [("markov-10", 0.7825), ("study-stat-10", 0.688), ("study-stat-50", 0.690)],
)
def test_progressive_utilisation__agrees_with_the_published_values(
    name: str, published: float
) -> None:
    scenario = load_scenario(name)
    talk_s = scenario.floor.talk.sampled_mean_s()
    assert progressive_utilisation(scenario, talk_s) == pytest.approx(published, abs=0.002)


def test_utilisation_error__has_the_size_of_its_formula(calibration: Calibration) -> None:
    base = load_scenario("study-stat-10")
    fit = calibration.fit("lognormal")
    u = progressive_utilisation(base, calibration.mean_s)
    linear = u * (1 - u) * fit.mean_error_s / (calibration.mean_s + 30)
    # the formula is the first term in the error of the mean; that error is 17 % here
    assert calibration.utilisation_error(base, "lognormal") == pytest.approx(linear, rel=0.2)
    assert abs(calibration.utilisation_error(base)) < abs(linear)


def write_table(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


ROWS = "".join(f"x,{k}\n" for k in range(150))


@pytest.mark.parametrize(
    ("name", "text", "column"),
    [
        ("calls.csv", "who,duration\n" + ROWS, "duration"),
        ("calls.csv.gz", "who,duration\n" + ROWS, "duration"),
        ("calls.csv", '"who";"talk s"\n' + ROWS.replace(",", ";"), "talk s"),
        ("calls.csv", "\ufeffwho\tduration\n" + ROWS.replace(",", "\t"), "duration"),
        ("calls.csv", "who,duration\r\n" + ROWS.replace("\n", "\r\n") + "\r\n", "duration"),
    ],
)
def test_read_calls__reads_tables_as_they_come(
    tmp_path: Path, name: str, text: str, column: str
) -> None:
    durations = read_calls(write_table(tmp_path / name, text), column)
    np.testing.assert_array_equal(durations, np.arange(150.0))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("who,length\n" + ROWS, "column 'duration' is missing; the columns are: who, length"),
        ("duration,duration\n" + ROWS, "more than once"),
        ("", "missing; the columns are: none"),
        ("who,duration\nx,1\nx,two\n" + ROWS, "line 3: duration = 'two' is not a number"),
        ("who,duration\n" + ROWS + "x,-4\n", "line 152: duration = '-4'"),
        ("who,duration\n" + ROWS + "x,NaN\n", "'NaN'"),
        ("who,duration\n" + ROWS + "x,inf\n", "'inf'"),
        ("who,duration\n" + ROWS + "x,1e9\n", "between 0 and 86400"),
        ("who,duration\n" + ROWS + "x\n", "duration = ''"),
        ("who,duration\n" + ROWS[:300], "at least 100"),
        ('who,duration\n"x"y,3\n' + ROWS, "cannot be read"),
    ],
)
def test_read_calls__refuses_a_bad_table_in_one_line(tmp_path: Path, text: str, what: str) -> None:
    path = write_table(tmp_path / "calls.csv", text)
    with pytest.raises(CalibrationError) as error:
        read_calls(path)
    assert what in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_read_calls__refuses_files_that_are_not_tables(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such file"):
        read_calls(tmp_path / "none.csv")
    with pytest.raises(CalibrationError, match="no such file"):
        read_calls(tmp_path)
    (tmp_path / "broken.csv.gz").write_bytes(b"this is not gzip")
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calls(tmp_path / "broken.csv.gz")
    whole = gzip.compress(("who,duration\n" + ROWS).encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calls(tmp_path / "cut.csv.gz")
    (tmp_path / "latin.csv").write_bytes(b"who,duration\n\xe9,3\n")
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calls(tmp_path / "latin.csv")


def test_write_calibration__writes_scenario_report_and_figure(
    calibration: Calibration, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    base = load_scenario("study-real-10")
    files = write_calibration(calibration, tmp_path / "out", base, name="mine-10")
    assert load_scenario(files.scenario) == calibration.to_scenario(base, "mine-10")
    report = json.loads(files.report.read_text(encoding="utf-8"))
    assert Calibration.model_validate(report["calibration"]) == calibration
    assert report["utilisation_error_points"]["two lognormals"] == pytest.approx(
        100 * calibration.utilisation_error(base)
    )
    assert files.figure is not None
    assert files.figure.read_bytes().startswith(b"\x89PNG")
    assert files.figure.stat().st_size < 150_000


def test_write_calibration__says_when_the_folder_cannot_be_made(
    calibration: Calibration, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot be made"):
        write_calibration(calibration, tmp_path / "file" / "out", load_scenario("study-real-10"))


def test_summary_lines__name_the_law_the_errors_and_what_is_missing(
    calibration: Calibration,
) -> None:
    text = "\n".join(summary_lines(calibration, load_scenario("study-real-10")))
    for word in ("two lognormals", "points of utilisation", "answer probability", "ring time"):
        assert word in text
