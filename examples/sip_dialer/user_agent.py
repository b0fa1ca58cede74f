"""A SIP user agent client over UDP: places calls, cancels, talks, hangs up (RFC 3261).

What crosses on the wire is settled here: an answer that crosses our CANCEL is an answer (9.1); a
BYE that crosses ours is answered; a 2xx that comes again is acknowledged again (13.2.2.4); a second
2xx of a forked call is acknowledged and hung up.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, cast

from sip_dialer.messages import (
    Message,
    SipError,
    parse,
    request,
    response,
    tag_of,
    uri_of,
)
from sip_dialer.transactions import Timers, Transaction

OUTCOMES: Final = {
    **dict.fromkeys((486, 600), "busy"),
    **dict.fromkeys((404, 410, 484, 604), "invalid"),
    **dict.fromkeys((408, 480, 487), "no_answer"),
}
"""What a final response says of the callee; any other one: "failure" (of the network)."""

Heard = Callable[[Message | None], None]
"""Told the responses to a request; None: none came in time."""

_OTHERS: Final = {"OPTIONS": (200, "OK"), "INVITE": (488, "Not Acceptable Here")}
_GONE: Final = (408, 481)
"""Responses to a request within a call that end it (12.2.1.2)."""


class Dialog(NamedTuple):
    """The other end of an answered call.

    Attributes:
        to: its To header, with tag.
        target: URI of its Contact.
        routes: proxies on the way, in order.
    """

    to: str
    target: str
    routes: tuple[str, ...]


@dataclass(eq=False, slots=True)
class Call:
    """One call.

    Attributes:
        number: the dialed number.
        call_id: its Call-ID.
        state: "inviting", "ringing", "answered" or "over".
        outcome: of a call that was not answered: busy, no_answer, invalid, failure.
        ended_by: of an answered call: "dialer", "callee", "network".
        status: final response to the INVITE; 0: none.
        cancelling: whether a CANCEL was asked for.
        crossed: whether it was answered all the same.
    """

    number: str
    call_id: str
    uri: str
    sender: str
    branch: str
    state: str = "inviting"
    outcome: str = ""
    ended_by: str = ""
    status: int = 0
    cancelling: bool = False
    crossed: bool = False
    cseq: int = 1
    dialog: Dialog | None = None
    ack: bytes = b""
    waiting: list[asyncio.TimerHandle] = field(default_factory=list)


class Listener(Protocol):
    """Who owns the calls."""

    def answered(self, call: Call) -> None:
        """A person has picked up."""
        ...

    def over(self, call: Call) -> None:
        """A call has ended that this listener did not end itself; or was never answered."""
        ...


class UserAgent(asyncio.DatagramProtocol):
    """All calls of one dialer, on one socket.

    Args:
        listener: told what becomes of the calls.
        peer: address of the proxy or gateway.
        timers: bases of the timers of RFC 3261.
    """

    def __init__(
        self, listener: Listener, peer: tuple[str, int], timers: Timers | None = None
    ) -> None:
        self._listener, self._peer = listener, peer
        self._timers = timers or Timers()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._here = ""
        self._calls: dict[str, Call] = {}
        self._transactions: dict[tuple[str, str], Transaction] = {}
        self._replies: dict[tuple[str, str, str], bytes] = {}
        self.broken = 0
        """Datagrams that were no SIP, from strangers, or for nobody."""
        self.resent = 0
        """Requests that were sent again."""

    # --- the socket -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        host, port = transport.get_extra_info("sockname")[:2]
        self._here = f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        """A datagram has come; whatever it holds, it does no harm."""
        try:
            if addr[0] != self._peer[0]:
                raise SipError("from a stranger")
            message = parse(data)
            if message.status:
                self._response(message)
            else:
                self._request(message, addr)
        except SipError:
            self.broken += 1

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there, just now; the timers go on."""

    def _send(self, data: bytes, addr: tuple[str | int, ...] | None = None) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, addr or self._peer)

    @property
    def busy(self) -> bool:
        """Whether calls are up or their ends are not confirmed."""
        return bool(self._calls)

    # --- what the dialer does ---------------------------------------------------------------------

    def invite(self, number: str) -> Call:
        """Dial a number."""
        call = Call(
            number=number,
            call_id=f"{secrets.token_hex(12)}@{self._here}",
            uri=f"sip:{number}@{self._peer[0]}:{self._peer[1]}",
            sender=f"<sip:dialer@{self._here}>;tag={secrets.token_hex(6)}",
            branch=_branch(),
        )
        self._calls[call.call_id] = call
        body = (
            f"v=0\r\no=- 0 0 IN IP4 {self._peer[0]}\r\ns=-\r\nc=IN IP4 {self._peer[0]}\r\nt=0 0\r\n"
            "m=audio 9 RTP/AVP 0\r\na=inactive\r\n"
        )
        more = [("Contact", f"<sip:dialer@{self._here}>"), ("Content-Type", "application/sdp")]
        text = request("INVITE", call.uri, [*self._headers(call, "INVITE"), *more], body)
        self._start(call, "INVITE", text, lambda got: self._invited(call, got))
        return call

    def cancel(self, call: Call) -> None:
        """Give up ringing. It may be answered all the same, until `over` is told."""
        if call.cancelling or call.state not in ("inviting", "ringing"):
            return
        call.cancelling = True
        if call.state == "ringing":
            self._cancel(call)  # else with the first provisional response (9.1)

    def inform(self, call: Call, *headers: tuple[str, str]) -> None:
        """Send an INFO within an answered call."""
        if call.state == "answered" and call.dialog is not None:
            self._within(call, call.dialog, "INFO", lambda got: self._informed(call, got), headers)

    def hang_up(self, call: Call) -> None:
        """End an answered call."""
        if call.state == "answered" and call.dialog is not None:
            self._bye(call, call.dialog)
            call.state, call.ended_by = "over", "dialer"

    # --- INVITE -----------------------------------------------------------------------------------

    def _invited(self, call: Call, got: Message | None) -> None:
        if got is None:
            self._unanswered(call, 0, "failure")
        elif got.status < 200:
            if call.state == "inviting":
                call.state = "ringing"
                if call.cancelling:
                    self._cancel(call)
        elif got.status < 300:
            self._accepted(call, got)
        else:
            outcome = "no_answer" if call.cancelling else OUTCOMES.get(got.status, "failure")
            self._unanswered(call, got.status, outcome)

    def _accepted(self, call: Call, got: Message) -> None:
        target = uri_of(got.get("contact")) or call.uri
        routes = tuple(reversed(got.all("record-route")))
        call.dialog = Dialog(got.get("to"), target, routes)
        call.ack = self._ack_of(call, call.dialog)
        self._send(call.ack)
        call.status, call.crossed = got.status, call.cancelling
        self._settle(call)
        call.state = "answered"
        self._listener.answered(call)

    def _unanswered(self, call: Call, status: int, outcome: str) -> None:
        if call.state in ("inviting", "ringing"):
            call.status, call.outcome, call.state = status, outcome, "over"
            self._settle(call)
            self._calls.pop(call.call_id, None)
            self._listener.over(call)

    def _cancel(self, call: Call) -> None:
        headers = self._headers(call, "CANCEL")
        self._start(call, "CANCEL", request("CANCEL", call.uri, headers), lambda got: None)
        lost = self._loop.call_later(self._timers.give_up, self._cancel_lost, call)
        call.waiting.append(lost)

    def _cancel_lost(self, call: Call) -> None:
        """No final response came after a CANCEL: the INVITE counts as cancelled (9.1)."""
        transaction = self._transactions.get((call.branch, "INVITE"))
        if transaction is not None:
            transaction.stop()
        self._unanswered(call, 0, "no_answer")

    def _settle(self, call: Call) -> None:
        for handle in call.waiting:
            handle.cancel()
        call.waiting.clear()

    # --- within a call ----------------------------------------------------------------------------

    def _informed(self, call: Call, got: Message | None) -> None:
        if (got is None or got.status in _GONE) and call.state == "answered" and call.dialog:
            self._bye(call, call.dialog)
            call.state, call.ended_by = "over", "network"
            self._listener.over(call)

    def _bye(self, call: Call, dialog: Dialog) -> None:
        def done(got: Message | None) -> None:
            if got is None or got.status >= 200:
                self._calls.pop(call.call_id, None)

        self._within(call, dialog, "BYE", done)

    def _within(
        self,
        call: Call,
        dialog: Dialog,
        method: str,
        heard: Heard,
        more: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Send a request within a dialog (12.2.1.1)."""
        call.cseq += 1
        branch = _branch()
        headers = self._headers(call, method, dialog, branch, call.cseq)
        self._start(call, method, request(method, dialog.target, [*headers, *more]), heard, branch)

    def _ack_of(self, call: Call, dialog: Dialog) -> bytes:
        """The ACK for a 2xx: the INVITE's number, a branch of its own (13.2.2.4)."""
        return request("ACK", dialog.target, self._headers(call, "ACK", dialog, _branch()))

    # --- what comes in ----------------------------------------------------------------------------

    def _response(self, message: Message) -> None:
        transaction = self._transactions.get((message.branch, message.method))
        if transaction is not None:
            transaction.receive(message)
            return
        call = self._calls.get(message.get("call-id"))
        again = message.method == "INVITE" and 200 <= message.status < 300
        if call is None or call.dialog is None or not again:
            raise SipError("a response to nothing")
        if tag_of(message.get("to")) == tag_of(call.dialog.to):
            self._send(call.ack)
            return
        other = Dialog(
            message.get("to"),
            uri_of(message.get("contact")) or call.uri,
            tuple(reversed(message.all("record-route"))),
        )
        self._send(self._ack_of(call, other))
        self._within(call, other, "BYE", lambda got: None)

    def _request(self, message: Message, addr: tuple[str | int, ...]) -> None:
        if message.method == "ACK":
            return
        key = (message.branch, message.method, message.get("call-id"))
        reply, ended = self._replies.get(key), None
        if reply is None:
            call = self._calls.get(message.get("call-id"))
            status, phrase = _OTHERS.get(message.method, (501, "Not Implemented"))
            if message.method == "BYE":
                ours = call is not None and call.dialog is not None
                if ours and call and tag_of(message.get("to")) == tag_of(call.sender):
                    status, phrase = 200, "OK"
                    ended = call if call.state == "answered" else None
                else:
                    status, phrase = 481, "Call/Transaction Does Not Exist"
            reply = self._replies[key] = response(message, status, phrase, secrets.token_hex(6))
            self._loop.call_later(self._timers.give_up, self._replies.pop, key, None)  # timer J
        self._send(reply, addr)
        if ended is not None:
            ended.state, ended.ended_by = "over", "callee"
            self._calls.pop(ended.call_id, None)
            self._listener.over(ended)

    # --- transactions -----------------------------------------------------------------------------

    def _headers(
        self,
        call: Call,
        method: str,
        dialog: Dialog | None = None,
        branch: str = "",
        cseq: int = 1,
    ) -> list[tuple[str, str]]:
        headers = [("Via", f"SIP/2.0/UDP {self._here};branch={branch or call.branch};rport")]
        headers += [("Route", route) for route in (dialog.routes if dialog else ())]
        return [
            *headers,
            ("From", call.sender),
            ("To", dialog.to if dialog else f"<{call.uri}>"),
            ("Call-ID", call.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Max-Forwards", "70"),
        ]

    def _start(self, call: Call, method: str, text: bytes, heard: Heard, branch: str = "") -> None:
        key = (branch or call.branch, method)

        def acknowledge(got: Message) -> bytes:
            """The ACK for another final response: branch and all as in the INVITE (17.1.1.3)."""
            named = Dialog(got.get("to"), "", ())
            return request("ACK", call.uri, self._headers(call, "ACK", named))

        def over() -> None:
            done = self._transactions.pop(key, None)
            self.resent += done.sent - 1 if done else 0

        self._transactions[key] = Transaction(
            text,
            invite=method == "INVITE",
            timers=self._timers,
            send=self._send,
            heard=heard,
            acknowledge=acknowledge,
            over=over,
        )


def _branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"
