"""The sidecar before independent tools: schemathesis over its OpenAPI, tritonclient over OIP v2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from quietdial.experiments.sidecar.process import Sidecars

_MINUTES: Final = 30 * 60


class Checked(NamedTuple):
    """What schemathesis found.

    Attributes:
        cases: requests that it made up.
        failures: of these, answered in another way than the document says.
        operations: operations that it tried.
        version: of schemathesis.
        told: the end of what it printed.
    """

    cases: int
    failures: int
    operations: int
    version: str
    told: str


def schemathesis(sidecars: Sidecars, *, examples: int, seed: int, phases: str = "") -> Checked:
    """Let schemathesis read `/openapi.json` and try every operation with all its checks.

    Args:
        sidecars: a running sidecar with an HTTP port.
        examples: requests for each operation that the fuzzing phase makes up.
        seed: seed of the requests.
        phases: phases to play, with commas; empty: all.

    Raises:
        RuntimeError: schemathesis itself did not work.
    """
    url = f"http://127.0.0.1:{sidecars.port}/openapi.json"
    script = "from schemathesis.cli import schemathesis; schemathesis()"
    command = [sys.executable, "-c", script, "run", url, "--checks", "all", "--workers", "1"]
    command += ["--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"]
    command += ["--phases", phases] if phases else []
    with tempfile.TemporaryDirectory(prefix="quietdial-") as folder:
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
            timeout=_MINUTES,
            check=False,
        )
    cases = re.search(r"(\d+) generated(?:, (\d+) found)?", done.stdout)
    operations = re.search(r"Tested:\s+(\d+)", done.stdout)
    version = re.search(r"Schemathesis v([\d.]+)", done.stdout)
    if cases is None or operations is None or version is None or done.returncode not in (0, 1):
        raise RuntimeError(f"schemathesis: {(done.stderr or done.stdout)[-500:]}")
    failures = int(cases[2] or 0)
    if (done.returncode == 0) != (failures == 0):
        failures = max(failures, 1)
    told = done.stdout[-4000:]
    return Checked(int(cases[1]), failures, int(operations[1]), version[1], told)


_TRITON: Final = r"""
import json, sys
from importlib.metadata import version
import numpy as np
import tritonclient.http as http

address, golden, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
rows = [json.loads(line) for line in open(golden)][:most]
number = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
obs = np.array([[number.get(x, x) for x in row["obs"]] for row in rows], np.float32)
client = http.InferenceServerClient(address)
about = client.get_server_metadata()
name = sys.argv[4]
model = client.get_model_metadata(name)
found = {
    "version": version("tritonclient"),
    "live": client.is_server_live(),
    "ready": client.is_server_ready() and client.is_model_ready(name),
    "extensions": about["extensions"],
    "inputs": model["inputs"],
    "asked": 0,
    "wrong": 0,
}
for binary in (True, False):
    for start in range(0, len(rows), 100):
        part = slice(start, start + 100)
        if not binary:
            keep = np.isfinite(obs[part]).all(axis=1) & (abs(obs[part]) < 1e15).all(axis=1)
            part = np.arange(len(rows))[part][keep]
        x = obs[part]
        tensor = http.InferInput("obs", list(x.shape), "FP32")
        tensor.set_data_from_numpy(x, binary_data=binary)
        wanted = [http.InferRequestedOutput(o, binary_data=binary) for o in ("answer", "valid")]
        answer = client.infer(name, [tensor], outputs=wanted)
        right = np.array([[row["answer"], row["valid"]] for row in rows], np.float64)[part]
        got = np.stack([answer.as_numpy("answer"), answer.as_numpy("valid")], 1)
        found["asked"] += len(x)
        found["wrong"] += int((got != right).any(axis=1).sum())
print(json.dumps(found))
"""


def triton(sidecars: Sidecars, bundle: Path, most: int) -> dict[str, Any]:
    """Let NVIDIA's client ask for golden vectors, with raw and with JSON tensors.

    Args:
        sidecars: a running sidecar with an HTTP port.
        bundle: the bundle that it serves, whose actions are `dials`.
        most: golden vectors to ask for.

    Returns:
        Its version, what it was told, rows `asked` and `wrong`.

    Raises:
        RuntimeError: the client failed.
    """
    name = json.loads((bundle / "manifest.json").read_text())["name"]
    address = f"127.0.0.1:{sidecars.port}"
    arguments = [address, str(bundle / "golden.jsonl"), str(most), name]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _TRITON, *arguments],
        capture_output=True,
        text=True,
        timeout=_MINUTES,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"tritonclient: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
