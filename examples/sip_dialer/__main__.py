"""The dialer: opens the floor, asks the sidecar once a second, obeys, writes what happened.

    python3 -m sip_dialer settings.json

A settings file, all of it needed but the last two lines:

    {"peer": ["127.0.0.1", 5060], "local": ["127.0.0.1", 0],
     "sidecar": "/run/quietdial/sidecar.sock", "campaign": "sales",
     "n_agents": 20, "seconds": 600, "close_s": 30, "interval_s": 1,
     "limit_s": 3, "ring_timeout_s": 8, "first_number": 1000000, "lines": 192,
     "talk_s": 20, "wrap_s": 5, "log": "calls.jsonl",
     "opens_at": 1796130000.0, "conversations": "conversations.csv", "by_callee": 0.5, "seed": 1,
     "t1_s": 0.5}

`talk_s` and `wrap_s` are means of exponential draws, unless `conversations` names a file with lines
"talk_ms,wrap_ms,by_callee". Every dial becomes a line of `log`; the totals go to standard output.
"""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import datetime
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sip_dialer.floor import Conversation, Floor, Rules
from sip_dialer.sidecar import Answer, Sidecar
from sip_dialer.transactions import Timers
from sip_dialer.user_agent import UserAgent


def conversations(settings: Mapping[str, Any]) -> Iterator[Conversation]:
    """How the conversations go: from a file, or drawn."""
    if "conversations" in settings:
        with Path(settings["conversations"]).open(newline="") as file:
            for talk, wrap, by_callee in csv.reader(file):
                yield Conversation(int(talk) / 1000, int(wrap) / 1000, by_callee == "1")
        return
    chance = random.Random(settings.get("seed", 1))  # noqa: S311
    while True:
        talk_s = chance.expovariate(1 / settings["talk_s"])
        wrap_s = chance.expovariate(1 / settings["wrap_s"])
        yield Conversation(talk_s, wrap_s, chance.random() < settings.get("by_callee", 0.5))


async def play(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Play one session; the totals."""
    loop = asyncio.get_running_loop()
    rules = Rules(
        settings["n_agents"],
        settings["limit_s"],
        settings["ring_timeout_s"],
        settings["first_number"],
        settings["lines"],
    )
    floor = Floor(rules, conversations(settings))
    timers = Timers(t1=settings.get("t1_s", Timers().t1))
    peer, local = (str(settings["peer"][0]), int(settings["peer"][1])), settings["local"]
    transport, user_agent = await loop.create_datagram_endpoint(
        lambda: UserAgent(floor, peer, timers), local_addr=(local[0], local[1])
    )
    sidecar = Sidecar(settings["sidecar"], settings["campaign"])
    opens_at = settings.get("opens_at", time.time())
    opened_s = loop.time() + opens_at - time.time()
    await asyncio.sleep(opened_s - loop.time())
    floor.open(user_agent, opened_s)
    session = {
        "n_agents": rules.n_agents,
        "first_day": datetime.datetime.fromtimestamp(opens_at).astimezone().date().isoformat(),
        "opens_at": opens_at,
        "closes_at": opens_at + settings["seconds"],
    }
    answers: list[tuple[dict[str, Any], Answer]] = []
    ticks_ms = []
    interval_s = settings["interval_s"]
    for tick in range(round((settings["seconds"] - settings["close_s"]) / interval_s)):
        due_s = opened_s + tick * interval_s
        await asyncio.sleep(due_s - loop.time())
        ticks_ms.append(1000 * (loop.time() - due_s))
        counters = floor.counters()
        answer = await sidecar.pace(session, counters)
        floor.place(floor.level_one if answer.calls is None else answer.calls)
        answers.append((counters, answer))
    await asyncio.sleep(opened_s + settings["seconds"] - loop.time())
    floor.close()
    until_s = loop.time() + 5.0
    while user_agent.busy and loop.time() < until_s:
        await asyncio.sleep(0.05)
    sidecar.close()
    transport.close()
    log = Path(settings["log"])
    log.write_text("".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in floor.records))
    log.with_suffix(".decisions.jsonl").write_text(
        "".join(json.dumps({**seen, **answer._asdict()}) + "\n" for seen, answer in answers)
    )
    return totals(floor) | {
        "decided_by": dict(Counter(answer.by for _, answer in answers)),
        "ask_ms": summary([1000 * answer.wait_s for _, answer in answers]),
        "tick_ms": summary(ticks_ms),
        "timer_ms": summary(floor.lags_ms),
        "resent": user_agent.resent,
        "broken": user_agent.broken,
        "unconfirmed": user_agent.busy,
    }


def totals(floor: Floor) -> dict[str, Any]:
    """What became of the calls, and what the agents did."""
    records = floor.records
    outcomes = Counter(record.outcome or "in_flight" for record in records)
    silent = Counter(record.silent for record in records if record.silent)
    return {
        "dialed": len(records),
        **{name: outcomes[name] for name in ("busy", "no_answer", "invalid", "failure")},
        "answered": outcomes["person"],
        "in_flight": outcomes["in_flight"],
        "connected": sum(record.connected_ms is not None for record in records),
        "silent_cut": silent["cut"],
        "silent_left": silent["left"],
        "crossed": sum(record.crossed for record in records),
        **{f"{state}_s": seconds for state, seconds in floor.agent_s.items()},
        "waiting_s": floor.waiting_s,
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median, 99 % quantile and largest of some times, and how many."""
    ranked = sorted(values) or [0.0]
    last = len(ranked) - 1
    return {
        "p50": ranked[round(0.5 * last)],
        "p99": ranked[round(0.99 * last)],
        "max": ranked[last],
        "n": len(values),
    }


def main() -> int:
    """Read the settings, play, print the totals."""
    if len(sys.argv) != 2:
        sys.stderr.write("use: python3 -m sip_dialer settings.json\n")
        return 2
    settings = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout.write(json.dumps(asyncio.run(play(settings))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
