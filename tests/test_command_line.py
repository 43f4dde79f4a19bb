"""How the command line starts, completes, suggests, and reads old names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from command_line import Run
from moppet.commands.main import app
from moppet.commands.options import VERBS, any_of, read_list, read_pairs
from moppet.infer.expression_model import bundled_models
from moppet.timeline import TimelineSettings
from moppet.values import UsageError

HEAVY = (
    *("torch", "lightning", "onnxruntime", "onnx", "av", "mtcnn", "scipy", "sklearn", "pandas"),
    *("matplotlib", "pyarrow", "fastapi", "plotly", "diffusers", "transformers", "ray"),
)
Ended = subprocess.CompletedProcess[str]
MOPPET = "from moppet.__main__ import main; main()"


def run_apart(
    *arguments: str, code: str = MOPPET, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`moppet` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )


def loaded_by(*arguments: str) -> tuple[Ended, list[str]]:
    """What `moppet` with these arguments ends with, and which heavy libraries it has loaded."""
    code = (
        "import atexit, sys\n"
        f"heavy = {HEAVY}\n"
        "loaded = lambda: [name for name in heavy if name in sys.modules]\n"
        "atexit.register(lambda: print('LOADED', *loaded(), file=sys.stderr))\n" + MOPPET
    )
    done = run_apart(*arguments, code=code)
    return done, done.stderr.rsplit("LOADED", 1)[1].split()


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--help"], "Recordings:"),
        (["analyze", "--help"], "--detector"),
        (["analyze", "a.mp4", "--modell", "x"], "Did you mean --model?"),
        (["analyze", "a.mp4", "--model", "nobody"], "there is no model 'nobody'"),
        (["analyze", "a.mp4", "--format", "xlsx"], "'xlsx'"),
        (["export", "a.parquet", "--format", "word"], "'word'"),
        (["watch", "a.mp4", "--model", "nobody"], "there is no model 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_answered_before_anything_heavy_is_loaded(
    arguments: list[str], printed: str
) -> None:
    done, loaded = loaded_by(*arguments)
    assert printed in done.stdout + done.stderr
    assert loaded == []


RECIPE = 'name = "mine"\ndata = "faces"\n'
NETWORKS_STUDY = """\
name = "mine"
title = "mine"
output = "out"
work = "work"
[common]
data = "faces"
[regimes.all]
[tables.one]
experiments = [{ name = "a" }, { name = "b" }]
"""
CLASSIFIERS_STUDY = """\
name = "mine"
title = "mine"
output = "out"
work = "work"
data = "faces"
reference = "plain"
[data_sets.all]
classes = ["anger", "fear"]
[methods.plain]
"""


@pytest.mark.parametrize(
    ("command", "recipe", "changes", "printed"),
    [
        (
            "train",
            RECIPE,
            {
                "network": '"mobilnet_v2"',
                "epoch": "3",
                "augmentations": '["geometri"]',
                "batch": "0",
            },
            [
                "4 mistakes",
                "network: there is no network 'mobilnet_v2'. Did you mean 'mobilenet_v2'?",
                "unknown key 'epoch'. Did you mean 'epochs'?",
                "there is no augmentation 'geometri'. Did you mean 'geometry'?",
                "batch must be a whole number of at least 2, got 0.",
            ],
        ),
        ("train", RECIPE, {"start": '"adult"'}, ["start: there is no model 'adult'"]),
        (
            "study",
            NETWORKS_STUDY,
            {"common.network": '"resnet"', "common.epoch": "3", "titel": '"x"', "compare": '"no"'},
            [
                "4 mistakes",
                "there is no network 'resnet'. Did you mean 'resnet18'?",
                "unknown key 'epoch'. Did you mean 'epochs'?",
                "unknown key 'titel'. Did you mean 'title'?",
                "compare must be",
            ],
        ),
        ("study", NETWORKS_STUDY, {"common.start": '"adult"'}, ["there is no model 'adult'"]),
        (
            "study",
            NETWORKS_STUDY,
            {"generators.x.method": '"gam"', "generators.x.step": "5", "tables.one.regime": "[]"},
            ["3 mistakes", "there is no method 'gam'", "'step'", "'tables.one.regime'"],
        ),
        (
            "study",
            CLASSIFIERS_STUDY,
            {
                "methods.plain.balance": '"smot"',
                "methods.plain.weight": "true",
                "methods.two.synthesize": '"gam"',
            },
            ["3 mistakes", "no balancing method 'smot'", "'weights'", "no generator 'gam'"],
        ),
        ("study", CLASSIFIERS_STUDY, {"model": '"adult"'}, ["model: there is no model 'adult'"]),
    ],
)
def test_wrong_keys_and_names_of_a_recipe_are_answered_at_once_and_before_anything_heavy(
    command: str, recipe: str, changes: dict[str, str], printed: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe, encoding="utf-8")
    options = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    done, loaded = loaded_by(command, str(path), "-o", str(tmp_path / "out"), *options)
    assert done.returncode == 2
    for text in printed:
        assert text in done.stderr, done.stderr
    assert loaded == []


def test_defaults_that_are_written_twice_are_equal() -> None:
    analyze = typer.main.get_command(app).commands["analyze"]
    defaults = {parameter.name: parameter.default for parameter in analyze.params}
    assert defaults["smooth"] == TimelineSettings().smooth_s


# ------------------------------------------------------------------------- old and mistyped names


@pytest.mark.parametrize("arguments", [["--from", "3", "--to=9"], ["--from=3", "--to", "9"]])
def test_an_old_option_is_read_and_its_new_name_printed_on_stderr(
    moppet: Run, tmp_path: Path, arguments: list[str]
) -> None:
    there = str(tmp_path / "none.parquet")
    old = moppet("compare", there, there, *arguments)
    new = moppet("compare", there, there, "--start", "3", "--end", "9")
    assert (old.code, old.out) == (new.code, new.out)
    notes = "moppet: --from is now --start.\nmoppet: --to is now --end.\n"
    assert old.err == notes + new.err


def test_a_value_that_looks_like_an_old_option_stays(moppet: Run, tmp_path: Path) -> None:
    done = moppet("compare", "--", "--from", tmp_path / "codes.eaf")
    assert "is now" not in done.err and "--from" in done.err


@pytest.mark.parametrize(("old", "new"), VERBS.items())
def test_an_old_command_is_the_new_one(moppet: Run, old: str, new: str) -> None:
    done = moppet(old, "--help")
    assert (done.code, done.out) == (0, moppet(new, "--help").out)
    assert old not in moppet("--help").out


def test_a_renamed_command_says_so_and_another_spelling_does_not(moppet: Run) -> None:
    assert moppet("ablate", "--help").err == "moppet: ablate is now study.\n"
    assert moppet("analyse", "--help").err == ""


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["analize"], "'analyze'"),
        (["compair"], "'compare'"),
        (["data", "splitt"], "'split'"),
        (["analyze", "--modle", "x"], "--model"),
        (["analyze", "--forma=csv"], "--format"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistyped_name_gets_exactly_one_suggestion(
    moppet: Run, arguments: list[str], meant: str
) -> None:
    done = moppet(*arguments)
    assert done.code == 2
    assert done.err.count("Did you mean") == 1 and f"Did you mean {meant}?" in done.err
    assert "Possible options" not in done.err and "--help' for help" in done.err


# ------------------------------------------------------------------------------ shell completion


def completed(words: str) -> list[str]:
    """What bash offers for the last word of a line."""
    parts = words.split(" ")
    environment = {
        "_MOPPET_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(parts) - 1),
    }
    done = run_apart(**environment)
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_options_and_values() -> None:
    assert completed("moppet an") == ["analyze"]
    assert completed("moppet data sp") == ["split"]
    assert completed("moppet compare --st") == ["--start"]
    assert completed("moppet analyse --sm") == ["--smooth"]
    assert completed("moppet analyze --model ") == [*bundled_models()]
    assert completed("moppet analyze --detector y") == ["yunet"]
    assert completed("moppet analyze --format parquet,c") == ["parquet,csv"]
    assert completed("moppet compare --fro") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_moppet(shell: str) -> None:
    done = run_apart(_MOPPET_COMPLETE=f"source_{shell}")
    assert done.returncode == 0 and "_MOPPET_COMPLETE=complete_" in done.stdout


# ------------------------------------------------------------------------------ values of options


def test_name_value_pairs_are_json_where_they_can_be() -> None:
    pairs = ["a=1", "b = true", 'c=["x", "y"]', "d=plain text", "e=k=v"]
    found = {"a": 1, "b": True, "c": ["x", "y"], "d": "plain text", "e": "k=v"}
    assert read_pairs(pairs, "--set") == found
    assert read_pairs(None, "--set") == {}
    for wrong in ("a", "=1", " = 2"):
        with pytest.raises(UsageError, match=r"--set takes name=value, got"):
            read_pairs([wrong], "--set")


def test_lists_with_commas_are_read_once_each_and_checked() -> None:
    assert read_list(" b, a,,b ") == ["b", "a"]
    assert read_list("CSV, json", ("csv", "json"), "--format") == ["csv", "json"]
    for wrong in ("", ",", "xlsx", "csv,xlsx"):
        with pytest.raises(UsageError, match="--format takes any of csv, json"):
            read_list(wrong, ("csv", "json"), "--format")
    assert any_of("a", "b", "bc")("a,b") == ["a,b", "a,bc"]
