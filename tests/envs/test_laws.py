"""Laws of durations: distribution and quantile functions, and the kernel's quantile tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from quietdial.envs.laws import (
    TABLE_SIZE,
    ConstantLaw,
    ExponentialLaw,
    GammaLaw,
    Law,
    LognormalLaw,
    MixtureLaw,
    MixturePart,
    QuantileLaw,
    UniformLaw,
    WeibullLaw,
)

seconds = st.floats(0.5, 1000.0)
exponentials = st.builds(ExponentialLaw, mean_s=seconds)
lognormals = st.builds(LognormalLaw, mean_s=seconds, cv=st.floats(0.05, 2.0))
gammas = st.builds(
    GammaLaw, shape=st.floats(0.2, 50.0), scale_s=seconds, shift_s=st.floats(0.0, 30.0)
)
weibulls = st.builds(WeibullLaw, shape=st.floats(0.3, 10.0), scale_s=seconds)
uniforms = st.builds(
    lambda low, width: UniformLaw(low_s=low, high_s=low + width), st.floats(0.0, 60.0), seconds
)


@st.composite
def quantile_laws(draw: st.DrawFn) -> QuantileLaw:
    steps = draw(st.lists(st.floats(0.01, 50.0), min_size=2, max_size=12))
    shares = np.asarray(
        draw(st.lists(st.floats(0.05, 1.0), min_size=len(steps) - 1, max_size=len(steps) - 1))
    )
    p = np.concatenate([[0.0], np.cumsum(shares)[:-1] / shares.sum(), [1.0]])
    return QuantileLaw(p=tuple(p.tolist()), value_s=tuple(np.cumsum(steps).tolist()))


smooth_laws = st.one_of(exponentials, lognormals, gammas, weibulls, uniforms, quantile_laws())


@st.composite
def mixtures(draw: st.DrawFn) -> MixtureLaw:
    first = draw(st.floats(0.01, 0.99))
    laws = [draw(smooth_laws), draw(smooth_laws)]
    weights = (first, 1.0 - first)
    return MixtureLaw(
        parts=tuple(MixturePart(weight=w, law=law) for w, law in zip(weights, laws, strict=True))
    )


any_law = st.one_of(
    smooth_laws, mixtures(), st.builds(ConstantLaw, value_s=st.floats(0.001, 1000.0))
)
probabilities = st.floats(0.001, 0.999)

NAMED = {
    "constant": (ConstantLaw(value_s=28), 28.0),
    "uniform": (UniformLaw(low_s=18, high_s=24), 21.0),
    "exponential": (ExponentialLaw(mean_s=180), 180.0),
    "lognormal": (LognormalLaw(mean_s=150, cv=1), 150.0),
    "gamma": (GammaLaw(shape=3, scale_s=3, shift_s=3), 12.0),
    "weibull": (WeibullLaw(shape=2, scale_s=100), 100.0 * np.sqrt(np.pi) / 2),
    "quantiles": (QuantileLaw(p=(0, 0.5, 1), value_s=(10, 20, 60)), 0.5 * 15 + 0.5 * 40),
    "mixture": (
        MixtureLaw(
            parts=(
                MixturePart(weight=0.35, law=LognormalLaw(mean_s=25, cv=0.5)),
                MixturePart(weight=0.65, law=LognormalLaw(mean_s=220, cv=0.5)),
            )
        ),
        0.35 * 25 + 0.65 * 220,
    ),
}


@given(law=any_law, p=probabilities)
def test_law__quantile_is_the_first_time_with_that_probability(law: Law, p: float) -> None:
    t = law.quantile_s(np.array([p]))
    assert t.shape == (1,)
    # the tolerances are those of the bisection of a mixture (1e-6 s) and of rounding
    assert law.cdf(t * (1 + 1e-9) + 2e-6)[0] >= p - 1e-9
    assert law.cdf(np.maximum(t * (1 - 1e-9) - 2e-6, -1.0))[0] <= p + 1e-9


@given(law=smooth_laws, p=probabilities)
def test_law__cdf_undoes_quantile(law: Law, p: float) -> None:
    t = law.quantile_s(np.array([p]))
    # a steep law moved to the right leaves few digits for the time since its begin
    assert law.cdf(t * (1 - 1e-12))[0] - 1e-7 <= p <= law.cdf(t * (1 + 1e-12))[0] + 1e-7


@given(law=any_law, t=st.lists(st.floats(-10.0, 5000.0), min_size=2, max_size=20))
def test_law__cdf_rises_from_zero_to_one(law: Law, t: list[float]) -> None:
    values = law.cdf(np.sort(np.array(t)))
    assert np.all(np.diff(values) >= -1e-12)
    assert np.all((values >= 0.0) & (values <= 1.0 + 1e-12))
    assert law.cdf(np.array([-1.0]))[0] <= 1e-6


@given(law=any_law)
def test_table__rises_and_never_holds_less_than_a_millisecond(law: Law) -> None:
    table = law.table_ms()
    assert table.shape == (TABLE_SIZE,)
    assert table.dtype == np.int64
    assert np.all(np.diff(table) >= 0)
    assert table[0] >= 1
    assert law.max_s() == table[-1] / 1000.0


@given(law=st.one_of(exponentials, gammas, uniforms, quantile_laws()))
def test_table__mean_is_the_mean_of_the_law(law: Law) -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    assert law.sampled_mean_s() == pytest.approx(law.quantile_s(grid).mean(), rel=0.01, abs=0.002)


@pytest.mark.parametrize("name", NAMED)
def test_table__mean_of_named_laws(name: str) -> None:
    law, mean_s = NAMED[name]
    assert law.sampled_mean_s() == pytest.approx(mean_s, rel=0.002)


@pytest.mark.parametrize("name", NAMED)
def test_law__survives_a_file(name: str) -> None:
    law, _ = NAMED[name]
    adapter: TypeAdapter[Law] = TypeAdapter(Law)
    assert adapter.validate_python(law.model_dump(mode="json")) == law


def test_lognormal__has_the_stated_coefficient_of_variation() -> None:
    grid = (np.arange(400_000) + 0.5) / 400_000
    draws = LognormalLaw(mean_s=30, cv=0.6).quantile_s(grid)
    assert draws.std() / draws.mean() == pytest.approx(0.6, rel=0.002)


def test_quantile_law__jumps_where_values_repeat() -> None:
    law = QuantileLaw(p=(0, 0.25, 0.75, 1), value_s=(1, 5, 5, 9))
    np.testing.assert_allclose(
        law.cdf(np.array([0.5, 3, 4.999999, 5, 7, 9, 20])),
        [0, 0.125, 0.25, 0.75, 0.875, 1, 1],
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "exponential", "mean_s": 0},
        {"kind": "exponential", "mean_s": float("nan")},
        {"kind": "lognormal", "mean_s": 10, "cv": -1},
        {"kind": "uniform", "low_s": 5, "high_s": 5},
        {"kind": "quantiles", "p": [0, 0.5], "value_s": [1, 2]},
        {"kind": "quantiles", "p": [0, 1], "value_s": [2, 1]},
        {"kind": "quantiles", "p": [0, 0.5, 1], "value_s": [1, 2]},
        {"kind": "mixture", "parts": [{"weight": 0.5, "law": {"kind": "constant", "value_s": 1}}]},
        {"kind": "pareto", "scale_s": 1},
        {"kind": "constant", "value_s": 1, "unit": "min"},
    ],
)
def test_law__refuses_what_is_not_a_law(data: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Law).validate_python(data)
