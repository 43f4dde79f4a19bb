"""The guide to the guard: its figures are the committed results and its rules can be parsed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from moppet.guard import DEFAULT_RULES, DISTRESS_RULES, parse_rules, read_guard

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guides" / "guard.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_its_figures_are_those_of_the_committed_results(tmp_path: Path) -> None:
    copy = Path(shutil.copy(PAGE, tmp_path))
    command = [sys.executable, ROOT / "benchmarks" / "guard.py", "--page-only", "--page", copy]
    subprocess.run(command, check=True)
    assert copy.read_text(encoding="utf-8") == TEXT


def test_its_rules_are_rules(tmp_path: Path) -> None:
    assert "```text\n" + "".join(f"{rule}\n" for rule in DEFAULT_RULES) + "```" in TEXT
    assert f"```text\n{DISTRESS_RULES[0]}\n```" in TEXT
    (toml,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "guard.toml"
    path.write_text(toml, encoding="utf-8")
    assert [str(rule) for rule in read_guard(path).rules] == list(DEFAULT_RULES[:2])
    quoted = re.findall(r"--rule '([^']+)'", TEXT)
    assert quoted and [str(parse_rules([text])[0]) for text in quoted] == quoted
