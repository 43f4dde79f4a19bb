"""Write docs/reference/dataset-layouts.md from the readers: python tools/datasets_page.py"""

from __future__ import annotations

import textwrap
from pathlib import Path

from moppet.datasets.readers import DATASETS, Dataset

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "dataset-layouts.md"

INTRODUCTION = """\
# Dataset layouts

`moppet data`, `moppet balance`, `moppet synthesize`, `moppet train` and `moppet evaluate` read a \
folder or table of your own images, or one of the published datasets below in the layout in which \
it is distributed. The layout is recognized automatically. If two layouts are possible, or a \
folder has another name than expected, name the layout:

```bash
moppet data audit my_faces/                                   # one folder per class
moppet data audit UTKFace/ --option age_range=0-2             # options of this dataset
moppet data audit downloads/cif/ --kind city-infant           # name the layout
```

## What all layouts have in common

**Reading opens no image.** Damaged images stay in the manifest; `moppet data audit` finds them. \
Files and folders whose names start with a dot, and files that are not images, are skipped. File \
extensions may be in upper case. Links are followed, and a link that leads in a circle is ignored. \
Images in formats that cannot be read (.heic, .avif, .gif, raw) are counted on stderr; a class \
that contains nothing else is an error. If something is missing or unexpected, the error message \
lists what was expected and where. `allow_missing` leaves out the rows of listed images that do \
not exist.

**Verification.** Of these datasets, only FER+ was available to the developers. For each dataset, \
**Basis of this layout** states what the layout is based on. If your copy differs, the error \
message shows what was expected. A `labels.csv` next to the images always works.

**Classes** are matched by name, never by position: happy, joy → happiness; sad → sadness; \
surprised → surprise; fearful, afraid, scared → fear; disgusted → disgust; angry → anger. The \
classes of your own images are renamed only if every one of them is such a word \
(`as_given=true` keeps your names). Names that differ only in case are one class. \
Contempt and other classes remain classes of their own; \
`only_expressions=true` leaves their rows out.

**Age bands**: infant 0–3 years, child 4–12, adult 18 and over. Ages 13–17 are `uncertain`, and so \
is a dataset whose age range crosses a border and that does not state the age of each subject. If \
the file names do not contain the age, give `ages` a CSV file with the columns `subject` and `age`.

**Splits**: training rows become `train`, validation rows `val` and test rows `test`.

**Subjects** keep all images of one child in the same part of a split. `subject_pattern` is a \
regular expression that finds the subject in the file path: its first group, or the whole match. \
On the command line, use `--subject`.

**License and consent.** The first use of a dataset prints its license and consent conditions, \
once per user. They are our summary; what you agreed with the owners takes precedence.

## Overview

| `--kind` | dataset | options |
|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = "".join(
        f"| `{d.name}` | {d.title} | {', '.join(f'`{o}`' for o in d.options) or '–'} |\n"
        for d in DATASETS.values()
    )
    return INTRODUCTION + rows + OPTIONS + "".join(map(section, DATASETS.values()))


OPTIONS = """
| option | effect |
|---|---|
| `only_expressions` | leave out rows of other classes (contempt, …); on by default for FER+ |
| `as_given` | keep the class names of your own images |
| `subject_pattern` | regular expression that finds the subject in the file path |
| `allow_missing` | leave out listed images that do not exist |
| `age_range` | years, as in `"0-2"`; the last year is included in full |
| `ages` | CSV file with the columns `subject` and `age` |
| `every_s` | seconds between two frames taken from a video (default 1) |
| `keep_leaks` | keep FER+ training rows that repeat a test image (for audits) |
| `seed` | random seed of FER+'s `val` rows (default 0, as in training) |
| `keep_unlabeled` | keep AffectNet's rows without an expression |
| `frames`, `neutral` | CK+: `"peak"` (last frame) or `"last-third"`; first frame as neutral |
| `images` | `.npz` file that FER2013's text is unpacked to; by default in your cache folder |
"""


def section(dataset: Dataset) -> str:
    """Return the section of one dataset."""
    layout = textwrap.dedent(dataset.layout).strip()
    return (
        f"\n## {dataset.title}\n\n`{dataset.name}`\n\n```text\n{layout}\n```\n\n"
        f"**Basis of this layout.** {dataset.basis}\n\n**License and consent.** {dataset.license}\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
