"""docs/compliance.md holds the tables of the recorded results; its summary agrees with them."""

import json
import re

import pytest

from quietdial.experiments.bench.results import by_subject
from quietdial.experiments.studies.compliance import page_table

MARKS = {"compliance": "figures", "budget-plan": "figures of budget-plan"}
MARKS["long-windows"] = "figures of long-windows"


@pytest.fixture
def page(repository):
    return (repository / "docs/compliance.md").read_text(encoding="utf-8")


@pytest.fixture
def figures(repository):
    folder = repository / "experiments/results"
    return {name: json.loads((folder / f"{name}.json").read_text())["figures"] for name in MARKS}


@pytest.mark.parametrize("name", MARKS)
def test_page__holds_the_table_of_the_result(page, figures, name):
    _, _, rest = page.partition(f"<!-- {MARKS[name]}: begin -->")
    table, _, _ = rest.partition(f"<!-- {MARKS[name]}: end -->")
    assert table.strip() == page_table(figures[name]).strip()


def test_summary__agrees_with_the_results(page, figures):
    """Each line names its setting; its costs and days above are those of the results."""
    rows = {**by_subject(figures["compliance"]), **by_subject(figures["budget-plan"])}
    lines = re.findall(r"^\| [^|]+ \| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert len(lines) == 6
    for setting, *cells in lines:
        plain = re.escape(setting)
        if " + plan + " in setting:
            plain = plain.replace("plan", r"plan, margin \d") + r", r [.\d]+"
        for world, cell in zip(("study-real-10", "study-real-25"), cells, strict=True):
            (row,) = (row for name, row in rows.items() if re.fullmatch(f"{world}, {plain}", name))
            above, cost = row["days above the cap"], row["cost"]
            days = f"{above['value'] * above['n']:.0f} of {above['n']:,}"
            assert cell == f"{-100 * cost['value']:.2f}; {days}"
