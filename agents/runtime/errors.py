"""The error of the runtime. It stands apart from `quietdial.envs.errors`, which brings numba."""

from __future__ import annotations


class PacerError(ValueError):
    """Something handed to the pacer is not allowed: one line, what, which value, what to do."""
