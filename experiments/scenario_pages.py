"""Pages of the shipped scenarios, made from the scenarios themselves.

`page` is the page of one world, `index` the table of all, `random_page` the ranges of the random
ones; `texts` is everything that is written under docs/scenarios, but for the pictures.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, assert_never, cast

import numpy as np

from quietdial.agents.policy import Policy
from quietdial.agents.rules import Blend, Marginal
from quietdial.envs.laws import (
    ConstantLaw,
    ExponentialLaw,
    GammaLaw,
    Law,
    LognormalLaw,
    MixtureLaw,
    QuantileLaw,
    UniformLaw,
    WeibullLaw,
)
from quietdial.envs.loading import write_bytes_atomic, write_text_atomic
from quietdial.envs.randomise import RANGES, ScenarioRanges
from quietdial.envs.records import Assembler, Records
from quietdial.envs.regulation.page import shown
from quietdial.envs.scenario import (
    Detection,
    Drift,
    DriftingAnswer,
    Floor,
    Inbound,
    People,
    Scenario,
    Shift,
    load_scenario,
    preset_names,
)
from quietdial.experiments.evaluate import make_world

COMMAND: Final = "quietdial scenarios --write docs/scenarios"
"""The command that writes the pages."""

PICTURE_SEED: Final = 1
"""Seed of the pictured day."""

PICTURE_POLICY: Final = "marginal"
"""Rule that paces the pictured day."""

BLEND_POLICY: Final = "blend:2"
"""Rule for floors that take incoming calls too, and for the pictured day of their dialer."""

PICTURE_DPI: Final = 100
"""Dots per inch of a picture, 1000 points wide; at most 80 KB each."""

REFERENCE: Final = ("markov-", "study-")
"""Beginnings of the names of the reference worlds."""

Rows = dict[str, str]

_CLOCK: Final = {
    "answer": "the answer",
    "greeting_start": "the first word",
    "greeting_end": "the end of the greeting",
}
_AT_LIMIT: Final = {
    "cut": "the call is cut",
    "message": "a message is played, then the call ends",
    "hold": "the callee is held; a later agent counts as silent",
}
_DETECTION: Final = {
    "perfect": "perfect: machines are told apart at the pick-up",
    "none": "off: agents handle the machines",
}


def _number(value: float) -> str:
    """Four significant digits at most, thousands apart."""
    if value >= 1000 and float(value).is_integer():
        return f"{round(value):,}"
    return f"{value:.4g}"


def _percent(p: float) -> str:
    return f"{_number(100 * p)} %"


def _time(seconds: float) -> str:
    """A duration in the unit that reads best."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length and seconds % (length / 2) == 0:
            return f"{_number(seconds / length)} {unit}"
    return f"{_number(seconds)} s"


def law_text(law: Law, unit: str = " s") -> str:
    """A law of a duration in words; `unit` is written after each number that has one."""
    if isinstance(law, ConstantLaw):
        return f"{_number(law.value_s)}{unit}, always"
    if isinstance(law, UniformLaw):
        return f"{_number(law.low_s)} to {_number(law.high_s)}{unit}, uniform"
    if isinstance(law, ExponentialLaw):
        return f"mean {_number(law.mean_s)}{unit}, exponential"
    if isinstance(law, LognormalLaw):
        return f"mean {_number(law.mean_s)}{unit}, lognormal, cv {_number(law.cv)}"
    if isinstance(law, GammaLaw):
        mean_s = law.shift_s + law.shape * law.scale_s
        shift = f", at least {_number(law.shift_s)}{unit}" if law.shift_s else ""
        return f"mean {_number(mean_s)}{unit}, gamma, shape {_number(law.shape)}{shift}"
    if isinstance(law, WeibullLaw):
        mean_s = law.sampled_mean_s()
        return f"mean {mean_s:.3g}{unit}, Weibull, shape {_number(law.shape)}"
    if isinstance(law, QuantileLaw):
        return f"mean {law.sampled_mean_s():.3g}{unit}, {len(law.p)} quantiles"
    if isinstance(law, MixtureLaw):
        parts = "; ".join(f"{_percent(p.weight)}: {law_text(p.law, unit)}" for p in law.parts)
        return f"mean {law.sampled_mean_s():.3g}{unit}, mixed ({parts})"
    assert_never(law)


def _drift_text(drift: Drift) -> list[str]:
    """What moves a level within the day."""
    moves = []
    if drift.season_amplitude:
        moves.append(
            f"wave of {_percent(drift.season_amplitude)} in {_time(drift.season_period_s)}"
        )
    if drift.ou_sd:
        moves.append(
            f"noise of sd {_number(drift.ou_sd)} (log), relaxation {_time(drift.ou_tau_s)}"
        )
    if drift.jumps_per_h:
        moves.append(
            f"{_number(drift.jumps_per_h)} jumps an hour of sd {_number(drift.jump_sd)} (log)"
        )
    return moves


def answer_text(scenario: Scenario) -> str:
    """The answer rate in a few words."""
    rate = scenario.calls.answer_rate
    if isinstance(rate, DriftingAnswer):
        return f"{_number(rate.p_low)} to {_number(rate.p_high)}"
    return _number(rate.p)


def _shift_text(shift: Shift) -> str:
    who = f"{shift.n_agents} from {shift.login} to {shift.logout}"
    if shift.lunch:
        who += f", lunch at {shift.lunch.at} for {_time(shift.lunch.duration)}"
    return who + (", incoming calls only" if shift.group == "inbound" else "")


def _floor_rows(floor: Floor) -> Rows:
    rows = {"Agents": str(floor.n_agents)}
    rows["Roster"] = "; ".join(map(_shift_text, floor.shifts)) or "all of them, all day"
    rows["Talk"] = law_text(floor.talk)
    if floor.talk_day_sd:
        rows["Talk, from day to day"] = f"factor of sd {_number(floor.talk_day_sd)} (log), hidden"
    if floor.talk_drift:
        rows["Talk, within the day"] = "; ".join(_drift_text(floor.talk_drift)) + "; hidden"
    rows["Wrap-up"] = law_text(floor.wrap) if floor.wrap else "none"
    if floor.breaks:
        rows["Breaks"] = (
            f"after {_percent(floor.breaks.p_after_wrap)} of the wrap-ups, "
            f"{law_text(floor.breaks.duration)}"
        )
    if floor.speed_sd:
        rows["Speed of an agent"] = f"factor of sd {_number(floor.speed_sd)} (log)"
    if floor.p_success:
        rows["Success"] = f"{_percent(floor.p_success)} of the conversations, agents differ by sd "
        rows["Success"] += f"{_number(floor.skill_sd)} (log)"
    return rows


def _detection_text(detection: Detection) -> str:
    if detection.kind != "amd":
        text = _DETECTION[detection.kind]
        handling = detection.machine_handling
        return text + (f", {law_text(handling)}" if handling else "")
    decision = law_text(detection.decision) if detection.decision else ""
    return (
        f"on, verdict after {decision}; {_percent(detection.p_false_machine)} of people taken for "
        f"machines, {_percent(detection.p_false_person)} of machines for people"
    )


def _calls_rows(scenario: Scenario) -> Rows:
    calls = scenario.calls
    rate = calls.answer_rate
    rows = {"Answer rate": answer_text(scenario) + ", constant"}
    if isinstance(rate, DriftingAnswer):
        moves = ["the day's level is hidden", *_drift_text(rate)]
        rows["Answer rate"] = f"{answer_text(scenario)}; " + "; ".join(moves)
    rows["Set-up"] = law_text(calls.setup) if calls.setup else "no time"
    rows["Ringing before an answer"] = law_text(calls.time_to_answer)
    for part in calls.unanswered:
        name = f"Not answered: {part.outcome.replace('_', ' ')}"
        rows[name] = f"{_percent(part.share)}, {law_text(part.time)}"
    timeout = calls.ring_timeout_s
    rows["The dialer gives up after"] = _time(timeout) if timeout else "what the laws say"
    if calls.greeting:
        rows["First word"] = law_text(calls.greeting.start)
        rows["Greeting"] = law_text(calls.greeting.length)
    rows["Detection of machines"] = _detection_text(calls.detection)
    rows["Patience"] = law_text(calls.patience) if calls.patience else "waits until the limit"
    if calls.trunks:
        rows["Lines"] = f"{_number(calls.trunks)} in all"
    if calls.calls_per_s:
        rows["Dials start"] = f"at most {_number(calls.calls_per_s)} a second"
    rows["Most dials of one decision"] = str(scenario.max_dials)
    return rows


def _people_rows(people: People | None) -> Rows:
    if people is None:
        return {"List": "endless and anonymous"}
    rows = {"List": f"{people.n_people:,} people"}
    for number, segment in enumerate(people.segments, start=1):
        hours = [segment.by_hour[hour] for hour in (10, 13, 16, 19)]
        zone = f", {segment.time_zone}" if segment.time_zone else ""
        rows[f"Segment {number}"] = (
            f"{_percent(segment.share)}, reach x {_number(segment.reach)}, at 10, 13, 16 and 19: "
            + ", ".join(f"x {_number(hour)}" for hour in hours)
            + zone
        )
    retry = people.retry
    rows["Retry"] = (
        f"no answer {_time(retry.no_answer_s)}, busy {_time(retry.busy_s)}, machine "
        f"{_time(retry.machine_s)}, failure {_time(retry.failure_s)}"
    )
    rows["Attempts"] = f"{people.max_attempts} at most"
    if people.callback_after and people.p_callback:
        rows["Callbacks"] = (
            f"{_percent(people.p_callback)} of the conversations, {law_text(people.callback_after)}"
        )
    return rows


def _inbound_rows(inbound: Inbound) -> Rows:
    rates = "; ".join(f"{p.begins}: {_number(p.per_h)}" for p in inbound.periods)
    rows = {"Calls an hour, from": rates}
    if inbound.day_factor:
        rows["Factor of the day"] = law_text(inbound.day_factor, "")
    rows["Conversation and wrap-up"] = law_text(inbound.talk)
    rows["Patience"] = law_text(inbound.patience) if inbound.patience else "for ever"
    rows["Leaves at once if it must wait"] = _percent(inbound.p_balk)
    rows["Waiting callers"] = f"{inbound.capacity} at most"
    rows["Service level"] = f"within {_time(inbound.service_level_s)}"
    return rows


def _rule_rows(scenario: Scenario) -> Rows:
    rule = scenario.rule
    rows = {"Rule": f"{rule.id}: {rule.title}" if rule.title else rule.id}
    rows["Silent / answered"] = shown(rule, "windows" if rule.windows else "cap")
    rows["An agent within"] = f"{_time(rule.wait_limit_s)} of {_CLOCK[rule.clock]}"
    rows["Then"] = _AT_LIMIT[rule.at_limit]
    if rule.min_ring_s:
        rows["Ringing, at least"] = _time(rule.min_ring_s)
    if rule.max_ring_s:
        rows["Ringing, at most"] = _time(rule.max_ring_s)
    if rule.quarantine_s:
        reserved = ", then with an agent set aside" if rule.reserved_after_silent else ""
        rows["After a silent call"] = shown(rule, "quarantine_s") + " of rest" + reserved
    if rule.machine_pause_s:
        rows["After a machine verdict"] = shown(rule, "machine_pause_s") + " of rest"
    if rule.refusal_pause_s:
        rows["After a conversation"] = shown(rule, "refusal_pause_s") + " of rest"
    caps = rule.attempts.model_dump(exclude_none=True)
    if caps:
        rows["Attempts"] = ", ".join(f"{n} {span.replace('_', ' ')}" for span, n in caps.items())
    rows["Hours"] = shown(rule, "hours")
    rows["Holidays"] = rule.country or "none"
    return rows


def _time_rows(scenario: Scenario) -> Rows:
    episode, belief = scenario.episode, scenario.belief
    begin = f"{episode.start}, {_time(episode.duration_s)}"
    if episode.first_day is None:
        rows = {"Played": f"one day outside any calendar, from {begin}"}
    else:
        days = "1 day" if episode.n_days == 1 else f"{episode.n_days} days"
        rows = {
            "Played": f"{days} from {episode.first_day:%A}, {episode.first_day}; each from {begin}",
            "Time zone": episode.time_zone,
        }
    if episode.dial_from or episode.dial_until:
        dialing = (episode.dial_from or "the opening", episode.dial_until or "the close")
        rows["Dialing"] = f"from {dialing[0]} to {dialing[1]}"
    rows["Dialing stops"] = f"{_time(episode.close_s)} before the close"
    rows["A policy decides"] = f"every {_time(episode.decision_interval_s)}"
    known = belief.answer_rate
    rows["The dialer believes"] = (
        f"an answer rate of {_number(known)}"
        if known
        else f"{_number(belief.prior_answered)} of {_number(belief.prior_finished)} dials are "
        f"answered at first, then what it counts in about {_time(belief.memory_s)}"
    )
    for name in ("talk", "wrap", "time_to_answer"):
        law: Law | None = getattr(belief, name)
        if law:
            rows[f"It believes: {name.replace('_', ' ')}"] = law_text(law)
    if belief.feed_delay_s:
        rows["It sees its agents"] = f"{_time(belief.feed_delay_s)} late"
    rows["Defaults"] = f"observation `{scenario.observation}`, action `{scenario.action}`"
    return rows


def _table(title: str, rows: Rows) -> list[str]:
    lines = ["", f"## {title}", "", "| | |", "|---|---|"]
    return lines + [f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items()]


def _use(scenario: Scenario) -> list[str]:
    name = scenario.name
    return [
        "",
        "## Use",
        "",
        "```python",
        "import gymnasium as gym",
        "",
        f'env = gym.make("quietdial.envs:quietdial/Pacing-v1", scenario="{name}")',
        f'envs = gym.make_vec("quietdial.envs:quietdial/Pacing-v1", 64, scenario="{name}")',
        "```",
        "",
        "```sh",
        *_commands(scenario),
        "```",
    ]


def _commands(scenario: Scenario) -> list[str]:
    policies = [PICTURE_POLICY]
    if scenario.inbound is not None:
        policies = [BLEND_POLICY] + policies * (scenario.action != "blend")
    simulate = [f"quietdial simulate {scenario.name} --policy {name}" for name in policies]
    train = f"quietdial train --scenario {scenario.name}"
    return [*simulate, train] if scenario.rule.cap < 1 else simulate  # no cap, no verdict


def page(scenario: Scenario) -> str:
    """The page of a shipped scenario, Markdown; the picture beside it is <name>.png."""
    name = scenario.name
    lines = [
        f"# {name}",
        "",
        f"Generated by `{COMMAND}` from `envs/presets/{name}.yaml`. [All scenarios](README.md)",
        "",
        scenario.description,
        "",
        f"![{name}: one simulated day]({name}.png)",
        "",
        f"The first day of seed {PICTURE_SEED}, paced by {_pacer(scenario)}.",
    ]
    lines += _use(scenario)
    lines += _table("Floor", _floor_rows(scenario.floor))
    lines += _table("Calls", _calls_rows(scenario))
    lines += _table("People", _people_rows(scenario.people))
    if scenario.inbound:
        lines += _table("Incoming calls", _inbound_rows(scenario.inbound))
    lines += _table("Rule", _rule_rows(scenario))
    lines += _table("Time and belief", _time_rows(scenario))
    lines += ["", "## What is assumed", "", "| Field | Where it is from |", "|---|---|"]
    lines += [f"| `{field}` | {reason} |" for field, reason in scenario.assumptions.items()]
    if scenario.credits:
        lines += ["", "## Credits", "", *scenario.credits]
    return "\n".join(lines) + "\n"


def _pacer(scenario: Scenario) -> str:
    if scenario.action == "blend":
        return f"the event-triggered dialer, `{BLEND_POLICY}`"
    return f"the rule `{PICTURE_POLICY}` as it is shipped, not tuned to this world"


def summary(scenario: Scenario) -> str:
    """The first sentence of the description; a long one to its colon."""
    first = scenario.description.split(". ")[0].rstrip(".")
    return first if len(first) <= 110 else first.split(": ")[0]


def _index_row(scenario: Scenario) -> str:
    days = scenario.episode.n_days
    people = f"{scenario.people.n_people:,}" if scenario.people else "endless"
    cells = (
        f"[{scenario.name}]({scenario.name}.md)",
        str(scenario.floor.n_agents),
        answer_text(scenario),
        people,
        f"`{scenario.rule.id}`",
        "1 day" if days == 1 else f"{days} days",
        summary(scenario),
    )
    return "| " + " | ".join(cells) + " |"


def _index_table(scenarios: Iterable[Scenario]) -> list[str]:
    head = "| Scenario | Agents | Answer rate | List | Rule | Length | What it is |"
    return [head, "|---|---|---|---|---|---|---|", *map(_index_row, scenarios)]


def is_reference(name: str) -> bool:
    """Whether this is a reference world of published figures, held to exact values."""
    return name.startswith(REFERENCE)


def index(scenarios: Iterable[Scenario]) -> str:
    """The table of all shipped scenarios, Markdown, floors first."""
    ordered = sorted(scenarios, key=lambda s: (s.name.split("-")[0], s.floor.n_agents, s.name))
    floors = [s for s in ordered if not is_reference(s.name)]
    reference = [s for s in ordered if is_reference(s.name)]
    lines = [
        "# Scenarios",
        "",
        f"Generated by `{COMMAND}` from `envs/presets/`. What each part does to the world: "
        "[mechanisms](../mechanisms.md); the rules: [rules](../rules.md).",
        "",
        "A scenario is a YAML file. Take the nearest one, copy it, change it, and give its path "
        'instead of the name: `scenario="my-floor.yaml"`. Whole families of worlds for training '
        "come from a seed: [random scenarios](random.md).",
        "",
        "## Floors",
        "",
        *_index_table(floors),
        "",
        "## Reference worlds",
        "",
        "Simple on purpose: published figures and exact results hold for them.",
        "",
        *_index_table(reference),
    ]
    return "\n".join(lines) + "\n"


def _range_text(value: object) -> str:
    if isinstance(value, tuple):
        if value and all(isinstance(item, str) for item in value):
            return ", ".join(map(str, value))
        return " to ".join(dict.fromkeys(map(_number, value)))
    return _number(value) if isinstance(value, int | float) else str(value)


def random_page() -> str:
    """The ranges of the random scenarios, Markdown."""
    names = list(RANGES)
    lines = [
        "# Random scenarios",
        "",
        f"Generated by `{COMMAND}` from `envs/randomise.py`. [All scenarios](README.md)",
        "",
        "A policy that was trained in one world learns that world. These are drawn at random, each "
        "from one seed, and every draw is a valid scenario:",
        "",
        "```python",
        "from quietdial.envs.randomise import ScenarioRanges, draw_scenario, draw_scenarios",
        "",
        'one = draw_scenario("default", seed=7)',
        'many = draw_scenarios(64, seed=7, ranges="wide")',
        'own = draw_scenario(ScenarioRanges(n_agents=(5, 10), rules=("de",)), seed=7)',
        "```",
        "",
        "`narrow` is a floor like italy-50, a little different each time; `default` is what "
        "contact centres are like; `late` is the same on small floors whose agents are seen late; "
        "`wide` goes beyond what is likely. All days are outside any calendar.",
        "",
        "| Quantity | What, and why these bounds | " + " | ".join(f"`{n}`" for n in names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for name, info in ScenarioRanges.model_fields.items():
        values = [_range_text(getattr(RANGES[which], name)) for which in names]
        lines.append(f"| `{name}` | {info.description} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def texts() -> dict[str, str]:
    """Every file under docs/scenarios but the pictures: name and text."""
    scenarios = [load_scenario(name) for name in preset_names()]
    pages = {f"{scenario.name}.md": page(scenario) for scenario in scenarios}
    return {"README.md": index(scenarios), "random.md": random_page(), **pages}


def pictured_policy(scenario: Scenario) -> Policy:
    """The rule that plays the pictured day: the scenario's own if that is the blend dialer."""
    return Blend(2.0) if scenario.action == "blend" else Marginal()


def day_records(scenario: Scenario, seed: int = PICTURE_SEED) -> Records:
    """All records of the first day of a scenario, played by the pictured policy."""
    policy = pictured_policy(scenario)
    world = make_world(policy, scenario, 1, records=True)
    world.begin(np.ones(1, np.bool_), [seed])
    assembler = Assembler(scenario)
    active = np.ones(1, np.bool_)
    state: object | None = None
    while active.any():
        actions, state = policy.act(world.observe(), state)
        active = world.step(actions, active)[:, 4] == 0
        assembler.feed(cast(Any, world).drain_log()[0])
    assembler.close(round(1000 * float(world.clock_s()[0])))
    return assembler.take()


def first_day(scenario: Scenario) -> Scenario:
    """The scenario with its first calendar day alone."""
    episode = scenario.episode.model_copy(update={"n_days": 1})
    return scenario.model_copy(update={"episode": episode})


def draw(scenario: Scenario, folder: Path) -> Path:
    """Draw one simulated day into <name>.png in an existing folder; returns the file.

    Raises:
        RunFolderError: the file cannot be written.
    """
    from quietdial.experiments.plots import png_bytes
    from quietdial.experiments.timeline import floor_timeline

    day = first_day(scenario)
    figure = floor_timeline(day_records(day), day, policy=pictured_policy(day).name)
    path = folder / f"{scenario.name}.png"
    write_bytes_atomic(path, _fewer_colours(png_bytes(figure, dpi=PICTURE_DPI)))
    return path


def _fewer_colours(png: bytes) -> bytes:
    """The same picture with a palette of 48 colours, a third of the size."""
    from PIL import Image  # matplotlib depends on it

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("RGB").quantize(48, dither=Image.Dither.NONE)
        small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write(folder: Path) -> list[Path]:
    """Write all pages, but no pictures, into an existing folder; returns the files.

    Raises:
        RunFolderError: a file cannot be written.
    """
    written = []
    for name, text in texts().items():
        write_text_atomic(folder / name, text)
        written.append(folder / name)
    return written
