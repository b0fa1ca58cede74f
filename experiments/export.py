"""Export a run, a checkpoint or a rule as a bundle: what its days show, its table, its origin."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from quietdial.agents.budget import decide
from quietdial.agents.bundle.describe import Seen, decode_of
from quietdial.agents.bundle.distil import fit_tree
from quietdial.agents.bundle.evaluate import Decode
from quietdial.agents.bundle.tree import Tree
from quietdial.agents.bundle.write import Distilled, Origin, write_policy, write_rule
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import Policy
from quietdial.agents.rules.base import Rule
from quietdial.agents.wrapped import Wrapped
from quietdial.envs.pacing.state import BREAK, COUNT, OFF
from quietdial.envs.pacing.twin import answer_rate_twin
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.evaluate import (
    make_world,
    play_days,
    select_seeds,
    test_seeds,
    tune_seeds,
)
from quietdial.experiments.run_plan import thresholds_of
from quietdial.experiments.rundir import provenance
from quietdial.experiments.stats import compare, summarise

RULE_DAYS: Final = 16
"""Test days on which a rule is judged when it is declared."""

DAYS: Final = 8
"""Selection days that are looked at for the envelope and for real observations."""

MOST_DECISIONS: Final = 28_800
"""A day is looked at for so many decisions at most."""

_ROWS: Final = 6_000
"""Observations that are kept of these days, about."""

TABLE_LEAVES: Final = 32
TABLE_ROUNDS: Final = 4
TABLE_DAYS: Final = 32

LOSS_ALLOWED: Final = 0.005
"""A table may lose so much utilisation (lower end of the 95 % interval), .005: half a point."""

RATE_ALLOWED: Final = 0.002
"""A table may add so much to the silent rate (upper end of the 95 % interval)."""


def look(
    policy: Policy, scenario: Scenario, seeds: NDArray[np.int64]
) -> tuple[Seen, NDArray[np.float32]]:
    """Play days with a policy and keep what they show.

    Args:
        policy: who decides.
        scenario: the world.
        seeds: one seed for each day.

    Returns:
        What was seen, and the observations once more.
    """
    world = make_world(policy, scenario, len(seeds))
    everywhere = np.ones(len(seeds), np.bool_)
    world.begin(everywhere, seeds.tolist())
    episode = world.scenario.episode
    steps = min(MOST_DECISIONS, round(episode.duration_s / episode.decision_interval_s))
    every = max(steps * len(seeds) // _ROWS, 1)
    kept: list[NDArray[np.float32]] = []
    present: list[NDArray[np.int64]] = []
    rates: list[float] = []
    state: object | None = None
    for step in range(steps):
        if step % every == 0:
            kept.append(world.observe().copy())
            present.append(_present(world))
            rates += [answer_rate_twin(world.state, world.params, row) for row in range(len(seeds))]
        actions, state = decide(policy, world, state)
        if bool(world.step(actions, everywhere)[0, 4]):
            break
    totals = world.totals()
    obs = np.concatenate(kept)
    handled = (totals["talk_s"] + totals["wrap_s"]) / np.maximum(totals["connected"], 1.0)
    return (
        Seen(
            obs=obs,
            present=(float(np.min(present)), float(np.max(present))),
            answer_rate=(min(rates), max(rates)),
            handle_s=(float(handled.min()), float(handled.max())),
        ),
        obs,
    )


def _present(world: World) -> NDArray[np.int64]:
    head = world.state.head
    away = head[:, COUNT + BREAK] + head[:, COUNT + OFF]
    return np.asarray(world.scenario.floor.n_agents - away)


# ------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class StandIn(Wrapped):
    """The tree in place of the policy that it was distilled from."""

    tree: Tree
    decode: Decode

    @property
    def name(self) -> str:
        """Name for tables and files."""
        return f"{self.inner.name} as a table"

    def act(
        self, obs: NDArray[np.float32], state: object | None = None
    ) -> tuple[NDArray[Any], object | None]:
        """Decide by the tree."""
        leaf = self.tree.leaf_of(obs)
        if self.inner.action == "theta":
            return self.tree.value[leaf][:, None], state
        return self.tree.action[leaf], state


def distil(
    policy: LearnedPolicy,
    scenario: Scenario,
    console: Console,
    *,
    rounds: int = TABLE_ROUNDS,
    days: int = TABLE_DAYS,
    n_leaves: int = TABLE_LEAVES,
) -> Distilled | None:
    """Distil a policy into a small tree, judge it on test days, and give it if it is good enough.

    The tree is fitted to what the policy does on its own days; then it plays, the policy says what
    it would have done there, and the tree is fitted to all of it once more (DAgger, Ross et al.
    2011).

    Args:
        policy: the policy.
        scenario: its world.
        console: where the verdict goes.
        rounds: fits.
        days: test days for the comparison.
        n_leaves: most rules.

    Returns:
        The tree with its figures; None: not offered, or outside of the tolerance.
    """
    if policy.memory is not None or policy.deployed == "sampled":
        console.print("No table: it cannot stand in for a memory or for draws.")
        return None
    decode = decode_of(policy)
    player: LearnedPolicy | StandIn = policy
    seen: list[NDArray[np.float32]] = []
    tree: Tree | None = None
    for k in range(rounds):
        seen.append(look(player, scenario, tune_seeds(DAYS * rounds)[DAYS * k : DAYS * (k + 1)])[1])
        tree = distilled_tree(policy, np.concatenate(seen), n_leaves)
        player = StandIn(policy, tree, decode)
    if tree is None:
        return None
    seeds = test_seeds(days)
    difference = compare(play_days(player, scenario, seeds), play_days(policy, scenario, seeds))
    loss, more = difference.utilisation, difference.silent_rate
    tolerance = (
        f"utilisation at most {100 * LOSS_ALLOWED:g} points lower and silent rate at most "
        f"{100 * RATE_ALLOWED:g} points higher, at the ends of the 95 % intervals"
    )
    good = loss.lo >= -LOSS_ALLOWED and more.hi <= RATE_ALLOWED
    console.print(
        f"Table of {tree.n_leaves} rules against the policy on {days} days: utilisation "
        f"{100 * loss.value:+.2f} points ({100 * loss.lo:+.2f} to {100 * loss.hi:+.2f}), silent "
        f"rate {100 * more.value:+.2f} ({100 * more.lo:+.2f} to {100 * more.hi:+.2f}): "
        f"{'shipped' if good else 'NOT shipped'}; allowed: {tolerance}.",
        highlight=False,
    )
    fidelity = {"figures": difference.figures(), "tolerance": tolerance, "days": days}
    return Distilled(tree, fidelity) if good else None


def distilled_tree(policy: LearnedPolicy, obs: NDArray[np.float32], n_leaves: int) -> Tree:
    """Fit a tree of at most `n_leaves` rules to what a policy does at observations (n, F)."""
    decode = decode_of(policy)
    return fit_tree(obs, _labels(policy, decode, obs), decode, n_leaves)


def _labels(policy: LearnedPolicy, decode: Decode, obs: NDArray[np.float32]) -> NDArray[Any]:
    """What the policy does: numbers of actions, or continuous answers."""
    acted, _ = policy.act(obs)
    if decode.read == "continuous":
        return np.asarray(acted[:, 0])
    if policy.spec.action == "threshold":
        return np.asarray(policy.logits(obs).argmax(axis=1))
    return np.asarray(acted)


# ------------------------------------------------------------------------------------- exports


def export_policy(
    policy: LearnedPolicy,
    scenario: Scenario,
    out: Path,
    console: Console,
    command: str,
    *,
    run: Path | None = None,
    table: bool = False,
    key: Path | None = None,
) -> Path:
    """Export a learned policy.

    Args:
        policy: the policy, with the knob that it is to be deployed with.
        scenario: the world that it was trained in.
        out: the folder.
        console: where progress goes.
        command: the command line that asked for it.
        run: its run folder, whose evaluation goes along; None: it was not judged.
        table: whether to distil and judge a table (minutes on large floors).
        key: a private key of OpenSSH to sign with.
    """
    seen, _ = look(policy, scenario, select_seeds(DAYS))
    sizes = [
        load_scenario(path).floor.n_agents
        for path in (sorted((run / "floors").glob("*.yaml")) if run else ())
    ]
    if sizes:
        seen = replace(seen, agents=(min(sizes), max(sizes)))
    distilled = distil(policy, scenario, console) if table else None
    training = dict(policy.training or {})
    thetas = None if run is None else thresholds_of(run)
    if thetas is not None:
        training["base_thetas"] = list(thetas)
    origin = Origin(
        training={
            "run": None if run is None else run.name,
            "scenario": scenario.name,
            "scenario_sha256": policy.spec.scenario_sha256,
            **training,
            **provenance(command),
        },
        evaluation=_judged(run),
    )
    return write_policy(policy, scenario, out, seen=seen, origin=origin, table=distilled, key=key)


def _judged(run: Path | None) -> dict[str, Any]:
    """The evaluation of a run folder; empty if there is none that can be read."""
    try:
        found = json.loads((run / "evaluation.json").read_text(encoding="utf-8")) if run else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def export_rule(
    rule: Rule, scenario: Scenario, out: Path, command: str, *, key: Path | None = None
) -> Path:
    """Declare a hand-built rule for a world; it is judged on :data:`RULE_DAYS` test days.

    Arguments as in :func:`export_policy`.
    """
    days = play_days(rule, scenario, test_seeds(RULE_DAYS))
    seen = replace(look(rule, scenario, select_seeds(DAYS))[0], obs=np.zeros((1, 1), np.float32))
    origin = Origin(
        training={"scenario": scenario.name, **provenance(command)},
        evaluation={
            "figures": summarise(days, scenario.rule.cap).figures(),
            "seeds": [int(seed) for seed in days.seeds],
        },
    )
    return write_rule(rule, scenario, out, seen=seen, origin=origin, key=key)
