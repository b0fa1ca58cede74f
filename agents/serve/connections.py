"""Connections: JSON lines and HTTP/1.1 (h11), bounded in size, number and time.

A Unix socket takes both: what begins with "{" or white space is JSON lines, everything else HTTP.
A TCP socket takes HTTP only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import h11

from quietdial.agents.serve.api import Answer, Api, Asked, Token
from quietdial.agents.serve.asks import MAX_BODY
from quietdial.agents.serve.errors import RequestError, one_line
from quietdial.agents.serve.service import Reply, Service

MAX_HEAD: Final = 16 * 1024
"""Largest request line with headers, bytes."""

SLICE: Final = 16
"""Requests of one connection that are answered before others get their turn."""

MAX_UNREAD: Final = 256 * 1024
"""Answers that wait for a client that does not read; then its requests wait too, bytes."""

_SHUT_S: Final = 2.0


@dataclass
class Limits:
    """What a connection may do.

    Attributes:
        connections: open at the same time.
        idle_s: time from the end of one request to the end of the next [s].
        token: what HTTP requests must carry; None: nothing.
        local_only: whether `Host` must name this machine.
        open: connections that are open.
    """

    connections: int = 512
    idle_s: float = 30.0
    token: Token | None = None
    local_only: bool = True
    open: set[Connection] = field(default_factory=set)


class Connection(asyncio.Protocol):
    """One connection of either kind.

    Args:
        service: what answers lines.
        api: what answers HTTP.
        limits: shared by all connections of a listener.
        lines: whether JSON lines may be spoken.
    """

    def __init__(self, service: Service, api: Api, limits: Limits, *, lines: bool) -> None:
        self._service, self._api, self._limits, self._lines = service, api, limits, lines
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._talk: _Lines | _Http | None = None
        self._again: asyncio.Handle | None = None
        self._held: asyncio.Task[Any] | None = None
        self._full = False
        self._ended = False

    # --- what asyncio calls ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or turn it away if there are too many."""
        self._transport = transport
        self._transport.set_write_buffer_limits(high=MAX_UNREAD)
        if len(self._limits.open) >= self._limits.connections:
            self._service.metrics.refused.add("too_many")
            self._transport.abort()
            return
        self._limits.open.add(self)
        self._count()
        self.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._ended = True
        self._limits.open.discard(self)
        self._count()
        if self._timer is not None:
            self._timer.cancel()
        if self._again is not None:
            self._again.cancel()

    def data_received(self, data: bytes) -> None:
        """Take bytes in and answer what is whole."""
        if self._ended:
            return
        if self._talk is None:
            lines = self._lines and data[:1] in (b"{", b" ", b"\n", b"\r", b"\t")
            self._talk = (_Lines if lines else _Http)(self)
        self._talk.take(data)
        self._go_on()

    def eof_received(self) -> bool:
        """The client has said everything; answers that are due still go out."""
        return False

    def pause_writing(self) -> None:
        """The client does not read: take no more requests, and wait so long only."""
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._full = False
        self._rest()

    # --- what the two kinds use -----------------------------------------------------------------

    @property
    def service(self) -> Service:
        """What answers."""
        return self._service

    @property
    def api(self) -> Api:
        """What answers HTTP."""
        return self._api

    @property
    def limits(self) -> Limits:
        """What it may do."""
        return self._limits

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    def hold(self, reply: Coroutine[Any, Any, Any], tell: Callable[[Any], None]) -> None:
        """Answer nothing more until a reply is there; then tell it, and go on."""
        self._held = self._loop.create_task(reply)
        self._transport.pause_reading()

        def go_on(task: asyncio.Task[Any]) -> None:
            self._held = None
            if not self._ended and not task.cancelled():
                tell(task.result())
                self._rest()

        self._held.add_done_callback(go_on)

    def wait(self) -> None:
        """A request is done: the next one has its full time again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._limits.idle_s, self.close, "time_out", True)

    def close(self, reason: str, at_once: bool = False) -> None:
        """End the connection."""
        if self._ended:
            return
        self._ended = True
        self._service.metrics.refused.add(reason)
        if at_once or not self._transport.can_write_eof():
            (self._transport.abort if at_once else self._transport.close)()
            return
        # What the client still sends is read and dropped for a while: a reset at once could take
        # away the answer before the client has read it.
        self._transport.write_eof()
        self._loop.call_later(_SHUT_S, self._transport.abort)

    def _count(self) -> None:
        self._service.metrics.connections.put(len(self._limits.open), self._face)

    @property
    def _face(self) -> str:
        return "unix" if self._lines else "tcp"

    def _go_on(self) -> None:
        """Answer a slice of what is there; the rest after the others had their turn."""
        self._again = None
        if self._ended or self._full or self._held is not None or self._talk is None:
            return
        if self._talk.answer(SLICE) and not self._ended:
            self._transport.pause_reading()
            self._again = self._loop.call_soon(self._rest)

    def _rest(self) -> None:
        self._go_on()
        if self._again is None and self._held is None and not self._full and not self._ended:
            self._transport.resume_reading()


class _Lines:
    """One JSON object a line, one line back for each, in order."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection
        self._buffer = bytearray()

    def take(self, data: bytes) -> None:
        self._buffer += data

    def answer(self, most: int) -> bool:
        """Answer up to so many lines; whether there may be more."""
        replies = []
        more, held, at = True, False, 0
        for _ in range(most):
            end = self._buffer.find(b"\n", at)
            if end < 0 or end - at > MAX_BODY:
                more = False
                break
            line = bytes(self._buffer[at:end])
            at = end + 1
            if line.strip():
                reply = self._one(line)
                if not isinstance(reply, bytes):
                    self._c.hold(reply, self._tell)
                    more, held = False, True
                    break
                replies.append(reply)
        del self._buffer[:at]
        if replies:
            self._c.write(b"".join(replies))
            self._c.wait()
        if not more and not held and len(self._buffer) > MAX_BODY:
            self._c.write(
                _refused(RequestError(f"line: at most {MAX_BODY} bytes are allowed", 413))
            )
            self._c.close("too_long")
        return more

    def _tell(self, reply: bytes) -> None:
        self._c.write(reply)
        self._c.wait()

    def _one(self, line: bytes) -> Reply:
        try:
            reply = self._c.service.line(line)
        except RequestError as error:
            return self._refused(error)
        if not isinstance(reply, bytes):
            return self._later(reply)
        self._c.service.metrics.requests.add("lines", "200")
        return reply

    async def _later(self, reply: Coroutine[Any, Any, bytes]) -> bytes:
        try:
            line = await reply
        except RequestError as error:
            return self._refused(error)
        self._c.service.metrics.requests.add("lines", "200")
        return line

    def _refused(self, error: RequestError) -> bytes:
        self._c.service.metrics.requests.add("lines", str(error.status))
        return _refused(error)


class _Http:
    """HTTP/1.1 by h11: pipelining, chunked bodies and `Expect: 100-continue` included."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection
        self._h = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._asked: Asked | None = None
        self._refusal: RequestError | None = None
        self._body: list[bytes] = []
        self._size = 0

    def take(self, data: bytes) -> None:
        try:
            self._h.receive_data(data)
        except h11.RemoteProtocolError:
            self._c.close("protocol")

    def answer(self, most: int) -> bool:
        """Answer up to so many requests; whether there may be more."""
        for _ in range(most):
            try:
                if not self._next():
                    return False
            except h11.RemoteProtocolError as error:
                too_large = error.error_status_hint == 431
                self._end(RequestError(f"HTTP: {error}", 431 if too_large else 400))
                return False
            except RequestError as error:
                self._end(error)
                return False
        return True

    def _next(self) -> bool:
        """Read events up to the end of a request and answer it; False: it is not whole."""
        while True:
            event = self._h.next_event()
            if event is h11.NEED_DATA:
                if self._h.they_are_waiting_for_100_continue and self._asked is not None:
                    if self._refusal is not None:
                        raise self._refusal
                    go = h11.InformationalResponse(status_code=100, headers=[])
                    self._c.write(self._h.send(go) or b"")
                return False
            if isinstance(event, h11.Request):
                self._head(event)
            elif isinstance(event, h11.Data):
                self._size += len(event.data)
                if self._size > MAX_BODY:
                    raise RequestError(f"body: at most {MAX_BODY} bytes are allowed", 413)
                if self._refusal is None:
                    self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and self._asked is not None:
                asked = self._asked._replace(body=b"".join(self._body))
                if self._refusal is not None:
                    self._refuse(self._refusal)
                    return self._turn()
                answer = self._c.api.answer(asked)
                if not isinstance(answer, Answer):
                    self._c.hold(answer, partial(self._tell, asked))
                    return False
                self._send(answer, asked)
                return self._turn()
            else:  # the client has closed, or upgrades to what is not spoken here
                self._c.close("ended")
                return False

    def _head(self, event: h11.Request) -> None:
        if event.http_version not in (b"1.0", b"1.1"):
            raise RequestError("HTTP: version 1.1 is spoken here")
        headers: dict[str, str] = {}
        size = len(event.target)
        for name, value in event.headers:
            size += len(name) + len(value) + 4
            if size > MAX_HEAD:  # h11 itself bounds heads only that come in parts
                raise RequestError(f"headers: at most {MAX_HEAD} bytes are allowed", 431)
            key = name.decode("ascii")
            if key in headers and key in ("host", "authorization", "content-type"):
                raise RequestError(f"{key}: is given twice")
            headers[key] = value.decode("latin-1")
        path = event.target.decode("latin-1").partition("?")[0]
        self._asked = Asked(event.method.decode("ascii"), path, headers)
        limits = self._c.limits
        try:
            self._c.api.check(self._asked, limits.token, local_only=limits.local_only)
        except RequestError as error:
            if error.status == 413:
                raise
            self._refusal = error  # told when the body has been read, so the connection stays

    def _send(self, answer: Answer, asked: Asked | None, *, last: bool = False) -> None:
        headers = [
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *answer.headers,
            *([("Connection", "close")] if last else []),
        ]
        says = HTTPStatus(answer.status).phrase
        response = h11.Response(status_code=answer.status, headers=headers, reason=says)
        head = self._h.send(response) or b""
        body = b""
        if asked is None or asked.method != "HEAD":
            body = self._h.send(h11.Data(data=answer.body)) or b""
        end = self._h.send(h11.EndOfMessage()) or b""
        self._c.write(head + body + end)

    def _tell(self, asked: Asked, answer: Answer) -> None:
        self._send(answer, asked)
        self._turn()

    def _turn(self) -> bool:
        """Make ready for the next request on the same connection."""
        self._c.wait()
        if self._h.our_state is h11.DONE and self._h.their_state is h11.DONE:
            self._h.start_next_cycle()
            self._asked, self._refusal, self._body, self._size = None, None, [], 0
            return True
        self._c.close("ended")
        return False

    def _end(self, error: RequestError) -> None:
        """Refuse a request that is not read to its end, and close."""
        if self._h.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(error, last=True)
        self._c.close("refused")

    def _refuse(self, error: RequestError, *, last: bool = False) -> None:
        self._c.service.metrics.requests.add("http", str(error.status))
        self._send(self._c.api.refusal(error, self._asked), self._asked, last=last)


def _refused(error: RequestError) -> bytes:
    told = {"error": one_line(str(error)), "status": error.status}
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


Maker = Callable[[], Connection]
"""Makes the protocol of a new connection."""
