"""Stopping on SIGINT and SIGTERM without losing anything."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal ended the work.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class Stop:
    """Whether a signal asked this process to stop.

    Attributes:
        patient: while this is set, the first signal is only remembered, for the work to end at the
            next point at which nothing is half done; a second one, or one at any other time, ends
            the work at once by `Stopped`, a `KeyboardInterrupt`.
        signal: the last signal that came, or None.
    """

    def __init__(self) -> None:
        self.patient = False
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that a signal ended: 130 (SIGINT) or 143 (SIGTERM)."""
        return 128 + (self.signal or signal.SIGINT)

    def _received(self, number: int, _: FrameType | None) -> None:
        again = self.signal is not None
        self.signal = number
        if again or not self.patient:
            raise Stopped(number)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Handle both signals within the context; one that this process ignores stays ignored."""
    stop = Stop()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if handler not in (signal.SIG_IGN, None):
            before[number] = handler
            signal.signal(number, stop._received)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
