"""The programs of `examples/evaluators/`, and torch, as evaluators of a bundle."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from quietdial.agents.bundle.evaluate import Answers, Inputs, PlainPolicy
from quietdial.envs.errors import QuietDialError

FOLDER: Final = Path(__file__).resolve().parents[2] / "examples" / "evaluators"
"""Where the programs are in a checkout; an installed wheel has none."""


class Program(NamedTuple):
    """A program in some language.

    Attributes:
        tool: the command that must be installed.
        package: the package of Debian that has it.
        source: file in :data:`FOLDER`.
        build: command that makes it ready, from source and work folder; empty: none is needed.
        run: command that runs it, from source and work folder.
    """

    tool: str
    package: str
    source: str
    build: Callable[[Path, Path], list[str]]
    run: Callable[[Path, Path], list[str]]


def _nothing(_: Path, __: Path) -> list[str]:
    return []


PROGRAMS: Final[dict[str, Program]] = {
    "Perl": Program("perl", "perl", "decide.pl", _nothing, lambda s, _: ["perl", str(s)]),
    "PHP": Program("php", "php-cli", "decide.php", _nothing, lambda s, _: ["php", str(s)]),
    "Java": Program(
        "javac",
        "default-jdk-headless",
        "Decide.java",
        lambda s, w: ["javac", "-d", str(w), str(s)],
        lambda _, w: ["java", "-cp", str(w), "Decide"],
    ),
    "Go": Program(
        "go",
        "golang-go",
        "decide.go",
        lambda s, w: ["go", "build", "-o", str(w / "decide-go"), str(s)],
        lambda _, w: [str(w / "decide-go")],
    ),
    "C": Program(
        "gcc",
        "gcc",
        "decide.c",
        lambda s, w: ["gcc", "-O2", "-Wall", "-Werror", "-o", str(w / "decide-c"), str(s), "-lm"],
        lambda _, w: [str(w / "decide-c")],
    ),
    "JavaScript": Program("node", "nodejs", "decide.js", _nothing, lambda s, _: ["node", str(s)]),
    "Python": Program(
        "python3", "python3", "decide.py", _nothing, lambda s, _: ["python3", str(s)]
    ),
}
"""By language."""


def why_not(language: str) -> str | None:
    """Why a program cannot be run here, and how to get what it needs; None if it can."""
    program = PROGRAMS[language]
    if not (FOLDER / program.source).is_file():
        return f"{language}: examples/evaluators is not here; use a checkout"
    if shutil.which(program.tool) is None:
        return f"{language}: needs {program.tool}; on Debian: apt-get install {program.package}"
    return None


def build(language: str, work: Path) -> None:
    """Make a program ready in a work folder (`QuietDialError`: the compiler refuses it)."""
    program = PROGRAMS[language]
    command = program.build(FOLDER / program.source, work)
    if command:
        _run(command, work)


def answers_of(language: str, work: Path, policy_json: Path, vectors: Path) -> Answers:
    """What a program that was built in `work` answers to a file of vectors."""
    program = PROGRAMS[language]
    command = program.run(FOLDER / program.source, work)
    text = _run([*command, str(policy_json), str(vectors)], work)
    rows = [line.split() for line in text.splitlines()]
    return Answers(
        answer=np.array([float(row[1]) for row in rows]),
        action=np.array([int(row[0]) for row in rows], np.int64),
        valid=np.array([row[2] == "1" for row in rows], np.bool_),
        choice=np.array([int(row[3]) for row in rows], np.int64),
    )


def _run(command: list[str], work: Path) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # programs of this repository
            command, capture_output=True, text=True, timeout=600, check=False, cwd=work
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise QuietDialError(f"{command[0]}: cannot be run: {type(error).__name__}") from None
    if done.returncode != 0:
        line = " ".join(done.stderr.split())[:300]
        raise QuietDialError(f"{' '.join(command[:3])}: exit code {done.returncode}: {line}")
    return done.stdout


def torch_answers(policy: PlainPolicy, inputs: Inputs) -> Answers:
    """The network once more in torch, float64, decoded as the contract says."""
    import torch
    from torch import nn

    def linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
        layer = nn.Linear(len(weight), len(bias), dtype=torch.float64)
        layer.weight.data = torch.tensor(weight.T.copy())
        layer.bias.data = torch.tensor(bias)
        return layer

    class Network(PlainPolicy):
        def numbers(
            self, inputs: Inputs
        ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
            x = torch.from_numpy(inputs.obs).double()
            hidden = cell = None
            with torch.no_grad():
                if self.memory is not None and inputs.hidden is not None:
                    weight, back, bias = self.memory
                    lstm = nn.LSTMCell(len(weight), len(back), dtype=torch.float64)
                    lstm.weight_ih.data = torch.tensor(weight.T.copy())
                    lstm.weight_hh.data = torch.tensor(back.T.copy())
                    lstm.bias_ih.data = torch.tensor(bias)
                    lstm.bias_hh.data.zero_()
                    state = (torch.tensor(inputs.hidden), torch.tensor(inputs.cell))
                    x, fresh = lstm(x, state)
                    hidden, cell = x.numpy(), fresh.numpy()
                for weight, bias in self.layers[:-1]:
                    x = torch.tanh(linear(weight, bias)(x))
                y = linear(*self.layers[-1])(x).numpy()
            return y, hidden, cell

    return Network(policy.low, policy.high, policy.layers, policy.decode, policy.memory).answer(
        inputs
    )
