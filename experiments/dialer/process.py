"""The adapter as a process that can be killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from quietdial.experiments.dialer.tables import ADAPTER_PASSWORD, CLOCK_QUERY


def start_adapter(
    socket: Path, campaign: str, *flags: str, agents: int = 50
) -> subprocess.Popen[bytes]:
    """Start the adapter on a simulated floor's tables.

    Args:
        socket: Unix socket of the private server.
        campaign: `campaign_id`.
        flags: further flags of `python -m quietdial.agents.vicidial`.
        agents: agents of the roster.
    """
    secret = socket.parent / "adapter"
    if not secret.exists():
        secret.write_text(ADAPTER_PASSWORD, encoding="utf-8")
    return subprocess.Popen(  # noqa: S603 - our own module
        [
            *(sys.executable, "-m", "quietdial.agents.vicidial", campaign),
            *("--socket", str(socket), "--password-file", str(secret)),
            *("--clock", CLOCK_QUERY, "--agents", str(agents), *flags),
        ],
        stdout=subprocess.DEVNULL,
    )
