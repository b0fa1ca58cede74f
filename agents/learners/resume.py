"""Everything that a training holds at the start of a rollout, so that it goes on bit for bit.

The point is the start of a rollout, after the update: nothing is half done there. What is kept:
weights and optimizers (SAC's of its entropy weight too), counters of the algorithm, exploration,
the last observation, episode starts and LSTM states, the store of transitions with its prices, the
episode statistics, the adapter with its multiplier and sums, every array of the world, and the
random numbers of Python, numpy, torch and the action space. Rollout buffers are empty there, and
schedules follow from the counters. Which states matter was measured by leaving each out: most
change the weights.

Random numbers are restored last, since building a model draws some.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.checkpoint import TrainingState
from quietdial.agents.learners.algorithms import PricedReplayBuffer, optimizers
from quietdial.agents.learners.sb3_env import SameStepVecEnv
from quietdial.envs.errors import CheckpointError, ConfigError, MissingExtraError

try:
    import torch
    from sb3_contrib.common.recurrent.type_aliases import RNNStates
    from stable_baselines3.common.base_class import BaseAlgorithm
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("torch and stable-baselines3", "train", "training") from error

_Arrays = dict[str, NDArray[Any]]

_COUNTERS: Final = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_n_calls",
    "_current_progress_remaining",
    "exploration_rate",
)
_STORED: Final = (
    "observations",
    "next_observations",
    "actions",
    "rewards",
    "dones",
    "timeouts",
    "excess",
)
"""Arrays of a store whose first entries count, as many as were stored."""


def training_state(
    model: BaseAlgorithm, vec_env: SameStepVecEnv, own: Mapping[str, Any]
) -> TrainingState:
    """Gather the state at the start of a rollout; the arrays are those in use, to be written now.

    Args:
        model: the model, whatever its algorithm.
        vec_env: its environment.
        own: what the caller itself needs to go on, plain values.
    """
    its: Any = model
    arrays: _Arrays = {}
    values: dict[str, Any] = {"own": dict(own)}
    values["counters"] = {name: getattr(its, name) for name in _COUNTERS if hasattr(its, name)}
    values["episodes"] = [dict(info) for info in its.ep_info_buffer]
    for name, tensor in its.policy.state_dict().items():
        arrays[f"policy.{name}"] = _array(tensor)
    rates: list[list[float]] = []
    for i, optimizer in enumerate(_optimizers(its)):
        saved = optimizer.state_dict()
        rates.append([float(group["lr"]) for group in saved["param_groups"]])
        for number, entries in saved["state"].items():
            for key, value in entries.items():
                arrays[f"optimizer.{i}.{number}.{key}"] = _array(value)
    values["learning_rates"] = rates
    if getattr(its, "log_ent_coef", None) is not None:
        arrays["log_ent_coef"] = _array(its.log_ent_coef)
    arrays["last_obs"] = its._last_obs
    arrays["last_episode_starts"] = its._last_episode_starts
    if getattr(its, "_last_lstm_states", None) is not None:
        for who, pair in its._last_lstm_states._asdict().items():
            for i, tensor in enumerate(pair):
                arrays[f"lstm.{who}.{i}"] = _array(tensor)
    store = getattr(its, "replay_buffer", None)
    if isinstance(store, PricedReplayBuffer):
        n = store.buffer_size if store.full else store.pos
        arrays |= {f"store.{name}": getattr(store, name)[:n] for name in _STORED}
        values["store"] = {"pos": store.pos, "full": store.full}
        if isinstance(store.price, np.ndarray):
            arrays["store.price"] = store.price
        else:
            values["store"]["price"] = float(store.price)
    vec_arrays, values["vec_env"] = vec_env.get_state()
    arrays |= {f"vec_env.{name}": array for name, array in vec_arrays.items()}
    _save_random(its, arrays, values)
    return TrainingState(arrays, values)


def restore(training: TrainingState, model: BaseAlgorithm, vec_env: SameStepVecEnv) -> Any:
    """Bring a new model and its environment, made from the same settings, to a saved state.

    Args:
        training: what :func:`training_state` gathered.
        model: the model; its logger and callback are the caller's.
        vec_env: its environment; it needs no reset.

    Returns:
        The caller's own values, `own` of :func:`training_state`.

    Raises:
        CheckpointError: the state is not that of such a model.
    """
    try:
        _restore(training.arrays, training.values, model, vec_env)
        _load_random(model, training.arrays, training.values["random"])
        return training.values["own"]
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, RuntimeError) as error:
        what = str(error) if isinstance(error, ConfigError) else repr(error)
        raise CheckpointError(
            f"the training state does not fit this model: {' '.join(what.split())}"
        ) from error


def _restore(
    arrays: Mapping[str, NDArray[Any]],
    values: Mapping[str, Any],
    its: Any,
    vec_env: SameStepVecEnv,
) -> None:
    its.policy.load_state_dict(
        {name: _tensor(array) for name, array in _under("policy.", arrays).items()}
    )
    for i, optimizer in enumerate(_optimizers(its)):
        saved = optimizer.state_dict()
        saved["state"] = {}
        for name, array in _under(f"optimizer.{i}.", arrays).items():
            number, key = name.split(".", 1)
            saved["state"].setdefault(int(number), {})[key] = _tensor(array)
        for group, rate in zip(saved["param_groups"], values["learning_rates"][i], strict=True):
            group["lr"] = rate
        optimizer.load_state_dict(saved)
    if getattr(its, "log_ent_coef", None) is not None:
        with torch.no_grad():
            its.log_ent_coef.copy_(_tensor(arrays["log_ent_coef"]))
    for name, value in values["counters"].items():
        setattr(its, name, value)
    its.ep_info_buffer = deque(values["episodes"], maxlen=its._stats_window_size)
    its.ep_success_buffer = deque(maxlen=its._stats_window_size)
    its._last_obs = arrays["last_obs"].copy()
    its._last_episode_starts = arrays["last_episode_starts"].copy()
    if getattr(its, "_last_lstm_states", None) is not None:
        its._last_lstm_states = RNNStates(
            *(
                tuple(_tensor(arrays[f"lstm.{who}.{i}"]) for i in range(2))
                for who in RNNStates._fields
            )
        )
    store = getattr(its, "replay_buffer", None)
    if isinstance(store, PricedReplayBuffer):
        kept = values["store"]
        for name in _STORED:
            array = arrays[f"store.{name}"]
            getattr(store, name)[: len(array)] = array
        store.pos, store.full = kept["pos"], kept["full"]
        price = arrays.get("store.price")
        store.price = kept["price"] if price is None else price.copy()
    vec_env.set_state(_under("vec_env.", arrays), values["vec_env"])


def _save_random(its: Any, arrays: _Arrays, values: dict[str, Any]) -> None:
    version, numbers, gauss = random.getstate()
    twister: Any = np.random.get_state(legacy=False)  # noqa: NPY002  # SB3 draws here
    arrays["random.python"] = np.array(numbers, np.int64)
    arrays["random.numpy"] = twister["state"]["key"]
    arrays["random.torch"] = torch.get_rng_state().numpy()
    values["random"] = {
        "python": [version, gauss],
        "numpy": [twister["state"]["pos"], twister["has_gauss"], twister["gauss"]],
        "actions": its.action_space.np_random.bit_generator.state,
    }


def _load_random(its: Any, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
    version, gauss = values["python"]
    random.setstate((version, tuple(arrays["random.python"].tolist()), gauss))
    pos, has_gauss, next_gauss = values["numpy"]
    key = np.asarray(arrays["random.numpy"], np.uint32)
    np.random.set_state(("MT19937", key, pos, has_gauss, next_gauss))  # noqa: NPY002  # SB3 draws here
    torch.set_rng_state(_tensor(arrays["random.torch"]))
    its.action_space.np_random.bit_generator.state = values["actions"]


def _optimizers(its: Any) -> list[torch.optim.Optimizer]:
    """All optimizers of a model, also that of SAC's entropy weight."""
    own = getattr(its, "ent_coef_optimizer", None)
    return optimizers(its.policy) + ([] if own is None else [own])


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy()


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.copy())


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> _Arrays:
    """The arrays whose names begin so, without the beginning."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
