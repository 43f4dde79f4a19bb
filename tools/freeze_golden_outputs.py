"""Keep moppet's outputs of today as `tests/golden/*.json.gz`, which the golden test holds fast.

    python tools/freeze_golden_outputs.py            all of them
    python tools/freeze_golden_outputs.py example    one

Only for a change of results that is meant; what changed stands in the changelog. The files in
`tests/golden/old/` are not made anew: they are what moppet 0.1.0 wrote.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from golden_outputs import OUTPUTS, write_golden


def main(names: list[str]) -> None:
    cv2.setNumThreads(1)  # as in the tests
    for name in names or OUTPUTS:
        with tempfile.TemporaryDirectory() as folder:
            path = write_golden(name, OUTPUTS[name](Path(folder)))
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
