"""The verb shadow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.markdown import Markdown

from quietdial.experiments.verbs.common import EXIT_FAILED, EXIT_OK, Args, console_of, emit, parse


@dataclasses.dataclass(frozen=True)
class ShadowArgs:
    """Run an exported policy beside the incumbent on recorded days; it places nothing.

    Exit code 1 if the days are of another floor than that of training.
    """

    bundle: Annotated[Path, tyro.conf.Positional]
    """the bundle, folder or archive (quietdial export)"""
    days: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """a folder of records (quietdial simulate --records), VICIdial tables, queue_log and CDR"""
    output: Path
    """folder for shadow.json, shadow.md, decisions.parquet and pictures"""
    format: Literal["auto", "records", "vicidial", "asterisk"] = "auto"
    """of the days"""
    campaign: str | None = None
    """campaign or queue, where the files hold several"""
    context: str | None = None
    """Asterisk: dcontext of the dialer's rows of the CDR"""
    time_zone: str = "Europe/Rome"
    """of local times in the files"""
    guards: Literal["contract", "none"] = "contract"
    """contract: shield, cold start and envelope as in production; none: the policy alone"""
    horizon: float = 120.0
    """length of a block of the off-policy estimate [s]"""
    least_effective: float = 100.0
    """effective blocks below which no estimate is given"""
    scenario: str | None = None
    """world for a simulation of both beside it (preset or YAML file, see quietdial calibrate)"""
    incumbent: str | None = None
    """what the incumbent is in that simulation: theta:0.02, ratio:2, progressive, a run"""
    simulated_days: int = 16
    """days of that simulation"""
    signers: Path | None = None
    """file of allowed signers, one of whom must have signed the bundle; none: whoever made it"""


def shadow(args: Args) -> int:
    """Run a bundle beside the incumbent on recorded days: what would it have done, and where?"""
    asked = parse(ShadowArgs, args, "shadow")
    from quietdial.agents.bundle.load import load_bundle
    from quietdial.envs.dialer_logs import read_logs
    from quietdial.envs.scenario import load_scenario
    from quietdial.experiments.progress import progress_bar
    from quietdial.experiments.rundir import writable_folder
    from quietdial.experiments.shadow.command import follow, write_report

    bundle = load_bundle(asked.bundle, signers=asked.signers, unsigned=asked.signers is None)
    recorded = read_logs(
        asked.days,
        asked.format,
        time_zone=asked.time_zone,
        campaign=asked.campaign,
        context=asked.context,
    )
    scenario = None if asked.scenario is None else load_scenario(asked.scenario)
    folder = writable_folder(asked.output)
    console = console_of()
    with progress_bar(console, stays=False) as bar:
        task = bar.add_task("following the recorded days", total=1.0)
        found = follow(
            bundle,
            recorded,
            guarded=asked.guards == "contract",
            horizon_s=asked.horizon,
            least_ess=asked.least_effective,
            scenario=scenario,
            incumbent=asked.incumbent,
            simulated_days=asked.simulated_days,
            report=lambda share: bar.update(task, completed=share),
        )
    names = [feature["name"] for feature in bundle.contract["features"]]
    paths = write_report(found, folder, names)
    emit({**found.to_dict(), "files": [str(path) for path in paths]})
    console.print(Markdown(found.short_page()))
    for path in paths:
        console.print(f"Written: {path}")
    return EXIT_OK if found.inside else EXIT_FAILED
