"""Write the truth of a rendered set as it is committed in recipes/render/truth.

    python tools/committed_truth.py rendered/fairness rendered/guard -o recipes/render/truth

A folder of `moppet synthesize render` gives its truth.parquet under the plan's name. A folder of
clips gives one table of all their frames, with the clip's half and without what never changes
during a clip: people, lights and cameras follow from the script.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from moppet.files import write_bytes
from moppet.synthesis.render.clip import CLIPS, MOVEMENTS_SUFFIX
from moppet.synthesis.render.rendered_folder import PLAN, TRUTH
from moppet.synthesis.render.truth import write_truth

FIXED = ("person_", "light_", "background_", "camera_", "occluder_")


def clip_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the frames of a folder of clips, in the order of clips.csv."""
    with (folder / CLIPS).open(encoding="utf-8", newline="") as file:
        half = {line["video"]: line["split"] for line in csv.DictReader(file)}
    rows: list[dict[str, Any]] = []
    for video, split in half.items():
        table = pq.read_table((folder / video).with_suffix(MOVEMENTS_SUFFIX))
        kept = [name for name in table.column_names if not name.startswith(FIXED)]
        about = {"video": video, "split": split}
        rows += [about | row for row in table.select(kept).to_pylist()]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="rendered sets, complete")
    parser.add_argument("-o", "--output", type=Path, default=Path("recipes/render/truth"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for folder in given.folders:
        is_set = (folder / TRUTH).is_file()
        about = json.loads((folder / (PLAN if is_set else "script.json")).read_text("utf-8"))
        path = given.output / f"{about['name']}.parquet"
        if is_set:
            write_bytes(path, (folder / TRUTH).read_bytes())
        else:
            write_truth(path, clip_rows(folder))
        rows = pq.read_metadata(path).num_rows
        print(f"{path}: {rows:,} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
