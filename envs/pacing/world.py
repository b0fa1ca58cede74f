"""A batch of campaigns: the one engine behind the scalar and the vector environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import control, features, plain
from quietdial.envs.pacing.book import make_book
from quietdial.envs.pacing.controllers.plug import Plugged, plug
from quietdial.envs.pacing.crew import Crew
from quietdial.envs.pacing.full import kernel as full_kernel
from quietdial.envs.pacing.params import (
    CLOSE_MS,
    CONTROL_MS,
    DIALS_FROM,
    IS_FULL,
    N_LINES,
    ON_RELEASE,
    STOPS,
    TRUNKS,
    Knowledge,
    make_params,
)
from quietdial.envs.pacing.privileged import privileged
from quietdial.envs.pacing.shield import Shield, shield_of, write_shield
from quietdial.envs.pacing.spec import (
    FULL_TOTALS,
    N_RESIDUALS,
    TOTALS,
    action_of,
    action_space,
    observation_fields,
    observation_space,
)
from quietdial.envs.pacing.state import (
    BASE,
    BREACHED,
    CLOSED,
    COUNT,
    FREE,
    LOGGED,
    MACHINE_TALK,
    NOW,
    OWN_THETA,
    SEEN_BREACHED,
    SESSION,
    SET_CHOICE,
    SHIELD_ACTS,
    SHIELD_CALLS,
    TALK,
    IntArray,
    State,
    make_state,
    overwrite,
)
from quietdial.envs.scenario import Scenario, changed, load_scenario

Bools = NDArray[np.bool_]
_ONE_SHOT_OFFSET = {control.DIALS: 0, control.RESIDUAL: control.RESIDUAL_LOW}
_THETAS = np.array(control.THETAS)
_PLAIN_NAMES = tuple(entry.name for entry in TOTALS)
_FULL_NAMES = tuple(entry.name for entry in FULL_TOTALS)


def _within(value: object, low: float, high: float) -> bool:
    """Whether `value` is a finite number between the bounds."""
    return isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= high


_LEVEL_INTERVAL_S = 15.0
"""A level of VICIdial's stands so long [s]."""


def _log_rows(scenario: Scenario) -> int:
    """Rows that the log of one decision interval, and of a night, may need at most."""
    interval_s = scenario.episode.decision_interval_s
    periods = scenario.inbound.periods if scenario.inbound else ()
    inbound_per_s = max((period.per_h for period in periods), default=0.0) / 3600.0
    per_s = scenario.floor.n_agents + scenario.max_dials + 8.0 * inbound_per_s
    return 8192 + 256 * scenario.floor.n_agents + int(16.0 * interval_s * per_s)


class World:
    """B campaigns of one scenario; knows nothing of Gymnasium.

    Args:
        n_campaigns: B, at least 1.
        scenario: preset name, path of a YAML file, or a `Scenario`.
        observation: observation set; None: the scenario's.
        action: action kind; None: the scenario's.
        silent_penalty: reward weight of a silent call [agent-seconds], at least 0.
        base_theta: threshold of the rule below residual actions, in [0, 1].
        start: "open": the day begins with idle agents at its opening; "random": training episodes
            that begin at a random time of the day on a busy floor with plausible counts.
        horizon_s: longest training episode [s]; episodes are cut at a random 50 to 100 % of it.
        records: keep the raw log of all events (see `drain_log`); costs nothing when off.
        full: play a plain world with the full kernel too (same bits, further totals).
        controller: name of the controller that action `controller` sets (controllers/plug.py).
        settings: its settings by name; none: its own defaults.
        knob: the setting that the action sets; none: the controller's own.
        knowledge: what the look-ahead of the index rules goes by (params.KNOWLEDGE): "believed", or
            others and several joined by "+", for instance "scores+signal-10".
        shield: limit on the dials of any policy, as `shield.Shield`, its settings by name, or its
            kind: "deterministic" or "borrowing".
        threads: threads that play the rows, 1 to 256; any number gives the same bits. More than one
            pays from some hundred campaigns on (docs/performance.md).
    """

    def __init__(
        self,
        n_campaigns: int,
        scenario: str | Scenario = "italy-50",
        *,
        observation: str | None = None,
        action: str | None = None,
        silent_penalty: float = 150.0,
        base_theta: float = 0.02,
        start: str = "open",
        horizon_s: float | None = None,
        records: bool = False,
        full: bool = False,
        controller: str | None = None,
        settings: Mapping[str, float] | None = None,
        knob: str | None = None,
        knowledge: Knowledge = "believed",
        shield: Shield | Mapping[str, Any] | str | None = None,
        threads: int = 1,
    ) -> None:
        if type(n_campaigns) is not int or n_campaigns < 1:
            raise ConfigError(f"num_envs = {n_campaigns!r} must be a whole number, at least 1")
        if not _within(silent_penalty, 0, np.inf):
            raise ConfigError(f"silent_penalty = {silent_penalty!r} must be a finite number >= 0")
        if not _within(base_theta, 0, 1):
            raise ConfigError(f"base_theta = {base_theta!r} must lie in [0, 1]")
        if start not in ("open", "random"):
            raise ConfigError(f"start = {start!r} must be 'open' or 'random'")
        self.scenario = load_scenario(scenario)
        if action_of(action or self.scenario.action).name == "vicidial_level":
            if controller is not None or settings or knob is not None:
                raise ConfigError("action 'vicidial_level' brings its own controller; name none")
            interval = {"decision_interval_s": _LEVEL_INTERVAL_S}
            self.scenario = changed(self.scenario, episode=interval)
            controller, settings, knob = "vicidial", {"dial_method": 0.0}, "auto_dial_level"
        episode = self.scenario.episode
        shortest, longest = episode.decision_interval_s, episode.duration_s
        if horizon_s is not None and not _within(horizon_s, shortest, longest):
            raise ConfigError(
                f"horizon_s = {horizon_s!r} must lie between the decision interval "
                f"({episode.decision_interval_s} s) and the episode ({episode.duration_s} s)"
            )
        self.n_campaigns = n_campaigns
        self.crew = Crew(threads)
        self.observation = observation or self.scenario.observation
        self.action = action_of(action or self.scenario.action)
        if self.action.kind == control.DIALS_OR_CANCEL and not self.scenario.rule.may_cancel:
            raise ConfigError(
                f"action 'dials_or_cancel': rule {self.scenario.rule.id} forbids to cancel calls"
            )
        if self.action.name == "residual_choice" and self.scenario.calls.leads is None:
            raise ConfigError(
                f"action 'residual_choice': scenario {self.scenario.name!r} has no scores of "
                "leads; give it `calls: {leads: {auc: 0.75}}`"
            )
        self._controller = self._plugged(controller, settings, knob)
        self.shield = shield_of(shield)
        self.fields = observation_fields(self.observation)
        self.observation_space = observation_space(self.observation)
        self.action_space = action_space(
            self.action.name,
            self.scenario,
            *([self._controller.knob_range] if self._controller else []),
        )
        self.params = make_params(
            self.scenario,
            silent_penalty=silent_penalty,
            base_theta=base_theta,
            random_start=start == "random",
            horizon_s=horizon_s,
            full=full or self.action.kind in (control.DIALS_OR_CANCEL, control.BLEND),
            log=records,
            knowledge=knowledge,
            settings=self._controller.settings if self._controller else (),
            knob=self._controller.knob_at if self._controller else -1,
        )
        if self.shield is not None:
            write_shield(self.shield, self.scenario, self.params)
        self.is_full = bool(self.params.n[IS_FULL])
        if self.action.kind == control.BLEND:
            self.params.n[ON_RELEASE] = 1
        if self._controller is not None:
            self.params.n[CONTROL_MS] = self._controller.tick_ms
            self.params.n[ON_RELEASE] = 0
        rows = _log_rows(self.scenario) if records else 0
        self.state = make_state(
            n_campaigns,
            self.params,
            log_rows=rows,
            memo=self._controller.memo if self._controller else 0,
            tape=self._controller.tape if self._controller else False,
        )
        self._kernel: Any = full_kernel if self.is_full else plain
        self._total_names = _PLAIN_NAMES + (_FULL_NAMES if self.is_full else ())
        self._set_code = features.SET_CODES[self.observation]
        self._residual = self.action.kind == control.RESIDUAL
        self._seeds = np.zeros(n_campaigns, np.uint64)
        self._episodes = np.zeros(n_campaigns, np.uint64)

    @property
    def state(self) -> State:
        """The state of all rows; setting it makes this world play on those arrays."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        address = self._controller.address if self._controller else 0
        self._book = make_book(state, self.params, address)
        self._parts: list[tuple[slice, IntArray]] = []
        for rows in self.crew.parts(self.n_campaigns) if self.crew.threads > 1 else ():
            part = State._make(array[rows] for array in state)
            self._parts.append((rows, make_book(part, self.params, address)))

    def _plugged(
        self, controller: str | None, settings: Mapping[str, float] | None, knob: str | None
    ) -> Plugged | None:
        """The controller with its settings; ConfigError unless the action is `controller`."""
        if self.action.kind != control.CONTROLLER:
            if controller is not None or settings or knob is not None:
                raise ConfigError(
                    f"controller = {controller!r}: only action 'controller' takes a controller, "
                    f"its settings and its knob, not {self.action.name!r}"
                )
            return None
        if controller is None:
            raise ConfigError("action 'controller': name the controller")
        return plug(controller, settings or {}, knob)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: addresses and modules are found anew."""
        left_out = ("_book", "_parts", "_kernel")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__dict__.update(saved)
        self._kernel = full_kernel if self.is_full else plain
        self.state = self._state

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that changes with time, as arrays by name: every array of `State`, and two more.

        `seeds` and `episodes`, uint64 (B,): each row's seed and the number of its campaign. The
        arrays are the world's own: write them out, or copy what must outlive the next step.
        """
        return {**self._state._asdict(), "seeds": self._seeds, "episodes": self._episodes}

    def set_state(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on as the world of the same settings did from which :meth:`get_state` took `arrays`.

        Raises:
            ConfigError: an array is missing, or has another shape or type than this world's.
        """
        overwrite(self.get_state(), arrays)

    def begin(self, which: Bools, seeds: Sequence[int] | None = None) -> None:
        """Start episodes in the rows of `which` (B,).

        Args:
            which: rows to start.
            seeds: one seed for each row (only those in `which` are used), which starts the row's
                campaign number 0; None: the next campaign number of the row's own seed.
        """
        if seeds is None:
            self._episodes[which] += np.uint64(1)
        else:
            wrapped = np.array([int(seed) % 2**64 for seed in seeds], np.uint64)
            self._seeds[which] = wrapped[which]
            self._episodes[which] = 0
        self._on_rows(self._kernel.begin, which, self._seeds, self._episodes)

    def step(
        self, actions: NDArray[np.int64] | NDArray[np.float32], active: Bools
    ) -> NDArray[np.float64]:
        """Play one decision interval of the active rows; (B, 6) float64, see `plain.advance`."""
        return self._advance(actions, active, 1)

    def hold(
        self, actions: NDArray[np.int64] | NDArray[np.float32], active: Bools, n_steps: int
    ) -> NDArray[np.float64]:
        """Play `n_steps` decision intervals with the same action; (B, 6) float64.

        The same world as after as many calls of :meth:`step`, at the speed of compiled code: rows
        are played one after the other. Rows stop at the end of their episode. Rewards, cost,
        answered calls and harm are summed over the intervals.

        Raises:
            ConfigError: the action is `residual`, whose base must be observed before each decision.
        """
        if self._residual:
            raise ConfigError("hold: action 'residual' needs an observation before each decision")
        if type(n_steps) is not int or n_steps < 1:
            raise ConfigError(f"n_steps = {n_steps!r} must be a whole number, at least 1")
        return self._advance(actions, active, n_steps)

    def _advance(
        self, actions: NDArray[np.int64] | NDArray[np.float32], active: Bools, n_steps: int
    ) -> NDArray[np.float64]:
        amounts = np.zeros(self.n_campaigns, np.int64)
        values = np.zeros(self.n_campaigns)
        kind = self.action.kind
        flat = np.asarray(actions).reshape(self.n_campaigns)
        if self.action.name == "residual_choice":
            choice, residual = np.divmod(flat.astype(np.int64), N_RESIDUALS)
            self.state.head[active, SET_CHOICE] = choice[active]
            amounts = residual + control.RESIDUAL_LOW
        elif kind in _ONE_SHOT_OFFSET:
            amounts = flat.astype(np.int64) + _ONE_SHOT_OFFSET[kind]
        elif kind == control.DIALS_OR_CANCEL:
            amounts = flat.astype(np.int64) - self.scenario.max_dials
        elif self.action.name == "vicidial_level":
            values[:] = 1.0 + 0.25 * flat.astype(np.int64)
        elif self.action.name == "threshold":
            values = _THETAS[flat.astype(np.int64)]
        else:
            values = flat.astype(np.float64)
        out = np.zeros((self.n_campaigns, 6))
        self._on_rows(self._kernel.advance, kind, amounts, values, active, n_steps, out)
        return out

    def observe(self) -> NDArray[np.float32]:
        """Observations of all rows, (B, F) float32, a fresh array."""
        out = np.zeros((self.n_campaigns, len(self.fields)), np.float32)
        if self._residual or self._set_code:
            self._on_rows(features.observe, self._set_code, self._residual, out)
        return out

    def _on_rows(self, compiled: Callable[..., None], *arguments: Any) -> None:
        """Call a compiled function for all rows; arrays among its arguments have an entry a row."""
        if not self._parts:
            compiled(self._book, *arguments)
            return
        self.crew.run(
            compiled,
            [
                (book, *(a[rows] if isinstance(a, np.ndarray) else a for a in arguments))
                for rows, book in self._parts
            ],
        )

    def set_base_thetas(self, thetas: NDArray[np.float64]) -> None:
        """Give the base rule of every row a threshold of its own, until its episode ends.

        It is asked with it from the next :meth:`observe` on.

        Args:
            thetas: (B,), each in (0, 1].

        Raises:
            ConfigError: the action has no base rule, or a threshold is out of range.
        """
        values = np.asarray(thetas, np.float64)
        if not self._residual:
            raise ConfigError(f"action {self.action.name!r} has no base rule to set a threshold of")
        if values.shape != (self.n_campaigns,) or not np.all((values > 0.0) & (values <= 1.0)):
            raise ConfigError(
                f"thetas must be {self.n_campaigns} numbers above 0, at most 1; given: {thetas!r}"
            )
        self.state.head[:, OWN_THETA] = np.maximum(np.rint(values * 2.0**53), 1.0).astype(np.int64)

    def base_dials(self) -> NDArray[np.int64]:
        """Base of the residual action as last observed, (B,) int64."""
        return self.state.head[:, BASE].copy()

    def totals(self) -> dict[str, NDArray[np.float64]]:
        """Running totals of every row's episode by name, each (B,) float64 and fresh.

        The names are those of `spec.TOTALS`, in a full world also those of `spec.FULL_TOTALS`,
        behind a shield also those of `interventions`.
        """
        out = np.empty((len(self._total_names), self.n_campaigns))
        features.totals(self._book, out)
        if self.is_full:
            features.full_totals(self._book, out[len(TOTALS) :])
        named = dict(zip(self._total_names, out, strict=True))
        return named if self.shield is None else named | self.interventions()

    def interventions(self) -> dict[str, NDArray[np.float64]]:
        """What the shield refused in every row's episode, each (B,) float64 and fresh.

        `shield_acts`: times that it refused dials; `shield_calls`: dials refused.
        """
        columns = {"shield_acts": SHIELD_ACTS, "shield_calls": SHIELD_CALLS}
        return {name: self.state.head[:, at].astype(np.float64) for name, at in columns.items()}

    def window_progress(self) -> dict[str, NDArray[np.float64]]:
        """How far the rule's first window is in every row, each (B,) float64 and fresh.

        `spent_s`, `span_s`: its open time so far and in all [s]; `p_answer`: the dialer's estimate
        of the probability that a dial is answered, in [0, 1].
        """
        out = {name: np.empty(self.n_campaigns) for name in ("spent_s", "span_s", "p_answer")}
        features.window_progress(self._book, *out.values())
        return out

    def windows(self) -> dict[str, NDArray[np.float64]]:
        """The rule's windows of every row, each (B, W) float64 and fresh; a full world only.

        `silent`, `answered`: true counts of the window that is running; `seen_silent`,
        `seen_answered`: the dialer's own estimate of them; `closed`: windows that are over,
        `breached`: those of them above the cap in truth, `seen_breached`: by the estimate. After
        the end of an episode the last windows are among those that are over, and still counted.
        """
        if not self.is_full:
            raise ConfigError("windows are counted in full worlds; make the World with full=True")
        shape = (self.n_campaigns, len(self.params.caps))
        names = ("silent", "answered", "seen_silent", "seen_answered")
        out = {name: np.empty(shape) for name in names}
        features.full_windows(self._book, *out.values())
        window = self.state.window
        for name, column in (("closed", CLOSED), ("breached", BREACHED)):
            out[name] = window[:, :, column].astype(np.float64)
        out["seen_breached"] = window[:, :, SEEN_BREACHED].astype(np.float64)
        return out

    def action_masks(self) -> Bools:
        """Which actions are possible now, (B, n) bool; only for discrete actions.

        Hard rules are masks: when no dial may be placed, or fewer lines are free, only the actions
        that place no more than that are left. The world enforces the rules all the same. Actions
        that do not name a number of calls are always possible.

        Raises:
            ConfigError: the action is not discrete.
        """
        space = self.action_space
        if not isinstance(space, Discrete):
            raise ConfigError(f"action {self.action.name!r} has no masks: its space is {space}")
        masks = np.ones((self.n_campaigns, int(space.n)), np.bool_)
        if self.action.kind not in (control.DIALS, control.DIALS_OR_CANCEL):
            return masks
        zero = 0 if self.action.kind == control.DIALS else self.scenario.max_dials
        masks[:, zero + 1 :] = np.arange(1, int(space.n) - zero) <= self._open_lines()[:, None]
        return masks

    def _open_lines(self) -> NDArray[np.int64]:
        """Most dials that could be placed now by hours and lines, (B,)."""
        head, n = self.state.head, self.params.n
        lines = head[:, FREE].copy()
        if not self.is_full:
            lines[head[:, NOW] >= n[CLOSE_MS]] = 0
            return lines
        if n[TRUNKS]:
            talks = head[:, COUNT + TALK] + head[:, COUNT + MACHINE_TALK]
            used = n[N_LINES] - lines + talks
            lines = np.maximum(np.minimum(lines, n[TRUNKS] - used), 0)
        session = self.params.sessions[self.state.more[:, SESSION]]
        now = head[:, NOW]
        is_open = (session[:, DIALS_FROM] <= now) & (now < session[:, STOPS])
        return np.where(is_open, lines, 0)

    def dials_by_action(self) -> NDArray[np.int64]:
        """Calls that each action would place now, (B, n), as far as hours and lines allow.

        For `residual`, observe first: the base is the one last observed. A list without anybody to
        call, or a shield, may let fewer through.

        Raises:
            ConfigError: the actions are not numbers of calls.
        """
        space = self.action_space
        if not isinstance(space, Discrete) or self.action.name not in ("dials", "residual"):
            raise ConfigError(f"action {self.action.name!r} does not name a number of calls")
        asked = np.arange(int(space.n))[None, :] + _ONE_SHOT_OFFSET[self.action.kind]
        if self._residual:
            asked = asked + self.base_dials()[:, None]
        most = np.minimum(self._open_lines(), self.scenario.max_dials)
        return np.asarray(np.clip(asked, 0, most[:, None]), np.int64)

    def privileged(self) -> NDArray[np.float64]:
        """Hidden truth of every row, (B, len(spec.PRIVILEGED)) float64; see privileged.py."""
        return privileged(self.state)

    def drain_log(self) -> list[NDArray[np.int64]]:
        """Events since the last call, one (n, 6) int64 array for each row; see log.py.

        Raises `ConfigError` without `records=True`, or if more happened than the log holds: read
        it after every step.
        """
        capacity = self.state.log.shape[1]
        if capacity == 0:
            raise ConfigError("there is no log; make the World with records=True")
        counts = self.state.more[:, LOGGED].copy()
        if (counts > capacity).any():
            raise ConfigError(f"the log holds {capacity} events; read it after every step")
        self.state.more[:, LOGGED] = 0
        return [self.state.log[b, :n].copy() for b, n in enumerate(counts)]

    def clock_s(self) -> NDArray[np.float64]:
        """Time since the opening of every row, (B,) [s]."""
        return self.state.head[:, NOW] / 1000.0
