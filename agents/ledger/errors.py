"""The error of the ledger; apart from `quietdial.envs.errors`, which brings the simulator."""

from __future__ import annotations

from quietdial.agents.runtime.errors import PacerError


class LedgerError(PacerError):
    """A ledger cannot be opened, is damaged, or was given an impossible event: one line."""
