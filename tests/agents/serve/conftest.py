"""Bundles to serve, and running sidecars."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quietdial.experiments.sidecar.bundles import make_bundle
from quietdial.experiments.sidecar.process import Sidecars, free_port, running


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles whose answers are new calls."""
    folder = tmp_path_factory.mktemp("bundles")
    return make_bundle(folder / "one", 1), make_bundle(folder / "two", 2)


@pytest.fixture(scope="module")
def sidecar(
    bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sidecars]:
    """A running sidecar with a Unix socket, HTTP on loopback and a state folder."""
    state = tmp_path_factory.mktemp("state")
    with running(bundles[0], ["--state", str(state)], port=free_port()) as made:
        yield made
