"""Ask the processor for the memory of the next campaigns before their turn comes.

With many campaigns of many agents, a row has left the nearer caches when its next step begins, and
most of the time of a step is spent waiting for memory. Nothing here changes any result.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.state import FREE, HEAP

WORTH_IT = 20_000
"""Agents of all campaigns together from which on the state does not fit into a nearer cache."""
_LINE = 8  # int64 numbers in a cache line
_NEXT_TIMERS = 21  # the first three levels of the heap


@intrinsic
def _emitted(_typing: Any, array: Any, row: Any, column: Any) -> Any:
    """Load the cache line of `array[row, column]` (or of its first number) some time soon."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        struct = context.make_array(kind)(context, builder, arguments[0])
        place = [*arguments[1:], *[context.get_constant(types.intp, 0)] * (kind.ndim - 2)]
        item: Any = cgutils.get_item_pointer
        pointer = item(context, builder, kind, struct, place, wraparound=False)
        word = ir.IntType(32)
        signature_ = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], signature_)
        read, all_caches, data = word(0), word(3), word(1)
        builder.call(function, [pointer, read, all_caches, data])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), emit


_prefetch: Any = _emitted
"""As compiled code calls it: without the first argument."""


@compiled(inline="always")
def fetch_ahead(b: Any, s: Any, agent_kind: Any) -> None:
    """While campaign b is played, fetch what b + 1 and b + 2 will need.

    These are the timers of b + 2, and the agents and calls of the first timers of b + 1.
    `agent_kind` is the kind of a timer whose entity is an agent; the entity of others is a call.
    """
    if b + 2 < s.head.shape[0]:
        for i in range(0, s.head[b + 2, HEAP], _LINE):
            _prefetch(s.heap, b + 2, i)
        _prefetch(s.free, b + 2, s.head[b + 2, FREE])
    if b + 1 < s.head.shape[0]:
        for i in range(min(s.head[b + 1, HEAP], _NEXT_TIMERS)):
            timer = s.heap[b + 1, i]
            if (timer >> 20) & 0xF == agent_kind:
                _prefetch(s.agent, b + 1, timer & 0xFFFFF)
            else:
                _prefetch(s.call, b + 1, timer & 0xFFFFF)
