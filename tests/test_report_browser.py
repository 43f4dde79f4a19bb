"""The report in a real browser, where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from moppet.pages.report import write_report
from report_samples import long_recording, two_people

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")


def opened(page: Path) -> tuple[str, str]:
    """The page after its script ran, and what the browser complained about."""
    done = subprocess.run(
        [
            *(str(BROWSER), *QUIET, f"--user-data-dir={page.parent / 'profile'}"),
            *("--enable-logging=stderr", "--virtual-time-budget=2000", "--window-size=1200,900"),
            *("--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def ticks(page: str) -> list[list[str]]:
    return [
        re.findall(r"<text [^>]*>([^<]*)<", axis)
        for axis in re.findall(r'<svg class="axis".*?</svg>', page)
    ]


@pytest.mark.parametrize("make", [two_people, lambda: long_recording(3700, fps=4)])
def test_the_script_runs_under_the_pages_policy_and_names_the_same_times(tmp_path, make):
    path = write_report(make(), tmp_path / "report.html")
    before = path.read_text(encoding="utf-8")
    after, complaints = opened(path)
    assert complaints == ""
    assert '<div class="tools" role="toolbar" aria-label="Zoom in time" hidden' in before
    assert '<div class="tools" role="toolbar" aria-label="Zoom in time">' in after
    assert after.count('role="slider"') == after.count('<figure class="lane"') > 0
    assert ticks(after) and all(re.search(r"\d", text) for axis in ticks(after) for text in axis)
    shared = {text for axis in ticks(after) for text in axis}
    assert shared >= set(ticks(before)[0][::2]) or shared <= set(ticks(before)[0])
