"""The ledger counts every call once, remembers who must rest, and notices damage."""

import datetime
import os
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietdial.agents.ledger import (
    CampaignBook,
    Decided,
    Dialed,
    Ended,
    Ledger,
    LedgerError,
    Retention,
    Terms,
    WindowTerm,
    make_key,
    person_of,
    read_key,
    terms_of,
)
from quietdial.agents.ledger.events import OUTCOMES
from quietdial.agents.ledger.reading import report, verify
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.envs.regulation.counting import AnsweredCall, windows_of
from quietdial.envs.regulation.rule import Rule, load_rule, profile_names

NOW = int(datetime.datetime(2026, 3, 2, 11, tzinfo=datetime.UTC).timestamp()) * 1000
"""Monday, 12:00 in Rome."""
DAY = 86_400_000


def terms(**changes):
    plain = {
        "rule": "it_2014",
        "windows": (WindowTerm("campaign", 0.03),),
        "time_zone": "Europe/Rome",
        "first_day": datetime.date(2026, 3, 1),
        "quarantine_s": 432_000.0,
    }
    return Terms(**(plain | changes))


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "key")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path, key):
    with Ledger(path, key, make=True) as made:
        made.agree("a", terms(), who="test", at_ms=NOW)
        yield made


NUMBER = "+39 02 123 4567"


def end(i, outcome="connected", at_ms=NOW, **more):
    return Ended(f"c{i}", "a", at_ms, outcome, **more)


def test_counts__of_all_causes(ledger):
    ledger.record([end(i, outcome) for i, outcome in enumerate(OUTCOMES)])
    (counts,) = ledger.counts("a", NOW)
    assert (counts.answered, counts.silent) == (5, 4)
    assert (counts.cut, counts.left, counts.amd) == (2, 1, 1)
    ledger.agree("a", terms(counts_amd=False), who="test", at_ms=NOW, why="other reading")
    assert ledger.counts("a", NOW)[0].silent == 3


def test_record__a_retry_is_counted_once(ledger):
    assert ledger.record([end(1, "cut"), end(2)]) == 2
    assert ledger.record([end(1, "cut"), end(2), end(3)]) == 1
    assert ledger.counts("a", NOW)[0][2:4] == (3, 1)
    with pytest.raises(LedgerError, match="'c1' was recorded before with another content"):
        ledger.record([end(4), end(1, "connected")])
    assert ledger.counts("a", NOW)[0].answered == 3, "a batch is all or nothing"


def test_counts__continue_after_a_restart(path, key, ledger):
    ledger.record([end(1, "cut"), Dialed("c9", "a", NOW, NUMBER)])
    ledger.close()
    with Ledger(path, key) as again:
        assert again.counts("a", NOW)[0][2:4] == (1, 1)
        assert again.terms("a") == terms()
        assert not again.record([end(1, "cut")])


@settings(max_examples=25)  # every example waits for the disk
@given(
    st.lists(
        st.tuples(
            st.integers(0, 70 * 24 * 60), st.sampled_from(["connected", "cut", "left", "amd"])
        ),
        min_size=1,
        max_size=25,
    ),
    st.sampled_from(sorted(profile_names())),
)
def test_counts__are_those_of_the_regulation(tmp_path_factory, calls, profile):
    """Window by window as `envs.regulation.counting`, over profiles with all kinds of windows."""
    rule = load_rule(profile)
    folder = tmp_path_factory.mktemp("ledger")
    first = datetime.date(2026, 3, 1)
    zone = "Europe/London"
    start = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    moments = [start + datetime.timedelta(minutes=minute) for minute, _ in calls]
    with Ledger(folder / "l", make_key(folder / "k"), make=True) as book:
        book.agree("a", terms_of(rule, zone, first), who="test", at_ms=NOW)
        times = [int(at.timestamp() * 1000) for at in moments]
        pairs = zip(times, calls, strict=True)
        book.record([end(i, c[1], at_ms=t) for i, (t, c) in enumerate(pairs)])
        answered = [AnsweredCall(at, c[1]) for at, c in zip(moments, calls, strict=True)]
        for index, window in enumerate(windows_of(rule, first, zone, answered)):
            if window.window.kind == "hours":
                continue
            for rate in window.rates:
                at = int(rate.end.timestamp() * 1000) - 1
                counts = book.counts("a", at)[index]
                assert (counts.number, counts.answered, counts.silent) == (
                    rate.number,
                    rate.answered,
                    rate.silent,
                )
        assert not verify(folder / "l", read_key(folder / "k"))


def test_counts__rolling_hours(ledger):
    ledger.agree("b", terms(windows=(WindowTerm("hours", 0.03, 2),)), who="test", at_ms=NOW)
    hour = 3_600_000
    ledger.record([Ended(f"x{h}", "b", NOW + h * hour, "cut") for h in range(5)])
    assert ledger.counts("b", NOW + 4 * hour)[0].silent == 2
    assert ledger.counts("b", NOW + 4 * hour - 1)[0].silent == 2
    assert ledger.counts("b", NOW + 9 * hour)[0].silent == 0


def test_agree__a_window_that_comes_later_counts_the_past(ledger):
    ledger.record([end(1, "cut"), end(2), end(3, at_ms=NOW + DAY)])
    both = terms(windows=(WindowTerm("campaign", 0.03), WindowTerm("day", 0.04)))
    assert ledger.agree("a", both, who="test", at_ms=NOW, why="4 % a day")
    assert not ledger.agree("a", both, who="test", at_ms=NOW)
    assert [c.answered for c in ledger.counts("a", NOW)] == [3, 2]
    with pytest.raises(LedgerError, match="first_day and time_zone stay"):
        ledger.agree("a", terms(time_zone="Europe/London"), who="test", at_ms=NOW)


def test_may_dial__rests_after_a_silent_call(ledger):
    assert ledger.may_dial("a", NUMBER, NOW).allowed
    ledger.record([Dialed("c1", "a", NOW, NUMBER), end(1, "cut", at_ms=NOW + 9000)])
    refused = ledger.may_dial("a", "00390 21234567", NOW + 4 * DAY)
    assert refused[:3] == (False, "quarantine after a silent call", NOW + 9000 + 5 * DAY)
    after = ledger.may_dial("a", NUMBER, NOW + 9000 + 5 * DAY)
    assert after.allowed
    assert after.had_silent, "the next contact needs an agent set aside"
    assert ledger.may_dial("a", "+39 02 123 4568", NOW).allowed


@pytest.mark.parametrize(
    ("cap", "until"),
    [
        ("per_day", DAY),
        ("per_week", 7 * DAY),
        ("per_30_days", 30 * DAY),
        ("per_campaign", 99 * DAY),
    ],
)
def test_may_dial__keeps_caps_on_attempts(ledger, cap, until):
    ledger.agree("b", terms(**{cap: 2}), who="test", at_ms=NOW)
    ledger.record([Dialed(f"d{i}", "b", NOW + i, NUMBER) for i in range(2)])
    assert not ledger.may_dial("b", NUMBER, NOW + 1).allowed
    assert ledger.may_dial("a", NUMBER, NOW + 1).allowed, "caps are of one campaign"
    assert ledger.may_dial("b", NUMBER, NOW + until + 1).allowed == (cap != "per_campaign")
    ledger.record([Dialed("d9", "b", NOW + 2, NUMBER)])
    (found,) = report(ledger.path, campaign="b").campaigns
    assert found.days[0].counts["dialed_although_refused"] == 1


def test_ledger__holds_no_number_and_no_key(path, key, ledger):
    ledger.record([Dialed("c1", "a", NOW, NUMBER), end(2, "cut", number="00390212345678")])
    with pytest.raises(LedgerError, match="holds the telephone number"):
        ledger.record([Dialed("call-390212345678", "a", NOW, "+390212345678")])
    ledger.close()
    content = b"".join(file.read_bytes() for file in path.parent.glob("ledger.db*"))
    assert b"1234567" not in content
    assert key not in content
    assert bytes.fromhex(key.decode()) not in content
    assert person_of(key, NUMBER) in content
    assert person_of(key, NUMBER) != person_of(b"x" * 32, NUMBER)


def test_purge__forgets_people_but_keeps_counts(path, key, ledger):
    ledger.record([Dialed("c1", "a", NOW, NUMBER), end(1, "cut"), Decided("d", "a", NOW, {})])
    assert ledger.purge(NOW + 29 * DAY)[:2] == (0, 0)
    assert ledger.purge(NOW + 31 * DAY)[:2] == (2, 0)
    assert ledger.purge(NOW + 91 * DAY) == (0, 1, 0)
    assert ledger.counts("a", NOW)[0][2:4] == (1, 1)
    assert not verify(path, key)
    assert ledger.purge(NOW + 730 * DAY).campaigns == 0, "two years"
    assert ledger.purge(NOW + 731 * DAY).campaigns == 1
    assert not report(path).campaigns
    assert not verify(path, key)
    ledger.close()
    content = b"".join(file.read_bytes() for file in path.parent.glob("ledger.db*"))
    assert person_of(key, NUMBER) not in content, "deleted for good"


def test_purge__keeps_people_as_long_as_a_quarantine_needs_them(path, key):
    with Ledger(path, key, make=True, retention=Retention(persons_s=0)) as book:
        book.agree("a", terms(), who="test", at_ms=NOW)
        book.record([end(1, "cut", number=NUMBER)])
        assert book.purge(NOW + 5 * DAY - 1).persons == 0
        assert book.purge(NOW + 5 * DAY).persons == 1


TAMPER = {
    "cap": "UPDATE campaigns SET terms = replace(terms, '0.03', '0.3')",
    "window": "UPDATE windows SET cut = 0",
    "call": "UPDATE calls SET outcome = 'connected' WHERE outcome = 'cut'",
    "deleted": "DELETE FROM calls WHERE outcome = 'cut'",
    "day": "UPDATE statistics SET count = 1 WHERE name = 'cut'",
    "audit": "UPDATE audit SET content = replace(content, '0.03', '0.3')",
    "audit-deleted": "DELETE FROM audit WHERE number = 1",
    "audit-end": "DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)",
    "all-of-a-closed-day": "UPDATE calls SET outcome = 'connected' WHERE outcome = 'cut'; "
    "UPDATE windows SET cut = 0; DELETE FROM statistics WHERE name = 'cut'; "
    "UPDATE statistics SET count = 3 WHERE name = 'connected' AND day = '2026-03-02'",
}


@pytest.mark.parametrize("what", TAMPER)
def test_verify__notices(path, key, ledger, what):
    ledger.record([end(1, "cut"), end(2, "cut"), end(3), end(4, at_ms=NOW + DAY)])
    head = report(path).head
    assert not verify(path, key, head)
    ledger.close()
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("DELETE FROM audit")
    connection.executescript(
        "DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_never_deleted;" + TAMPER[what]
    )
    connection.close()
    assert verify(path, key, head)


def test_verify__allows_a_late_event_of_a_closed_day(path, key, ledger):
    ledger.record([end(1), end(2, at_ms=NOW + DAY), end(3, "cut")])
    assert not verify(path, key)
    ledger.record([end(4, at_ms=NOW + 2 * DAY)])
    assert not verify(path, key)


def test_open__one_writer_only(path, key, ledger):
    with pytest.raises(LedgerError, match=f"being written by process {os.getpid()}"):
        Ledger(path, key)
    assert report(path).campaigns, "reading needs no lock"
    ledger.close()
    Ledger(path, key).close()


def test_open__refuses_what_is_no_ledger(path, key, tmp_path):
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger(path, key)
    Ledger(path, key, make=True).close()
    with pytest.raises(LedgerError, match="another key"):
        Ledger(path, b"x" * 32)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="schema version 99, this program reads up to 1"):
        Ledger(path, key)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(LedgerError, match="not a ledger of quietdial"):
        Ledger(other, key, make=True)


def test_open__refuses_a_damaged_one(path, key, ledger):
    ledger.record([end(i) for i in range(2000)])
    ledger.close()
    whole = path.read_bytes()
    refused = 0
    damages = [whole[:5000], b"\0" * 4096 + whole[4096:], b"no database" * 500]
    damages += [
        whole[:at] + b"\xff" * 4096 + whole[at + 4096 :] for at in range(4096, len(whole), 32_768)
    ]
    for damage in damages:
        path.write_bytes(damage)
        with pytest.raises(LedgerError) as told:
            Ledger(path, key)
        refused += 1
        assert "\n" not in str(told.value)
        assert "damaged" in str(told.value) or "not a ledger" in str(told.value)
    assert refused == len(damages)


def test_record__a_full_disk_is_told_and_loses_nothing(path, key, ledger):
    pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    ledger.record([end("first", "cut")])
    with pytest.raises(LedgerError, match="full"):
        ledger.record([end(f"many-{i}") for i in range(10_000)])
    before = ledger.counts("a", NOW)[0].answered
    assert not verify(path, key)
    ledger._connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.record([end("next")]) == 1
    assert ledger.counts("a", NOW)[0].answered == before + 1


@pytest.mark.parametrize(
    ("event", "match"),
    [
        (end(1, "dropped"), "outcome 'dropped'; use one of"),
        (end(1, at_ms=-1), "must be ms since 1970"),
        (end(1, at_ms=NOW - 9 * DAY), "before the campaign's first day"),
        (end(1, number="call me"), "must have 3 to 20 digits"),
        (end(1, person="abc"), "64 hexadecimal digits"),
        (Dialed("", "a", NOW), "1 to 128 characters"),
        (Dialed("c", "nobody", NOW), "campaign 'nobody' is not in the ledger"),
        (Decided("d", "a", NOW, {"x": "y" * 70_000}), "at most 65536"),
    ],
)
def test_record__refuses(ledger, event, match):
    with pytest.raises(LedgerError, match=match):
        ledger.record([event])
    assert not report(ledger.path).campaigns[0].days


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"windows": ()}, "give 1 to 4"),
        ({"windows": (WindowTerm("day", 0.1), WindowTerm("day", 0.2))}, "same kind and length"),
        ({"time_zone": "Rome"}, "is not known"),
        ({"quarantine_s": float("nan")}, "quarantine_s"),
        ({"per_day": 0}, "per_day"),
    ],
)
def test_terms__refuse(changes, match):
    with pytest.raises(LedgerError, match=match):
        terms(**changes)
    with pytest.raises(LedgerError, match="damaged"):
        Terms.from_json("{}")


def test_key__must_be_secret(tmp_path):
    path = tmp_path / "key"
    made = make_key(path)
    assert read_key(path) == made
    with pytest.raises(LedgerError, match="cannot be made"):
        make_key(path)
    path.chmod(0o640)
    with pytest.raises(LedgerError, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(LedgerError, match="has 5 bytes"):
        read_key(path)


@settings(max_examples=25)  # every example waits for the disk
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from(["dial", "conversation", "cut", "left", "machine_verdict"]),
            st.integers(0, 3),
        ),
        max_size=30,
    )
)
def test_campaign_book__answers_as_the_ledger_in_memory(tmp_path_factory, acts):
    """The pacer's protocol, against the plain one in memory, over a restart."""
    folder = tmp_path_factory.mktemp("ledger")
    key = make_key(folder / "k")
    plain = MemoryLedger()
    people = [person_of(key, f"+39021234{i}").hex() for i in range(4)]
    with Ledger(folder / "l", key, make=True) as ledger:
        ledger.agree("a", terms(), who="test", at_ms=NOW)
        book = CampaignBook(ledger, "a")
        for i, (call, what, person) in enumerate(acts):
            at_ms = NOW + 1000 * i
            book.decided(at_ms, {"lines": 1.5, "fallback": False})
            for each in (book, plain):
                if what == "dial":
                    each.dialed(f"c{call}", at_ms, people[person])
                else:
                    each.settled(f"c{call}", at_ms, what)
        book.noted(NOW, "override", {"by": "operator", "level": 1})
        book.flush()
    with Ledger(folder / "l", key) as ledger:
        book = CampaignBook(ledger, "a")
        for since in (NOW, NOW + 5000):
            assert book.tally(since) == plain.tally(since)
            assert book.tally(since, since + 7000) == plain.tally(since, since + 7000)
            assert all(book.person(p, since) == plain.person(p, since) for p in people)
        assert book.open_dials(NOW) == plain.open_dials(NOW)
    (found,) = report(folder / "l", key).campaigns
    assert found.decisions == (len(acts), 0)


def test_process__answers_lines(path, key, ledger, tmp_path):
    ledger.close()
    lines = [
        '{"batch": 1, "events": [{"what": "ended", "call_id": "1", "campaign": "a", '
        f'"at_ms": {NOW}, "outcome": "cut"}}]}}',
        '{"batch": 2, "events": [{"what": "ended", "call_id": "2"}]}',
        '{"batch": 3, "events": [{"what": "ended", "call_id": 2, "campaign": [], "at_ms": {}, '
        '"outcome": 5}]}',
        '{"batch": 4, "events": [7]}',
        "nonsense",
        "[" * 5000,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "quietdial.agents.ledger", str(path), str(tmp_path / "key")],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answers = done.stdout.splitlines()
    assert answers[:2] == ['{"ready": ["a"]}', '{"batch": 1, "new": 1}']
    assert len(answers) == 7
    assert all("error" in answer for answer in answers[2:])
    assert (done.returncode, done.stderr) == (0, "")


def test_terms_of__every_profile():
    for name in profile_names():
        found = terms_of(load_rule(name), "Europe/Rome", datetime.date(2026, 1, 1))
        assert Terms.from_json(found.to_json()) == found
        assert found.retention_s > 0
    assert isinstance(load_rule("it_2014"), Rule)
