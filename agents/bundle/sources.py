"""Where each feature comes from in VICIdial, Asterisk and FreeSWITCH.

By tables, columns and events as those systems document them (docs/export.md has the whole). A
feature is always a few counts put through a formula; here stands where the counts are.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Source(NamedTuple):
    """Where the counts behind a feature are."""

    vicidial: str
    asterisk: str
    freeswitch: str

    def to_dict(self) -> dict[str, str]:
        """Ready for the manifest."""
        return self._asdict()


_AGENTS = Source(
    "vicidial_live_agents: status READY, INCALL, QUEUE, PAUSED of the campaign; lead_id 0 with "
    "status INCALL or PAUSED after a call: wrap-up (pause_code)",
    "AMI QueueStatus: QueueMember events with Status, InCall, Paused, PausedReason",
    "ESL: callcenter_config agent list, columns status and state",
)
_SINCE = Source(
    "vicidial_live_agents.last_state_change, last_call_time, last_call_finish",
    "AMI QueueMember: LastCall, LastPause; AgentConnect and AgentComplete events",
    "ESL: callcenter_config agent list, last_status_change, last_bridge_end",
)
_CALLS = Source(
    "vicidial_auto_calls: call_type OUT, status SENT or RINGING; call_time: dialed at",
    "AMI Originate to OriginateResponse, DialBegin to DialEnd, by ActionID",
    "ESL: CHANNEL_CREATE to CHANNEL_ANSWER or CHANNEL_HANGUP of each bgapi originate",
)
_WAITING = Source(
    "vicidial_auto_calls: call_type OUT, status LIVE",
    "AMI QueueEntry events of QueueStatus; QueueCallerJoin to AgentConnect",
    "ESL: callcenter_config queue list members, state Waiting",
)
_RESULTS = Source(
    "vicidial_log: rows of finished calls by status; answered: those that a person picked up "
    "(vicidial_campaign_stats has the same over 1, 5 and 30 minutes)",
    "CDR disposition ANSWERED, NO ANSWER, BUSY, FAILED; AMI DialEnd DialStatus",
    "ESL: CHANNEL_HANGUP_COMPLETE, variables hangup_cause and answer_epoch",
)
_SILENT = Source(
    "vicidial_log and vicidial_closer_log: status DROP, PDROP, XDROP (and machine verdicts AA "
    "audited for people), against all calls that a person answered, since the window began",
    "queue_log: ABANDON, EXITWITHTIMEOUT against CONNECT, since the window began",
    "ESL: callcenter::info member-queue-end with cause, against those bridged to an agent",
)
_TIME = Source(
    "the clock, and the campaign's call times (vicidial_call_times)",
    "the clock, and the campaign's plan",
    "the clock, and the campaign's plan",
)
_STAFF = Source(
    "the shift plan, or vicidial_agent_log of earlier days",
    "the shift plan; queue_log ADDMEMBER, REMOVEMEMBER",
    "the shift plan; callcenter::info agent-status-change",
)
_LIST = Source(
    "vicidial_list of the campaign's lists: rows that may still be dialed / all rows",
    "the list's own data base",
    "the list's own data base",
)
_SCORES = Source(
    "vicidial_hopper joined to a score of vicidial_list (a custom field)",
    "the list's own data base, a score of each lead",
    "the list's own data base, a score of each lead",
)
_DETECTION = Source(
    "vicidial_auto_calls with AMD: answered and no verdict in vicidial_amd_log yet",
    "AMI: channels in application AMD, until VarSet AMDSTATUS",
    "ESL: CHANNEL_ANSWER until the detection module's event",
)
_INBOUND = Source(
    "vicidial_auto_calls: call_type IN; vicidial_live_agents.comments INBOUND",
    "AMI QueueStatus of the inbound queue",
    "ESL: callcenter_config of the inbound queue",
)
_LINES = Source(
    "vicidial_campaigns and servers: max_vicidial_trunks less the rows of vicidial_auto_calls",
    "AMI CoreShowChannels, ListItems, against the trunk's size",
    "ESL: show channels count, against the trunk's size",
)
_BASE = Source(*["computed: the base value at the contract's theta, by the runtime or by you"] * 3)

_BY_NAME: Final[tuple[tuple[str, tuple[Source, ...]], ...]] = (
    (r"idle_few|idle_share|talk_share|wrap_share|break_share|busy|team_size|logged_in", (_AGENTS,)),
    (r"nobody_free|given_unseen", (_AGENTS, _WAITING)),
    (r"waiting", (_WAITING,)),
    (r"answer_rate.*", (_RESULTS,)),
    (r"answers_due|in_flight|dialed_\d", (_CALLS, _RESULTS)),
    (r"over_budget_few|over_budget_rate|tightest_window", (_SILENT,)),
    (r"rate_left", (_SILENT, _TIME)),
    (r"time_left", (_TIME,)),
    (r"leaving.*", (_STAFF,)),
    (r"list_left", (_LIST,)),
    (r"releases_\d", (_SINCE,)),
    (r"answers_\d", (_CALLS, _RESULTS)),
    (r"overflow_\d|slack_\d|risk", (_SINCE, _CALLS, _RESULTS)),
    (r"likeliest|next_lead|least_likely", (_SCORES,)),
    (r"under_detection", (_DETECTION,)),
    (r"inbound_.*", (_INBOUND,)),
    (r"lines_free", (_LINES,)),
    (r"base_dials", (_BASE,)),
)


def source_of(feature: str) -> Source:
    """Where the counts behind a feature are; of one that is not known it says so."""
    for pattern, sources in _BY_NAME:
        if re.fullmatch(pattern, feature):
            return Source(*("; and ".join(parts) for parts in zip(*sources, strict=True)))
    return Source(*["not known: ask whoever trained the policy"] * 3)
