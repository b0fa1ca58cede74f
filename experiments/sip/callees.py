"""SIPp as the telephone network behind loopback: a scenario, and what becomes of each number.

The callees' fates stand in a file by telephone number: outcome, time until it, patience. SIPp looks
the dialed number up and plays it. A person who has picked up waits in silence and hangs up when the
patience ends; an INFO says that an agent has come, and its header `X-Hang-Up-Ms` when the callee
will end the conversation (0: the dialer does).
"""

from __future__ import annotations

import contextlib
import csv
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from quietdial.envs.errors import QuietDialError
from quietdial.experiments.sip.real_time import prefer

FATES: Final = "fates.csv"
OUTCOMES: Final = ("person", "busy", "invalid", "no_answer", "crosses")
"""`no_answer` rings until it is cancelled; `crosses` answers then, so that both cross."""

COUNTED: Final = (
    "invited",
    "busy",
    "invalid",
    "cancelled",
    "answered",
    "talked",
    "callee_ended",
    "dialer_ended",
    "cut",
    "left",
)
"""What SIPp counts, in the order of its generic counters."""

_START_S: Final = 15.0
_END_S: Final = 60.0


class Fate(NamedTuple):
    """What becomes of a dialed number.

    Attributes:
        number: the telephone number.
        outcome: one of :data:`OUTCOMES`.
        ring_ms: from the INVITE to the final response.
        patience_ms: an answered callee hangs up after so long in silence.
    """

    number: int
    outcome: str
    ring_ms: int
    patience_ms: int


def _message(first: str, *headers: str, body: str = "") -> str:
    length = "[len]" if body else "0"
    lines = [first, *headers, f"Content-Length: {length}", "", *body.split("\n")]
    return "<![CDATA[\n" + "\n".join(f"      {line}".rstrip() for line in lines) + "\n    ]]>"


_VIA: Final = ("[last_Via:]", "[last_From:]")
_TAGGED: Final = "[last_To:];tag=[pid]c[call_number]"
_SAME: Final = ("[last_Call-ID:]", "[last_CSeq:]")
_CONTACT: Final = "Contact: <sip:[local_ip]:[local_port];transport=[transport]>"
_SDP: Final = (
    "v=0\no=- 0 0 IN IP[local_ip_type] [local_ip]\ns=-\nc=IN IP[local_ip_type] [local_ip]\n"
    "t=0 0\nm=audio 9 RTP/AVP 0\na=inactive"
)


def _to_invite(first: str, body: str = "") -> str:
    """A response to the INVITE; its number is 1, and the last request may be the CANCEL."""
    more = (_CONTACT, "Content-Type: application/sdp") if body else (_CONTACT,)
    lines = (*_VIA, _TAGGED, "[last_Call-ID:]", "CSeq: 1 INVITE", *more)
    return _message(f"SIP/2.0 {first}", *lines, body=body)


_ANSWER: Final = _to_invite("200 OK", _SDP)
_OK: Final = _message("SIP/2.0 200 OK", *_VIA, "[last_To:]", *_SAME, _CONTACT)
_OK_CANCEL: Final = _message("SIP/2.0 200 OK", *_VIA, _TAGGED, *_SAME)
_BYE: Final = _message(
    "BYE [$contact] SIP/2.0",
    "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
    "From:[$callee]",
    "To:[$dialer]",
    "Call-ID: [call_id]",
    "CSeq: 1 BYE",
    "Max-Forwards: 70",
)
_GONE: Final = _message("SIP/2.0 481 Call/Transaction Does Not Exist", *_VIA, "[last_To:]", *_SAME)


def _counter(name: str) -> str:
    return f'counter="{COUNTED.index(name) + 1}"'


def scenario_xml() -> str:
    """The scenario of the callees for SIPp 3.6.

    SIPp takes what comes in between any two steps, so each event is counted by the step that sends
    the message of it.
    """
    field = f"file=&quot;{FATES}&quot; line=&quot;[$line]&quot;"
    tests = "\n".join(
        f'      <strcmp assign_to="not_{name}" variable="fate" value="{name}"/>\n'
        f'      <test assign_to="{name}" variable="not_{name}" compare="equal" value="0"/>'
        for name in ("busy", "invalid", "no_answer", "crosses")
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE scenario SYSTEM "sipp.dtd">
<scenario name="callees">
  <recv request="CANCEL" optional="global" next="cancelled"/>
  <recv request="INFO" optional="global" next="talk">
    <action>
      <ereg regexp="[0-9]+" search_in="hdr" header="X-Hang-Up-Ms:" assign_to="talk_text"/>
      <todouble assign_to="talk" variable="talk_text"/>
      <test assign_to="talking" variable="talk" compare="greater_than" value="-1"/>
      <test assign_to="by_callee" variable="talk" compare="greater_than" value="0"/>
    </action>
  </recv>
  <recv request="BYE" optional="global" next="bye"/>
  <recv request="INVITE" {_counter("invited")}>
    <action>
      <ereg regexp="sip:([0-9]+)@" search_in="hdr" header="To:" assign_to="whole,number"/>
      <ereg regexp=".*" search_in="hdr" header="From:" assign_to="dialer"/>
      <ereg regexp="sip:[^>]*" search_in="hdr" header="Contact:" assign_to="contact"/>
      <lookup assign_to="line" file="{FATES}" key="[$number]"/>
      <assignstr assign_to="fate" value="[field1 {field}]"/>
      <assignstr assign_to="ring_text" value="[field2 {field}]"/>
      <assignstr assign_to="patience_text" value="[field3 {field}]"/>
      <todouble assign_to="ring" variable="ring_text"/>
      <todouble assign_to="patience" variable="patience_text"/>
{tests}
    </action>
  </recv>
  <send>
    {_to_invite("180 Ringing")}
  </send>
  <nop next="no_answer" test="no_answer"/>
  <nop next="crosses" test="crosses"/>
  <pause variable="ring"/>
  <nop next="busy" test="busy"/>
  <nop next="invalid" test="invalid"/>
  <nop next="answer"/>

  <label id="crosses"/>
  <recv request="CANCEL"/>
  <send>
    {_OK_CANCEL}
  </send>

  <label id="answer"/>
  <send retrans="500" {_counter("answered")}>
    {_ANSWER}
  </send>
  <recv request="CANCEL" optional="true" next="late_cancel"/>
  <recv request="ACK" next="picked_up">
    <action><ereg regexp=".*" search_in="hdr" header="To:" assign_to="callee"/></action>
  </recv>
  <label id="late_cancel"/>
  <send>
    {_OK_CANCEL}
  </send>
  <recv request="ACK">
    <action><ereg regexp=".*" search_in="hdr" header="To:" assign_to="callee"/></action>
  </recv>

  <label id="picked_up"/>
  <pause variable="patience"/>
  <send retrans="500" {_counter("left")}>
    {_BYE}
  </send>
  <label id="left"/>
  <recv request="INFO" optional="true" next="too_late"/>
  <recv request="BYE" optional="true" next="both"/>
  <recv response="200" next="end"/>
  <label id="too_late"/>
  <send next="left">
    {_GONE}
  </send>
  <label id="both"/>
  <send next="left">
    {_OK}
  </send>

  <label id="bye"/>
  <nop next="dialer_ended" test="talking"/>
  <send next="end" {_counter("cut")}>
    {_OK}
  </send>

  <label id="talk"/>
  <send {_counter("talked")}>
    {_OK}
  </send>
  <nop next="callee_ends" test="by_callee"/>
  <recv request="BYE"/>
  <label id="dialer_ended"/>
  <send next="end" {_counter("dialer_ended")}>
    {_OK}
  </send>
  <label id="callee_ends"/>
  <pause variable="talk"/>
  <send retrans="500" next="left" {_counter("callee_ended")}>
    {_BYE}
  </send>

  <label id="no_answer"/>
  <recv request="CANCEL"/>
  <label id="cancelled"/>
  <send {_counter("cancelled")}>
    {_OK_CANCEL}
  </send>
  <send retrans="500" next="acknowledged">
    {_to_invite("487 Request Terminated")}
  </send>
  <label id="busy"/>
  <send retrans="500" next="acknowledged" {_counter("busy")}>
    {_to_invite("486 Busy Here")}
  </send>
  <label id="invalid"/>
  <send retrans="500" {_counter("invalid")}>
    {_to_invite("404 Not Found")}
  </send>
  <label id="acknowledged"/>
  <recv request="CANCEL" optional="true" next="cancel_after"/>
  <recv request="ACK" next="end"/>
  <label id="cancel_after"/>
  <send next="acknowledged">
    {_OK_CANCEL}
  </send>

  <label id="end"/>
  <nop/>
  <Reference variables="whole"/>
</scenario>
"""


def why_not() -> str | None:
    """Why there can be no telephone network here, and how to get it; None: there can."""
    if shutil.which("sipp") is None:
        return "SIPp is not installed; on Debian: apt-get install sip-tester"
    return None


class Network:
    """A SIPp that plays the callees on a UDP port of loopback.

    Args:
        folder: for its files; one network each.
        fates: what becomes of the numbers.
        more: further flags of SIPp, for instance to lose messages.

    Raises:
        QuietDialError: SIPp is not there or does not start.
    """

    def __init__(self, folder: Path, fates: Iterable[Fate], more: Iterable[str] = ()) -> None:
        missing = why_not()
        if missing is not None:
            raise QuietDialError(missing)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "callees.xml").write_text(scenario_xml())
        with (folder / FATES).open("w", newline="") as file:
            file.write("SEQUENTIAL\n")
            csv.writer(file, delimiter=";", lineterminator="\n").writerows(fates)
        self.port = _free_udp_port()
        command = ["sipp", "-sf", "callees.xml", "-inf", FATES, "-infindex", FATES, "0"]
        command += ["-i", "127.0.0.1", "-p", str(self.port), "-nostdin", "-timer_resol", "1"]
        command += ["-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_err"]
        command += ["-error_file", "errors.log", "-watchdog_minor_maxtriggers", "1000000"]
        command += ["-watchdog_major_maxtriggers", "1000000", *more]
        with (folder / "screen.log").open("wb") as screen:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
            )
        self._wait()
        self.preferred = prefer([self.process.pid])

    def _wait(self) -> None:
        end_s = time.monotonic() + _START_S
        while time.monotonic() < end_s:
            if self.process.poll() is not None:
                text = (self.folder / "screen.log").read_text(errors="replace")
                raise QuietDialError(f"sipp ended: {' '.join(text.split())[-300:]}")
            if not _is_free(self.port):
                return
            time.sleep(0.02)
        self.process.kill()
        raise QuietDialError(f"sipp did not listen within {_START_S:g} s")

    def end(self) -> dict[str, int]:
        """Let it finish; what it counted (:data:`COUNTED`) and its calls by success."""
        self.process.send_signal(signal.SIGUSR1)
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:  # calls that never end; the counts are in the file
            self.process.kill()
            self.process.wait()
        with (self.folder / "stat.csv").open(newline="") as file:
            rows = list(csv.reader(file, delimiter=";"))
        last = dict(zip(rows[0], rows[-1], strict=False))
        counts = {
            name: int(last.get(f"GenericCounter{i}(C)", 0)) for i, name in enumerate(COUNTED, 1)
        }
        more = {
            "successful": "SuccessfulCall(C)",
            "failed": "FailedCall(C)",
            "current": "CurrentCall",
            "retransmitted": "Retransmissions(C)",
        }
        return counts | {name: int(last[column]) for name, column in more.items()}

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def network(folder: Path, fates: Iterable[Fate], more: Iterable[str] = ()) -> Iterator[Network]:
    """A network that is gone at the end of the context."""
    made = Network(folder, fates, more)
    try:
        yield made
    finally:
        made.kill()


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
