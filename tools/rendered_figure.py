"""Write docs/figures/rendered.jpg: the images of recipes/render/example.toml, sorted by age.

python tools/rendered_figure.py
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from moppet.synthesis.render.build import Studio
from moppet.synthesis.render.plan import read_plan
from moppet.synthesis.render.rendered_folder import TRUTH, render_plan

ROOT = Path(__file__).resolve().parents[1]
PLAN = ROOT / "recipes" / "render" / "example.toml"
FIGURE = ROOT / "docs" / "figures" / "rendered.jpg"
COLUMNS = 8
QUALITY = 88  # of JPEG, 0-100


def main() -> None:
    """Render the plan and lay its images out in rows."""
    plan = read_plan(PLAN)
    studio = Studio(None, plan.renderer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_plan(plan, folder, partial(studio.render_square, size=plan.size))
        rows = pq.read_table(folder / TRUTH).to_pylist()
        rows.sort(key=lambda row: (row["person_age_years"], row["number"]))
        images = [np.asarray(cv2.imread(str(folder / row["path"]))) for row in rows]
    whole = [images[k : k + COLUMNS] for k in range(0, len(images), COLUMNS)]
    figure = np.vstack([np.hstack(row) for row in whole])
    cv2.imwrite(str(FIGURE), figure, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
