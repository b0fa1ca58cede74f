"""The example dialer of `examples/sip_dialer`, in virtual time, against scripted callees."""

import asyncio
import heapq
import itertools
import json
import random
from typing import Any

import pytest
from sip_dialer.__main__ import totals
from sip_dialer.floor import Conversation, Floor, Rules
from sip_dialer.messages import SipError, parse, request, response, tag_of
from sip_dialer.sidecar import Sidecar
from sip_dialer.user_agent import UserAgent

HERE, PEER = ("127.0.0.1", 5070), ("127.0.0.1", 5060)
VIA = "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKcallee"
CONTACT = ("Contact", "<sip:callee@127.0.0.1:5061>")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer: hours pass in no time, in exact order."""

    _scheduled: list[asyncio.TimerHandle]
    _ready: Any
    _timer_cancelled_count: int
    now_s = 0.0

    def time(self):
        return self.now_s

    def _run_once(self):
        while self._scheduled and self._scheduled[0].cancelled():
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)
        if self._scheduled and not self._ready:
            self.now_s = max(self.now_s, self._scheduled[0].when())
        asyncio.BaseEventLoop._run_once(self)  # pyright: ignore[reportAttributeAccessIssue]


class Wire(asyncio.DatagramTransport):
    """Between the dialer and a callee who is a function of what comes."""

    agent: UserAgent

    def __init__(self, callee):
        super().__init__({"sockname": HERE})
        self.callee, self.sent, self.invites = callee, [], {}

    def sendto(self, data, addr=None):
        message = parse(bytes(data))
        self.sent.append((round(asyncio.get_running_loop().time(), 3), message))
        if message.method == "INVITE":
            self.invites[message.get("call-id")] = message
        self.callee(self, message)

    def is_closing(self):
        return False

    def reply(self, to, status, *more, tag="callee", delay_s=0.001):
        data = response(to, status, "words", tag)
        for name, value in more:
            data = data.replace(b"Content-Length", f"{name}: {value}\r\nContent-Length".encode())
        self.put(data, delay_s)

    def put(self, data, delay_s=0.001, addr=PEER):
        asyncio.get_running_loop().call_later(
            delay_s, lambda: self.agent.datagram_received(data, addr)
        )

    def bye(self, invite, *, branch="z9hG4bKbye", tag=None, delay_s=0.001):
        sender, to = invite.get("to") + ";tag=callee", invite.get("from")
        if tag is not None:
            to = to[: to.rfind("=") + 1] + tag
        headers = [("Via", VIA.replace("z9hG4bKcallee", branch)), ("From", sender), ("To", to)]
        headers += [("Call-ID", invite.get("call-id")), ("CSeq", "1 BYE")]
        self.put(request("BYE", "sip:dialer@127.0.0.1:5070", headers), delay_s)

    def methods(self):
        return [m.method if not m.status else m.status for _, m in self.sent]

    def times(self, method):
        return [at for at, m in self.sent if m.method == method and not m.status]


class Heard:
    """What the user agent told."""

    def __init__(self):
        self.told = []

    def answered(self, call):
        self.told.append("answered")

    def over(self, call):
        self.told.append(call.outcome or call.ended_by)


def in_virtual_time(play):
    """Run a coroutine on a virtual clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(play)


def call_of(callee, then=None, seconds=100.0):
    """Place one call to a callee, let `then(agent, call, wire)` act, wait; (wire, told, call)."""

    async def play():
        heard, wire = Heard(), Wire(callee)
        agent = wire.agent = UserAgent(heard, PEER)
        agent.connection_made(wire)
        call = agent.invite("1000001")
        if then is not None:
            await then(agent, call, wire)
        await asyncio.sleep(seconds)
        assert agent.busy == (call.state != "over")
        assert call.state != "over" or not (agent._transactions or agent._replies)
        return wire, heard.told, call

    return in_virtual_time(play())


def silent(wire, message):
    """A network that says nothing."""


def answering(wire, message):
    """A callee who rings for 2 s, answers, and agrees to everything."""
    if message.method == "INVITE":
        wire.reply(message, 180, CONTACT)
        wire.reply(message, 200, CONTACT, delay_s=2.0)
    elif not message.status and message.method != "ACK":
        wire.reply(message, 200)


def refusing(status):
    """A callee who refuses."""

    def callee(wire, message):
        if message.method == "INVITE":
            wire.reply(message, status, delay_s=0.3)

    return callee


# --- messages -----------------------------------------------------------------------------------

RESPONSE = (
    b"SIP/2.0 200 OK\r\n"
    b'v: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKone, SIP/2.0/UDP "a,b"<x,y>;branch=z9hG4bKtwo\r\n'
    b"f: Dialer <sip:dialer@10.0.0.1>\r\n ;tag=abc\r\n"
    b"t: <sip:1@10.0.0.2;tag=no>;TAG=def\r\n"
    b"i: 77@10.0.0.1\r\nCSEQ: 2 BYE\r\nl: 3\r\n\r\nabcdef"
)


def test_messages__compact_folded_and_listed_headers_are_read():
    message = parse(RESPONSE)
    assert (message.status, message.method, message.cseq) == (200, "BYE", 2)
    assert message.branch == "z9hG4bKone"
    assert len(message.all("via")) == 2
    assert tag_of(message.get("from")) == "abc"
    assert tag_of(message.get("to")) == "def"
    assert message.body == b"abc"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"SIP/2.0 200 OK", b"SIP/2.0 999 OK", "first line"),
        (b"i: 77@10.0.0.1\r\n", b"", "no call-id"),
        (b"2 BYE", b"two BYE", "cseq"),
        (b"2 BYE", b"4294967296 BYE", "cseq"),
        (b"l: 3", b"l: 99", "content-length"),
        (b"l: 3", b"l: -1", "content-length"),
        (b"77@", b"7\xff7@", "UTF-8"),
        (b"77@", b"7\x007@", "NUL"),
        (b"l: 3", b"nothing here", "no header"),
        (b"l: 3", b"\r\n".join([b"x: y"] * 200), "too many"),
    ],
)
def test_messages__what_is_no_sip_is_refused(old, new, why):
    with pytest.raises(SipError, match=why):
        parse(RESPONSE.replace(old, new))


def test_messages__ten_thousand_garbled_datagrams_do_no_harm():
    """Bytes changed, cut out, doubled; every one is read or refused, and the call goes on."""
    chance = random.Random(11)

    def garble(data):
        data = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            part = data[at : at + chance.randint(1, 20)]
            data[at : at + len(part)] = chance.choice(
                [b"", part + part, bytes([chance.randrange(256)]), b"\r\n", b":", b"\xff", b";tag="]
            )
        return bytes(data)

    async def storm(agent, call, wire):
        await asyncio.sleep(3.0)
        invite = wire.sent[0][1]
        texts = [response(invite, status, "x", "callee") for status in (100, 180, 200, 486, 487)]
        texts += [RESPONSE, response(wire.sent[1][1], 200, "OK", "callee")]
        for _ in range(10_000):
            agent.datagram_received(garble(chance.choice(texts)), PEER)
        assert agent.broken > 2000
        assert call.state == "answered"
        agent.hang_up(call)

    _, told, call = call_of(answering, storm)
    assert told == ["answered"]
    assert call.ended_by == "dialer"


# --- calls --------------------------------------------------------------------------------------


def test_invite__without_any_answer_is_sent_seven_times_and_fails_after_32_s():
    wire, told, _ = call_of(silent)
    assert wire.times("INVITE") == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert told == ["failure"]


def test_invite__a_provisional_response_ends_the_sending():
    wire, told, call = call_of(lambda w, m: m.method == "INVITE" and w.reply(m, 100, delay_s=0.7))
    assert wire.times("INVITE") == [0.0, 0.5]
    assert told == []
    assert call.state == "ringing"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (486, "busy"),
        (600, "busy"),
        (404, "invalid"),
        (408, "no_answer"),
        (480, "no_answer"),
        (503, "failure"),
        (302, "failure"),
    ],
)
def test_invite__a_refusal_is_acknowledged_in_its_own_transaction(status, outcome):
    wire, told, call = call_of(refusing(status))
    assert told == [outcome]
    assert call.status == status
    invite, ack = wire.sent[0][1], wire.sent[1][1]
    assert ack.method == "ACK"
    assert (ack.branch, ack.cseq, ack.target) == (invite.branch, 1, invite.target)
    assert tag_of(ack.get("to")) == "callee"


def test_invite__a_refusal_that_comes_again_is_acknowledged_again():
    def callee(wire, message):
        if message.method == "INVITE":
            for delay_s in (0.1, 0.6, 1.6):
                wire.reply(message, 486, delay_s=delay_s)

    wire, told, _ = call_of(callee)
    assert wire.methods() == ["INVITE", "ACK", "ACK", "ACK"]
    assert told == ["busy"]


def test_answer__is_acknowledged_each_time_with_a_branch_of_its_own():
    def callee(wire, message):
        if message.method == "INVITE":
            for delay_s in (0.1, 0.6):
                wire.reply(
                    message,
                    200,
                    CONTACT,
                    ("Record-Route", "<sip:b;lr>, <sip:a;lr>"),
                    delay_s=delay_s,
                )
        elif message.method == "BYE":
            wire.reply(message, 200)

    async def then(agent, call, wire):
        await asyncio.sleep(2.0)
        agent.hang_up(call)

    wire, told, _ = call_of(callee, then)
    assert wire.methods() == ["INVITE", "ACK", "ACK", "BYE"]
    invite, first, second, bye = (message for _, message in wire.sent)
    assert first == second
    assert first.branch != invite.branch
    assert (first.cseq, bye.cseq) == (1, 2)
    assert first.target == bye.target == "sip:callee@127.0.0.1:5061"
    assert first.all("route") == bye.all("route") == ["<sip:a;lr>", "<sip:b;lr>"]
    assert told == ["answered"]


def test_answer__of_a_second_branch_of_a_fork_is_hung_up():
    def callee(wire, message):
        if message.method == "INVITE":
            wire.reply(message, 200, CONTACT)
            wire.reply(
                message, 200, ("Contact", "<sip:other@127.0.0.1:5062>"), tag="other", delay_s=0.2
            )
        elif message.method == "BYE":
            wire.reply(message, 200)

    async def then(agent, call, wire):
        await asyncio.sleep(1.0)
        agent.hang_up(call)

    wire, told, _ = call_of(callee, then)
    assert wire.methods() == ["INVITE", "ACK", "ACK", "BYE", "BYE"]
    assert [m.target for _, m in wire.sent[2:4]] == ["sip:other@127.0.0.1:5062"] * 2
    assert told == ["answered"]


def test_cancel__waits_for_a_provisional_response_and_the_call_is_not_answered():
    def callee(wire, message):
        if message.method == "INVITE" and not wire.times("CANCEL"):
            wire.reply(message, 180, delay_s=1.0)
        elif message.method == "CANCEL":
            wire.reply(message, 200)
            wire.reply(wire.sent[0][1], 487, delay_s=0.002)

    async def then(agent, call, wire):
        agent.cancel(call)
        agent.cancel(call)

    wire, told, call = call_of(callee, then)
    assert wire.times("CANCEL") == [1.0]
    assert wire.methods()[-2:] == ["CANCEL", "ACK"]
    invite, cancel = wire.sent[0][1], wire.sent[-2][1]
    assert (cancel.branch, cancel.cseq, cancel.target) == (invite.branch, 1, invite.target)
    assert tag_of(cancel.get("to")) == ""
    assert told == ["no_answer"]
    assert call.status == 487


def test_cancel__that_crosses_an_answer_leaves_an_answered_call():
    def callee(wire, message):
        if message.method == "INVITE":
            wire.reply(message, 180)
        elif message.method == "CANCEL":
            wire.reply(wire.sent[0][1], 200, CONTACT)
            wire.reply(message, 200, delay_s=0.002)
        elif message.method == "BYE":
            wire.reply(message, 200)

    async def then(agent, call, wire):
        await asyncio.sleep(1.0)
        agent.cancel(call)
        await asyncio.sleep(1.0)
        assert call.crossed
        agent.hang_up(call)

    wire, told, _ = call_of(callee, then)
    assert wire.methods() == ["INVITE", "CANCEL", "ACK", "BYE"]
    assert told == ["answered"]


def test_cancel__that_nobody_hears_ends_the_call_after_32_s():
    async def then(agent, call, wire):
        await asyncio.sleep(1.0)
        agent.cancel(call)
        await asyncio.sleep(31.9)
        assert call.state == "ringing"
        await asyncio.sleep(0.2)
        assert call.state == "over"

    def callee(wire, message):
        if message.method == "INVITE":
            wire.reply(message, 180)

    wire, told, _ = call_of(callee, then)
    assert told == ["no_answer"]
    times = wire.times("CANCEL")
    assert times[:4] == [1.0, 1.5, 2.5, 4.5]
    assert max(b - a for a, b in itertools.pairwise(times)) == 4.0


def test_bye__of_the_callee_is_confirmed_each_time_and_told_once():
    def callee(wire, message):
        answering(wire, message)
        if message.method == "INVITE":
            wire.bye(message, delay_s=3.0)
            wire.bye(message, delay_s=3.5)

    wire, told, _ = call_of(callee)
    assert told == ["answered", "callee"]
    first, second = (m for _, m in wire.sent if m.status)
    assert first == second
    assert first.status == 200


def test_bye__that_crosses_ours_is_confirmed():
    def callee(wire, message):
        if message.method == "INVITE":
            wire.reply(message, 200, CONTACT)
        elif message.method == "BYE" and not message.status:
            wire.bye(wire.sent[0][1])
            wire.reply(message, 200, delay_s=0.3)

    async def then(agent, call, wire):
        await asyncio.sleep(1.0)
        agent.hang_up(call)

    wire, told, call = call_of(callee, then)
    assert wire.methods() == ["INVITE", "ACK", "BYE", 200]
    assert told == ["answered"]
    assert call.ended_by == "dialer"


def test_bye__without_any_answer_is_given_up_after_32_s():
    def callee(wire, message):
        if message.method == "INVITE":
            wire.reply(message, 200, CONTACT)

    async def then(agent, call, wire):
        await asyncio.sleep(1.0)
        agent.hang_up(call)

    wire, _, _ = call_of(callee, then)
    assert wire.times("BYE") == [1.0, 1.5, 2.5, *(4.5 + 4.0 * k for k in range(8))]


def test_info__refused_as_unknown_ends_the_call():
    def callee(wire, message):
        if message.method == "INFO":
            wire.reply(message, 481)
        else:
            answering(wire, message)

    async def then(agent, call, wire):
        await asyncio.sleep(3.0)
        agent.inform(call, ("X-Hang-Up-Ms", "0"))

    wire, told, _ = call_of(callee, then)
    assert told == ["answered", "network"]
    assert wire.methods() == ["INVITE", "ACK", "INFO", "BYE"]
    assert wire.sent[2][1].get("x-hang-up-ms") == "0"


def test_strangers__get_nothing_or_a_refusal():
    async def then(agent, call, wire):
        await asyncio.sleep(3.0)
        invite = wire.sent[0][1]
        before = len(wire.sent)
        wire.bye(invite, branch="z9hG4bKa", tag="wrong")
        others = [("Via", VIA), ("From", "<sip:x@y>;tag=1"), ("To", "<sip:z@y>"), ("Call-ID", "1")]
        for method in ("BYE", "INVITE", "OPTIONS", "REFER", "ACK"):
            wire.put(request(method, "sip:dialer@127.0.0.1", [*others, ("CSeq", f"1 {method}")]))
        wire.put(response(invite, 486, "Busy", "callee"), addr=("10.0.0.1", 5060))
        await asyncio.sleep(0.5)
        assert sorted(m.status for _, m in wire.sent[before:]) == [200, 481, 481, 488, 501]
        assert call.state == "answered"
        agent.hang_up(call)

    _, told, _ = call_of(answering, then)
    assert told == ["answered"]


# --- the floor ----------------------------------------------------------------------------------


class Callees:
    """The k-th callee answers after `fates[k] = (ring_s, patience_s)`; None: busy."""

    def __init__(self, fates):
        self.fates, self.timers = fates, {}

    def __call__(self, wire, message):
        name, loop = message.get("call-id"), asyncio.get_running_loop()
        if message.method == "INVITE":
            fate = self.fates[int(message.target.partition(":")[2].partition("@")[0])]
            if fate is None:
                wire.reply(message, 486)
                return
            wire.reply(message, 180)
            self.timers[name] = loop.call_later(fate[0], self.answer, wire, message, fate[1])
        elif not message.status and message.method != "ACK":
            wire.reply(message, 200)
            if message.method != "CANCEL":
                self.timers[name].cancel()
            elif name in wire.invites:
                self.timers[name].cancel()
                wire.reply(wire.invites[name], 487, delay_s=0.002)

    def answer(self, wire, invite, patience_s):
        wire.reply(invite, 200, CONTACT)
        name, loop = invite.get("call-id"), asyncio.get_running_loop()
        del wire.invites[name]
        self.timers[name] = loop.call_later(patience_s, wire.bye, invite)


def floor_of(fates, n_agents, play, plans):
    """The floor after `play(floor)`."""

    async def played():
        floor = Floor(Rules(n_agents, 3.0, 8.0, 0, 50), iter(plans))
        wire = Wire(Callees(fates))
        agent = wire.agent = UserAgent(floor, PEER)
        agent.connection_made(wire)
        floor.open(agent, 0.0)
        await play(floor)
        return floor

    return in_virtual_time(played())


def test_floor__idle_agent_at_once_then_first_come_first_served_cut_left_or_taken():
    """Two agents, seven dials: busy, rings on, and five answers within a second."""
    fates = [(1.0, 99.0), (1.1, 99.0), (1.2, 1.0), (1.3, 99.0), None, (20.0, 99.0), (7.9995, 99.0)]
    plans = [Conversation(6.0, 2.0, False), Conversation(30.0, 1.0, False)] * 9

    async def play(floor):
        floor.place(7)
        assert floor.counters()["in_flight"] == 7
        await asyncio.sleep(1.25)
        seen = floor.counters()
        assert (seen["talk"], seen["waiting"], seen["in_flight"]) == (2, 1, 3)
        assert (seen["picked_up"], seen["finished"]) == (3, 4)
        assert seen["windows"] == [{"silent": 0, "answered": 2}]
        assert floor.level_one == 0
        await asyncio.sleep(30.0)
        floor.close()

    floor = floor_of(fates, 2, play, plans)
    rows = [(r.outcome, r.silent, r.waited_ms) for r in floor.records]
    assert rows[:6] == [
        ("person", None, 0),
        ("person", None, 0),
        ("person", "left", 1000),
        ("person", "cut", 3000),
        ("busy", None, None),
        ("no_answer", None, None),
    ]
    # the last one answers while the CANCEL of 8 s is on its way; the first agent is free at 9 s
    last = floor.records[6]
    assert (last.outcome, last.crossed, last.agent, last.silent) == ("person", True, 0, None)
    assert last.waited_ms == pytest.approx(1001, abs=2)
    told = totals(floor)
    assert (told["silent_cut"], told["silent_left"], told["connected"]) == (1, 1, 3)
    assert floor.agent_s["talk"] == pytest.approx(6.0 + 30.0 + 6.0, abs=0.1)


def test_floor__twenty_minutes_of_drawn_calls_is_accounted_for_to_the_last():
    chance = random.Random(5)
    fates = [
        None if chance.random() < 0.3 else (chance.uniform(0.5, 12.0), chance.expovariate(0.3))
        for _ in range(20_000)
    ]

    async def play(floor):
        for _ in range(1200):
            lines = 3 * len(floor._idle) - floor._ringing - len(floor._waiting)
            floor.place(max(lines, 0))
            await asyncio.sleep(1.0)
        floor.close()
        await asyncio.sleep(60.0)

    plans = [Conversation(chance.expovariate(0.1), 2.0, False) for _ in range(5_000)]
    floor = floor_of(fates, 5, play, plans)
    told = totals(floor)
    ended = sum(told[name] for name in ("busy", "no_answer", "invalid", "failure", "answered"))
    assert told["dialed"] == ended > 500
    assert told["answered"] == told["connected"] + told["silent_cut"] + told["silent_left"]
    assert min(told["silent_cut"], told["silent_left"], told["no_answer"], told["busy"]) > 10
    assert sum(floor.agent_s.values()) == pytest.approx(5 * 1200.0)
    talked_s = sum((r.talk_ms or 0) for r in floor.records) / 1000
    assert floor.agent_s["talk"] == pytest.approx(talked_s, abs=5 * 60.0)


# --- the sidecar --------------------------------------------------------------------------------

SESSION = {"n_agents": 2, "first_day": "2026-03-02", "opens_at": 0.0, "closes_at": 9.0}


def answers(path, replies):
    """What the client makes of a server's replies, one ask for each."""

    async def serve(reader, writer):
        while line := await reader.readline():
            ask, reply = json.loads(line), replies[len(found)]
            if reply is None:
                break
            if isinstance(reply, dict):
                good = {"campaign": ask["campaign"], "seq": ask["seq"], "unit": "new calls"}
                reply = json.dumps(good | {"answer": 2, "rung": "policy", "reason": ""} | reply)
            writer.write(reply.encode() + b"\n" * bool(reply))
        writer.close()

    found = []

    async def play():
        server = await asyncio.start_unix_server(serve, path)
        sidecar = Sidecar(str(path), "it-1")
        for _ in replies:
            sidecar._away_until_s = 0.0
            found.append(await sidecar.pace(SESSION, {"idle": 1}))
        last = await sidecar.pace(SESSION, {"idle": 1})
        sidecar.close()
        server.close()
        await asyncio.sleep(0.1)  # the server's ends of the connections
        return last

    return found, asyncio.run(play())


def test_sidecar__an_answer_counts_only_if_it_is_one(tmp_path):
    replies = [
        {},
        "",
        {"answer": 2.5},
        {"answer": -1},
        {"answer": float("nan")},
        {"seq": 1},
        {"unit": "lines per agent"},
        "{",
        '{"error": "no"}',
        None,
        "[1]",
    ]
    found, last = answers(tmp_path / "s", replies)
    assert (found[0].calls, found[0].by) == (2, "policy")
    assert [one.calls for one in found[1:]] == [None] * 10
    assert [one.reason for one in found[1:]] == [
        "no_answer",
        "out_of_range",
        "out_of_range",
        "out_of_range",
        "wrong_reply",
        "out_of_range",
        "no_sidecar",
        "refused",
        "no_sidecar",
        "refused",
    ]
    assert found[1].wait_s >= 0.05
    assert (last.calls, last.reason, last.wait_s) == (None, "kept_away", 0.0)


def test_sidecar__without_one_there_is_no_number(tmp_path):
    async def play():
        return await Sidecar(str(tmp_path / "nobody"), "it-1").pace(SESSION, {})

    found = asyncio.run(play())
    assert (found.calls, found.by, found.reason) == (None, "client", "no_sidecar")
