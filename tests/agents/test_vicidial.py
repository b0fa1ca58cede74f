"""The VICIdial adapter against a real MariaDB: grants, lease, override, stop, a database away."""

import datetime
import math
import subprocess
import time
import zlib
from typing import Any

import pytest
from rich.console import Console

from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.ledger import Ledger, Terms, WindowTerm, make_key
from quietdial.agents.ledger.reading import verify
from quietdial.agents.runtime.bundled import tables_of
from quietdial.agents.runtime.evaluator import MarginalEvaluator
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.vicidial.__main__ import main
from quietdial.agents.vicidial.adapter import Adapter, Answer, Settings, State
from quietdial.agents.vicidial.database import AwayError, Database, Login
from quietdial.agents.vicidial.errors import DialerError
from quietdial.agents.vicidial.features import counters
from quietdial.agents.vicidial.guard import Accounts, script
from quietdial.agents.vicidial.outcomes import OutcomeFeed
from quietdial.agents.vicidial.paced import PacedDecide, paced_by
from quietdial.agents.vicidial.rule import level_number, level_of
from quietdial.agents.vicidial.tables import Reader
from quietdial.experiments.bench.dead_man import GRACE_S, LEASE_S, run_kills
from quietdial.experiments.cli import main as quietdial
from quietdial.experiments.dialer import mariadb
from quietdial.experiments.dialer.demo import chart, run_demo
from quietdial.experiments.dialer.floor import SimulatedFloor
from quietdial.experiments.dialer.loop import (
    adapter_login,
    floor_of,
    play_loop,
    play_simulator,
)
from quietdial.experiments.dialer.policy import export_level_rule
from quietdial.experiments.dialer.tables import (
    CLOCK_QUERY,
    DATABASE,
    OPERATOR_PASSWORD,
    add_campaign,
    make_tables,
)

pytestmark = pytest.mark.skipif(
    mariadb.why_missing() is not None, reason=mariadb.why_missing() or ""
)
BEGIN = datetime.datetime(2026, 3, 2, 9)


@pytest.fixture(scope="module")
def server():
    with mariadb.private_server() as socket:
        root = mariadb.connect(socket)
        make_tables(root)
        yield socket, root
        root.close()


@pytest.fixture
def campaign(server, request):
    name = f"C{zlib.crc32(request.node.name.encode()) % 10**7}"
    add_campaign(server[1], name)
    return name


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_adapter(server, campaign, clock):
    """Adapters of the campaign, with a clock that the test moves; the policy is `wanted`."""
    made = []

    def make(wanted, *, login=None, note=lambda _: None, **settings):
        database = Database(login or adapter_login(server[0]))
        decide: Any = wanted if callable(wanted) else lambda _: Answer(wanted)
        changes: dict[str, Any] = {"lease_s": 60.0, "step_up": 10.0} | settings
        adapter = Adapter(
            database,
            Reader(database, campaign, BEGIN),
            decide,
            Settings(campaign, **changes),
            note=note,
            clock=clock,
        )
        made.append(database)
        return adapter

    yield make
    for database in made:
        database.close()


def query(server, text, *values):
    with server[1].cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall()


def level(server, campaign):
    found = query(
        server,
        "SELECT auto_dial_level, dial_method FROM vicidial_campaigns WHERE campaign_id = %s",
        campaign,
    )
    return found[0]


def lease(server, campaign):
    return query(server, "SELECT state FROM quietdial_lease WHERE campaign_id = %s", campaign)[0][0]


def wait_for(server, campaign, wanted, seconds=4.0):
    until = time.monotonic() + seconds
    while level(server, campaign)[0] != wanted and time.monotonic() < until:
        time.sleep(0.05)
    return level(server, campaign)[0]


def test_level__rises_by_steps_and_falls_at_once(server, campaign, make_adapter, clock):
    wanted = [3.0]
    adapter = make_adapter(lambda _: Answer(wanted[0]), step_up=0.5, highest=2.25)
    seen = []
    for value in (3.0, 3.0, 9.0, 1.2, 0.3, math.nan, math.inf):
        wanted[0] = value
        seen.append(adapter.tick().level)
        clock.now += 15
    assert seen == [1.5, 2.0, 2.25, 1.2, 1.0, 1.0, 1.0]
    adapter.leave()
    assert level(server, campaign) == ("1.0", "RATIO")
    assert lease(server, campaign) == "lapsed"


def test_level__is_decided_at_the_interval_only(server, campaign, make_adapter, clock):
    asked = []
    adapter = make_adapter(lambda _: asked.append(1) or Answer(2.0))
    for _ in range(31):
        adapter.tick()
        clock.now += 1.0
    assert len(asked) == 3


def test_dry_run__decides_and_writes_nothing(server, campaign, make_adapter, clock):
    query(
        server,
        "UPDATE vicidial_campaigns SET auto_dial_level = '1.7', dial_method = 'ADAPT_TAPERED' "
        "WHERE campaign_id = %s",
        campaign,
    )
    before = query(server, "SELECT * FROM quietdial_lease WHERE campaign_id = %s", campaign)
    ticks = []
    adapter = make_adapter(lambda _: Answer(3.0, stop=True), dry_run=True, note=ticks.append)
    for _ in range(31):
        adapter.tick()
        clock.now += 1.0
    adapter.leave()
    assert {tick.state for tick in ticks} == {State.WATCHING}
    assert [tick.answer.level for tick in ticks if tick.answer] == [3.0] * 3
    assert {tick.level for tick in ticks} == {1.7}
    assert level(server, campaign) == ("1.7", "ADAPT_TAPERED")
    after = query(server, "SELECT * FROM quietdial_lease WHERE campaign_id = %s", campaign)
    assert after == before


def test_policy__that_fails_is_level_one(server, campaign, make_adapter, clock):
    adapter = make_adapter(2.5)
    adapter.tick()
    adapter._decide = lambda _: {}["nothing"]
    clock.now += 15
    done = adapter.tick()
    assert done.level == 1.0
    assert done.answer.fallback
    assert "KeyError" in done.answer.reason


def test_operator__wins_until_the_campaign_is_started_again(server, campaign, make_adapter, clock):
    told = []
    adapter = make_adapter(2.5, note=told.append)
    adapter.tick()
    query(
        server,
        "UPDATE vicidial_campaigns SET auto_dial_level = '1.8' WHERE campaign_id = %s",
        campaign,
    )
    for _ in range(20):
        assert adapter.tick().state is State.OVERRIDE
        clock.now += 5
    assert level(server, campaign)[0] == "1.8"
    assert lease(server, campaign) == "override"
    assert [tick.state for tick in told] == [State.RUNNING, State.OVERRIDE], "told once"
    query(server, "CALL quietdial_start(%s)", campaign)
    clock.now += 15
    assert adapter.tick().level == 2.5


def test_operator__who_writes_the_same_number_is_no_operator(server, campaign, make_adapter):
    adapter = make_adapter(2.5)
    adapter.tick()
    query(
        server,
        "UPDATE vicidial_campaigns SET auto_dial_level = '2.500' WHERE campaign_id = %s",
        campaign,
    )
    assert adapter.tick().state is State.RUNNING


@pytest.mark.parametrize(
    ("method", "state", "row"),
    [
        ("MANUAL", State.STOPPED, "stopped"),
        ("ADAPT_TAPERED", State.OTHER_METHOD, "override"),
    ],
)
def test_operator__who_changes_the_method(
    server, campaign, make_adapter, clock, method, state, row
):
    adapter = make_adapter(2.5)
    adapter.tick()
    query(
        server,
        "UPDATE vicidial_campaigns SET dial_method = %s WHERE campaign_id = %s",
        method,
        campaign,
    )
    clock.now += 15
    assert adapter.tick().state is state
    assert lease(server, campaign) == row
    query(
        server,
        "UPDATE vicidial_campaigns SET dial_method = 'RATIO' WHERE campaign_id = %s",
        campaign,
    )
    assert adapter.tick().state is not State.RUNNING, "to start again is an act of its own"


def test_stop__really_stops_and_start_is_explicit(server, campaign, make_adapter, clock, tmp_path):
    adapter = make_adapter(lambda seen: Answer(2.5, "cap reached", stop=True))
    assert adapter.tick().state is State.STOPPED
    assert level(server, campaign) == ("1.0", "MANUAL")
    clock.now += 15
    assert adapter.tick().state is State.STOPPED
    secret = tmp_path / "password"
    secret.write_text(OPERATOR_PASSWORD)
    flags = [campaign, "--socket", str(server[0]), "--password-file", str(secret), "--quiet"]
    assert quietdial(["vicidial", "start", *flags]) == 0
    assert level(server, campaign) == ("1.0", "RATIO")
    assert quietdial(["vicidial", "stop", *flags]) == 0
    assert level(server, campaign) == ("1.0", "MANUAL")
    assert quietdial(["vicidial", "status", *flags]) == 0


def test_grants__allow_the_level_and_nothing_else(server, campaign):
    database = Database(adapter_login(server[0]))
    assert database.change(
        "UPDATE vicidial_campaigns SET auto_dial_level = '1.0' WHERE campaign_id = %s", (campaign,)
    )
    for refused in (
        "UPDATE vicidial_campaigns SET dial_method = 'RATIO'",
        "UPDATE vicidial_campaigns SET dial_timeout = 5",
        "SELECT drop_call_seconds FROM vicidial_campaigns",
        "SELECT user FROM vicidial_live_agents",
        "DELETE FROM vicidial_log",
        "INSERT INTO quietdial_lease (campaign_id) VALUES ('X')",
        "UPDATE quietdial_guard SET beat = UTC_TIMESTAMP(3)",
        "DROP EVENT quietdial_dead_man",
        "DROP TABLE vicidial_log",
        "CALL quietdial_start('X')",
    ):
        with pytest.raises(DialerError, match="refuses"):
            database.change(refused)
    database.close()


def test_lease__lapses_in_the_database(server, campaign, make_adapter, clock):
    adapter = make_adapter(3.0, lease_s=1.2)
    adapter.tick()
    assert level(server, campaign)[0] == "3"
    assert wait_for(server, campaign, "1.0") == "1.0"
    assert lease(server, campaign) == "lapsed"
    clock.now += 15
    assert adapter.tick().level == 3.0, "it comes back by itself"


def test_lease__between_its_two_writes(server, campaign, make_adapter):
    """Killed after the lease was written and before the level: the old level goes too."""
    make_adapter(2.0, lease_s=60).tick()
    query(
        server,
        "UPDATE quietdial_lease SET level = 3.5, previous_level = 2.0, valid_until = "
        "UTC_TIMESTAMP(3) WHERE campaign_id = %s",
        campaign,
    )
    assert wait_for(server, campaign, "1.0") == "1.0"


def test_lease__after_the_clock_was_set_back(server, campaign, make_adapter):
    make_adapter(3.0, lease_s=3).tick()
    query(
        server,
        "UPDATE quietdial_lease SET valid_until = UTC_TIMESTAMP(3) + INTERVAL 1 HOUR "
        "WHERE campaign_id = %s",
        campaign,
    )
    assert wait_for(server, campaign, "1.0") == "1.0"


def test_lease__leaves_an_operators_level_alone(server, campaign, make_adapter):
    make_adapter(3.0, lease_s=1.2).tick()
    query(
        server,
        "UPDATE vicidial_campaigns SET auto_dial_level = '1.7' WHERE campaign_id = %s",
        campaign,
    )
    time.sleep(2.5)
    assert level(server, campaign)[0] == "1.7"
    assert lease(server, campaign) == "override"


def test_lease__has_one_holder(server, campaign, make_adapter):
    first, second = make_adapter(2.0, holder="first"), make_adapter(3.0, holder="second")
    first.tick()
    assert second.tick().state is State.OTHER_HOLDER
    first.leave()
    assert second.tick().level == 3.0


def test_adapter__writes_nothing_without_the_event(server, campaign, make_adapter, clock):
    adapter = make_adapter(3.0)
    adapter.tick()
    query(server, "SET GLOBAL event_scheduler = OFF")
    try:
        query(server, "UPDATE quietdial_guard SET beat = beat - INTERVAL 20 SECOND")
        assert adapter.tick().state is State.NO_GUARD
        assert level(server, campaign)[0] == "1.0"
    finally:
        query(server, "SET GLOBAL event_scheduler = ON")
    time.sleep(1.5)
    clock.now += 15
    assert adapter.tick().level == 3.0


def test_database__away_is_no_storm(server, campaign, make_adapter, tmp_path):
    told = []
    login = Login(database=DATABASE, socket=str(tmp_path / "none"))
    adapter = make_adapter(3.0, login=login, note=told.append)
    for _ in range(50):
        assert adapter.tick().state is State.AWAY
    assert len(told) == 1
    clock = Clock()
    database = Database(login, clock)
    tries = 0
    for _ in range(600):
        with pytest.raises(AwayError) as refused:
            database.rows("SELECT 1")
        tries += "waiting" not in str(refused.value)
        clock.now += 0.1
    assert 10 < tries < 20, "a minute: waits of 0.25 s, doubled up to 5 s"


def test_adapter__goes_on_when_its_connection_was_cut(server, campaign, make_adapter):
    adapter = make_adapter(3.0)
    adapter.tick()
    number = adapter._database.rows("SELECT CONNECTION_ID()")[0][0]
    query(server, f"KILL {number}")
    assert adapter.tick().state is State.AWAY
    time.sleep(0.3)
    assert adapter.tick().state is State.RUNNING


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"campaign": ""}, "1 to 8 characters"),
        ({"campaign": "A", "lease_s": 1.0, "renew_s": 1.0}, "below lease_s"),
        ({"campaign": "A", "highest": 0.5}, "highest"),
        ({"campaign": "A", "step_up": 0.0}, "step_up"),
        ({"campaign": "A", "interval_s": -1.0}, "interval_s"),
    ],
)
def test_settings__refuse(settings, match):
    with pytest.raises(DialerError, match=match):
        Settings(**settings)


def test_adapter__refuses_a_campaign_that_is_not_there(server):
    database = Database(adapter_login(server[0]))
    reader = Reader(database, "NONE", BEGIN)
    with pytest.raises(DialerError, match="'NONE' is not in vicidial_campaigns"):
        Adapter(database, reader, lambda _: Answer(2.0), Settings("NONE")).tick()
    database.close()


def test_script__runs_in_the_client_and_twice(server, capsys):
    assert quietdial(["vicidial", "setup", "--print", "--database", DATABASE]) == 0
    text = capsys.readouterr().out
    for _ in range(2):
        subprocess.run(
            ["mariadb", "--no-defaults", "--user=root", f"--socket={server[0]}"],
            input=text,
            text=True,
            check=True,
        )
    passwords = {line for line in text.splitlines() if "IDENTIFIED BY" in line}
    assert len(passwords) == 2
    assert script(Accounts()) != script(Accounts()), "passwords are drawn anew"
    for bad in ({"database": "x; DROP"}, {"adapter_host": "a'b"}, {"adapter_password": "short"}):
        with pytest.raises(DialerError):
            Accounts(**bad)


def test_process__refuses_in_one_line(capsys):
    assert main(["C", "--agents", "5", "--policy", "level:99"]) == 2
    assert "use rule" in capsys.readouterr().err
    assert quietdial(["vicidial", "run", "C", "--agents", "many"]) == 2
    assert quietdial(["vicidial", "start"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert "see quietdial vicidial run --help" in told


def test_loop__is_the_simulator(server, campaign):
    """Policy, adapter, tables, simulated dialer: the very day of the simulator, for 40 minutes."""
    floor = SimulatedFloor(server[1], campaign, "italy-50", seed=7)
    looped = play_loop(floor, server[0], 2 / 3)
    plain = play_simulator("italy-50", 7, 2 / 3)
    assert looped[:4] == plain[:4]
    assert len(set(plain.levels)) > 1
    estimated = [6, 7, 8, 9, 10]
    assert looped.error[estimated].max() < 0.03, "answer rates by time, not by decision"
    looped.error[estimated] = 0.0
    assert looped.error.max() < 1e-6


@pytest.fixture(scope="module")
def bundle(server, tmp_path_factory):
    add_campaign(server[1], "EXPORT")
    floor = SimulatedFloor(server[1], "EXPORT", "italy-50", seed=5)
    return export_level_rule(floor, tmp_path_factory.mktemp("export") / "level", 5.0)


def paced(bundle, floor, **kept):
    return paced_by(
        bundle,
        signers=None,
        unsigned=True,
        agents=50,
        window_from=floor.opens,
        window_s=floor.scenario.episode.duration_s,
        **kept,
    )[0]


def test_bundle__decides_as_the_rule_after_a_cold_start(server, campaign, bundle):
    floor = SimulatedFloor(server[1], campaign, "italy-50", seed=7)
    database = Database(adapter_login(server[0]))
    reader = Reader(database, campaign, floor.opens, CLOCK_QUERY)
    decide, known, warm = paced(bundle, floor), floor_of(floor), 0
    query(
        server,
        "UPDATE vicidial_campaigns SET auto_dial_level = '1.2' WHERE campaign_id = %s",
        campaign,
    )
    while floor.elapsed_s < 900:
        seen = reader.read()
        answer = decide(seen)
        if seen.window.answered < 50:
            assert answer.level == 1.0
            assert "cold start" in answer.reason
        elif seen.window.drops > 0.03 * seen.window.answered:
            assert answer.level == 1.0
            assert "cap reached" in answer.reason
        else:
            warm += 1
            assert answer.level == level_of(level_number(counters(seen, known)))
        for _ in range(6):
            floor.step()
    assert warm > 5
    database.close()


def test_bundle__a_restarted_adapter_knows_the_answer_rate(server, campaign, bundle):
    floor = SimulatedFloor(server[1], campaign, "italy-50", seed=7)
    database = Database(adapter_login(server[0]))
    reader = Reader(database, campaign, floor.opens, CLOCK_QUERY)
    first = paced(bundle, floor)
    while floor.elapsed_s < 900:
        first(reader.read())
        for _ in range(6):
            floor.step()
    seen = reader.read()
    second = paced(bundle, floor)
    first(seen)
    second(seen)
    known, again = first._pacer.last_obs, second._pacer.last_obs
    assert abs(again - known).max() < 0.15
    assert abs(again - known)[:6].max() == 0.0
    database.close()


def test_bundle__more_agents_than_the_roster_is_level_one(server, campaign, bundle, make_adapter):
    floor = SimulatedFloor(server[1], campaign, "italy-50", seed=7)
    decide = paced(bundle, floor)
    adapter = make_adapter(lambda seen: decide(seen._replace(ready=60)))
    adapter._reader = Reader(adapter._database, campaign, floor.opens, CLOCK_QUERY)
    done = adapter.tick()
    assert (done.level, done.answer.fallback) == (1.0, True)
    assert "60 agents of 50" in done.answer.reason or "agents of 50" in done.answer.reason


def test_bundle__that_is_not_for_vicidial_is_refused(server, bundle, tmp_path):
    with pytest.raises(DialerError, match="allowed signers"):
        paced_by(bundle, signers=None, unsigned=False, agents=50, window_from=BEGIN, window_s=1.0)
    tables = tables_of(load_bundle(bundle, unsigned=True))
    pacer = Pacer(tables, MarginalEvaluator(), MemoryLedger())
    with pytest.raises(DialerError, match="'vicidial_level'"):
        PacedDecide(pacer, BEGIN, 28_800.0)


@pytest.mark.slow
def test_demo__kills_the_adapter_and_goes_on():
    show = run_demo(Console(quiet=True), seconds=14, alive_s=4, speed=20)
    assert show.kills >= 1
    assert show.returned_s
    assert max(show.returned_s) < LEASE_S + GRACE_S + 0.5  # looked at every quarter of a second
    assert show.highest > 1.0
    assert show.answered > show.kept_answered > 0
    assert not show.faults


def test_demo__picture():
    values, styles = [1.0, 1.5, 3.0], ["green"] * 3
    text = chart(values, (0.75, 3.0), styles, 4, 2.0)
    lines = text.plain.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(" 3.00")
    assert lines[3].startswith(" 0.75")
    assert lines[0].endswith(" \u2588")
    assert lines[3].endswith("\u2584\u2588\u2588")
    assert "\u2504" in lines[1]


def test_outcomes__reach_the_ledger_once(server, campaign, tmp_path):
    key = make_key(tmp_path / "key")
    floor = SimulatedFloor(server[1], campaign, "italy-50", seed=3)
    query(
        server,
        "UPDATE vicidial_campaigns SET auto_dial_level = '1.8' WHERE campaign_id = %s",
        campaign,
    )
    terms = Terms("it_2014", (WindowTerm("campaign", 0.03),), "Europe/Rome", BEGIN.date())
    database = Database(adapter_login(server[0]))
    with Ledger(tmp_path / "l", key, make=True) as ledger:
        ledger.agree(campaign, terms, who="test", at_ms=0)
        for minutes in range(1, 13):
            while floor.elapsed_s < 60 * minutes:
                floor.step()
            OutcomeFeed(database, ledger, campaign, BEGIN, "Europe/Rome").copy()  # restarted
        assert OutcomeFeed(database, ledger, campaign, BEGIN, "Europe/Rome").copy() == 0
        at_ms = round(floor.now.timestamp() * 1000)
        (counts,) = ledger.counts(campaign, at_ms)
        # no call is under way without an agent; those talking count when their status is final
        talking = query(
            server,
            "SELECT COUNT(*) FROM vicidial_log WHERE campaign_id = %s AND status IN "
            "('INCALL', 'PU')",
            campaign,
        )[0][0]
        totals = floor.totals()
        assert counts.silent == totals["silent"] > 0
        assert counts.answered == totals["answered"] - talking
        assert (counts.cut, counts.left) == (totals["silent_cut"], totals["silent_left"])
    assert not verify(tmp_path / "l", key)
    database.close()


@pytest.mark.slow
def test_dead_man__after_a_real_kill():
    found = run_kills(2, seed=1)
    assert not found.late
    assert 1.0 < max(found.seconds) <= LEASE_S + GRACE_S
