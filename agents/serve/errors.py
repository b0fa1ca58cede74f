"""The errors of the sidecar. They stand alone, since a dialer's host has no simulator."""

from __future__ import annotations

from typing import Final


class ServeError(ValueError):
    """The sidecar cannot start as asked: one line, what, which value, what to do."""


class RequestError(ValueError):
    """A request that is refused: an HTTP status and one line for who sent it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


MAX_MESSAGE: Final = 300
"""Longest message that is sent back, characters."""


def one_line(text: str) -> str:
    """A message that may quote what a stranger sent: printable, one line, not long."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= MAX_MESSAGE else shown[: MAX_MESSAGE - 3] + "..."
