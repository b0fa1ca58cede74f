"""Timers: the kinds of events, and heaps of whole numbers with four children a node.

A timer is (time [ms] << 24) | (kind << 20) | entity, so that the least one is the next event, and
events of one millisecond come in the order of their kind, then of their entity.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.state import HEAP, numbers

(
    DRIFT,
    SHIFT,
    AGENT,
    ENDING,
    PICKUP,
    VERDICT,
    UNHEARD,
    SILENCE,
    LINE,
    CALLER,
    GIVE_UP,
    CONTROL,
) = numbers(12)
NEVER = np.int64(0x7FFFFFFFFFFFFFFF)
SHIFT_LOGIN, SHIFT_LUNCH, SHIFT_LOGOUT = 0, 1, 2
"""What a SHIFT timer's entity asks of agent i: (what << 12) | i."""


@compiled(inline="always")
def timer_of(t, kind, entity):  # type: ignore[no-untyped-def]
    """The timer of an event."""
    return (t << 24) | (kind << 20) | entity


@compiled(inline="always")
def rise(heap, at, timer):  # type: ignore[no-untyped-def]
    """Put a timer into the hole `at` of a heap whose nodes have four children each."""
    while at > 0:
        parent = (at - 1) >> 2
        if heap[parent] <= timer:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = timer


@compiled(inline="always")
def take_first(heap, size):  # type: ignore[no-untyped-def]
    """Take the least entry out of a heap of `size` entries.

    The hole sinks to a leaf, then the last entry rises from there.
    """
    size -= 1
    last = heap[size]
    at = 0
    child = 1
    while child + 3 < size:
        t0, t1, t2, t3 = heap[child], heap[child + 1], heap[child + 2], heap[child + 3]
        low, high = min(t0, t1), min(t2, t3)
        first = child + (t1 < t0)
        second = child + 2 + (t3 < t2)
        heap[at] = min(low, high)
        at = second if high < low else first
        child = 4 * at + 1
    if child < size:
        best = child
        for other in range(child + 1, size):
            if heap[other] < heap[best]:
                best = other
        heap[at] = heap[best]
        at = best
    rise(heap, at, last)


@compiled()
def remove(heap, size, at):  # type: ignore[no-untyped-def]
    """Take the entry at place `at` out of a heap of `size` entries."""
    last = heap[size - 1]
    if at == size - 1:
        return
    while True:
        child = 4 * at + 1
        best = child
        for other in range(child + 1, min(child + 4, size - 1)):
            if heap[other] < heap[best]:
                best = other
        if child >= size - 1 or heap[best] >= last:
            break
        heap[at] = heap[best]
        at = best
    rise(heap, at, last)


@compiled(inline="always")
def push(b, s, timer):  # type: ignore[no-untyped-def]
    """Add a timer of campaign b."""
    at = s.head[b, HEAP]
    s.head[b, HEAP] = at + 1
    rise(s.heap[b], at, timer)


@compiled(inline="always")
def pop(b, s):  # type: ignore[no-untyped-def]
    """Take the first timer of campaign b out."""
    size = s.head[b, HEAP]
    s.head[b, HEAP] = size - 1
    take_first(s.heap[b], size)
