"""Who is asked for the answer: the network of a bundle, its table, or a plain rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.evaluate import Answers, Decode, Inputs, PlainPolicy
from quietdial.agents.chance import draw, hash_of
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.tables import Floats

Kind = Literal["dials", "theta", "level", "ratio"]
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
    def answers(self) -> Kind:
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
    answers: Kind = "theta"
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
    answers: Kind = "ratio"
    base_theta: float | None = None

    def reset(self) -> None:
        """Nothing is remembered."""

    def answer(self, obs: NDArray[np.float32], base: int) -> Answer:
        """The ratio."""
        return Answer(self.ratio)


_KINDS: Final[dict[str, Kind]] = {
    "residual": "dials",
    "residual_choice": "dials",
    "dials": "dials",
    "threshold": "theta",
    "theta": "theta",
    "vicidial_level": "level",
}


def answers_of(action_kind: str) -> Kind:
    """What the answers of an action kind are.

    Raises:
        PacerError: the runtime cannot play that kind.
    """
    if action_kind not in _KINDS:
        raise PacerError(f"action {action_kind!r}: the runtime plays " + ", ".join(sorted(_KINDS)))
    return _KINDS[action_kind]


class Source(Protocol):
    """What answers batches: a bundle's `PlainPolicy`, `Session` or `Table`."""

    def answer(self, inputs: Inputs) -> Answers:
        """Decide for a batch."""
        ...


class BundleEvaluator:
    """The policy of a bundle for one campaign: its network by numpy or onnxruntime, or its table.

    Args:
        source: what answers.
        name: for decisions and logs.
        observation: observation set.
        action_kind: action kind of training.
        decode: how the network is read off.
        base_theta: threshold of the base rule that is added; None: none is.
        memory: numbers of the memory; 0: none.
        seed: of the draws of a sampled policy.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        observation: str,
        action_kind: str,
        decode: Decode,
        *,
        base_theta: float | None = None,
        memory: int = 0,
        seed: int = 0,
    ) -> None:
        if decode.base != (base_theta is not None):
            raise PacerError(f"{name}: the base rule and its threshold go together")
        self.name, self.observation, self.base_theta = name, observation, base_theta
        self.answers: Kind = answers_of(action_kind)
        self._source, self._decode, self._memory, self._seed = source, decode, memory, seed
        self._plain: PlainPolicy | None = None
        if isinstance(source, PlainPolicy) and decode.read == "argmax" and not memory:
            self._plain = source
        self._hidden: Floats | None = None
        self._cell: Floats | None = None
        self._past = np.zeros(1, np.uint64)
        self.reset()

    def reset(self) -> None:
        """A session opens: the memory is empty, the draws begin anew."""
        zeros = np.zeros((1, self._memory)) if self._memory else None
        self._hidden, self._cell = zeros, zeros
        self._past = np.full(1, self._seed, np.uint64)

    def answer(self, obs: NDArray[np.float32], base: int) -> Answer:
        """Answer one observation."""
        if self._plain is not None:
            return self._quickly(self._plain, obs, base)
        uniform = None
        if self._decode.read == "sample":
            uniform, self._past = draw(self._past, hash_of(obs[None, :]))
        found = self._source.answer(
            Inputs(
                obs[None, :],
                base=np.array([base], np.int64) if self._decode.base else None,
                uniform=uniform,
                hidden=self._hidden,
                cell=self._cell,
            )
        )
        if self._memory:
            self._hidden, self._cell = found.hidden, found.cell
        return Answer(float(found.answer[0]), bool(found.valid[0]))

    def _quickly(self, plain: PlainPolicy, obs: NDArray[np.float32], base: int) -> Answer:
        """`PlainPolicy.answer` of one row without a memory, with fewer arrays; the same bits."""
        decode = self._decode
        x = obs[None, :].astype(np.float64)
        inside = ((x >= plain.low) & (x <= plain.high)).all()  # NaN compares as false
        if not inside or (decode.base and not 0 <= base <= decode.high):
            return Answer(decode.invalid, valid=False)
        for weight, bias in plain.layers[:-1]:
            x = np.tanh(x @ weight + bias)
        weight, bias = plain.layers[-1]
        value = decode.table[int((x @ weight + bias).argmax())]
        if decode.base:
            value += base
        return Answer(min(max(value, decode.low), decode.high))
