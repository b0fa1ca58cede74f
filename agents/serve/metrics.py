"""Counters, gauges and histograms in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]


class Family:
    """A counter or a gauge with labels.

    Args:
        name: name of the metric.
        kind: "counter" or "gauge".
        says: what it counts.
        labels: names of its labels.
    """

    def __init__(self, name: str, kind: str, says: str, labels: Sequence[str] = ()) -> None:
        self.name, self.kind, self.says = name, kind, says
        self.labels = tuple(labels)
        self.values: dict[Labels, float] = {}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count one more."""
        self.values[labels] = self.values.get(labels, 0.0) + by

    def put(self, value: float, *labels: str) -> None:
        """Set a gauge."""
        self.values[labels] = value

    def lines(self) -> list[str]:
        """The family as text."""
        rows = self.values.items() if self.values or self.labels else [((), 0.0)]
        return [
            f"# HELP {self.name} {self.says}",
            f"# TYPE {self.name} {self.kind}",
            *(f"{self.name}{_label_text(self.labels, values)} {_n(v)}" for values, v in rows),
        ]


class Histogram:
    """How often a number fell below each of some edges.

    Args:
        name: name of the metric.
        says: what it measures.
        edges: upper edges, ascending.
    """

    def __init__(self, name: str, says: str, edges: Sequence[float]) -> None:
        self.name, self.says, self.edges = name, says, tuple(edges)
        self.counts = [0] * (len(self.edges) + 1)
        self.total = 0.0

    def see(self, value: float) -> None:
        """Take a number in."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def lines(self) -> list[str]:
        """The histogram as text."""
        rows = [f"# HELP {self.name} {self.says}", f"# TYPE {self.name} histogram"]
        so_far = 0
        for edge, count in zip([*map(_n, self.edges), "+Inf"], self.counts, strict=True):
            so_far += count
            rows.append(f'{self.name}_bucket{{le="{edge}"}} {so_far}')
        return [*rows, f"{self.name}_sum {_n(self.total)}", f"{self.name}_count {so_far}"]


def _n(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _label_text(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = ",".join(f'{n}="{_escaped(v)}"' for n, v in zip(names, values, strict=True))
    return f"{{{pairs}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


_FAST: Final = (50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 1.0)
_AGES: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)


class Metrics:
    """Everything that the sidecar counts."""

    def __init__(self) -> None:
        self.decisions = Family(
            "quietdial_decisions_total",
            "counter",
            "Answers to well-formed requests, by rung of the ladder and reason of a fallback.",
            ("rung", "reason"),
        )
        self.seconds = Histogram(
            "quietdial_decision_seconds", "Time from a parsed request to its answer.", _FAST
        )
        self.age = Histogram(
            "quietdial_observation_age_seconds", "Age of what a dialer told.", _AGES
        )
        self.answer = Family(
            "quietdial_answer", "gauge", "Last answer, in the policy's unit.", ("campaign",)
        )
        self.outcomes = Family(
            "quietdial_outcomes_total", "counter", "Outcomes counted.", ("outcome",)
        )
        self.requests = Family(
            "quietdial_requests_total",
            "counter",
            "Requests by way in and status (200: answered).",
            ("face", "status"),
        )
        self.reloads = Family(
            "quietdial_reloads_total", "counter", "Bundles offered while running.", ("result",)
        )
        self.secrets = Family(
            "quietdial_secrets_total",
            "counter",
            "Token and certificate read again while running.",
            ("what", "result"),
        )
        self.connections = Family("quietdial_connections", "gauge", "Open connections.", ("face",))
        self.refused = Family(
            "quietdial_connections_closed_total",
            "counter",
            "Connections that the sidecar closed, by reason.",
            ("reason",),
        )
        self.jumps = Family(
            "quietdial_clock_jumps_total", "counter", "Jumps of the wall clock by a second or more."
        )
        self.campaigns = Family("quietdial_campaigns", "gauge", "Campaigns with a state.")
        self.bundle = Family(
            "quietdial_bundle_info", "gauge", "The bundle in use.", ("name", "bundle_id", "signer")
        )
        self.resident = Family(
            "process_resident_memory_bytes", "gauge", "Resident memory size in bytes."
        )
        self.started = Family(
            "process_start_time_seconds", "gauge", "Start of the process, Unix time."
        )

    def text(self) -> str:
        """The whole page."""
        self.resident.put(resident_bytes())
        parts = [part.lines() for part in vars(self).values()]
        return "\n".join(line for lines in parts for line in lines) + "\n"


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            pages = int(stream.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * 4096
