"""The example of a study finds what was put into its recordings."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "study" / "study.py"


def test_a_small_study_finds_the_difference_and_the_lag(tmp_path: Path) -> None:
    given = ("--simulate", "--participants", "5", "--seconds", "40", "--surrogates", "10")
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "s", *given, "--no-figures"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for verb in ("gather", "summarize", "dyads", "methods"):
        assert f"\nmoppet {verb} " in f"\n{done.stdout}"
    study = tmp_path / "s" / "study"
    summary = json.loads((study / "summary" / "summary.json").read_text())
    child = next(c for c in summary["comparisons"] if c["role"] == "child")
    assert (child["first"], child["second"], child["paired"]) == ("alone", "play", True)
    assert child["difference"]["high"] < -0.1
    dyads = json.loads((study / "dyads" / "dyads.json").read_text())
    assert dyads["dyads"] == 10
    assert dyads["peak_lag_s"]["happiness"] == pytest.approx(1.2, abs=0.2)
    lead = [g for g in dyads["groups"] if g["measure"] == "lead"]
    assert len(lead) == 2 and all(g["difference"]["low"] > 0 for g in lead)
    with (study / "recordings.csv").open(newline="") as file:
        assert {row["participant"] for row in csv.DictReader(file)} == {
            f"{i:02d}" for i in range(5)
        }
    assert "10 recordings of 5 participants" in (study / "methods.md").read_text()
