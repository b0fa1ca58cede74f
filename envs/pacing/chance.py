"""Counter-based chance: every random number is a pure function of what it decides.

A draw is `mix(mix(key + purpose) + number)`, where `key` comes from (seed, campaign number) and
`number` is the entity's own number (the k-th dial, the k-th conversation). Nothing is consumed in
sequence, so two policies with one seed meet the same world, and batch size, threads and processes
cannot matter. `mix` is the splitmix64 finaliser (Steele, Lea and Flood 2014, variant 13 of
Stafford). Functions such as exp and sin are read from tables rounded to 2^-30, because the last
bit of a mathematical library differs between platforms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quietdial.envs.laws import BODY_CELLS
from quietdial.envs.pacing.jit import compiled

# purposes of draws; never renumber: published results depend on them
DIAL_OUTCOME = np.uint64(1)
DIAL_ENDING = np.uint64(2)
DIAL_TIME = np.uint64(3)
DIAL_PATIENCE = np.uint64(4)
TALK_TIME = np.uint64(5)
WRAP_TIME = np.uint64(6)
BREAK_TAKEN = np.uint64(7)
BREAK_TIME = np.uint64(8)
DAY_LEVEL = np.uint64(9)
DAY_PHASE = np.uint64(10)
DAY_TALK = np.uint64(11)
DRIFT_NOISE = np.uint64(12)
TRAIN_START = np.uint64(13)
ROUNDING = np.uint64(14)
SETUP_TIME = np.uint64(15)
GREETING_START = np.uint64(16)
GREETING_TIME = np.uint64(17)
VERDICT = np.uint64(18)
VERDICT_TIME = np.uint64(19)
MACHINE_TIME = np.uint64(20)
JUMP = np.uint64(21)
JUMP_SIZE = np.uint64(22)
TALK_PHASE = np.uint64(23)
TALK_NOISE = np.uint64(24)
TALK_JUMP = np.uint64(25)
TALK_JUMP_SIZE = np.uint64(26)
AGENT_SPEED = np.uint64(27)
AGENT_SKILL = np.uint64(28)
SUCCESS = np.uint64(29)
SEGMENT = np.uint64(30)
CALLBACK = np.uint64(31)
CALLBACK_TIME = np.uint64(32)
INBOUND_GAP = np.uint64(33)
INBOUND_TIME = np.uint64(34)
INBOUND_PATIENCE = np.uint64(35)
INBOUND_BALK = np.uint64(36)
DAY_INBOUND = np.uint64(37)
LEAD_CLASS = np.uint64(38)
LEAD_SCORE = np.uint64(39)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_S12, _S22, _S44, _S54 = np.uint64(12), np.uint64(22), np.uint64(44), np.uint64(54)
_LOW32 = np.uint64(0xFFFFFFFF)
_LOW10 = np.uint64(1023)

# one flat array holds the curves; (offset, first argument, cells per unit, last index)
_NORMAL_CELLS = 4096
_EXP_LOW, _EXP_HIGH, _EXP_PER_UNIT = -12.0, 4.0, 256
_SINE_CELLS = 1024
PHI_LIMIT, PHI_PER_UNIT = 6.0, 64
_NORMAL_AT = 0
_EXP_AT = _NORMAL_AT + _NORMAL_CELLS + 1
_EXP_LAST = int((_EXP_HIGH - _EXP_LOW) * _EXP_PER_UNIT)
_SINE_AT = _EXP_AT + _EXP_LAST + 1
PHI_AT = _SINE_AT + _SINE_CELLS + 1
PHI_LAST = int(2 * PHI_LIMIT * PHI_PER_UNIT)


def curves() -> NDArray[np.float64]:
    """The shared tables (normal quantile, exp, sine, normal distribution), rounded to 2^-30."""
    edge = 1.0 / (8 * _NORMAL_CELLS)
    normal = special.ndtri(np.clip(np.arange(_NORMAL_CELLS + 1) / _NORMAL_CELLS, edge, 1 - edge))
    exp = np.exp(_EXP_LOW + np.arange(_EXP_LAST + 1) / _EXP_PER_UNIT)
    sine = np.sin(2 * np.pi * np.arange(_SINE_CELLS + 1) / _SINE_CELLS)
    phi = special.ndtr(-PHI_LIMIT + np.arange(PHI_LAST + 1) / PHI_PER_UNIT)
    return np.rint(np.concatenate([normal, exp, sine, phi]) * 2.0**30) / 2.0**30


@compiled(inline="always")
def _mix(z):  # type: ignore[no-untyped-def]
    z = (z ^ (z >> _S30)) * _MIX_A
    z = (z ^ (z >> _S27)) * _MIX_B
    return z ^ (z >> _S31)


@compiled(inline="always")
def campaign_key(seed, campaign):  # type: ignore[no-untyped-def]
    """Key of one campaign's world: uint64 from uint64 seed and uint64 campaign number."""
    return _mix(_mix(seed + _GOLDEN) + (campaign + np.uint64(1)) * _MIX_B)


@compiled(inline="always")
def draw(key, purpose, number):  # type: ignore[no-untyped-def]
    """The uint64 that decides `purpose` of entity `number`."""
    return _mix(_mix(key + purpose * _MIX_A) + np.uint64(number) * _GOLDEN)


@compiled(inline="always")
def unit(u):  # type: ignore[no-untyped-def]
    """A uint64 draw as a float64 in [0, 1)."""
    return np.float64(u >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled(inline="always")
def duration_ms(tables, law, u):  # type: ignore[no-untyped-def]
    """Duration in ms (int64) from quantile table `law` and draw `u`, by integer interpolation."""
    cell = u >> _S54
    share = (u >> _S22) & _LOW32
    at = np.int64(cell)
    if at == BODY_CELLS - 1:
        at = np.int64(BODY_CELLS) + np.int64((u >> _S44) & _LOW10)
        share = (u >> _S12) & _LOW32
    low = tables[law, at]
    return low + (((tables[law, at + 1] - low) * np.int64(share)) >> 32)


@compiled(inline="always")
def _read(table, at, position, last):  # type: ignore[no-untyped-def]
    position = min(max(position, 0.0), np.float64(last))
    cell = min(np.int64(position), last - 1)
    low = table[at + cell]
    return low + (table[at + cell + 1] - low) * (position - cell)


@compiled(inline="always")
def normal(table, u):  # type: ignore[no-untyped-def]
    """Standard normal value of draw `u` (table of the quantile function, cut at +-4)."""
    return _read(table, _NORMAL_AT, unit(u) * _NORMAL_CELLS, _NORMAL_CELLS)


@compiled(inline="always")
def exp(table, x):  # type: ignore[no-untyped-def]
    """Exponential function from the table, x cut to [-12, 4]; relative error below 2e-6."""
    return _read(table, _EXP_AT, (x - _EXP_LOW) * _EXP_PER_UNIT, _EXP_LAST)


@compiled(inline="always")
def sine(table, turns):  # type: ignore[no-untyped-def]
    """sin(2 pi turns) from the table; error below 5e-6."""
    return _read(table, _SINE_AT, (turns - np.floor(turns)) * _SINE_CELLS, _SINE_CELLS)


@compiled(inline="always")
def phi(table, z):  # type: ignore[no-untyped-def]
    """Standard normal distribution function from the table; error below 8e-6."""
    return _read(table, PHI_AT, (z + PHI_LIMIT) * PHI_PER_UNIT, PHI_LAST)
