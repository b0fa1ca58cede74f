"""The policy of a bundle as a policy of the simulator, to play what a dialer would play."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.evaluate import Inputs, PlainPolicy
from quietdial.agents.bundle.load import Bundle
from quietdial.agents.chance import draw, hash_of
from quietdial.agents.policy import Policy
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.simple import Progressive
from quietdial.envs.errors import ConfigError

_WORLD_ACTIONS: Final = {"threshold": "theta"}
"""Kinds of action that the world knows under another name; the others are the same."""


class _Memory(NamedTuple):
    """What is kept between decisions."""

    hidden: NDArray[np.float64] | None
    cell: NDArray[np.float64] | None
    past: NDArray[np.uint64]


class BundlePolicy:
    """A bundle's network in the simulator, without guards.

    Args:
        bundle: a verified bundle with a network.
        network: its network.
    """

    knob_name: str | None = None
    knob: float | None = None
    knob_range: tuple[float, float] | None = None

    def __init__(self, bundle: Bundle, network: PlainPolicy) -> None:
        contract = bundle.contract
        kind = str(contract["action"]["kind"])
        base = contract["action"]["base"]
        self.name = str(bundle.manifest["name"])
        self.observation = str(contract["observation"])
        self.action = _WORLD_ACTIONS.get(kind, kind)
        self.base_theta = 0.02 if base is None else float(base["theta"])
        self.world_options: Mapping[str, Any] = (
            {} if contract["knowledge"] == "believed" else {"knowledge": str(contract["knowledge"])}
        )
        self._network = network
        self._memory = int(contract["recurrent"]["size"])

    def act(
        self, obs: NDArray[np.float32], state: object | None = None
    ) -> tuple[NDArray[Any], object | None]:
        """Decide for every campaign; see `Policy.act`."""
        n, network = len(obs), self._network
        if isinstance(state, _Memory):
            known = state
        else:
            zeros = np.zeros((n, self._memory)) if self._memory else None
            known = _Memory(zeros, zeros, np.zeros(n, np.uint64))
        uniform, past = None, known.past
        if network.decode.read == "sample":
            uniform, past = draw(past, hash_of(obs))
        base = np.zeros(n, np.int64) if network.decode.base else None
        found = network.answer(
            Inputs(obs, base=base, uniform=uniform, hidden=known.hidden, cell=known.cell)
        )
        after = _Memory(found.hidden, found.cell, past)
        if self.action == "theta":
            return found.answer[:, None], after
        return np.maximum(found.action, 0), after

    def with_knob(self, value: float) -> NoReturn:
        """A bundle is played as it is (`ConfigError`)."""
        raise ConfigError(f"{self.name}: the policy of a bundle has no knob")


def bundle_policy(bundle: Bundle) -> Policy:
    """What plays a bundle in the simulator.

    Raises:
        ConfigError: a rule that is played by the product it comes from.
    """
    if bundle.policy is not None:
        return BundlePolicy(bundle, bundle.policy)
    rule = json.loads(bundle.files["rule.json"])
    settings = {one["name"]: float(one["value"]) for one in rule["settings"]}
    if rule["rule"] == "Marginal" and "theta" in settings:
        return Marginal(settings["theta"])
    if rule["rule"] == "Progressive":
        return Progressive()
    raise ConfigError(
        f"rule {rule['name']!r} is played by the product that it comes from; shadow plays "
        "'marginal', 'progressive' and networks"
    )
