"""Who plays in the league: the rules, the exact optimum where there is one, learned policies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.optimal_policy import OptimalMarkov
from quietdial.agents.policy import Policy
from quietdial.agents.rules import catalogue as rules
from quietdial.agents.wrapped import Wrapped
from quietdial.envs.errors import CheckpointError, ConfigError
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import Scenario

REFERENCE = "marginal"
"""The rule that all others are compared with."""

OPTIMUM = "optimal-markov"
"""The exact optimum of the Markov worlds, played as a policy."""


@dataclass(frozen=True)
class Entry:
    """A participant.

    Attributes:
        name: its name in the table.
        policy: the policy with its default knob; None for one that is made for the scenario.
        tuned: whether its knob is tuned to the rates; else it plays as it is shipped.
        privileged: whether it sees hidden truth.
        run: folder that a learned policy is loaded from; empty for a rule.
    """

    name: str
    policy: Policy | None
    tuned: bool = True
    privileged: bool = False
    run: str = ""


def catalogue() -> tuple[Entry, ...]:
    """All hand-built rules."""
    return tuple(
        Entry(listed.name, listed.rule, tuned=listed.tuned, privileged=listed.privileged)
        for listed in rules.catalogue()
    )


def has_optimum(scenario: Scenario) -> bool:
    """Whether the exact optimum of a scenario is known."""
    try:
        MarkovWorld.of(scenario)
    except ConfigError:
        return False
    return True


def entries_for(scenario: Scenario, runs: tuple[str, ...] = ()) -> list[Entry]:
    """Participants on a scenario, the reference first.

    Args:
        scenario: the world.
        runs: folders of learned policies; whether one fits the scenario is found when it plays.

    Raises:
        ConfigError: the reference rule is missing, or a name is used twice.
    """
    found = [*catalogue()]
    if has_optimum(scenario):
        found.append(Entry(OPTIMUM, None, privileged=True))
    found += [Entry(run_name(run), None, run=run) for run in runs]
    names = [entry.name for entry in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"the league has two participants called {twice[0]!r}; rename one")
    if REFERENCE not in names:
        raise ConfigError(f"the league needs the rule {REFERENCE!r}, which is not among the rules")
    return sorted(found, key=lambda entry: entry.name != REFERENCE)


def run_name(run: str) -> str:
    """Name of a learned policy in the table: the last part of its folder, and if it is infeasible.

    A folder that cannot be read has its name all the same: whether it fits is found when it plays.
    """
    from quietdial.agents.checkpoint import load_state  # needs safetensors

    parts = [part for part in run.replace("\\", "/").split("/") if part not in ("", ".", "policy")]
    name = f"learned:{parts[-1] if parts else run}"
    for folder in (Path(run) / "policy", Path(run)):
        try:
            chosen = load_state(folder).selection
        except CheckpointError:
            continue
        return name if chosen is None or chosen["feasible"] else f"{name}-infeasible"
    return name


def entry_named(name: str, scenario: Scenario, runs: tuple[str, ...] = ()) -> Entry:
    """A participant by name."""
    for entry in entries_for(scenario, runs):
        if entry.name == name:
            return entry
    raise ConfigError(f"no participant {name!r} on {scenario.name}")


def policy_of(entry: Entry, scenario: Scenario) -> Policy:
    """The policy of a participant on a scenario."""
    if entry.policy is not None:
        return entry.policy
    if entry.run:
        from quietdial.experiments.train import load_run_policy  # needs PyTorch

        return load_run_policy(entry.run)
    return OptimalMarkov.of(scenario)


def settings_of(policy: Policy) -> str:
    """Text that differs between policies that play differently, for fingerprints."""
    if isinstance(policy, Wrapped):
        around = {name: value for name, value in vars(policy).items() if name != "inner"}
        return f"{type(policy).__name__} {around} {settings_of(policy.inner)}"
    if not isinstance(policy, LearnedPolicy):
        return repr(policy)
    digest = hashlib.sha256()
    for name, values in sorted(policy.tensors().items()):
        digest.update(name.encode())
        digest.update(values.tobytes())
    knobs = f"{policy.base_theta} {policy.theta_scale} {policy.multiplier}"
    how = f"{policy.deployed} {policy.seed}"
    return f"{policy.spec.model_dump_json()} {knobs} {how} {digest.hexdigest()}"
