"""quietdial.envs: the simulated outbound floor, its Gymnasium environments and its scenarios."""

if __name__ != "quietdial.envs":
    raise ImportError("import this package as 'quietdial.envs', not as 'envs'")

from gymnasium import register

from quietdial.envs.errors import (
    CalibrationError,
    CheckpointError,
    ConfigError,
    ExportError,
    MissingExtraError,
    QuietDialError,
    RunFolderError,
)
from quietdial.envs.pacing.env import PacingEnv
from quietdial.envs.pacing.vector_env import PacingVectorEnv
from quietdial.envs.scenario import Scenario, load_scenario, preset_names

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "ConfigError",
    "ExportError",
    "MissingExtraError",
    "PacingEnv",
    "PacingVectorEnv",
    "QuietDialError",
    "RunFolderError",
    "Scenario",
    "load_scenario",
    "preset_names",
]

register(
    id="quietdial/Pacing-v1",
    entry_point="quietdial.envs.pacing.env:PacingEnv",
    vector_entry_point="quietdial.envs.pacing.vector_env:PacingVectorEnv",
)
