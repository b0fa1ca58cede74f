"""The error of the adapter; apart from `quietdial.envs.errors`, which brings the simulator."""

from __future__ import annotations

from quietdial.agents.runtime.errors import PacerError


class DialerError(PacerError):
    """The dialer's database cannot be used as it is, or a setting is not allowed: one line."""
