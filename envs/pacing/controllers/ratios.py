"""Controllers that multiply the ready agents by a ratio."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import idle, in_flight, setting, waiting


def _genesys(address, b):  # type: ignore[no-untyped-def]
    """New calls = floor(k (ready - queued - dialed / k)); see agents/rules/genesys.py."""
    s, p = state_at(address), params_at(address)
    over_dial = setting(b, s, p, 0)
    wanted = idle(b, s, p) - waiting(b, s) - in_flight(b, s) / over_dial
    return max(np.int64(np.floor(over_dial * wanted)), 0)


CONTROLLERS = {
    "genesys": Controller(
        name="genesys",
        tick_s=1.0,
        knob="over_dial",
        settings=(Setting("over_dial", "calls per agent", 1.0, 0.2, 20.0, "k, calls per agent"),),
        sees=("ready agents", "waiting callees", "calls in flight"),
        tick=_genesys,
    ),
}
