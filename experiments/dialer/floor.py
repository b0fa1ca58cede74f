"""A simulated VICIdial floor: the simulator plays, real tables show what VICIdial's would.

The world runs VICIdial's own placer (envs/pacing/controllers/vicidial.py, dial method RATIO).
Before every loop of the placer, 2.5 s, the floor reads `auto_dial_level` and `dial_method` from the
table; after it, agents, calls, the log and the clock are written. Everything else, who answers and
how long people talk, is the scenario's.
"""

from __future__ import annotations

import datetime
import zlib
from collections import Counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import log
from quietdial.envs.pacing.state import (
    AGENT_STATE,
    BREAK,
    IDLE,
    INVALID,
    MACHINE,
    MACHINE_TALK,
    NO_ANSWER,
    OFF,
    PERSON,
    TALK,
    WITH_CALL,
    WRAP,
)
from quietdial.envs.pacing.state import BUSY as LINE_BUSY
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, changed, load_scenario

STEP_S: Final = 2.5
"""The placer's loop; the tables are read and written that often [s]."""
STATS_S: Final = 60.0
_STATUS_OF: Final = {
    int(IDLE): ("READY", False),
    int(TALK): ("INCALL", True),
    int(MACHINE_TALK): ("INCALL", True),
    int(WRAP): ("PAUSED", True),
    int(BREAK): ("PAUSED", False),
}
_ENDS_AS: Final = {
    int(MACHINE): "AA",
    int(LINE_BUSY): "AB",
    int(NO_ANSWER): "NA",
    int(INVALID): "ADC",
}


class SimulatedFloor:
    """One campaign behind VICIdial's tables.

    Args:
        connection: of the private server's root, schema selected (`tables.make_tables`).
        campaign: `campaign_id`.
        scenario: preset or scenario of one session without inbound calls and held callees.
        seed: seed of the day.
        opens: local time at which the day begins.

    Raises:
        ConfigError: the scenario has something that these tables do not show.
    """

    def __init__(
        self,
        connection: Any,
        campaign: str,
        scenario: str | Scenario = "italy-50",
        *,
        seed: int = 1,
        opens: datetime.datetime = datetime.datetime(2026, 3, 2, 9),
    ) -> None:
        asked = load_scenario(scenario)
        if asked.inbound is not None or asked.rule.at_limit == "hold":
            raise ConfigError(
                f"scenario {asked.name!r}: the simulated VICIdial floor plays no inbound calls and "
                "holds no callee after the limit; use one such as italy-50"
            )
        self.scenario = changed(asked, episode={"decision_interval_s": STEP_S})
        self.opens = opens
        self.campaign = campaign
        self._first_id = int(opens.timestamp()) + zlib.crc32(campaign.encode()) % 10**6
        self._connection = connection
        self._world = World(
            1,
            self.scenario,
            observation="counters",
            action="controller",
            controller="vicidial",
            settings={"dial_method": 0.0},
            knob="auto_dial_level",
            full=True,
            records=True,
        )
        self._all = np.ones(1, np.bool_)
        self._world.begin(self._all, [seed])
        self._statuses: dict[int, tuple[str, bool]] = {}
        self._calls: dict[int, tuple[str, int]] = {}
        self._with: dict[int, int] = {}
        self._counts = [0, 0, 0]
        self._next_stats_s = 0.0
        self.level = 0.0
        self._write([], [])

    @property
    def now(self) -> datetime.datetime:
        """The floor's clock, local time."""
        return self.opens + datetime.timedelta(seconds=self.elapsed_s)

    @property
    def elapsed_s(self) -> float:
        """Time since the opening [s]."""
        return float(self._world.clock_s()[0])

    @property
    def over(self) -> bool:
        """Whether the day is over."""
        return self.elapsed_s >= self.scenario.episode.duration_s

    def totals(self) -> dict[str, float]:
        """Running totals of the day as the simulator knows them (`spec.TOTALS`)."""
        return {name: float(values[0]) for name, values in self._world.totals().items()}

    def counts(self) -> dict[str, int]:
        """Agents by what they do, as an operator names it."""
        now = Counter(self._statuses.values())
        return {
            "INCALL": now["INCALL", True] + now["QUEUE", True],
            "READY": now["READY", False],
            "wrap-up": now["PAUSED", True],
            "break": now["PAUSED", False],
        }

    def observation(self) -> NDArray[np.float32]:
        """The observation `counters` as the simulator makes it, (22,), for comparison."""
        seen: NDArray[np.float32] = self._world.observe()[0]
        return seen

    def step(self) -> None:
        """Play one loop of the placer with the level in the table, and write what happened."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT dial_method, auto_dial_level FROM vicidial_campaigns "
                "WHERE campaign_id = %s",
                (self.campaign,),
            )
            method, level = cursor.fetchone()
        self.level = float(level) if method == "RATIO" else 0.0
        self._world.step(np.array([[self.level]], np.float32), self._all)
        calls: list[tuple[str, tuple[object, ...]]] = []
        for t, code, number, a, b, c in self._world.drain_log()[0].tolist():
            self._event(calls, t, code, number, a, b, c)
        self._write(calls, self._agents())

    # --- calls ------------------------------------------------------------------------------------

    def _event(
        self, out: list[Any], t: int, code: int, number: int, a: int, b: int, c: int
    ) -> None:
        at = self.opens + datetime.timedelta(milliseconds=t)
        if code == log.DIAL:
            person = number if a < 0 else a
            self._calls[number] = "RINGING", person
            kind = "OUTBALANCE" if b >= 0 else "OUT"  # placed by the world, an agent set aside
            out.append(("dial", (self.campaign, person, self._name(number), at, kind)))
        elif code == log.ENDED:
            if a not in (PERSON, MACHINE):
                self._end(out, number, at, _ENDS_AS.get(a, "ADC"))
            elif a == MACHINE and self.scenario.calls.detection.kind == "perfect":
                self._end(out, number, at, "AA")
        elif code == log.JUDGED and a == 0:
            self._end(out, number, at, "AA")
        elif code == log.QUEUED_UP:
            self._status(out, number, "LIVE")
            self._logged(out, number, at, "PU", "NONE")
        elif code == log.CONNECT:
            self._status(out, number, "XFER")
            self._logged(out, number, at, "PU" if c else "INCALL", "NONE")
            self._with[a] = number
        elif code == log.SILENT and a != log.CAUSE_AMD:
            left = a == log.CAUSE_LEFT
            self._end(out, number, at, "DROP", "CALLER" if left else "QUEUETIMEOUT")
        elif code == log.DROPPED:
            self._end(out, number, at, "DROP", "QUEUETIMEOUT")
        elif code == log.OVER and number in self._calls:
            self._end(out, number, at, "SALE" if a else "NI", "AGENT")
        elif code == log.AGENT_STATE_CHANGE and a == MACHINE_TALK and c in self._calls:
            self._end(out, c, at, "A", "AGENT")

    def _name(self, number: int) -> str:
        return f"V{number:09d}{self.campaign}"

    def _status(self, out: list[Any], number: int, status: str) -> None:
        self._calls[number] = status, self._calls[number][1]
        out.append(("status", (status, self._name(number))))

    def _end(
        self,
        out: list[Any],
        number: int,
        at: datetime.datetime,
        status: str,
        reason: str = "NONE",
    ) -> None:
        if number not in self._calls:
            return
        self._logged(out, number, at, status, reason)
        del self._calls[number]
        out.append(("gone", (self._name(number),)))
        self._counts[0] += 1
        self._counts[1] += status in ("DROP", "SALE", "NI")
        self._counts[2] += status == "DROP"

    def _logged(
        self, out: list[Any], number: int, at: datetime.datetime, status: str, reason: str
    ) -> None:
        person = self._calls[number][1]
        phone = f"39020{person % 10**7:07d}"
        unique = f"{self._first_id}.{number}"
        out.append(("log", (unique, person, self.campaign, at, status, phone, reason)))

    # --- agents -----------------------------------------------------------------------------------

    def _agents(self) -> list[tuple[str, tuple[object, ...]]]:
        """What changed in the table of live agents since the last loop."""
        out: list[tuple[str, tuple[object, ...]]] = []
        states = self._world.state.agent[0, :, AGENT_STATE].tolist()
        holding = self._world.state.trait[0, :, WITH_CALL].tolist()
        for agent, state in enumerate(states):
            user = f"{self.campaign}-{agent}"
            if state == OFF:
                if self._statuses.pop(agent, None):
                    out.append(("logout", (user,)))
                continue
            new = _STATUS_OF.get(state, ("QUEUE", True))
            if self._statuses.get(agent) == new:
                continue
            call = max(int(holding[agent]), self._with.get(agent, 0), 0)
            lead = call + 1 if new[1] else 0
            caller = self._name(call) if new[1] else ""
            self._statuses[agent] = new
            out.append(("agent", (user, self.campaign, new[0], lead, caller, self.now, self.now)))
        return out

    # --- writing ----------------------------------------------------------------------------------

    def _write(
        self,
        calls: list[tuple[str, tuple[object, ...]]],
        agents: list[tuple[str, tuple[object, ...]]],
    ) -> None:
        now = self.now
        by_kind: dict[str, list[tuple[object, ...]]] = {}
        for kind, values in [*calls, *(agents or self._agents())]:
            by_kind.setdefault(kind, []).append(values)
        with self._connection.cursor() as cursor:
            for kind, statement in _STATEMENTS.items():
                if kind in by_kind:
                    cursor.executemany(statement, by_kind[kind])
            cursor.execute(
                "UPDATE vicidial_live_agents SET last_update_time = %s WHERE campaign_id = %s",
                (now, self.campaign),
            )
            if self.elapsed_s >= self._next_stats_s:
                self._next_stats_s = self.elapsed_s + STATS_S
                n_calls, answers, drops = self._counts
                share = f"{100 * drops / max(answers, 1):.2f}"[:6]
                cursor.execute(
                    "UPDATE vicidial_campaign_stats SET update_time = %s, calls_today = %s, "
                    "answers_today = %s, drops_today = %s, drops_answers_today_pct = %s "
                    "WHERE campaign_id = %s",
                    (now, n_calls, answers, drops, share, self.campaign),
                )
            cursor.execute("UPDATE simulated_clock SET now = %s WHERE one = 1", (now,))


_STATEMENTS: Final = {
    "dial": "INSERT INTO vicidial_auto_calls (campaign_id, status, lead_id, callerid, call_time, "
    "call_type) VALUES (%s, 'RINGING', %s, %s, %s, %s)",
    "status": "UPDATE vicidial_auto_calls SET status = %s WHERE callerid = %s",
    "log": "INSERT INTO vicidial_log (uniqueid, lead_id, campaign_id, call_date, status, "
    "phone_number, term_reason) VALUES (%s, %s, %s, %s, %s, %s, %s) "
    "ON DUPLICATE KEY UPDATE status = VALUES(status), term_reason = VALUES(term_reason)",
    "gone": "DELETE FROM vicidial_auto_calls WHERE callerid = %s",
    "agent": "INSERT INTO vicidial_live_agents (user, campaign_id, status, lead_id, callerid, "
    "last_state_change, last_update_time) VALUES (%s, %s, %s, %s, %s, %s, %s) "
    "ON DUPLICATE KEY UPDATE status = VALUES(status), lead_id = VALUES(lead_id), "
    "callerid = VALUES(callerid), last_state_change = VALUES(last_state_change)",
    "logout": "DELETE FROM vicidial_live_agents WHERE user = %s",
}
"""What is written, in the order in which it is; later ones of a kind overwrite earlier ones."""
