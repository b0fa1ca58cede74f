"""Optional sinks: the numbers of a run in MLflow or Weights & Biases, besides its own files.

Thin: what `train.jsonl` holds is forwarded as it is, then what the judge found under `final/`. Both
stay on this machine unless told otherwise: MLflow writes to `mlruns` beside the runs unless
MLFLOW_TRACKING_URI names a server, Weights & Biases runs offline unless WANDB_MODE says online.
Their own telemetry is turned off. A resumed run goes on under the same identity, which
`tracking.json` in the run folder keeps.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from stable_baselines3.common.logger import KVWriter

from quietdial.envs.errors import MissingExtraError
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.runs import read_object
from quietdial.experiments.tensorboard import flatten_config, scalar_of

TrackName = Literal["none", "mlflow", "wandb"]

IDENTITY_FILE: Final = "tracking.json"
"""In a run folder: under which identity its numbers were sent."""

_QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # the slim package has no other store on this machine
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""What the sinks are told by their own environment variables, unless these are set."""


class Sink(Protocol):
    """A place that numbers are sent to."""

    identity: str

    def send(self, values: Mapping[str, float], step: int) -> None:
        """Send finite numbers by tag."""

    def close(self) -> None:
        """Hand over what is left."""


class _Mlflow:
    def __init__(self, run: Path, settings: Mapping[str, Any], identity: str | None) -> None:
        self._mlflow = _imported("mlflow", "mlflow-skinny")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            self._mlflow.set_tracking_uri((run.resolve().parent / "mlruns").as_uri())
        if identity is None:
            self._mlflow.set_experiment("quietdial")
            self.identity = self._mlflow.start_run(run_name=run.name).info.run_id
            self._mlflow.log_params(flatten_config(settings))
        else:
            self.identity = self._mlflow.start_run(run_id=identity).info.run_id

    def send(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _Wandb:
    def __init__(self, run: Path, settings: Mapping[str, Any], identity: str | None) -> None:
        wandb = _imported("wandb", "wandb")
        self._run = wandb.init(
            project="quietdial",
            name=run.name,
            dir=str(run),
            id=identity,
            resume=None if identity is None else "allow",
            config=flatten_config(settings),
        )
        self.identity = self._run.id

    def send(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_SINKS: Final[dict[str, Any]] = {"mlflow": _Mlflow, "wandb": _Wandb}


def _imported(module: str, package: str) -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(package, "track", f"--track {module}") from error


def require_sink(track: TrackName) -> None:
    """Refuse, before any work, a sink that is not installed (MissingExtraError)."""
    if track != "none":
        _imported(track, "mlflow-skinny" if track == "mlflow" else track)


class TrackingFormat(KVWriter):
    """stable-baselines3's logger into a sink; a context manager that closes it.

    Args:
        track: which sink; `none` sends nothing.
        run: the run folder, which keeps the identity.
        settings: the run's configuration, sent once.
    """

    def __init__(self, track: TrackName, run: Path, settings: Mapping[str, Any]) -> None:
        self._sink: Sink | None = None
        if track == "none":
            return
        file = run / IDENTITY_FILE
        known = read_object(file) if file.exists() else {}
        identity = known.get("identity") if known.get("track") == track else None
        sink: Sink = _SINKS[track](run, settings, identity)
        write_json_atomic(file, {"track": track, "identity": sink.identity})
        self._sink = sink

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Send one dump of the logger."""
        self.send({key: scalar_of(value) for key, value in key_values.items()}, step)

    def send(self, values: Mapping[str, float | None], step: int) -> None:
        """Send numbers by tag; what is no finite number is left out."""
        if self._sink is None:
            return
        finite = {
            str(key): float(value)
            for key, value in values.items()
            if value is not None and math.isfinite(value)
        }
        if finite:
            self._sink.send(finite, int(step))

    def close(self) -> None:
        """Hand over what is left."""
        if self._sink is not None:
            self._sink.close()

    def __enter__(self) -> TrackingFormat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
