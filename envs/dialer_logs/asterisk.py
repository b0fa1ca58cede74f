"""Reads an Asterisk's queue_log and its call detail records, together or alone.

The CDR has the dials: disposition and ring time (`duration` - `billsec`). The queue_log has what
came after the answer: waits, talks, agents. They are joined by the unique id of the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from quietdial.envs.dialer_logs.assemble import LogCall, Numbers, recorded_days
from quietdial.envs.dialer_logs.cdr import DISPOSITIONS, CdrCall, read_cdr
from quietdial.envs.dialer_logs.clock import LogClock
from quietdial.envs.dialer_logs.days import AGENT_COLUMNS, RecordedDays
from quietdial.envs.dialer_logs.queue_log import QueuedCall, QueueStory, queue_of, read_events

NO_CDR: Final = "queued calls without a CDR (still going on, or not dialed by it)"
WHO: Final = "answered calls that never entered the queue: a person or a machine, not told"
FOR_PERSON: Final = (
    "queued calls counted as people; a machine that the dialer passes on looks alike"
)


def read_asterisk(
    queue_files: Sequence[tuple[Path, bool]],
    cdr_files: Sequence[tuple[Path, bool]],
    *,
    time_zone: str,
    campaign: str | None,
    context: str | None = None,
) -> RecordedDays:
    """Read both kinds of files.

    Args:
        queue_files: each queue_log, and whether it is a table with a header.
        cdr_files: each file of call detail records, and whether it has a header.
        time_zone: of local times in the files, IANA name.
        campaign: the queue to take; None: the only one.
        context: `dcontext` of the dialer's rows of the CDR; None: all rows are its.

    Raises:
        CalibrationError: a file is not such a log, or the choice of queue is open.
    """
    clock = LogClock(time_zone)
    counted: Counter[str] = Counter()
    files = [str(path) for path, _ in (*queue_files, *cdr_files)]
    events = read_events(queue_files, clock, counted) if queue_files else []
    queue, story = campaign or "", None
    if events:
        queue = queue_of(events, campaign)
        story = QueueStory(events, queue, counted)
    cdr = read_cdr(cdr_files, clock, context, counted) if cdr_files else {}
    calls: list[LogCall] = []
    people = Numbers()
    queued = dict(story.calls) if story is not None else {}
    for unique, row in cdr.items():
        calls.append(_joined(row, queued.get(unique), people, counted, has_queue=bool(queued)))
    for unique, entry in queued.items():
        if unique not in cdr:
            counted[NO_CDR] += bool(cdr)
            call = LogCall(anchor_ms=entry.entered_ms)
            _follow(call, entry)
            calls.append(call)
    place_of = {unique: place for place, unique in enumerate(cdr)}
    extra = len(cdr)
    places: list[int] = []
    for unique in queued:
        if unique in place_of:
            places.append(place_of[unique])
        else:
            places.append(extra)
            extra += 1
    stretches = story.stretches if story is not None else []
    for stretch in stretches:
        stretch.call = places[stretch.call] if stretch.call >= 0 else -1
    counted[FOR_PERSON] += sum(call.queued_ms >= 0 for call in calls)
    is_fine = any(event.time_ms % 1000 for event in events[:10_000])
    fine = 1 if is_fine else 1000
    return recorded_days(
        "asterisk",
        queue,
        calls,
        stretches,
        clock=clock,
        counted=counted,
        files=files,
        call_unknown=_unknown(story, bool(cdr)),
        agent_unknown={}
        if story is not None
        else dict.fromkeys(AGENT_COLUMNS, "no queue_log was given; the CDR has no agents"),
        call_source=_SOURCE,
        agent_source=dict.fromkeys(AGENT_COLUMNS, "queue_log"),
        resolution_ms={
            **dict.fromkeys(("dialed_ms", "start_ms", "ended_ms", "picked_up_ms"), 1000),
            **dict.fromkeys(
                (
                    "queued_ms",
                    "connected_ms",
                    "waited_ms",
                    "silent_ms",
                    "talk_ms",
                    "wrap_ms",
                    "from_ms",
                    "to_ms",
                ),
                fine,
            ),
        },
    )


_AFTER: Final = (
    "queued_ms",
    "connected_ms",
    "agent",
    "waited_ms",
    "silent_ms",
    "silent",
    "talk_ms",
    "wrap_ms",
)
"""Columns that only the queue_log tells."""
_SOURCE: Final = {
    "person": "cdr.dst",
    "dialed_ms": "cdr.start",
    "start_ms": "cdr.start",
    "ended_ms": "cdr.answer, cdr.end",
    "outcome": "cdr.disposition, queue_log ENTERQUEUE",
    "picked_up_ms": "cdr.answer",
    "verdict": "cdr.userfield",
    "queued_ms": "queue_log ENTERQUEUE",
    "connected_ms": "queue_log CONNECT",
    "agent": "queue_log CONNECT",
    "waited_ms": "queue_log ENTERQUEUE to CONNECT, ABANDON or EXITWITHTIMEOUT",
    "silent_ms": "queue_log ABANDON, EXITWITHTIMEOUT",
    "silent": "queue_log ABANDON, EXITWITHTIMEOUT",
    "talk_ms": "queue_log COMPLETEAGENT, COMPLETECALLER",
    "wrap_ms": "queue_log PAUSE with a reason such as wrap",
    "censored": "queue_log",
}


def _joined(
    row: CdrCall,
    entry: QueuedCall | None,
    people: Numbers,
    counted: Counter[str],
    *,
    has_queue: bool,
) -> LogCall:
    answered = row.answer_ms is not None
    call = LogCall(
        anchor_ms=row.start_ms,
        person=people.of(row.dst) if row.dst else -1,
        dialed_ms=row.start_ms,
        start_ms=row.start_ms,
        ended_ms=row.answer_ms if row.answer_ms is not None else row.end_ms,
        outcome=DISPOSITIONS[row.disposition],
        picked_up_ms=row.answer_ms if row.answer_ms is not None else -1,
    )
    verdict = row.userfield.strip().upper()
    if answered and verdict.startswith("MACHINE"):
        call.outcome, call.verdict = "machine", "machine"
    elif answered and verdict.startswith("HUMAN"):
        call.outcome, call.verdict = "person", "person"
    if entry is not None:
        call.outcome = "person" if call.outcome == "" else call.outcome
        _follow(call, entry)
    elif answered and call.outcome == "" and has_queue:
        counted[WHO] += 1
    return call


def _follow(call: LogCall, entry: QueuedCall) -> None:
    """What the queue_log says about a call."""
    call.queued_ms = entry.entered_ms
    call.outcome = call.outcome or "person"
    if entry.connected_ms is not None:
        call.connected_ms, call.agent = entry.connected_ms, entry.agent
        call.waited_ms = entry.connected_ms - entry.entered_ms
        if entry.talk_end_ms is not None:
            call.talk_ms = entry.talk_end_ms - entry.connected_ms
            call.wrap_ms = entry.wrap_ms if entry.wrap_ms is not None else -1
        else:
            call.censored = True
    elif entry.left_ms is not None:
        call.waited_ms = entry.left_ms - entry.entered_ms
        if entry.left in ("left", "cut"):
            call.silent, call.silent_ms = entry.left, entry.left_ms
    else:
        call.censored = True


def _unknown(story: QueueStory | None, has_cdr: bool) -> dict[str, str]:
    out = {
        "verdict_ms": "the moment of the answering-machine detection's verdict is not written",
        "machine_ms": "an agent's time with a machine looks like a conversation",
    }
    if not has_cdr:
        why = "the queue_log begins when a call enters the queue; give the CDR"
        names = ("person", "dialed_ms", "start_ms", "ended_ms", "picked_up_ms", "verdict")
        out |= dict.fromkeys(names, why)
    if story is None:
        why = "the CDR does not say what happened after the answer; give the queue_log"
        out |= dict.fromkeys(_AFTER, why)
    elif not story.knows_wrap:
        out["wrap_ms"] = (
            "the queue's wrap-up time leaves no event; only pauses with a reason such as 'wrap' do"
        )
    return out
