"""Put processes that play in real time before others, as far as the system lets us."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Final

_NICE: Final = -10


def prefer(pids: Iterable[int]) -> str:
    """Let processes run before others; how that was done, in words.

    Round-robin scheduling where it is allowed (Linux, root), else a higher priority, else nothing.
    """
    done = set()
    for pid in pids:
        done.add(_prefer(pid))
    return ", ".join(sorted(done)) or "nothing"


def _prefer(pid: int) -> str:
    with contextlib.suppress(OSError, AttributeError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setscheduler(int(thread), os.SCHED_RR, os.sched_param(1))
        return "round-robin scheduling"
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, pid, _NICE)
        return f"nice {_NICE}"
    return "no priority"
