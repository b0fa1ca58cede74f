"""The documentation says what the code does."""

import re

import pytest

from quietdial.envs.pacing.spec import page
from quietdial.experiments.cli import VERBS


def test_environment_page__is_the_table(repository):
    written = (repository / "docs" / "environment.md").read_text(encoding="utf-8")
    assert written == page(), "run: quietdial reference > docs/environment.md"


def test_readme__names_every_verb(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"quietdial {verb}" in text, verb


def test_readme__links_lead_somewhere(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (repository / target).exists(), target


def test_readme__python_runs(repository, capsys):
    text = (repository / "README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})  # our own text
    assert capsys.readouterr().out


@pytest.mark.parametrize("verb", ["train", "test", "lint", "help"])
def test_makefile__has_the_verb(repository, verb):
    assert re.search(rf"^{verb}:", (repository / "Makefile").read_text(), flags=re.MULTILINE)
