"""Settings and fixtures that tests of all rooms share."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before numpy, numba or torch start their thread pools: the suite runs on small machines.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

REPOSITORY = Path(__file__).resolve().parent.parent

settings.register_profile(
    "quietdial",
    deadline=None,  # the first example may compile
    derandomize=True,  # the same examples on every machine
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("quietdial")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Writes the folder of a run that was never played; see tests/judged_runs.py."""
    place = Path(__file__).with_name("judged_runs.py")
    spec = importlib.util.spec_from_file_location(place.stem, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[..., Path] = module.make_run
    return made
