"""Client transactions over UDP (RFC 3261, section 17.1): send again until the other side answers.

The two state machines of figures 5 and 6, with the corrections of RFC 6026 left out: a 2xx ends an
INVITE transaction, and the user agent itself acknowledges it, each time that it comes (13.2.2.4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from sip_dialer.messages import Message


class Timers(NamedTuple):
    """The timers' bases, section 17.1.1.1 [s].

    Attributes:
        t1: estimate of the round trip.
        t2: longest time between two sendings of what is no INVITE.
        t4: longest life of a message in the network.
    """

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0

    @property
    def give_up(self) -> float:
        """Timers B and F: without an answer for so long there is none."""
        return 64 * self.t1


class Transaction:
    """One request until its final response.

    Args:
        text: the request, sent at once.
        invite: whether it is an INVITE.
        timers: the timers' bases.
        send: puts a datagram on the wire.
        heard: told every response that is new; None: there was none in time.
        acknowledge: makes the ACK for a final response that is no 2xx (INVITE only).
        over: told when the transaction needs no more datagrams.
    """

    def __init__(
        self,
        text: bytes,
        *,
        invite: bool,
        timers: Timers,
        send: Callable[[bytes], None],
        heard: Callable[[Message | None], None],
        acknowledge: Callable[[Message], bytes] | None = None,
        over: Callable[[], None],
    ) -> None:
        self._text, self._invite, self._timers = text, invite, timers
        self._send, self._heard, self._acknowledge, self._over = send, heard, acknowledge, over
        self._loop = asyncio.get_running_loop()
        self.state = "calling"
        self.sent = 1
        self._ack = b""
        self._again_s = timers.t1
        self._again = self._loop.call_later(timers.t1, self._resend)
        self._end = self._loop.call_later(timers.give_up, self._timeout)
        send(text)

    def _resend(self) -> None:
        """Timer A doubles; timer E doubles up to T2, and is T2 after a provisional response."""
        if self._invite and self.state != "calling":
            return
        self._send(self._text)
        self.sent += 1
        self._again_s *= 2
        if not self._invite:
            longest = self._timers.t2
            self._again_s = min(self._again_s, longest) if self.state == "calling" else longest
        self._again = self._loop.call_later(self._again_s, self._resend)

    def _timeout(self) -> None:
        """Timer B or F."""
        self.stop()
        self._heard(None)

    def receive(self, message: Message) -> None:
        """A response to this request."""
        if self.state == "completed":
            if self._ack and message.status >= 300:
                self._send(self._ack)
            return
        if message.status < 200:
            if self._invite:
                self._end.cancel()  # it may ring as long as it likes; the dialer cancels
            self.state = "proceeding"
            self._heard(message)
            return
        self._again.cancel()
        self._end.cancel()
        if self._invite and message.status < 300:
            self.stop()
        else:
            self.state = "completed"
            wait_s = self._timers.t4  # timer K
            if self._invite and self._acknowledge is not None:
                self._ack = self._acknowledge(message)
                self._send(self._ack)
                wait_s = self._timers.give_up  # timer D: at least 32 s over UDP
            self._end = self._loop.call_later(wait_s, self.stop)
        self._heard(message)

    def stop(self) -> None:
        """Send nothing more."""
        if self.state != "over":
            self.state = "over"
            self._again.cancel()
            self._end.cancel()
            self._over()
