"""Write docs/figures/report.png: the top of the example video's report, seen by Chromium.

python tools/report_figure.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "figures" / "report.png"
SIZE_PX = (1000, 1330)


def main() -> None:
    """Analyze the example and take a picture of its report."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("This needs Chromium or Chrome: install one and run it again.")
    with tempfile.TemporaryDirectory() as folder:
        video = ROOT / "examples" / "child.mp4"
        analyze = [sys.executable, "-m", "moppet", "analyze", str(video), "-o", folder]
        subprocess.run(analyze, check=True)
        (page,) = Path(folder).rglob("report.html")
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--force-color-profile=srgb", f"--user-data-dir={folder}/profile"),
                *(f"--window-size={SIZE_PX[0]},{SIZE_PX[1]}", f"--screenshot={FIGURE}"),
                page.as_uri(),
            ],
            check=True,
            timeout=120,
        )


if __name__ == "__main__":
    main()
