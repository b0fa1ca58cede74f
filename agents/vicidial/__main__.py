"""`python -m quietdial.agents.vicidial`: the adapter as a process of its own.

It starts in a fraction of a second and needs neither the simulator nor a learning library. SIGTERM
and SIGINT set the level to 1.0 and end it; after SIGKILL the database does.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from quietdial.agents.ledger import Ledger, read_key
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.vicidial.adapter import SAID, Adapter, Answer, Decide, Settings, Tick
from quietdial.agents.vicidial.database import Database, Login, read_password
from quietdial.agents.vicidial.errors import DialerError
from quietdial.agents.vicidial.features import Floor, counters
from quietdial.agents.vicidial.outcomes import OutcomeFeed
from quietdial.agents.vicidial.paced import paced_by
from quietdial.agents.vicidial.rule import level_number, level_of
from quietdial.agents.vicidial.tables import Reader, Snapshot


class _Parser(argparse.ArgumentParser):
    """Flags whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse a flag."""
        raise DialerError(f"{message}; see {self.prog} --help")


def parser(program: str = "python -m quietdial.agents.vicidial") -> argparse.ArgumentParser:
    """The flags."""
    flags = _Parser(prog=program, description="Steers one VICIdial campaign until it is ended.")
    flags.add_argument("campaign", help="campaign_id")
    flags.add_argument("--socket", default="", help="Unix socket of the database; none: TCP")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=3306)
    flags.add_argument("--database", default="asterisk")
    flags.add_argument("--user", default="quietdial")
    flags.add_argument("--password-file", type=Path, help="file with the account's password")
    flags.add_argument("--agents", type=int, required=True, help="agents of the roster")
    flags.add_argument("--cap", type=float, default=0.03, help="allowed silent / answered")
    flags.add_argument(
        "--window-from",
        type=datetime.datetime.fromisoformat,
        help="begin of the compliance window, local time; none: today at 9",
    )
    flags.add_argument("--window-hours", type=float, default=8.0, help="open hours of the window")
    flags.add_argument("--policy", default="rule", help="rule, or level:2.5 for a constant level")
    flags.add_argument("--bundle", type=Path, help="exported policy (quietdial export), instead")
    flags.add_argument("--signers", type=Path, help="who may have signed the bundle")
    flags.add_argument("--unsigned", action="store_true", help="trust the bundle whoever made it")
    flags.add_argument("--ledger", type=Path, help="compliance ledger that knows the campaign")
    flags.add_argument("--ledger-key", type=Path, help="its key; none: LEDGER.key")
    flags.add_argument("--time-zone", default="Europe/Rome", help="of the database's local time")
    flags.add_argument("--interval", type=float, default=15.0, help="between two decisions [s]")
    flags.add_argument("--lease", type=float, default=3.0, help="worth of a level [s]")
    flags.add_argument("--renew", type=float, default=1.0, help="between two renewals [s]")
    flags.add_argument("--highest", type=float, default=4.0, help="highest level")
    flags.add_argument("--step-up", type=float, default=0.5, help="most rise at one decision")
    flags.add_argument(
        "--dry-run", action="store_true", help="decide beside whoever steers, write nothing"
    )
    flags.add_argument("--clock", default="SELECT NOW(3)", help=argparse.SUPPRESS)
    return flags


def decide_by(policy: str, floor: Floor) -> Decide:
    """The policy of that name.

    Raises:
        DialerError: it is not known.
    """
    if policy == "rule":
        return lambda seen: _by_rule(seen, floor)
    kind, _, value = policy.partition(":")
    try:
        level = float(value)
    except ValueError:
        level = -1.0
    if kind != "level" or not 1 <= level <= 20:
        raise DialerError(f"policy {policy!r}: use rule, or level:L with L from 1 to 20")
    return lambda seen: Answer(level, "constant level")


def _by_rule(seen: Snapshot, floor: Floor) -> Answer:
    return Answer(level_of(level_number(counters(seen, floor))), "level-rule")


def note(tick: Tick) -> None:
    """One JSON line on standard output for a tick worth telling."""
    line: dict[str, object] = {"state": tick.state.value}
    if tick.answer is None:
        line["says"] = tick.detail or SAID[tick.state]
    else:
        line |= {"level": tick.level, "wanted": tick.answer.level, "reason": tick.answer.reason}
    if tick.seen is not None:
        line |= {"answered": tick.seen.window.answered, "silent": tick.seen.window.drops}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def steer(arguments: list[str], program: str = "python -m quietdial.agents.vicidial") -> None:
    """Steer until a signal ends it.

    Raises:
        DialerError: a flag is not allowed, or the database refuses what the set-up should allow.
    """
    asked = parser(program).parse_args(arguments)
    ended: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        ended.append(number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    begin = asked.window_from or datetime.datetime.combine(
        datetime.date.today(),
        datetime.time(9),
    )
    floor = Floor(asked.agents, asked.cap, begin, 3600.0 * asked.window_hours)
    login = Login(
        database=asked.database,
        user=asked.user,
        password=read_password(asked.password_file) if asked.password_file else "",
        socket=asked.socket,
        host=asked.host,
        port=asked.port,
    )
    settings = Settings(
        campaign=asked.campaign,
        interval_s=asked.interval,
        lease_s=asked.lease,
        renew_s=asked.renew,
        highest=asked.highest,
        step_up=asked.step_up,
        dry_run=asked.dry_run,
    )
    database = Database(login)
    reader = Reader(database, asked.campaign, begin, asked.clock)
    with contextlib.ExitStack() as stack:
        kept = _kept(asked, database, begin, stack)
        if asked.bundle is None:
            decide = decide_by(asked.policy, floor)
        else:
            decide, flush = paced_by(
                asked.bundle,
                signers=asked.signers,
                unsigned=asked.unsigned,
                agents=asked.agents,
                window_from=begin,
                window_s=floor.window_s,
                kept=kept,
            )
            stack.callback(flush)
        Adapter(database, reader, decide, settings, note=note).run(lambda: bool(ended))


def _kept(
    asked: argparse.Namespace,
    database: Database,
    begin: datetime.datetime,
    stack: contextlib.ExitStack,
) -> tuple[str, Ledger, OutcomeFeed] | None:
    """The campaign in the ledger, if one is kept."""
    if asked.ledger is None:
        return None
    key = asked.ledger_key or asked.ledger.with_name(asked.ledger.name + ".key")
    ledger = stack.enter_context(Ledger(asked.ledger, read_key(key)))
    feed = OutcomeFeed(database, ledger, asked.campaign, begin, asked.time_zone)
    return asked.campaign, ledger, feed


def main(arguments: list[str]) -> int:
    """Steer; exit code 2 and one line if that cannot be."""
    try:
        steer(arguments)
    except PacerError as error:
        sys.stderr.write(f"quietdial: error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
