"""Completion of the command line, by sourcing the script in a real shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from quietdial.envs.scenario import preset_names
from quietdial.experiments.cli import VERBS, main
from quietdial.experiments.completion import command_parser
from quietdial.experiments.verbs.common import form_of


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash, as the command prints it."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["completion", "bash"]) == 0
    path = tmp_path_factory.mktemp("completion") / "quietdial.bash"
    path.write_text(out.getvalue())
    return path


def complete(script: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in ("quietdial", *words))
    ask = (
        f"source '{script}'; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; "
        "complete -p quietdial >/dev/null || exit 9; "
        "handler=$(complete -p quietdial | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
        f"\"$handler\" quietdial '{words[-1]}'; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    found = subprocess.run(
        ["bash", "--norc", "-c", ask], capture_output=True, text=True, check=True, cwd=script.parent
    )
    assert not found.stderr
    return set(found.stdout.split())


def test_bash_completes_verbs(bash_script: Path) -> None:
    assert complete(bash_script, "") >= set(VERBS)
    assert complete(bash_script, "swe") == {"sweep"}
    assert complete(bash_script, "pl") == {"plan", "play"}


def test_bash_completes_flags_of_a_verb(bash_script: Path) -> None:
    assert complete(bash_script, "plan", "--conv") == {
        "--conversations-per-h",
        "--conversations-per-day",
    }
    assert "--learner.learning-rate" in complete(bash_script, "train", "--learner.l")
    assert {"--ray", "--ray-address"} <= complete(bash_script, "sweep", "--ra")
    assert "--json" in complete(bash_script, "sweep", "--")


def test_bash_completes_values(bash_script: Path) -> None:
    assert complete(bash_script, "sweep", "--search", "") == {"grid", "random", "optuna"}
    assert complete(bash_script, "bench", "t") == {"train"}
    italian = {name for name in preset_names() if name.startswith("italy")}
    assert complete(bash_script, "plan", "italy") == italian
    assert complete(bash_script, "train", "--scenario", "italy") == italian
    (bash_script.parent / "some-file.json").touch()
    assert complete(bash_script, "plan", "italy-50", "--output", "some") == {"some-file.json"}


def test_every_verb_tells_its_form_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    forms = {name: form_of(verb) for name, verb in VERBS.items()}
    assert [name for name, form in forms.items() if form is None] == [
        "reference",
        "rules",
        "pacing-rules",
    ]
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "sweep" in script
    assert "quietdial" in script
    if shutil.which(shell):
        run = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert run.returncode == 0, run.stderr


def test_parser_is_not_for_parsing_but_complete() -> None:
    text = command_parser(VERBS).format_help()
    assert all(name in text for name in VERBS)


def test_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2
    assert "fish" in capsys.readouterr().err
