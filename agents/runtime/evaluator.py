"""Who is asked for the answer: the network of a bundle, its table, or a plain rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.errors import PacerError

Answers = Literal["dials", "theta", "level", "ratio"]
"""What an answer is: new calls to place now; a threshold of the base rule; lines per agent, busy
ones included; lines per idle agent."""


class Answer(NamedTuple):
    """One answer.

    Attributes:
        value: in the unit of `Evaluator.answers`.
        valid: false: an input was missing or out of its range, the value means nothing.
    """

    value: float
    valid: bool = True


class Evaluator(Protocol):
    """What the pacer asks of a policy."""

    @property
    def name(self) -> str:
        """Name for decisions and logs."""
        ...

    @property
    def observation(self) -> str:
        """Observation set: counters, full, wide, markov, or none."""
        ...

    @property
    def answers(self) -> Answers:
        """What an answer is."""
        ...

    @property
    def base_theta(self) -> float | None:
        """Threshold of the base rule below the answer; None: the answer has no base."""
        ...

    def reset(self) -> None:
        """Forget what was remembered: a session opens."""
        ...

    def answer(self, obs: NDArray[np.float32], base: int) -> Answer:
        """Answer one observation, float32 (F,); `base` is what the base rule would dial."""
        ...


@dataclass(frozen=True)
class MarginalEvaluator:
    """The index rule itself, as a policy: it answers its threshold."""

    theta: float = 0.02
    name: str = "marginal"
    observation: str = "none"
    answers: Answers = "theta"
    base_theta: float | None = None

    def reset(self) -> None:
        """Nothing is remembered."""

    def answer(self, obs: NDArray[np.float32], base: int) -> Answer:
        """The threshold."""
        return Answer(self.theta)


@dataclass(frozen=True)
class RatioEvaluator:
    """A fixed number of lines per idle agent."""

    ratio: float = 1.0
    name: str = "ratio"
    observation: str = "none"
    answers: Answers = "ratio"
    base_theta: float | None = None

    def reset(self) -> None:
        """Nothing is remembered."""

    def answer(self, obs: NDArray[np.float32], base: int) -> Answer:
        """The ratio."""
        return Answer(self.ratio)


_KINDS: Final[dict[str, Answers]] = {
    "residual": "dials",
    "residual_choice": "dials",
    "dials": "dials",
    "threshold": "theta",
    "theta": "theta",
    "vicidial_level": "level",
}


def answers_of(action_kind: str) -> Answers:
    """What the answers of an action kind are.

    Raises:
        PacerError: the runtime cannot play that kind.
    """
    if action_kind not in _KINDS:
        raise PacerError(f"action {action_kind!r}: the runtime plays " + ", ".join(sorted(_KINDS)))
    return _KINDS[action_kind]


class NetworkEvaluator:
    """The network of a `policy.json`, evaluated by numpy in float64; no memory.

    Args:
        name: for decisions and logs.
        observation: observation set.
        action_kind: action kind of training.
        low: smallest allowed features, (F,).
        high: largest allowed features, (F,).
        layers: weights (inputs, outputs) and biases (outputs,); tanh between the layers.
        table: value of each action.
        low_answer: smallest answer.
        high_answer: largest answer.
        base_theta: threshold of the base rule that is added; None: none is.
    """

    def __init__(
        self,
        name: str,
        observation: str,
        action_kind: str,
        *,
        low: NDArray[Any],
        high: NDArray[Any],
        layers: list[tuple[NDArray[Any], NDArray[Any]]],
        table: list[float],
        low_answer: float = 0.0,
        high_answer: float,
        base_theta: float | None = None,
    ) -> None:
        self.name, self.observation, self.base_theta = name, observation, base_theta
        self.answers: Answers = answers_of(action_kind)
        self._low, self._high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        self._layers = [(np.asarray(w, np.float64), np.asarray(b, np.float64)) for w, b in layers]
        self._table = [float(value) for value in table]
        self._range = (low_answer, high_answer)
        if self._layers[-1][0].shape[1] != len(self._table):
            raise PacerError(
                f"{name}: the network gives {self._layers[-1][0].shape[1]} numbers for "
                f"{len(self._table)} actions"
            )

    def reset(self) -> None:
        """Nothing is remembered."""

    def answer(self, obs: NDArray[np.float32], base: int) -> Answer:
        """The value of the first largest number, on top of the base if there is one."""
        x = obs.astype(np.float64)
        if not ((x >= self._low) & (x <= self._high)).all():  # NaN compares as false
            return Answer(0.0, valid=False)
        for weight, bias in self._layers[:-1]:
            x = np.tanh(x @ weight + bias)
        weight, bias = self._layers[-1]
        value = self._table[int((x @ weight + bias).argmax())]
        if self.base_theta is not None:
            value += base
        return Answer(min(max(value, self._range[0]), self._range[1]))
