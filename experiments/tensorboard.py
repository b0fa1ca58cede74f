"""TensorBoard: one folder per run, one registry of tags, and a page that answers the question.

`RunWriter` owns a `SummaryWriter`: a run has one while it trains and one for its verdict.
Hyper-parameters go into the same folder (no sub-run), the Custom Scalars page is written once, and
a resumed run passes `purge_step`, so that no step appears twice. `KVWriterFormat` carries
stable-baselines3's logger into it and into `train.jsonl`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import torch
from matplotlib.figure import Figure
from stable_baselines3.common.logger import KVWriter
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from quietdial.envs.errors import ConfigError, RunFolderError
from quietdial.experiments.rundir import append_jsonl, truncate_jsonl
from quietdial.experiments.stats import PolicySummary


class Tag(StrEnum):
    """Every scalar, picture and text that a run may hold; `eval_tag` makes those per policy.

    `rollout/`, `train/` and `time/` are stable-baselines3's own names; rates are fractions.
    """

    EP_REWARD = "rollout/ep_rew_mean"
    EP_LENGTH = "rollout/ep_len_mean"

    LEARNING_RATE = "train/learning_rate"
    LOSS = "train/loss"
    POLICY_LOSS = "train/policy_gradient_loss"
    VALUE_LOSS = "train/value_loss"
    ENTROPY_LOSS = "train/entropy_loss"
    APPROX_KL = "train/approx_kl"
    CLIP_FRACTION = "train/clip_fraction"
    CLIP_RANGE = "train/clip_range"
    EXPLAINED_VARIANCE = "train/explained_variance"
    N_UPDATES = "train/n_updates"

    EXPLORATION = "rollout/exploration_rate"

    FPS = "time/fps"
    ITERATIONS = "time/iterations"
    TIME_ELAPSED = "time/time_elapsed"
    TOTAL_TIMESTEPS = "time/total_timesteps"

    UTILISATION = "pacing/utilisation"
    CONVERSATIONS = "pacing/conversations_per_agent_h"
    DIALS = "pacing/dials_per_agent_h"
    REWARD = "pacing/reward"

    SILENT_RATE = "safety/silent_rate"
    SILENT_RATE_LOWER = "safety/silent_rate_lower"
    SILENT_RATE_UPPER = "safety/silent_rate_upper"
    SILENT_RATE_EMA = "safety/silent_rate_ema"
    COST = "safety/cost_per_agent_h"
    SHIELD_ACTS = "safety/shield_acts_per_agent_h"
    SHIELD_CALLS = "safety/shield_calls_per_agent_h"
    TARGET = "safety/target"
    CAP = "safety/cap"
    MULTIPLIER = "safety/multiplier"

    FINAL_UTILISATION = "final/utilisation"
    FINAL_CONVERSATIONS = "final/conversations_per_agent_h"
    FINAL_SILENT_RATE = "final/silent_rate"
    FINAL_SILENT_RATE_UPPER = "final/silent_rate_upper"
    FINAL_P_DAY_BREAKS_CAP = "final/p_day_breaks_cap"
    FINAL_OVER_BEST_RULE = "final/utilisation_over_best_rule"

    FIGURE_FRONTIER = "figures/frontier"
    FIGURE_DAY = "figures/day"
    FIGURE_ACTION_MAP = "figures/action_map"

    TEXT_CONFIG = "run/config"
    TEXT_VERDICT = "run/verdict"


class EvalQuantity(StrEnum):
    """What the judge logs of each policy, last part of `eval/<policy>/<quantity>`.

    Only what one compares at a glance: every further tag is one more card for each policy on
    TensorBoard's first page. The rest stands in `evaluation.json`.
    """

    UTILISATION = "utilisation"
    CONVERSATIONS = "conversations_per_agent_h"
    SILENT_RATE = "silent_rate"
    SILENT_RATE_UPPER = "silent_rate_upper"
    P_DAY_BREAKS_CAP = "p_day_breaks_cap"


FINAL = (
    Tag.FINAL_UTILISATION,
    Tag.FINAL_SILENT_RATE_UPPER,
    Tag.FINAL_OVER_BEST_RULE,
    Tag.FINAL_CONVERSATIONS,
    Tag.FINAL_SILENT_RATE,
    Tag.FINAL_P_DAY_BREAKS_CAP,
)
"""What the judge found of a run's own policy: the columns of the HParams page, the same for all
algorithms, in the order in which one asks."""

_POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def eval_tag(policy: str, quantity: EvalQuantity) -> str:
    """The tag `eval/<policy>/<quantity>`."""
    if not _POLICY_NAME.fullmatch(policy):
        raise ConfigError(
            f"policy name is {policy!r}, allowed in a tag are letters, digits, '.', '_' and '-'"
        )
    return f"eval/{policy}/{quantity.value}"


def summary_scalars(summary: PolicySummary) -> dict[str, float]:
    """The scalars of one judged policy by tag."""
    q = EvalQuantity
    values = {
        q.UTILISATION: summary.utilisation.value,
        q.CONVERSATIONS: summary.conversations_per_agent_h.value,
        q.SILENT_RATE: summary.silent_rate.value,
        q.SILENT_RATE_UPPER: summary.silent_rate.hi,
        q.P_DAY_BREAKS_CAP: summary.p_day_breaks_cap.value,
    }
    return {eval_tag(summary.name, quantity): value for quantity, value in values.items()}


def final_scalars(summary: PolicySummary, over_best_rule: float) -> dict[str, float]:
    """The scalars of `FINAL`.

    Args:
        summary: the row of the run's own policy.
        over_best_rule: its utilisation minus that of the best rule at equal silent rate, fraction.
    """
    return {
        Tag.FINAL_UTILISATION: summary.utilisation.value,
        Tag.FINAL_CONVERSATIONS: summary.conversations_per_agent_h.value,
        Tag.FINAL_SILENT_RATE: summary.silent_rate.value,
        Tag.FINAL_SILENT_RATE_UPPER: summary.silent_rate.hi,
        Tag.FINAL_P_DAY_BREAKS_CAP: summary.p_day_breaks_cap.value,
        Tag.FINAL_OVER_BEST_RULE: over_best_rule,
    }


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float]:
    """A configuration as dotted names and the values that TensorBoard's HParams page can hold.

    Numbers stay numbers; true, false and none become words, since the page would show the first
    two as 1 and 0 and leave out the third; lists become JSON.
    """
    flat: dict[str, str | int | float] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten_config(value, f"{name}."))
        elif value is None:
            flat[name] = "none"
        elif isinstance(value, bool | np.bool_):
            flat[name] = "true" if value else "false"
        elif isinstance(value, int | float | str):
            flat[name] = value
        elif isinstance(value, np.generic):
            flat[name] = value.item()
        else:
            flat[name] = json.dumps(value, default=str)
    return flat


def config_markdown(config: Mapping[str, Any]) -> str:
    """A configuration as a Markdown table, one row per setting."""
    rows = [
        f"| `{name}` | {_cell(value)} |" for name, value in sorted(flatten_config(config).items())
    ]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _cell(value: object) -> str:
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", str(value)).replace("\n", " ")


def _exactly(tag: str) -> str:
    """A Multiline chart takes regular expressions; this one matches one tag only."""
    return f"^{re.escape(tag)}$"


def custom_scalar_layout(policies: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """The Custom Scalars page: the constraint, what it costs, and the policies side by side."""
    silent = [Tag.SILENT_RATE.value, Tag.SILENT_RATE_LOWER.value, Tag.SILENT_RATE_UPPER.value]
    layout: dict[str, dict[str, list[Any]]] = {
        "Is the cap kept?": {
            "silent rate in training, 95 % band": ["Margin", silent],
            "silent rate in training and cap": [
                "Multiline",
                [_exactly(Tag.SILENT_RATE), _exactly(Tag.CAP)],
            ],
            "multiplier": ["Multiline", [_exactly(Tag.MULTIPLIER)]],
        },
        "What does it bring?": {
            "utilisation in training": ["Multiline", [_exactly(Tag.UTILISATION)]],
            "conversations per agent-hour in training": [
                "Multiline",
                [_exactly(Tag.CONVERSATIONS)],
            ],
        },
        "How does it learn?": {
            "entropy (sign turned, nats)": ["Multiline", [_exactly(Tag.ENTROPY_LOSS)]],
            "movement of the policy in an update (KL, nats)": [
                "Multiline",
                [_exactly(Tag.APPROX_KL)],
            ],
            "explained variance": ["Multiline", [_exactly(Tag.EXPLAINED_VARIANCE)]],
            "steps per second": ["Multiline", [_exactly(Tag.FPS)]],
        },
    }
    if policies:
        layout["The judge: policies on the same days"] = {
            "utilisation": [
                "Multiline",
                [_exactly(eval_tag(name, EvalQuantity.UTILISATION)) for name in policies],
            ],
            "silent rate and cap": [
                "Multiline",
                [
                    *(_exactly(eval_tag(name, EvalQuantity.SILENT_RATE)) for name in policies),
                    _exactly(Tag.CAP),
                ],
            ],
        }
    return layout


VERDICT_SUFFIX: Final = ".verdict"
"""End of the name of the event file with what the judge found: written again, it is replaced."""


def forget_events(folder: Path, *, only_verdict: bool) -> None:
    """Delete a run's event files, or only that of the judge, before they are written again."""
    end = VERDICT_SUFFIX if only_verdict else ""
    for path in folder.glob(f"events.out.tfevents.*{end}"):
        path.unlink()


class RunWriter:
    """An event file of a run: that of its training or of its verdict.

    Args:
        folder: The run folder; made if missing.
        purge_step: First step that is written again after a resume (the checkpoint's step + 1);
            TensorBoard hides what an earlier event file of this folder holds from there on. None
            for a new run.
        suffix: End of the file's name.
    """

    def __init__(self, folder: str | Path, purge_step: int | None = None, suffix: str = "") -> None:
        self.folder = Path(folder)
        self.purge_step = purge_step
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(
                str(self.folder), purge_step=purge_step, flush_secs=10, filename_suffix=suffix
            )
        except OSError as error:
            raise RunFolderError(
                f"cannot write TensorBoard's file in {str(self.folder)!r}: "
                f"{error.strerror or error}"
            ) from error
        self._layout_written = False
        self._hparams_written = False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by tag; values that are not finite are left out (they break charts)."""
        for tag, value in values.items():
            number = float(value)
            if math.isfinite(number):
                self._writer.add_scalar(str(tag), number, step)

    def hparams(self, config: Mapping[str, Any], metrics: Iterable[str]) -> None:
        """Write every setting of the run and the tags by which runs are compared, once.

        Args:
            config: The complete configuration; nested mappings become dotted names.
            metrics: Tags of scalars of this run, shown as columns of the HParams table.
        """
        if self._hparams_written:
            return
        names = {str(tag): 0.0 for tag in metrics}
        if not names:
            raise ConfigError("the HParams page needs at least one metric tag")
        # `SummaryWriter.add_hparams` would open a sub-run named by the time; these three summaries
        # are what it writes there.
        parts = hparams(flatten_config(config), names)  # type: ignore[no-untyped-call]
        file_writer = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
        for part in parts:
            file_writer.add_summary(part, 0)
        self._hparams_written = True

    def layout(self, policies: Sequence[str]) -> None:
        """Write the Custom Scalars page, once.

        Args:
            policies: Names of the policies that the judge will log.
        """
        self.layout_of(custom_scalar_layout(policies))

    def layout_of(self, charts: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """Write a Custom Scalars page, once.

        Args:
            charts: category, then title, then ["Multiline", patterns] or ["Margin", [value, lower,
                upper]], as `SummaryWriter.add_custom_scalars` takes them.
        """
        if not self._layout_written:
            self._writer.add_custom_scalars(charts)
            self._layout_written = True

    def evaluation(self, summaries: Iterable[PolicySummary], step: int) -> None:
        """Write what the judge found of each policy, and at step 0 the cap if there is one.

        Training writes the cap at its own steps.
        """
        values: dict[str, float] = {}
        for summary in summaries:
            cap = {Tag.CAP.value: summary.cap} if summary.cap < 1.0 and step == 0 else {}
            values |= {**summary_scalars(summary), **cap}
        self.scalars(values, step)

    def figure(self, tag: str, figure: Figure, step: int) -> None:
        """Write a picture for the Images page."""
        self._writer.add_figure(str(tag), figure, step, close=False)

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """Write Markdown for the Text page."""
        self._writer.add_text(str(tag), markdown, step)

    def config(self, config: Mapping[str, Any]) -> None:
        """Write the configuration as a table for the Text page."""
        self.text(Tag.TEXT_CONFIG, config_markdown(config))

    def flush(self) -> None:
        """Hand everything written so far to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file; closing twice is allowed."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class KVWriterFormat(KVWriter):
    """stable-baselines3's logger into a `RunWriter` and into one JSON row per dump.

    Use: ``model.set_logger(Logger(str(folder), [KVWriterFormat(writer, rows)]))``.
    Numbers go to both; text goes to the JSON row only; figures, videos and histograms go to
    neither (write figures with `RunWriter.figure`). Keys that the caller excluded from
    ``"tensorboard"`` or from ``"json"`` are left out there.

    Args:
        writer: The run's writer; it stays open when this is closed.
        jsonl: File for the rows ``{"step": int, ...}``, None for none. If the writer resumes, rows
            from its `purge_step` on are dropped first.
        flush_every: Dumps between two flushes of the event file.
    """

    def __init__(self, writer: RunWriter, jsonl: Path | None = None, flush_every: int = 1) -> None:
        if flush_every < 1:
            raise ConfigError(f"flush_every is {flush_every}, allowed is 1 or more")
        self.writer = writer
        self.jsonl = jsonl
        self._flush_every = flush_every
        self._dumps = 0
        if jsonl is not None and writer.purge_step is not None:
            truncate_jsonl(jsonl, writer.purge_step)

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Write one dump of the logger."""
        numbers: dict[str, float] = {}
        row: dict[str, Any] = {"step": int(step)}
        for key, value in sorted(key_values.items()):
            excluded = key_excluded.get(key) or ()
            number = scalar_of(value)
            if number is not None and "tensorboard" not in excluded:
                numbers[key] = float(number)
            if "json" not in excluded and (number is not None or isinstance(value, str)):
                row[key] = value if number is None else number
        self.writer.scalars(numbers, step)
        if self.jsonl is not None:
            append_jsonl(self.jsonl, row)
        self._dumps += 1
        if self._dumps % self._flush_every == 0:
            self.writer.flush()

    def close(self) -> None:
        """Flush; the writer itself belongs to the caller."""
        self.writer.flush()


def scalar_of(value: object) -> int | float | None:
    """The value as a Python number, None if it is not one number."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic | np.ndarray) and value.size == 1:
        scalar = value.item()
        return scalar if isinstance(scalar, bool | int | float) else None
    return None
