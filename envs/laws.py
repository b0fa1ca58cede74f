"""Laws of durations: what the world draws from and what a dialer believes.

A law is a frozen pydantic model, so it can stand in a scenario file. Every law knows its
distribution function and its quantile function (both in seconds, vectorised), and turns itself
into the integer quantile table that the kernel samples from (`Law.table_ms`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import special

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BODY_CELLS = 1024
"""Cells of equal probability in the body of a quantile table."""
TAIL_CELLS = 1024
"""Cells that share the last body cell, so that a long tail keeps its shape."""
TABLE_SIZE = BODY_CELLS + TAIL_CELLS + 1
"""Points of a table: body knots 0..1023, then tail knots 0..1024 (the tail begins at body 1023)."""

_LAST_P = 1.0 - 2.0**-22
MAX_DURATION_S = 86_400.0

Positive = Annotated[float, Field(gt=0, le=MAX_DURATION_S)]
NonNegative = Annotated[float, Field(ge=0, le=MAX_DURATION_S)]


class _LawBase(BaseModel):
    """Shared behaviour of every law of a duration."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """P(duration <= t_s), elementwise; `t_s` in seconds, any shape."""
        raise NotImplementedError

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """Smallest duration in seconds with `cdf` at least `p`, elementwise; `p` in [0, 1)."""
        raise NotImplementedError

    def sampled_mean_s(self) -> float:
        """Mean duration in seconds of the law as it is sampled (the mean of its table)."""
        knots = self.table_ms().astype(np.float64)
        body, tail = knots[:BODY_CELLS], knots[BODY_CELLS:]
        inner = 0.5 * (body[:-1] + body[1:]).sum() / BODY_CELLS
        outer = 0.5 * (tail[:-1] + tail[1:]).sum() / (BODY_CELLS * TAIL_CELLS)
        return float(inner + outer) / 1000.0

    def table_ms(self) -> IntArray:
        """Quantile table in whole milliseconds, shape (TABLE_SIZE,), never below 1 ms.

        Knot i < 1024 of the body stands at probability i/1024; the last body cell is split into
        1024 cells of its own. The kernel interpolates between knots with integer arithmetic.
        """
        body_p = np.arange(BODY_CELLS) / BODY_CELLS
        tail_p = (BODY_CELLS - 1 + np.arange(TAIL_CELLS + 1) / TAIL_CELLS) / BODY_CELLS
        p = np.minimum(np.concatenate([body_p, tail_p]), _LAST_P)
        ms = np.rint(1000.0 * self.quantile_s(p))
        return np.maximum(ms, 1.0).astype(np.int64)

    def max_s(self) -> float:
        """Longest duration that can be drawn, in seconds."""
        return float(self.table_ms()[-1]) / 1000.0


class ConstantLaw(_LawBase):
    """Always the same duration."""

    kind: Literal["constant"] = "constant"
    value_s: Positive = Field(description="the duration [s]")

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """Step at `value_s`."""
        return np.where(np.asarray(t_s) >= self.value_s, 1.0, 0.0)

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """`value_s` for every p."""
        return np.full(np.shape(p), self.value_s)


class UniformLaw(_LawBase):
    """Uniform between two durations."""

    kind: Literal["uniform"] = "uniform"
    low_s: NonNegative = Field(description="shortest duration [s]")
    high_s: Positive = Field(description="longest duration [s]")

    @model_validator(mode="after")
    def _ordered(self) -> UniformLaw:
        if self.high_s <= self.low_s:
            raise ValueError(f"high_s = {self.high_s} must be above low_s = {self.low_s}")
        return self

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """Linear between the bounds."""
        return np.clip((np.asarray(t_s) - self.low_s) / (self.high_s - self.low_s), 0.0, 1.0)

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """Linear in p."""
        return self.low_s + np.asarray(p) * (self.high_s - self.low_s)


class ExponentialLaw(_LawBase):
    """Exponential (memoryless)."""

    kind: Literal["exponential"] = "exponential"
    mean_s: Positive = Field(description="mean [s]")

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """1 - exp(-t/mean)."""
        return -np.expm1(-np.maximum(np.asarray(t_s, dtype=np.float64), 0.0) / self.mean_s)

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """-mean log(1 - p)."""
        return -self.mean_s * np.log1p(-np.asarray(p, dtype=np.float64))


class LognormalLaw(_LawBase):
    """Lognormal, given by its mean and its coefficient of variation."""

    kind: Literal["lognormal"] = "lognormal"
    mean_s: Positive = Field(description="mean [s]")
    cv: Annotated[float, Field(gt=0, le=10, description="standard deviation / mean")]

    def _mu_sigma(self) -> tuple[float, float]:
        sigma2 = float(np.log1p(self.cv**2))
        return float(np.log(self.mean_s) - sigma2 / 2), float(np.sqrt(sigma2))

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """Phi((log t - mu)/sigma)."""
        mu, sigma = self._mu_sigma()
        t = np.maximum(np.asarray(t_s, dtype=np.float64), 1e-12)
        return np.asarray(special.ndtr((np.log(t) - mu) / sigma))

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """exp(mu + sigma Phi^-1(p))."""
        mu, sigma = self._mu_sigma()
        return np.asarray(np.exp(mu + sigma * special.ndtri(np.asarray(p, dtype=np.float64))))


class GammaLaw(_LawBase):
    """Gamma, moved to the right by a fixed time (ring tone set-up, for example)."""

    kind: Literal["gamma"] = "gamma"
    shape: Annotated[float, Field(gt=0, le=1000, description="shape [1]")]
    scale_s: Positive = Field(description="scale [s]")
    shift_s: NonNegative = Field(default=0.0, description="time added to every draw [s]")

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """Regularised lower incomplete gamma function of (t - shift)/scale."""
        t = np.maximum(np.asarray(t_s, dtype=np.float64) - self.shift_s, 0.0)
        return np.asarray(special.gammainc(self.shape, t / self.scale_s))

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """Inverse of `cdf`."""
        p = np.asarray(p, dtype=np.float64)
        return np.asarray(self.shift_s + self.scale_s * special.gammaincinv(self.shape, p))


class WeibullLaw(_LawBase):
    """Weibull."""

    kind: Literal["weibull"] = "weibull"
    shape: Annotated[float, Field(gt=0, le=100, description="shape [1]")]
    scale_s: Positive = Field(description="scale [s]")

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """1 - exp(-(t/scale)^shape)."""
        t = np.maximum(np.asarray(t_s, dtype=np.float64), 0.0)
        return -np.expm1(-((t / self.scale_s) ** self.shape))

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """Scale times (-log(1 - p))^(1/shape)."""
        return self.scale_s * (-np.log1p(-np.asarray(p, dtype=np.float64))) ** (1 / self.shape)


class QuantileLaw(_LawBase):
    """An empirical law: linear between the given quantiles."""

    kind: Literal["quantiles"] = "quantiles"
    p: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        min_length=2, max_length=4097, description="probabilities, strictly rising from 0 to 1"
    )
    value_s: tuple[NonNegative, ...] = Field(
        min_length=2, max_length=4097, description="durations at these probabilities [s], rising"
    )

    @model_validator(mode="after")
    def _rising(self) -> QuantileLaw:
        if len(self.p) != len(self.value_s):
            raise ValueError(f"p has {len(self.p)} values but value_s has {len(self.value_s)}")
        if self.p[0] != 0.0 or self.p[-1] != 1.0 or np.any(np.diff(self.p) <= 0):
            raise ValueError("p must rise strictly from 0 to 1")
        if np.any(np.diff(self.value_s) < 0):
            raise ValueError("value_s must not fall")
        return self

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """Interpolated; at a jump the upper value."""
        t = np.asarray(t_s, dtype=np.float64)
        values, p = np.asarray(self.value_s), np.asarray(self.p)
        upper = np.clip(np.searchsorted(values, t, side="right"), 1, len(values) - 1)
        low, high = values[upper - 1], values[upper]
        gap = np.where(high > low, high - low, 1.0)
        share = np.where(high > low, (t - low) / gap, 1.0)
        inside = p[upper - 1] + np.clip(share, 0.0, 1.0) * (p[upper] - p[upper - 1])
        return np.where(t < values[0], 0.0, np.where(t >= values[-1], 1.0, inside))

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """Interpolated."""
        return np.interp(np.asarray(p, dtype=np.float64), self.p, self.value_s)


class MixturePart(BaseModel):
    """One component of a mixture."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weight: Annotated[float, Field(gt=0, le=1, description="share of this component [1]")]
    law: SimpleLaw


class MixtureLaw(_LawBase):
    """A mixture of laws: with probability `weight` the duration comes from that part."""

    kind: Literal["mixture"] = "mixture"
    parts: tuple[MixturePart, ...] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _weights(self) -> MixtureLaw:
        total = sum(part.weight for part in self.parts)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the weights of a mixture must add up to 1, not {total}")
        return self

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """Weighted sum of the parts."""
        return np.asarray(np.sum([part.weight * part.law.cdf(t_s) for part in self.parts], axis=0))

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """Inverse of `cdf` by bisection to 1e-6 s."""
        p = np.asarray(p, dtype=np.float64)
        ends = np.stack([part.law.quantile_s(p) for part in self.parts])
        low, high = ends.min(axis=0) - 1e-9, ends.max(axis=0)
        while float(np.max(high - low)) > 1e-6:
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(np.maximum(high, 0.0))


SimpleLaw = Annotated[
    ConstantLaw | UniformLaw | ExponentialLaw | LognormalLaw | GammaLaw | WeibullLaw | QuantileLaw,
    Field(discriminator="kind"),
]
Law = Annotated[
    ConstantLaw
    | UniformLaw
    | ExponentialLaw
    | LognormalLaw
    | GammaLaw
    | WeibullLaw
    | QuantileLaw
    | MixtureLaw,
    Field(discriminator="kind"),
]
MixturePart.model_rebuild()
MixtureLaw.model_rebuild()
