"""Does the loader take a damaged or forged bundle? The result `hostile-bundles`.

Every attack of attacks.py and forgeries.py in turn, with new dice each time, on a good bundle that
is signed; each is loaded twice, with the allowed signers and without asking for a signature. Then
come whole bundles with a signature that does not count. What is allowed is a refusal of one line;
anything else than a `BundleError` is a crash.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console

from quietdial.agents.bundle.archive import MANIFEST, SIGNATURE, SUMS, read_files
from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.bundle.signature import sign
from quietdial.agents.bundle.strict import canonical
from quietdial.agents.bundle.write import Distilled, write_policy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.envs.errors import QuietDialError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.evaluate import select_seeds
from quietdial.experiments.export import distilled_tree, look
from quietdial.experiments.rundir import make_folder
from quietdial.experiments.stats import clopper_pearson
from quietdial.experiments.studies.attacks import DAMAGES, write_folder
from quietdial.experiments.studies.command import progress
from quietdial.experiments.studies.export_parity import shaken
from quietdial.experiments.studies.forgeries import FORGERIES, refitted
from quietdial.experiments.studies.pool import TrainJob, train_all

NAME: Final = "hostile-bundles"
SCENARIO: Final = "study-real-5"
ATTACKS: Final = (*DAMAGES, *FORGERIES)
"""Damages are of a signed bundle; a forgery has lost its signature."""

BUNDLES: Final = 2_100
SEED: Final = 20_260

_SHORT: Final = LearnerConfig.preset(
    "ppo", n_envs=16, n_steps=32, batch_size=128, total_steps=1024, horizon_s=600.0, net=(16, 16)
)


class Outcome(NamedTuple):
    """What the loader did with one bad bundle.

    Attributes:
        attack: what was done to it.
        accepted: whether it was loaded.
        crash: the error that is no refusal; empty: none.
        seconds: time of the slowest load.
    """

    attack: str
    accepted: bool
    crash: str
    seconds: float


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Make a good bundle, spoil it :data:`BUNDLES` times, record what the loader says.

    Arguments as every study has them.
    """
    scenario = load_scenario(SCENARIO)
    job = TrainJob("ppo", _SHORT, scenario)
    policy = shaken(train_all([job], work / "trainings", processes, progress(console))["ppo"])
    keys = Keys(work / "keys")
    folder = work / "good"
    shutil.rmtree(folder, ignore_errors=True)
    seen, obs = look(policy, scenario, select_seeds(2))
    table = Distilled(distilled_tree(policy, obs, 8), {"figures": [], "tolerance": "none"})
    write_policy(policy, scenario, folder, seen=seen, table=table, key=keys.own)
    load_bundle(folder, signers=keys.signers)
    before = peak_mib(restart=True)
    outcomes = list(attacked(folder, keys, work / "bad", BUNDLES))
    rows = figures(outcomes, peak_mib() - before)
    for row in rows:
        console.print(
            f"{row['name']}: {row['value']:g} {row['unit']} (95 % {row['lo']:.3g} to "
            f"{row['hi']:.3g}) of {row['n']}",
            highlight=False,
        )
    for one in outcomes:
        if one.accepted or one.crash:
            console.print(f"{one.attack}: {one.crash or 'ACCEPTED'}", highlight=False)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        write_json_atomic(output, result_file(NAME, command, f"dice {SEED}", rows))


def peak_mib(*, restart: bool = False) -> float:
    """Largest memory of this process so far, or since the last restart of the count; Linux."""
    try:
        if restart:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024.0 for line in lines if line.startswith("VmHWM"))


class Keys:
    """Keys of OpenSSH made for the study: an allowed one and a stranger's.

    Args:
        folder: where they are; made anew.
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        self.own, self.stranger = folder / "own", folder / "stranger"
        for key in (self.own, self.stranger):
            asked = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
            try:
                subprocess.run(asked, check=True, capture_output=True, timeout=60)  # noqa: S603
            except (OSError, subprocess.SubprocessError):
                raise QuietDialError("ssh-keygen cannot be run; install OpenSSH") from None
        public = self.own.with_name("own.pub").read_text(encoding="utf-8")
        self.signers = folder / "allowed_signers"
        self.signers.write_text(f"release@example.org {public}", encoding="utf-8")


def attacked(folder: Path, keys: Keys, work: Path, n: int) -> Iterator[Outcome]:
    """Spoil the good bundle in `folder` n times in turn, and load what comes out.

    Args:
        folder: the good bundle, signed with `keys.own`.
        keys: who may sign, and who may not.
        work: folder for the bad bundles, emptied each time.
        n: bad bundles.
    """
    good = read_files(folder)
    for i in range(n):
        dice = np.random.default_rng([SEED, i])
        shutil.rmtree(work, ignore_errors=True)
        make_folder(work)
        path = work / "bundle"
        k = i % (len(ATTACKS) + len(_SIGNED))
        if k < len(ATTACKS):
            attack = ATTACKS[k]
            name = attack.name
            attack.write(dict(good), path, dice)
            ways: list[dict[str, Any]] = [{"unsigned": True}, {"signers": keys.signers}]
        else:
            name = _SIGNED[k - len(ATTACKS)]
            write_folder(_not_signed(name, good, keys), path)
            ways = [{"signers": keys.signers}]
        tried = [_loaded(path, **way) for way in ways]
        yield Outcome(
            attack=name,
            accepted=any(accepted for accepted, _, _ in tried),
            crash=next((crash for _, crash, _ in tried if crash), ""),
            seconds=max(seconds for _, _, seconds in tried),
        )
    shutil.rmtree(work, ignore_errors=True)


def _loaded(path: Path, **way: Any) -> tuple[bool, str, float]:
    began = time.perf_counter()
    accepted, crash = False, ""
    try:
        load_bundle(path, **way)
        accepted = True
    except BundleError as error:
        if "\n" in str(error) or not str(error):
            crash = f"not one line: {error!r}"
    except Exception as error:  # noqa: BLE001  # whatever comes is what is asked for
        crash = f"{type(error).__name__}: {error}"
    return accepted, crash, time.perf_counter() - began


_SIGNED: Final = (
    "signature missing",
    "signed by a stranger",
    "signature of another bundle",
    "signature for another purpose",
    "whole forgery with the old signature",
    "whole forgery signed by a stranger",
)


def _not_signed(name: str, good: dict[str, bytes], keys: Keys) -> dict[str, bytes]:
    """A bundle with nothing wrong but its signature; forgeries also raise the cap of their rule."""
    files = dict(good)
    old = files.pop(SIGNATURE)
    if "forgery" in name:
        manifest = json.loads(files[MANIFEST])
        manifest["name"] = "another"
        files = refitted({**files, MANIFEST: canonical(manifest)})
    if name == "signature missing":
        return files
    if "stranger" in name:
        files[SIGNATURE] = sign(files[SUMS], keys.stranger)
    elif name == "signature of another bundle":
        files[SIGNATURE] = sign(files[SUMS] + b"\n", keys.own)
    elif name == "signature for another purpose":
        asked = ["ssh-keygen", "-Y", "sign", "-q", "-n", "file", "-f", str(keys.own)]
        done = subprocess.run(asked, input=files[SUMS], capture_output=True, check=True)  # noqa: S603
        files[SIGNATURE] = done.stdout
    else:
        files[SIGNATURE] = old
    return files


def figures(outcomes: list[Outcome], grown_mib: float) -> list[dict[str, Any]]:
    """The rows of the result."""
    n = len(outcomes)
    accepted = clopper_pearson(sum(one.accepted for one in outcomes), n)
    crashed = clopper_pearson(sum(bool(one.crash) for one in outcomes), n)
    kinds = len({one.attack for one in outcomes})
    slowest = max(outcomes, key=lambda one: one.seconds)
    s = slowest.seconds
    return [
        figure("accepted", accepted.value, "1", accepted.lo, accepted.hi, n, f"{kinds} kinds"),
        figure("crashes", crashed.value, "1", crashed.lo, crashed.hi, n, "errors but a refusal"),
        figure("slowest load", s, "s", s, s, n, slowest.attack),
        figure("memory", grown_mib, "MiB", grown_mib, grown_mib, n, "peak above that before"),
    ]
