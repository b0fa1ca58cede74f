"""The ladder while it serves: a network and a table that break in memory, rung by rung."""

import asyncio
import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.evaluate import Inputs
from quietdial.agents.bundle.load import Bundle
from quietdial.agents.serve.decider import BundleDecider
from quietdial.agents.serve.server import Server
from quietdial.agents.serve.settings import settings_of
from quietdial.experiments.sidecar.bundles import make_bundle
from quietdial.experiments.sidecar.process import unix_http

OPENS = datetime.datetime(2026, 3, 3, 9, tzinfo=datetime.UTC).timestamp()  # 10:00 in Rome
WINDOWS = [{"silent": 1, "answered": 9000}]
COUNTS = {"idle": 3, "talk": 30, "wrap": 10, "on_break": 6, "waiting": 0, "in_flight": 1}
COUNTS |= {"picked_up": 9000, "finished": 30_000, "lines_free": 300}
DAY = {"n_agents": 50, "first_day": "2026-03-02", "opens_at": OPENS, "closes_at": OPENS + 28_800}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("ladder") / "bundle", 4, table=True)


def asked(path: Path, face: str, second: int, features: dict[str, float]) -> dict[str, Any]:
    """One request over the socket."""
    request = {"campaign": face, "seq": second, "observed_at": OPENS + second}
    if face == "pace":
        request |= DAY | {"counters": COUNTS | {"windows": WINDOWS}}
    else:
        floor = {name: COUNTS[name] for name in ("idle", "in_flight", "waiting")}
        request |= floor | {"features": features, "windows": WINDOWS}
    connection = unix_http(path)
    kind = {"Content-Type": "application/json"}
    connection.request("POST", f"/v1/{face}", json.dumps(request).encode(), kind)
    response = connection.getresponse()
    assert response.status == 200
    found: dict[str, Any] = json.loads(response.read())
    connection.close()
    return found


def damage(broken: object, field: str, value: object) -> None:
    """Change what a frozen object holds, as a stray write to memory would."""
    object.__setattr__(broken, field, value)


def shorter(bundle: Bundle) -> None:
    """The network's first weights lose a row."""
    assert bundle.policy is not None
    (weight, bias), *rest = bundle.policy.layers
    damage(bundle.policy, "layers", ((weight[:-1], bias), *rest))


def torn(bundle: Bundle) -> None:
    """The table's nodes point nowhere."""
    assert bundle.table is not None
    damage(bundle.table.tree, "feature", np.zeros(0, np.int64))


@pytest.mark.parametrize("face", ["pace", "decide"])
def test_rungs__are_taken_one_by_one(
    face: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, place = tmp_path / "state", tmp_path / "s.sock"
    state.mkdir()
    flags = [str(folder), "--unsigned", "--socket", str(place), "--state", str(state)]
    server = Server(settings_of(flags))
    decider = server.service.decider
    assert isinstance(decider, BundleDecider)
    bundle = decider.bundle
    assert bundle.table is not None
    obs = np.full((1, len(decider.features)), 0.25, np.float32)
    features = dict(zip(decider.features, map(float, obs[0]), strict=True))
    by_table = bundle.table.answer(Inputs(obs)).answer[0]

    async def play() -> list[dict[str, Any]]:
        ready = asyncio.Event()
        running = asyncio.create_task(server.run(ready.set))
        await ready.wait()
        harms: list[Callable[[], None]] = [
            lambda: None,
            lambda: shorter(bundle),
            lambda: torn(bundle),
            (state / "stop").touch,
        ]
        found = []
        for second, harm in enumerate(harms):
            monkeypatch.setattr(time, "time", lambda now_s=OPENS + second: now_s)
            harm()
            await asyncio.sleep(0.15)  # the stop file is looked at ten times a second
            found.append(await asyncio.to_thread(asked, place, face, second, features))
        server._stop.set()
        await running
        return found

    found = asyncio.run(play())
    assert [one["rung"] for one in found] == ["policy", "table", "progressive", "stop"]
    assert [one["fallback"] for one in found] == [False, True, True, True]
    assert found[1]["reason"] == ("failed" if face == "pace" else "policy_failed")
    if face == "decide":
        assert found[1]["answer"] == by_table
    assert [one["answer"] for one in found[2:]] == [2, 0]
