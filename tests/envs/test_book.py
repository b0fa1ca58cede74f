"""The book that compiled code reads a world from, and threads that share the rows of a batch."""

import copy
from typing import Any

import numpy as np
import pytest

from quietdial.envs import ConfigError
from quietdial.envs.pacing.book import make_book
from quietdial.envs.pacing.crew import Crew
from quietdial.envs.pacing.vector_env import PacingVectorEnv
from quietdial.envs.pacing.world import World


def played(scenario, threads, n=7, steps=400):
    """Everything that a world of `n` campaigns says and is after a few steps."""
    world = World(n, scenario, observation="full", action="residual", threads=threads)
    everywhere = np.ones(n, np.bool_)
    world.begin(everywhere, range(5, 5 + n))
    said = []
    for step in range(steps):
        said.append(world.observe())
        said.append(world.step(np.full(n, (step + 3) % 6), everywhere))
    return [*said, *world.state, *world.totals().values()]


@pytest.mark.parametrize("scenario", ["study-real-10", "italy-10"])
@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads__give_the_same_bits(scenario, threads):
    for one, many in zip(played(scenario, 1), played(scenario, threads), strict=True):
        assert np.array_equal(one, many)


def test_threads__of_a_vector_environment_give_the_same_bits():
    results = []
    for threads in (1, 2):
        env = PacingVectorEnv(5, "study-real-5", threads=threads)
        observations = [env.reset(seed=3)[0]]
        observations += [env.step(np.full(5, 2))[0] for _ in range(50)]
        results.append(np.stack(observations))
        env.close()
    assert np.array_equal(*results)
    assert results[0].std() > 0


def test_threads__are_a_whole_number():
    wrong: Any
    for wrong in (0, 257, 1.0, True, "2"):
        with pytest.raises(ConfigError, match="threads"):
            World(4, "study-real-5", threads=wrong)


def test_crew__splits_rows_without_gap_or_overlap():
    for threads in (1, 2, 3, 7):
        for rows in (1, 2, 6, 7, 100):
            parts = Crew(threads).parts(rows)
            covered = [row for part in parts for row in range(rows)[part]]
            assert covered == list(range(rows))
            assert len(parts) == min(threads, rows)


def test_crew__hands_on_what_goes_wrong():
    def fails(number):
        if number == 2:
            raise ConfigError("number 2")

    with pytest.raises(ConfigError, match="number 2"):
        Crew(3).run(fails, [(0,), (1,), (2,)])


def test_copy__plays_on_alone():
    world = World(3, "italy-10", action="ratio", threads=2)
    everywhere = np.ones(3, np.bool_)
    world.begin(everywhere, [1, 2, 3])
    actions = np.full((3, 1), 3.0, np.float32)
    for _ in range(300):
        world.step(actions, everywhere)
    other = copy.deepcopy(world)
    before = [array.copy() for array in world.state]
    out = other.step(actions, everywhere)
    for array, was in zip(world.state, before, strict=True):
        assert np.array_equal(array, was)
    assert np.array_equal(out, world.step(actions, everywhere))
    for array, twin in zip(world.state, other.state, strict=True):
        assert np.array_equal(array, twin)


def test_make_book__refuses_arrays_of_another_shape():
    world = World(2, "italy-10")
    state = world.state
    for wrong in (
        state._replace(head=state.head[:, :-1]),
        state._replace(head=state.head.astype(np.int32)),
        state._replace(est=np.asfortranarray(state.est)),
        state._replace(person=state.person[:, :, 0]),
    ):
        with pytest.raises(ConfigError, match="must be contiguous"):
            make_book(wrong, world.params)


def test_make_book__has_room_for_every_array():
    world = World(2, "italy-10")
    book = make_book(world.state, world.params)
    addresses = {array.ctypes.data for array in (*world.state, *world.params)}
    assert addresses <= set(book.tolist())
