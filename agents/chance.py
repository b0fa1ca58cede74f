"""Reproducible draws of policies, by a hash of everything that a campaign has shown so far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 finaliser, as in `envs.pacing.chance`, elementwise."""
    z = (z ^ (z >> np.uint64(30))) * _MIX_A
    z = (z ^ (z >> np.uint64(27))) * _MIX_B
    return z ^ (z >> np.uint64(31))


def draw(
    past: NDArray[np.uint64], seen: NDArray[np.uint64]
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """A number in [0, 1) from everything that a campaign has shown, and the new hash of that.

    Reproducible, different between campaigns, and independent of their arrangement.

    Args:
        past: uint64 (B,), what the last call returned; at first the seed.
        seen: uint64 (B,), a number or hash of what is shown now.
    """
    past = mix(mix(past + _GOLDEN) + seen * _GOLDEN)
    return (past >> np.uint64(11)).astype(np.float64) / 2.0**53, past


def hash_of(obs: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Hash of each row of float32 observations (B, F): uint64 (B,)."""
    bits = np.ascontiguousarray(obs, dtype=np.float32).view(np.uint32).astype(np.uint64)
    places = np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * _GOLDEN
    hashes: NDArray[np.uint64] = mix(bits + places).sum(axis=1, dtype=np.uint64)
    return hashes
