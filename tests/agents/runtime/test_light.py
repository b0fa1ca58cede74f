"""The runtime is light: what it imports, how soon, in how much memory, and how fast it decides."""

import pytest

from quietdial.experiments.bench.pacer_speed import measure

FORBIDDEN = ("numba", "gymnasium", "torch", "pydantic", "scipy", "onnx", "quietdial.envs")


@pytest.fixture(scope="module")
def measured():
    return measure("italy-50")


def test_nothing_heavy_is_imported(measured):
    loaded = set(measured["modules"])
    heavy = [m for m in loaded for name in FORBIDDEN if m == name or m.startswith(f"{name}.")]
    assert heavy == []
    assert "numpy" in loaded
    assert measured["calls"] > 1000


def test_it_is_small_and_soon_there(measured):
    assert measured["peak_mb"] < 100.0
    # numpy's own import is most of it; the time of a busy machine is no promise, the share is
    assert measured["import_s"] < max(0.5, 4.0 * measured["numpy_s"])


def test_one_decision_takes_some_ten_microseconds(measured):
    assert measured["median_us"] < 400.0  # below 100 on a core of its own; see docs/pacer.md
