"""SIP messages as text (RFC 3261, sections 7 and 25), as far as a dialer over UDP needs them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

MOST_BYTES: Final = 65_535
MOST_HEADERS: Final = 128

_SHORT: Final = {
    "c": "content-type",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "t": "to",
    "v": "via",
}
_TOKEN: Final = re.compile(r"[!%'*+\-.0-9A-Z_`a-z~]+\Z")
_STATUS_LINE: Final = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9]) (.*)\Z")
_REQUEST_LINE: Final = re.compile(r"([!%'*+\-.0-9A-Z_`a-z~]+) (\S+) SIP/2\.0\Z")
_CSEQ: Final = re.compile(r"([0-9]{1,10})\s+([!%'*+\-.0-9A-Z_`a-z~]+)\Z")
_TAG: Final = re.compile(r";\s*tag\s*=\s*([^;\s,>]+)", re.IGNORECASE)
_BRANCH: Final = re.compile(r";\s*branch\s*=\s*([^;\s,]+)", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"<([^<>]*)>")
_NEEDED: Final = ("via", "from", "to", "call-id", "cseq")


class SipError(ValueError):
    """A datagram that is no SIP message."""


class Message(NamedTuple):
    """A request or a response.

    Attributes:
        method: of the request; in a response, of the request that it answers (its CSeq).
        status: of the response, 100 to 699; 0: a request.
        target: request URI, or reason phrase.
        headers: (lower-case long name, value) in the order of the message.
        cseq: number of the request.
        body: what follows the headers.
    """

    method: str
    status: int
    target: str
    headers: tuple[tuple[str, str], ...]
    cseq: int
    body: bytes = b""

    def get(self, name: str) -> str:
        """The first value of a header; empty: it is not there."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a header, from the first to the last."""
        return [value for key, value in self.headers if key == name]

    @property
    def branch(self) -> str:
        """Name of the transaction: branch of the topmost Via."""
        found = _BRANCH.search(self.get("via"))
        return found[1] if found else ""


def parse(data: bytes) -> Message:
    """Read a datagram (`SipError`: it is none of SIP)."""
    if len(data) > MOST_BYTES:
        raise SipError("too long")
    head, _, body = data.partition(b"\r\n\r\n")
    try:
        text = head.decode()
    except UnicodeDecodeError:
        raise SipError("not UTF-8") from None
    if "\0" in text:
        raise SipError("holds a NUL")
    first, *lines = re.sub(r"\r\n[ \t]+", " ", text).split("\r\n")  # unfolds long headers
    if len(lines) > MOST_HEADERS:
        raise SipError("too many headers")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not _TOKEN.match(name):
            raise SipError("a line that is no header")
        name = _SHORT.get(name, name)
        parts = _split(value) if name in ("via", "route", "record-route") else [value]
        headers += [(name, part.strip()) for part in parts]
    known = dict(headers)
    missing = [name for name in _NEEDED if not known.get(name)]
    if missing:
        raise SipError(f"no {missing[0]}")
    cseq = _CSEQ.match(known["cseq"])
    if cseq is None or int(cseq[1]) >= 2**31:
        raise SipError("a broken cseq")
    length = known.get("content-length")
    if length is not None:
        if not (length.isascii() and length.isdigit()) or int(length) > len(body):
            raise SipError("a broken content-length")
        body = body[: int(length)]
    status, request = _STATUS_LINE.match(first), _REQUEST_LINE.match(first)
    if status is not None:
        return Message(cseq[2], int(status[1]), status[2], tuple(headers), int(cseq[1]), body)
    if request is None or request[1] != cseq[2]:
        raise SipError("a broken first line")
    return Message(cseq[2], 0, request[2], tuple(headers), int(cseq[1]), body)


def _split(value: str) -> list[str]:
    """The parts between commas that stand neither in quotes nor in angle brackets."""
    parts, begin, quoted, angle = [], 0, False, False
    for at, letter in enumerate(value):
        if letter == '"' and value[at - 1 : at] != "\\":
            quoted = not quoted
        elif not quoted and letter in "<>":
            angle = letter == "<"
        elif letter == "," and not quoted and not angle:
            parts.append(value[begin:at])
            begin = at + 1
    return [*parts, value[begin:]]


def request(method: str, uri: str, headers: Iterable[tuple[str, str]], body: str = "") -> bytes:
    """The text of a request."""
    return _text(f"{method} {uri} SIP/2.0", headers, body)


def response(to: Message, status: int, phrase: str, tag: str = "") -> bytes:
    """The text of a response without a body, as section 8.2.6 copies the headers.

    Args:
        to: the request.
        status: 100 to 699.
        phrase: the same in words.
        tag: added to a To header without one.
    """
    copied = []
    for name in ("via", "from", "to", "call-id", "cseq"):
        for value in to.all(name):
            more = f";tag={tag}" if name == "to" and tag and not tag_of(value) else ""
            copied.append((name.title(), value + more))
    return _text(f"SIP/2.0 {status} {phrase}", copied, "")


def _text(first: str, headers: Iterable[tuple[str, str]], body: str) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def tag_of(value: str) -> str:
    """The tag of a From or To header; empty: it has none."""
    found = _TAG.search(value[value.rfind(">") + 1 :])
    return found[1] if found else ""


def uri_of(value: str) -> str:
    """The URI of a Contact or Record-Route header; empty: it has none."""
    found = _ADDRESS.search(value)
    uri = found[1] if found else value.partition(";")[0].strip()
    return uri if uri.startswith("sip:") and not any(c.isspace() for c in uri) else ""
