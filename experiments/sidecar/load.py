"""Many campaigns at one decision per second, and how long each waits."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from quietdial.experiments.sidecar.process import Sidecars, example_ask

Face = Literal["lines", "http"]
LOST_S: Final = 5.0
"""An answer that takes longer is lost."""


@dataclass
class Load:
    """What a stretch of steady load showed.

    Attributes:
        waits_s: from sending a request to having its answer, by way in.
        fallbacks: answers that were fallbacks.
        lost: requests without an answer.
        memory: resident memory [bytes], one number a second.
        cpu_s: processor time of the sidecar.
        elapsed_s: length of the stretch.
    """

    waits_s: dict[Face, list[float]] = field(default_factory=lambda: {"lines": [], "http": []})
    fallbacks: int = 0
    lost: int = 0
    memory: list[int] = field(default_factory=list)
    cpu_s: float = 0.0
    elapsed_s: float = 0.0

    def growth(self, settled_s: int) -> float:
        """Growth of memory after the first `settled_s` seconds, by means of a tenth at each end."""
        rest = np.array(self.memory[settled_s:], np.float64)
        tenth = max(len(rest) // 10, 1)
        return float(rest[-tenth:].mean() / rest[:tenth].mean() - 1.0)

    def waits(self, face: Face | None = None) -> NDArray[np.float64]:
        """Waits of one way in, or of both, ascending [s]."""
        names: tuple[Face, ...] = ("lines", "http") if face is None else (face,)
        return np.sort(np.concatenate([np.array(self.waits_s[name]) for name in names]))


def steady_load(
    sidecars: Sidecars,
    features: Mapping[str, float],
    *,
    campaigns: int,
    seconds: int,
    report: Callable[[int], None] = lambda _: None,
) -> Load:
    """Let many campaigns ask once a second each: half by JSON lines, half by HTTP on loopback.

    Every campaign has a connection of its own, and its own moment within the second.
    """
    return asyncio.run(_play(sidecars, features, campaigns, seconds, report))


async def _play(
    sidecars: Sidecars,
    features: Mapping[str, float],
    campaigns: int,
    seconds: int,
    report: Callable[[int], None],
) -> Load:
    found = Load()
    before_s = _cpu_s(sidecars.pid)
    begin_s = time.monotonic()
    faces: tuple[Face, Face] = ("lines", "http")
    asking = [
        asyncio.create_task(_ask(sidecars, features, i, faces[i % 2], seconds, found))
        for i in range(campaigns)
    ]
    watching = asyncio.create_task(_watch(sidecars, seconds, found, report))
    await asyncio.gather(*asking, watching)
    found.elapsed_s = time.monotonic() - begin_s
    found.cpu_s = _cpu_s(sidecars.pid) - before_s
    return found


async def _watch(
    sidecars: Sidecars, seconds: int, found: Load, report: Callable[[int], None]
) -> None:
    for second in range(seconds):
        await asyncio.sleep(1.0)
        found.memory.append(sidecars.memory_bytes())
        report(second + 1)


async def _ask(
    sidecars: Sidecars,
    features: Mapping[str, float],
    number: int,
    face: Face,
    seconds: int,
    found: Load,
) -> None:
    rng = random.Random(number)  # noqa: S311
    if face == "lines":
        reader, writer = await asyncio.open_unix_connection(str(sidecars.socket))
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecars.port)
    begin_s = time.monotonic() + rng.random()
    for k in range(seconds):
        await asyncio.sleep(max(begin_s + k - time.monotonic(), 0.0))
        moved = {name: value * (0.9 + 0.1 * rng.random()) for name, value in features.items()}
        body = example_ask(moved, f"campaign-{number}", k)
        if face == "http":
            body = (
                b"POST /v1/decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
        sent_s = time.perf_counter()
        writer.write(body)
        try:
            reply = await asyncio.wait_for(_reply(reader, face), LOST_S)
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            found.lost += 1
            continue
        found.waits_s[face].append(time.perf_counter() - sent_s)
        found.fallbacks += json.loads(reply)["fallback"]
    writer.close()


async def _reply(reader: asyncio.StreamReader, face: Face) -> bytes:
    if face == "lines":
        return await reader.readuntil(b"\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return await reader.readexactly(length)


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
        fields = stream.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
