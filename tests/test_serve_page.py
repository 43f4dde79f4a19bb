"""The pages about `moppet serve`: measured figures, and every live and guard request."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from moppet.server.job_queue import Queue
from moppet.server.site import build_site
from moppet.server.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guides" / "workbench.md"
TEXT = PAGE.read_text(encoding="utf-8")
REQUESTS = ROOT / "docs" / "reference" / "http-api.md"


def test_its_figures_are_those_of_the_committed_results(tmp_path: Path) -> None:
    copy = Path(shutil.copy(PAGE, tmp_path))
    command = [sys.executable, ROOT / "benchmarks" / "live.py", "--page-only", "--page", copy]
    subprocess.run(command, check=True)
    assert copy.read_text(encoding="utf-8") == TEXT and "| none |" in TEXT


def test_it_names_everything_that_the_live_and_guard_pages_ask(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    site = build_site(workspace, Queue(workspace), "token", 8640).app
    paths = {getattr(route, "path", "") for route in site.routes}
    documented = REQUESTS.read_text(encoding="utf-8")
    asked = {path for path in paths if path.startswith(("/api/live", "/api/guard"))}
    assert len(asked) == 5
    for path in asked:
        shown = re.sub(r"\{name\}\.\{kind\}", "NAME.jsonl", path)
        assert shown in documented, f"{path} is missing in {REQUESTS.name}"
