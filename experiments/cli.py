"""The `quietdial` command: one verb per job, over the same validated models as the files.

Errors that are the user's become one line on standard error and exit code 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import metadata

from pydantic import ValidationError

from quietdial.agents.bundle.errors import BundleError
from quietdial.envs.errors import MissingExtraError, QuietDialError
from quietdial.envs.scenario import describe_validation_error
from quietdial.experiments.verbs import (
    answering,
    looking,
    measuring,
    pages,
    serving,
    shadowing,
    sweeping,
    telephony,
    training,
    worlds,
)
from quietdial.experiments.verbs.common import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNREAD,
    EXIT_USAGE,
    Args,
    habits_from,
)

_EXTRA_OF = {
    "torch": "train",
    "stable_baselines3": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "safetensors": "train",
    "onnx": "export",
    "onnxruntime": "export",
    "h11": "serve",
    "simpy": "bench",
    "pyarrow": "records",
    "pymysql": "vicidial",
    "ray": "sweep",
    "optuna": "sweep",
}

VERBS: dict[str, Callable[[Args], int]] = {
    "train": training.train,
    "evolve": training.evolve,
    "resume": training.resume,
    "reproduce": training.reproduce,
    "evaluate": training.evaluate,
    "select": training.select,
    "sweep": sweeping.sweep,
    "frontier": sweeping.frontier,
    "plan": sweeping.plan,
    "calibrate": worlds.calibrate,
    "export": training.export,
    "play": worlds.play,
    "simulate": worlds.simulate,
    "bench": measuring.bench,
    "proof": measuring.proof,
    "league": measuring.league,
    "study": measuring.study,
    "limits": measuring.limits,
    "runs": looking.runs,
    "compare": looking.compare,
    "shadow": shadowing.shadow,
    "serve": answering.serve,
    "vicidial": serving.vicidial,
    "sip": telephony.sip,
    "tensorboard": looking.tensorboard,
    "ledger": serving.ledger,
    "scenarios": worlds.scenarios,
    "reference": pages.reference,
    "rules": pages.rules,
    "pacing-rules": pages.pacing_rules,
    "completion": pages.completion,
}


def usage() -> str:
    """The text of `quietdial --help`."""
    lines = [
        "usage: quietdial VERB ...   (quietdial VERB --help says more)",
        "",
        "Pacing of outbound dialers: policies that keep the cap on silent calls.",
        "",
    ]
    for name, verb in VERBS.items():
        summary = (verb.__doc__ or "").splitlines()[0]
        lines.append(f"  {name:<12} {summary}")
    lines += [
        "",
        "  --version    print the version",
        "  --quiet, -q  with any verb: print nothing but errors",
        "  --json       with any verb that has a result: print it as JSON and nothing else",
    ]
    return "\n".join(lines)


def _fail(message: str) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"quietdial: error: {line}\n")
    return EXIT_USAGE


def main(argv: Args | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        with habits_from(sys.argv[1:] if argv is None else argv) as args:
            code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNREAD
    return code


def _run(args: Args) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage() + "\n")
        return EXIT_OK if args else EXIT_USAGE
    if args[0] == "--version":
        sys.stdout.write(f"quietdial {metadata.version('quietdial')}\n")
        return EXIT_OK
    verb = VERBS.get(args[0])
    if verb is None:
        return _fail(f"unknown verb {args[0]!r}; use one of: {', '.join(VERBS)}")
    try:
        return verb(args[1:])
    except ValidationError as error:
        return _fail(describe_validation_error(error, "configuration"))
    except (QuietDialError, BundleError) as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _EXTRA_OF:
            raise
        return _fail(str(MissingExtraError(package, _EXTRA_OF[package], f"quietdial {args[0]}")))
    except KeyboardInterrupt as stopped:
        sys.stderr.write("quietdial: interrupted\n")
        return int(getattr(stopped, "exit_code", EXIT_INTERRUPTED))
