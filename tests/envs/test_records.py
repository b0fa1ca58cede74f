"""Records are made of any legal raw log without losing a call, and survive a round trip."""

import heapq
import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietdial.envs import ConfigError, RunFolderError, Scenario, load_scenario
from quietdial.envs import record_files as files
from quietdial.envs import records as rec
from quietdial.envs.laws import ConstantLaw
from quietdial.envs.records import AGENTS, CALLS, INBOUND, STATES, Assembler

ONE_S = ConstantLaw(value_s=1.0).model_dump()
KINDS = ("perfect", "none", "amd")
LIMITS = ("cut", "message", "hold")


def world(n_agents=4, kind="perfect", at_limit="cut", inbound=False, **episode) -> Scenario:
    """A scenario that names what the assembler must know."""
    data = load_scenario("study-real-5").model_dump(mode="json", exclude_none=True)
    data["floor"]["n_agents"] = n_agents
    detection = {"kind": kind}
    if kind != "perfect":
        detection |= {"machine_handling": ONE_S}
    if kind == "amd":
        detection |= {"decision": ONE_S}
    data["calls"]["detection"] = detection
    data["rule"] |= {"at_limit": at_limit, "hold_s": 6.0}
    data["episode"] |= episode
    if inbound:
        data["inbound"] = {"periods": [{"begins": "00:00", "per_h": 60}], "talk": ONE_S}
    return Scenario.model_validate(data)


class RandomFloor:
    """Plays an arbitrary floor that keeps the laws of docs/mechanisms.md, and logs it.

    Every time and every fate is arbitrary, so that any legal order of events can come. The totals
    are counted here, independently of the log.
    """

    def __init__(self, seed, *, n_agents=4, kind="perfect", at_limit="cut", inbound=False):
        self.draw = random.Random(seed)
        self.kind, self.at_limit, self.inbound = kind, at_limit, inbound
        self.rows, self.now, self.count = [], 0, Counter()
        self.state = dict.fromkeys(range(n_agents), 4)
        self.since = dict.fromkeys(range(n_agents), 0)
        self.spent = Counter()
        self.queue, self.line, self.dials, self.callers = [], [], 0, 0
        self.heap, self.order = [], itertools.count()
        self.over = {"call": set(), "caller": set()}
        self.has_wrap, self.has_break = self.draw.random() < 0.7, self.draw.random() < 0.3

    def log(self, code, number, a=0, b=0, c=0):
        self.rows.append((self.now, code, number, a, b, c))

    def later(self, longest_ms, what, *args):
        due = self.now + self.draw.randint(1, longest_ms)
        heapq.heappush(self.heap, (due, next(self.order), what, args))

    def enter(self, agent, state, dial=-1):
        self.spent[STATES[self.state[agent]]] += self.now - self.since[agent]
        self.log(rec.AGENT, agent, self.state[agent], state, dial)
        self.state[agent], self.since[agent] = state, self.now

    def idle(self):
        return [agent for agent, state in self.state.items() if state == 0]

    # --- what happens ---------------------------------------------------------------------------

    def dial(self):
        free = self.idle()
        agent = self.draw.choice(free) if free and self.draw.random() < 0.1 else -1
        number, self.dials = self.dials, self.dials + 1
        self.count["dialed"] += 1
        delay = self.draw.randint(0, 50)
        if agent >= 0:
            self.count["reserved"] += 1
            self.enter(agent, 5, self.draw.choice((-1, 12345)))  # the dial is not known yet
        self.log(rec.DIAL, number, self.draw.randint(-1, 9), agent, delay)
        outcome = self.draw.choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 6))
        self.later(3000, self.ended, number, outcome, agent)

    def ended(self, number, outcome, agent):
        self.count[rec.OUTCOMES[outcome]] += 1
        self.log(rec.ENDED, number, outcome)
        machine = outcome == 1
        if outcome > 1 or (machine and self.kind == "perfect"):
            self.over["call"].add(number)
            if agent >= 0:
                self.release(agent)
        elif agent >= 0:
            self.connect(number, agent, machine, late=False)
        elif self.kind == "amd" and self.draw.random() < 0.9:
            self.later(1500, self.verdict, number, machine)
        elif self.kind == "amd":
            self.leave(number, machine)
        else:
            self.to_queue(number, machine)

    def verdict(self, number, machine):
        person = self.draw.random() < (0.2 if machine else 0.8)
        self.log(rec.VERDICT, number, int(person))
        if person:
            self.to_queue(number, machine)
        elif machine:
            self.over["call"].add(number)
        else:
            self.silent(number, 2)

    def to_queue(self, number, machine):
        free = self.idle()
        if free:
            self.connect(number, free[0], machine, late=False)
        elif self.draw.random() < 0.1:  # no waiting under this rule
            self.leave(number, machine)
        else:
            self.log(rec.QUEUED, number)
            self.queue.append([number, machine, False])
            self.later(4000, self.due, number)

    def due(self, number):
        place = [entry for entry in self.queue if entry[0] == number]
        if not place:
            return
        entry = place[0]
        if self.at_limit == "hold" and (entry[1] or self.draw.random() < 0.7):
            entry[2] = True
            if entry[1]:
                self.count["machine_dropped"] += 1
                self.log(rec.DROPPED, number)
            else:
                self.silent(number, 0)
            due = self.now + 6000
            heapq.heappush(self.heap, (due, next(self.order), self.held_end, (number,)))
        else:
            self.queue.remove(entry)
            self.leave(number, entry[1])

    def held_end(self, number):
        if any(entry[0] == number for entry in self.queue):
            self.over["call"].add(number)
        self.queue = [entry for entry in self.queue if entry[0] != number]

    def leave(self, number, machine):
        if machine:
            self.count["machine_dropped"] += 1
            self.over["call"].add(number)
            self.log(rec.DROPPED, number)
        else:
            self.silent(number, 1 if self.at_limit == "hold" else self.draw.randint(0, 1))

    def silent(self, number, cause):
        self.count["silent"] += 1
        self.count["silent_" + rec.CAUSES[cause]] += 1
        repeats = self.draw.randint(0, 2)
        self.count["repeats"] += repeats > 0
        heard = 2 if self.at_limit == "message" and cause == 0 else 0
        self.count["message"] += heard == 2
        self.log(rec.SILENT, number, cause, repeats, heard)
        if cause or self.at_limit != "hold":
            self.over["call"].add(number)

    def connect(self, number, agent, machine, late):
        self.log(rec.CONNECT, number, agent, int(late), int(machine))
        self.count["machine_agent" if machine else "late" if late else "connected"] += 1
        self.enter(agent, 6 if machine else 1, number)
        self.later(5000, self.agent_ends, agent, number)

    def agent_ends(self, agent, number):
        state = self.state[agent]
        if state == 1:
            success, callback = self.draw.random() < 0.3, self.draw.random() < 0.2
            self.count["successes"] += success
            self.count["callbacks"] += callback
            over = (rec.OVER, number, int(success), int(callback))
            first = self.draw.random() < 0.5  # the order of the two rows is the kernel's own
            if first:
                self.log(*over)
            if self.has_wrap:
                self.enter(agent, 2, number)
                self.later(2000, self.agent_ends, agent, number)
            else:
                self.over["call"].add(number)
                self.release(agent)
            if not first:
                self.log(*over)
            return
        if state in (2, 6):
            self.over["call"].add(number)
            if state == 6 and self.draw.random() < 0.5:  # as the kernel does
                self.log(rec.OVER, number)
        elif state == 7:
            self.over["caller"].add(number)
        if state == 2 and self.has_break and self.draw.random() < 0.3:
            self.enter(agent, 3)
            self.later(4000, self.agent_ends, agent, -1)
        else:
            self.release(agent)

    def release(self, agent):
        if self.draw.random() < 0.05:
            self.enter(agent, 4)
            self.later(4000, self.login, agent)
        elif self.queue:
            number, machine, held = self.queue.pop(0)
            self.connect(number, agent, machine, held and not machine)
        elif self.line:
            self.serve(self.line.pop(0), agent)
        else:
            self.enter(agent, 0)

    def login(self, agent):
        self.enter(agent, 0)

    def caller(self):
        number, self.callers = self.callers, self.callers + 1
        self.count["inbound_arrived"] += 1
        self.log(rec.CALLER, number)
        free = self.idle()
        if free:
            self.serve(number, free[-1])
        elif self.draw.random() < 0.3:
            self.lost(number, self.draw.randint(0, 1))
        else:
            self.line.append(number)
            self.later(3000, self.give_up, number)

    def give_up(self, number):
        if number in self.line:
            self.line.remove(number)
            self.lost(number, 2)

    def lost(self, number, why):
        self.count["inbound_lost"] += 1
        self.over["caller"].add(number)
        self.log(rec.CALLER_LOST, number, why)

    def serve(self, number, agent):
        self.count["inbound_served"] += 1
        rows = self.draw.random() < 0.5  # either order of the two rows
        if rows:
            self.log(rec.CALLER_SERVED, number, agent)
        self.enter(agent, 7)
        if not rows:
            self.log(rec.CALLER_SERVED, number, agent)
        self.later(3000, self.agent_ends, agent, number)

    # --- the clock ------------------------------------------------------------------------------

    def play(self, end_ms):
        """Play to the end; the log as int64 (n, 6)."""
        self.log(rec.SESSION, 0, 1)
        for agent in self.state:
            self.enter(agent, 0)
        for t in range(0, end_ms, 250):
            while self.heap and self.heap[0][0] <= t:
                self.now, _, what, args = heapq.heappop(self.heap)
                what(*args)
            self.now = t
            for _ in range(self.draw.choice((0, 0, 1, 2))):
                self.dial()
            if self.inbound and self.draw.random() < 0.1:
                self.caller()
        while self.heap and self.heap[0][0] <= end_ms:
            self.now, _, what, args = heapq.heappop(self.heap)
            what(*args)
        self.now = end_ms
        self.log(rec.SESSION, 0, 0)
        for agent, state in self.state.items():
            self.spent[STATES[state]] += end_ms - self.since[agent]
        return np.array(self.rows, np.int64).reshape(-1, 6)


def assemble(rows, scenario, end_ms, pieces=1, campaign=0):
    """All records of one log, fed in `pieces` parts."""
    assembler = Assembler(scenario, campaign)
    out = rec.Records([], [], [])
    parts = []
    for part in np.array_split(rows, pieces):
        assembler.feed(part)
        parts.append(assembler.take())
    assembler.close(end_ms)
    for part in (*parts, assembler.take()):
        out.calls.extend(part.calls)
        out.agents.extend(part.agents)
        out.inbound.extend(part.inbound)
    assert assembler.n_open == 0
    return out


def totals_of(records):
    """The totals that the records add up to, in the names of docs/mechanisms.md."""
    calls, inbound = records.calls, records.inbound
    in_time = [c for c in calls if c.outcome == "person" and c.connected_ms is not None]
    total = Counter(c.outcome for c in calls if c.outcome is not None)
    total |= Counter("silent_" + c.silent for c in calls if c.silent)
    total["dialed"] = len(calls)
    total["reserved"] = sum(c.reserved for c in calls)
    total["silent"] = sum(c.silent is not None for c in calls)
    total["connected"] = sum(not c.late for c in in_time)
    total["late"] = sum(c.late for c in in_time)
    total["message"] = sum(c.heard == "message" for c in calls)
    total["repeats"] = sum(bool(c.repeats) for c in calls)
    total["machine_agent"] = sum(c.outcome == "machine" and c.agent is not None for c in calls)
    total["machine_dropped"] = sum(c.dropped_ms is not None for c in calls)
    total["successes"] = sum(bool(c.success) for c in calls)
    total["callbacks"] = sum(bool(c.callback) for c in calls)
    total["inbound_arrived"] = len(inbound)
    total["inbound_served"] = sum(c.served_ms is not None for c in inbound)
    total["inbound_lost"] = sum(c.lost is not None for c in inbound)
    return +total


floors = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "n_agents": st.integers(1, 8),
        "kind": st.sampled_from(KINDS),
        "at_limit": st.sampled_from(LIMITS),
        "inbound": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None)
@given(floors, st.integers(1, 7))
def test_assembler__loses_nothing_of_any_legal_log(floor, pieces):
    end_ms = 40_000
    settings_of = {key: floor[key] for key in ("n_agents", "kind", "at_limit", "inbound")}
    played = RandomFloor(floor["seed"], **settings_of)
    rows = played.play(end_ms)
    records = assemble(rows, world(**settings_of), end_ms, pieces)

    assert totals_of(records) == +played.count
    assert sorted(c.call for c in records.calls) == list(range(played.dials))
    assert sorted(c.caller for c in records.inbound) == list(range(played.callers))
    assert {c.call for c in records.calls if not c.censored} == played.over["call"]
    assert {c.caller for c in records.inbound if not c.censored} == played.over["caller"]
    changes = np.count_nonzero(rows[:, 1] == rec.AGENT)  # the first one only logs the agent in
    assert len(records.agents) == changes
    seconds = Counter()
    for stretch in records.agents:
        seconds[stretch.state] += stretch.to_ms - stretch.from_ms
    assert +seconds == +played.spent
    assert sum(seconds.values()) == end_ms * floor["n_agents"]
    check_agents(records, floor["n_agents"], end_ms)
    check_calls(records.calls, end_ms)


def check_agents(records, n_agents, end_ms):
    """Each agent's records cover the episode without gap or overlap."""
    by_agent = {agent: [] for agent in range(n_agents)}
    for stretch in records.agents:
        by_agent[stretch.agent].append(stretch)
    talk = Counter()
    for stretches in by_agent.values():
        assert stretches[0].from_ms == 0
        assert stretches[-1].to_ms == end_ms
        assert [s.censored for s in stretches] == [False] * (len(stretches) - 1) + [True]
        for before, after in itertools.pairwise(stretches):
            assert before.to_ms == after.from_ms
        for s in stretches:
            if not s.censored and s.call is not None:
                talk[s.state, s.call] += s.to_ms - s.from_ms
    held = {s.call for s in records.agents if s.state == "held"}
    assert held == {call.call for call in records.calls if call.reserved}
    for call in records.calls:
        assert call.success is None or call.outcome == "person"
        for state, length in (
            ("talk", call.talk_ms),
            ("wrap", call.wrap_ms),
            ("machine", call.machine_ms),
        ):
            assert talk[state, call.call] == (length or 0), call
    stretches = [s for s in records.agents if s.state == "inbound" and not s.censored]
    served = [c for c in records.inbound if c.talk_ms is not None]
    assert sorted((s.agent, s.from_ms, s.to_ms) for s in stretches) == sorted(
        (c.agent, c.served_ms, c.served_ms + c.talk_ms) for c in served
    )


def check_calls(calls, end_ms):
    """A call's times come in the order of its life, and its end says why it is over."""
    for call in calls:
        times = [call.dialed_ms, call.ended_ms, call.verdict_ms, call.queued_ms, call.connected_ms]
        known = [t for t in times if t is not None]
        assert known == sorted(known)
        assert call.start_ms >= call.dialed_ms
        assert known[-1] <= end_ms
        if call.late:
            assert call.silent == "cut"
            assert call.heard == "late"
        if call.silent and call.connected_ms is not None:
            assert call.late


def test_random_floor__meets_every_kind_of_event():
    """The property above is worth something only if its logs hold everything."""
    seen, lost = Counter(), Counter()
    for seed, kind, at_limit in itertools.product(range(4), KINDS, LIMITS):
        played = RandomFloor(seed, kind=kind, at_limit=at_limit, inbound=True)
        rows = played.play(40_000)
        seen.update(rows[:, 1].tolist())
        lost.update(played.count)
    assert set(seen) == set(range(rec.DIAL, rec.SESSION + 1))
    for name in ("late", "message", "machine_agent", "silent_amd", "repeats", "reserved"):
        assert lost[name] > 20, name


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(5, rec.DIAL, 0, -1, -1, 0), (4, rec.ENDED, 0, 2, 0, 0)], "4 ms comes after 5 ms"),
        ([(0, rec.DIAL, 0, -1, -1, 0)] * 2, "placed twice"),
        ([(0, rec.ENDED, 3, 2, 0, 0)], "dial 3, not under way"),
        ([(0, rec.CALLER_LOST, 1, 0, 0, 0)], "inbound call 1 is not under way"),
        ([(0, rec.AGENT, 1, 0, 1, -1), (1, rec.AGENT, 1, 0, 1, -1)], "leaves 'idle' but was"),
        ([(0, rec.DIAL, 0, -1, -1, 0), (0, 99, 0, 0, 0, 0)], "code 99 is not known"),
    ],
)
def test_assembler__refuses_an_impossible_log(rows, words):
    with pytest.raises(ConfigError, match=words):
        Assembler(world()).feed(np.array(rows, np.int64))


def test_codes__are_those_that_the_kernel_writes():
    log = pytest.importorskip("quietdial.envs.pacing.log")
    theirs = ("DIAL", "ENDED", "JUDGED", "QUEUED_UP", "CONNECT", "SILENT", "DROPPED")
    more = ("AGENT_STATE_CHANGE", "CALLER_IN", "CALLER_SERVED", "CALLER_LOST", "OVER")
    codes = [getattr(log, name) for name in (*theirs, *more, "SESSION_CHANGE")]
    assert codes == list(range(rec.DIAL, rec.SESSION + 1))


def test_assembler__refuses_misuse():
    assembler = Assembler(world())
    with pytest.raises(ConfigError, match=r"shape \(n, 6\)"):
        assembler.feed(np.zeros((3, 5), np.int64))
    assembler.feed(np.array([[10, rec.SESSION, 0, 1, 0, 0]], np.int64))
    with pytest.raises(ConfigError, match="cannot end at 9 ms"):
        assembler.close(9)
    assembler.close(10)
    with pytest.raises(ConfigError, match="closed"):
        assembler.feed(np.zeros((0, 6), np.int64))


def test_assembler__held_callee_goes_when_the_hold_is_over_or_said_to_be():
    rows = [
        (0, rec.DIAL, 0, 7, -1, 0),
        (0, rec.DIAL, 1, 8, -1, 0),
        (9, rec.ENDED, 0, 0, 0, 0),
        (9, rec.QUEUED, 0, 0, 0, 0),
        (9, rec.ENDED, 1, 0, 0, 0),
        (9, rec.QUEUED, 1, 0, 0, 0),
        (3009, rec.SILENT, 0, 0, 1, 3),
        (3009, rec.SILENT, 1, 0, 0, 3),
        (5009, rec.GONE, 1, 0, 0, 0),
    ]
    records = assemble(np.array(rows, np.int64), world(at_limit="hold"), 20_000)
    second, first = records.calls
    assert (second.call, second.waited_ms, second.heard) == (1, 5000, "silence")
    assert (first.call, first.waited_ms, first.heard) == (0, None, "silence")
    assert not first.censored


def test_assembler__agent_may_come_at_the_last_moment_of_the_hold():
    rows = [
        (0, rec.DIAL, 0, 7, -1, 0),
        (9, rec.ENDED, 0, 0, 0, 0),
        (9, rec.QUEUED, 0, 0, 0, 0),
        (3009, rec.SILENT, 0, 0, 1, 3),
        (9009, rec.AGENT, 2, 0, 1, 0),
        (9009, rec.CONNECT, 0, 2, 1, 0),
    ]
    (call,) = assemble(np.array(rows, np.int64), world(at_limit="hold"), 20_000).calls
    assert (call.late, call.heard, call.waited_ms, call.censored) == (True, "late", 9000, True)


@pytest.mark.parametrize(
    ("columns", "record"),
    [(CALLS, rec.CallRecord), (AGENTS, rec.AgentRecord), (INBOUND, rec.InboundRecord)],
)
def test_columns__are_those_of_the_record(columns, record):
    assert tuple(column.name for column in columns) == record._fields
    for column in columns:
        hint = str(record.__annotations__[column.name])
        assert column.optional == ("None" in hint), column.name
        kind = (
            "str" if isinstance(column.kind, tuple) else "bool" if column.kind == "flag" else "int"
        )
        assert kind in hint, column.name


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def played():
    """Three campaigns of a floor with everything: the scenario and its records."""
    scenario = world(kind="amd", at_limit="hold", inbound=True, first_day="2026-05-04")
    records = []
    for campaign in range(3):
        floor = RandomFloor(campaign, kind="amd", at_limit="hold", inbound=True)
        records.append(assemble(floor.play(30_000), scenario, 30_000, campaign=campaign))
    return scenario, records


def write(folder, scenario, records, rows=500):
    with files.RecordWriter(
        folder, scenario, policy="marginal", seed=3, rows_per_group=rows
    ) as writer:
        for part in records:
            writer.add(part)
        return writer.finish()


def test_record_writer__round_trip_keeps_every_value(played, tmp_path):
    import pyarrow.parquet as pq

    scenario, records = played
    paths = write(tmp_path / "out", scenario, records)
    assert [path.name for path in paths] == ["calls.parquet", "agents.parquet", "inbound.parquet"]
    for path, columns, name in zip(
        paths, (CALLS, AGENTS, INBOUND), ("calls", "agents", "inbound"), strict=True
    ):
        rows = pq.read_table(path, columns=[column.name for column in columns]).to_pylist()
        expected = [row._asdict() for part in records for row in getattr(part, name)]
        assert rows == expected
        file = pq.ParquetFile(path)
        assert file.metadata.num_row_groups == -(-len(rows) // 500)
        for column in columns:
            found = file.schema_arrow.field(column.name)
            assert found.metadata[b"unit"].decode() == column.unit
            assert found.nullable == column.optional
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in paths
    )


def test_record_writer__wall_clock_stands_beside_the_times(played, tmp_path):
    import datetime

    import pyarrow.parquet as pq

    scenario, records = played
    calls, agents, _ = write(tmp_path, scenario, records)
    opens = datetime.datetime(2026, 5, 4, 8, 0, tzinfo=datetime.UTC)  # 10:00 in Rome, summer time
    for row in pq.read_table(calls).to_pylist():
        for time in ("dialed", "ended", "connected", "silent"):
            ms = row[f"{time}_ms"]
            wall = None if ms is None else opens + datetime.timedelta(milliseconds=ms)
            assert row[f"{time}_at"] == wall
    assert {"from_at", "to_at"} <= set(pq.read_schema(agents).names)


def test_record_writer__says_where_the_rows_come_from(played, tmp_path):
    scenario, records = played
    write(tmp_path, scenario, records)
    source = files.read_source(tmp_path)
    assert source.scenario == scenario
    assert (source.policy, source.seed) == ("marginal", 3)
    assert source.version


def test_record_writer__leaves_the_old_files_when_interrupted(played, tmp_path):
    scenario, records = played
    write(tmp_path, scenario, records)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def stopped():
        with files.RecordWriter(tmp_path, scenario, policy="other", seed=4) as writer:
            writer.add(records[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_record_writer__refuses_a_place_that_cannot_be_written(played, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match="records cannot be written"):
        files.RecordWriter(tmp_path / "file" / "sub", played[0], policy="p", seed=0)


def test_record_writer__writes_no_file_of_inbound_calls_without_any(tmp_path):
    paths = write(tmp_path, world(), [rec.Records([], [], [])])
    assert [path.name for path in paths] == ["calls.parquet", "agents.parquet"]
    assert files.read_columns(paths[0], ["dialed_ms"])["dialed_ms"].shape == (0,)


def test_read_columns__picks_a_campaign_and_fills_what_is_missing(played, tmp_path):
    scenario, records = played
    calls, _, _ = write(tmp_path, scenario, records)
    names = ["call", "silent", "connected_ms", "late"]
    columns = files.read_columns(calls, names, campaign=1)
    mine = records[1].calls
    np.testing.assert_array_equal(columns["call"], [c.call for c in mine])
    np.testing.assert_array_equal(columns["silent"], [c.silent or "" for c in mine])
    expected = [-1 if c.connected_ms is None else c.connected_ms for c in mine]
    np.testing.assert_array_equal(columns["connected_ms"], expected)
    np.testing.assert_array_equal(columns["late"], [c.late for c in mine])


@pytest.mark.parametrize("content", [None, b"not parquet"])
def test_read_source__refuses_what_are_no_records(tmp_path, content):
    if content is not None:
        (tmp_path / "calls.parquet").write_bytes(content)
    with pytest.raises(ConfigError, match=r"calls\.parquet"):
        files.read_source(tmp_path)
