import json
import os
import re
import subprocess
import sys
from typing import get_args

import pytest

import detrojan as package
from detrojan import cli
from detrojan.cli import options


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_verb_and_the_exit_codes(detrojan, arguments):
    outcome = detrojan(*arguments)
    assert outcome.code == 0
    assert all(verb.split()[0] in outcome.out for verb in cli.VERBS)
    assert "3 the purified model was rejected" in " ".join(outcome.out.split())


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(detrojan, verb):
    outcome = detrojan(*verb.split(), "--help")
    assert outcome.code == 0
    assert f"Usage: detrojan {verb}" in outcome.out


def test_version(detrojan):
    assert detrojan("--version").out.strip() == package.__version__


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["purify", "--help"], ["purfy"]])
def test_torch_is_not_imported_before_a_verb_runs(arguments):
    script = (
        f"import sys; from detrojan.cli import main; main({arguments!r}); "
        "heavy = {'torch', 'numpy', 'scipy', 'pydantic', 'PIL'} & set(sys.modules); print(heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "set()"


def test_python_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "detrojan", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == package.__version__


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["purfy", "x"], 'Did you mean "purify"?'),
        (["show", "x", "--jso"], "Did you mean --json"),
        (["show"], "requires an argument"),
        (["show", "a", "b"], "'b' is not expected here. See detrojan show --help."),
        (["list", "attack"], 'Did you mean "attacks"?'),
        (["purify", "x", "--arch", "a", "--clean", "b", "--precision", "bf61"], 'Did you mean "bf16"?'),
        (["purify", "x", "--arch", "a", "--clean", "b", "--seed", "one"], "unable to convert"),
        (["list", "defenses", "nfr"], "no defense 'nfr', did you mean 'nft'?"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(detrojan, arguments, sentence):
    outcome = detrojan(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert sentence in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_failure_in_json_is_a_document_on_stdout_and_a_sentence_on_stderr(detrojan, tmp_path):
    outcome = detrojan("show", tmp_path / "absent.pth", "--json")
    assert outcome.code == 1
    assert outcome.document["kind"] == "BadFile"
    assert outcome.document["exit_code"] == 1
    assert outcome.document["error"] in outcome.err


@pytest.mark.parametrize("wanted", [["--traceback"], []])
def test_a_traceback_is_shown_only_where_one_is_asked_for(detrojan, tmp_path, wanted):
    outcome = detrojan("show", tmp_path / "absent.pth", *wanted)
    assert outcome.code == 1
    assert ("Traceback" in outcome.err) is bool(wanted)


def test_the_environment_asks_for_a_traceback(detrojan, tmp_path, monkeypatch):
    monkeypatch.setenv("DETROJAN_TRACEBACK", "1")
    assert "Traceback" in detrojan("show", tmp_path / "absent.pth").err


def test_output_that_is_no_terminal_has_no_control_codes():
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "detrojan", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert re.search(r"\x1b", done.stdout + done.stderr) is None


def test_a_closed_pipe_is_no_failure_with_a_traceback():
    command = f"{sys.executable} -m detrojan list --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_closed_sets_are_those_of_the_package():
    from detrojan import backdoor, execution, poisoning
    from detrojan.data import splits

    assert get_args(options.Precision) == get_args(execution.Precision)
    assert get_args(options.Mapping) == get_args(backdoor.Mapping)
    assert get_args(options.Pool) == get_args(poisoning.Pool)
    assert get_args(options.Split) == get_args(splits.Split)


def test_training_defaults_are_those_of_the_package():
    from detrojan.cli.verbs.train import SCHEDULE, _recipe
    from detrojan.recipe import Recipe

    assert _recipe(SCHEDULE) == Recipe()


def test_json_of_a_list_is_one_document(detrojan):
    outcome = detrojan("list", "all", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["defenses"]["nft"]["settings"]["steps"] == 1000
