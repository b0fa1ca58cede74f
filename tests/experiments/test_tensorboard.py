"""Event files read back: scalars, hyper-parameters in the same run, layout, pictures, text."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import matplotlib.image as mpl_image
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from stable_baselines3.common.logger import Image, Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from quietdial.envs.errors import ConfigError, RunFolderError
from quietdial.experiments.rundir import read_jsonl
from quietdial.experiments.stats import Interval, PolicySummary
from quietdial.experiments.tensorboard import (
    EvalQuantity,
    KVWriterFormat,
    RunWriter,
    Tag,
    config_markdown,
    custom_scalar_layout,
    eval_tag,
    flatten_config,
    summary_scalars,
)

CONFIG: dict[str, Any] = {
    "env": {"scenario": "italy-50", "num_envs": 64},
    "train": {"learning_rate": 3e-4, "net": [64, 64], "resume": False, "note": None},
}


def make_summary(name: str = "marginal") -> PolicySummary:
    return PolicySummary(
        name=name,
        knob_name="theta",
        knob=0.0205,
        cap=0.03,
        utilisation=Interval(0.946, 0.944, 0.948, 64),
        conversations_per_agent_h=Interval(11.2, 11.1, 11.3, 64),
        silent_rate=Interval(0.029, 0.028, 0.0299, 64),
        p_day_breaks_cap=Interval(0.25, 0.15, 0.37, 64),
        worst_day_rate=Interval(0.041, 0.041, 0.041, 64),
        worst_day_seed=3_000_000_007,
        dials_per_conversation=None,
    )


def read_back(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_scalars__are_read_back_and_not_finite_ones_left_out(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.scalars({Tag.SILENT_RATE: 0.025, Tag.MULTIPLIER: np.float64(1.5)}, 100)
        writer.scalars({Tag.SILENT_RATE: math.nan, Tag.MULTIPLIER: math.inf}, 200)
        writer.scalars({Tag.SILENT_RATE: 0.0275}, 300)
    events = read_back(tmp_path)
    assert set(events.Tags()["scalars"]) == {"safety/silent_rate", "safety/multiplier"}
    assert points(events, "safety/silent_rate") == [
        (100, pytest.approx(0.025)),
        (300, pytest.approx(0.0275)),
    ]
    assert points(events, "safety/multiplier") == [(100, 1.5)]


def test_hparams__stand_in_the_same_run(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.hparams(CONFIG, [Tag.UTILISATION, Tag.SILENT_RATE])
        writer.hparams(CONFIG, [Tag.UTILISATION])  # a second call changes nothing
        writer.scalars({Tag.UTILISATION: 0.9}, 1)
    assert [p for p in tmp_path.rglob("*") if p.is_dir()] == []  # no sub-run
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    contents = read_back(tmp_path).PluginTagToContent("hparams")
    assert set(contents) == {
        "_hparams_/experiment",
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    }
    message = plugin_data_pb2.HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]
    data = {tag: message.FromString(content) for tag, content in contents.items()}
    experiment = data["_hparams_/experiment"].experiment
    assert {info.name for info in experiment.hparam_infos} == set(flatten_config(CONFIG))
    assert {info.name.tag for info in experiment.metric_infos} == {
        "pacing/utilisation",
        "safety/silent_rate",
    }
    start = data["_hparams_/session_start_info"].session_start_info.hparams
    assert start["env.scenario"].string_value == "italy-50"
    assert start["train.learning_rate"].number_value == pytest.approx(3e-4)
    assert start["train.resume"].string_value == "false"
    assert start["train.note"].string_value == "none"


def test_hparams__need_a_metric(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer, pytest.raises(ConfigError, match="metric tag"):
        writer.hparams(CONFIG, [])


def test_layout__is_written_once_and_names_real_tags(tmp_path: Path) -> None:
    policies = ["marginal", "ppo-lagrangian"]
    with RunWriter(tmp_path) as writer:
        writer.layout(policies)
        writer.layout(["other"])
    events = read_back(tmp_path)
    tensors = events.Tensors("custom_scalars__config__")
    assert len(tensors) == 1
    raw = tensors[0].tensor_proto.string_val[0]
    layout = layout_pb2.Layout.FromString(raw)  # pyright: ignore[reportAttributeAccessIssue]
    charts = {chart.title: chart for category in layout.category for chart in category.chart}
    band = charts["silent rate in training, 95 % band"].margin.series[0]
    assert (band.value, band.lower, band.upper) == (
        Tag.SILENT_RATE,
        Tag.SILENT_RATE_LOWER,
        Tag.SILENT_RATE_UPPER,
    )
    every_tag = [tag.value for tag in Tag] + [
        eval_tag(name, quantity) for name in policies for quantity in EvalQuantity
    ]
    for chart in charts.values():
        for pattern in chart.multiline.tag:
            # TensorBoard uses `re.match`; each pattern must find exactly one of our tags.
            assert len([tag for tag in every_tag if re.match(pattern, tag)]) == 1
    both = charts["utilisation"].multiline.tag
    assert len(both) == 2
    assert list(charts["multiplier"].multiline.tag) == ["^safety/multiplier$"]


def test_layout__without_policies_has_no_judge() -> None:
    assert set(custom_scalar_layout([])) == {
        "Is the cap kept?",
        "What does it bring?",
        "How does it learn?",
    }


def test_evaluation__writes_every_quantity_of_every_policy(tmp_path: Path) -> None:
    summaries = [make_summary(), make_summary("ppo-lagrangian")]
    with RunWriter(tmp_path) as writer:
        writer.evaluation(summaries, 0)
        writer.evaluation(summaries, 500)
    events = read_back(tmp_path)
    expected = {eval_tag(s.name, q) for s in summaries for q in EvalQuantity}
    assert set(events.Tags()["scalars"]) == expected | {Tag.CAP.value}
    assert points(events, Tag.CAP.value) == [(0, pytest.approx(0.03))]
    utilisation = points(events, "eval/marginal/utilisation")
    assert utilisation == [(0, pytest.approx(0.946)), (500, pytest.approx(0.946))]
    assert points(events, "eval/marginal/silent_rate_upper")[1] == (500, pytest.approx(0.0299))
    assert {tuple(step for step, _ in points(events, tag)) for tag in expected} == {(0, 500)}
    assert set(summary_scalars(summaries[0])) == {eval_tag("marginal", q) for q in EvalQuantity}


def test_evaluation__without_a_cap_draws_none(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.evaluation([dataclasses.replace(make_summary(), cap=1.0)], 0)
    expected = {eval_tag("marginal", q) for q in EvalQuantity}
    assert set(read_back(tmp_path).Tags()["scalars"]) == expected


def test_eval_tag__refuses_a_name_that_would_break_the_tree() -> None:
    assert eval_tag("fixed-ratio", EvalQuantity.SILENT_RATE) == "eval/fixed-ratio/silent_rate"
    with pytest.raises(ConfigError, match="policy name is 'a/b'"):
        eval_tag("a/b", EvalQuantity.SILENT_RATE)


def test_figure__is_read_back_as_a_picture(tmp_path: Path) -> None:
    figure = Figure(figsize=(3, 2), dpi=100)
    figure.add_axes((0.1, 0.1, 0.8, 0.8)).plot([0, 1], [0, 1])
    with RunWriter(tmp_path) as writer:
        writer.figure(Tag.FIGURE_FRONTIER, figure, 7)
        writer.figure(Tag.FIGURE_FRONTIER, figure, 8)  # the same figure can be written again
    events = read_back(tmp_path)
    assert events.Tags()["images"] == ["figures/frontier"]
    images = events.Images("figures/frontier")
    assert [image.step for image in images] == [7, 8]
    picture = mpl_image.imread(io.BytesIO(images[0].encoded_image_string))
    assert picture.shape[:2] == (200, 300)


def test_text__holds_the_configuration_as_a_table(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.config(CONFIG)
        writer.text(Tag.TEXT_VERDICT, "**keeps the cap**", 9)
    events = read_back(tmp_path)
    text = events.Tensors("run/config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| `train.learning_rate` | 0.0003 |" in text
    assert "| `train.net` | \\[64, 64\\] |" in text
    verdict = events.Tensors("run/verdict/text_summary")[0]
    assert (verdict.step, verdict.tensor_proto.string_val[0]) == (9, b"**keeps the cap**")


def test_config_markdown__escapes_what_would_break_the_table() -> None:
    table = config_markdown({"a": "x|y\nz", "b": np.float64(0.5), "c": Path("p")})
    assert table.splitlines()[2:] == ["| `a` | x\\|y z |", "| `b` | 0.5 |", '| `c` | "p" |']


def test_resume__leaves_no_step_twice(tmp_path: Path) -> None:
    rows = tmp_path / "train.jsonl"

    def train(writer: RunWriter, steps: list[int], value: float) -> None:
        logger = Logger(str(tmp_path), [KVWriterFormat(writer, rows)])
        for step in steps:
            logger.record(Tag.SILENT_RATE, value)
            logger.dump(step)
        logger.close()

    with RunWriter(tmp_path) as first:
        train(first, [100, 200, 300, 400], 0.1)
    time.sleep(1.1)  # event files are read in the order of the second in their name
    with RunWriter(tmp_path, purge_step=201) as second:  # the checkpoint stood at step 200
        train(second, [300, 400, 500], 0.2)
    expected = [(100, 0.1), (200, 0.1), (300, 0.2), (400, 0.2), (500, 0.2)]
    got = points(read_back(tmp_path), "safety/silent_rate")
    assert got == [(step, pytest.approx(value)) for step, value in expected]
    assert [(row["step"], row["safety/silent_rate"]) for row in read_jsonl(rows)] == expected


def test_kv_writer__carries_the_logger_to_both_files(tmp_path: Path) -> None:
    rows = tmp_path / "train.jsonl"
    writer = RunWriter(tmp_path)
    logger = Logger(str(tmp_path), [KVWriterFormat(writer, rows)])
    logger.record("rollout/ep_rew_mean", np.float32(-0.5))
    logger.record("time/total_timesteps", 2048, exclude="tensorboard")
    logger.record("train/loss", torch.tensor(0.25))
    logger.record("train/only_board", 1.0, exclude="json")
    logger.record("train/nan", math.nan)
    logger.record("train/words", "hello")
    logger.record("train/many", np.arange(3))
    logger.record("train/picture", Image(np.zeros((2, 2, 3)), "HWC"), exclude=("stdout",))
    logger.dump(2048)
    # Everything is on disk before anything is closed: an interrupted run loses nothing.
    text = rows.read_text(encoding="utf-8")
    assert json.loads(text) == {
        "step": 2048,
        "rollout/ep_rew_mean": -0.5,
        "time/total_timesteps": 2048,
        "train/loss": 0.25,
        "train/nan": None,
        "train/words": "hello",
    }
    events = read_back(tmp_path)
    assert set(events.Tags()["scalars"]) == {
        "rollout/ep_rew_mean",
        "train/loss",
        "train/only_board",
    }
    assert points(events, "train/loss") == [(2048, 0.25)]
    logger.close()
    writer.scalars({Tag.CAP: 0.03}, 2048)  # the writer outlives SB3's logger
    writer.close()
    writer.close()
    assert points(read_back(tmp_path), "safety/cap") == [(2048, pytest.approx(0.03))]


def test_kv_writer__works_without_a_file_and_flushes_as_told(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        format_ = KVWriterFormat(writer, flush_every=2)
        format_.write({"a": True, "b": np.array([2.0])}, {}, 1)
        format_.write({"a": 0, "b": np.array("text")}, {}, 2)
        assert points(read_back(tmp_path), "a") == [(1, 1.0), (2, 0.0)]
        assert points(read_back(tmp_path), "b") == [(1, 2.0)]
        with pytest.raises(ConfigError, match="flush_every is 0"):
            KVWriterFormat(writer, flush_every=0)


def test_run_writer__says_in_one_line_that_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot write TensorBoard's file") as caught:
        RunWriter(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_tags__are_unique_and_grouped() -> None:
    values = [tag.value for tag in Tag]
    assert len(set(values)) == len(values)
    groups = {"rollout", "train", "time", "pacing", "safety", "final", "figures", "run"}
    assert {value.split("/")[0] for value in values} == groups
