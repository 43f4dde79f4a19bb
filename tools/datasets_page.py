"""Write docs/datasets.md from the readers: python tools/datasets_page.py"""

from __future__ import annotations

import textwrap
from pathlib import Path

from moppet.datasets.readers import DATASETS, Dataset

PAGE = Path(__file__).parents[1] / "docs" / "datasets.md"

INTRODUCTION = """\
# Data sets

`moppet data`, `moppet train` and `moppet evaluate` take a folder or a table of your own images, \
or one of the sets below in the layout that it comes in. A set is found by its layout; where two \
could be meant, or a folder has another name, name the kind:

```python
from moppet.data.readers import DATASETS, read_dataset

manifest = read_dataset("my_faces/")  # a folder per class
manifest = read_dataset("UTKFace/", age_range="0-2")  # options are the set's own
manifest = read_dataset("downloads/cif/", kind="city-infant")
```

Reading opens no image: damaged ones stay in the manifest, and `moppet data audit` finds them. \
Names that begin with a dot and other files are left out; suffixes may be upper case; links are \
followed, and one that leads in a circle is ignored. Images of kinds that are not read (.heic, \
.avif, .gif, raw) are counted on stderr, and a class that holds nothing else stops the reading. \
What is missing or odd stops the reading with a list of what was expected and where; \
`allow_missing` leaves out the rows of listed images that are not there.

None of these sets is on the machine where this was written, except FER+. **Checked** says, for \
each, what its layout rests on. If your copy differs, the error shows what was expected; a \
`labels.csv` beside the images always works.

**Classes** are mapped by name, never by position: happy, joy → happiness; sad → sadness; \
surprised → surprise; fearful, afraid, scared → fear; disgusted → disgust; angry → anger. Your own \
classes are renamed so only where every one of them is such a word (`as_given=True` keeps them as \
they are). Contempt and other classes stay classes of their own; `only_expressions=True` leaves \
their rows out.

**Age bands**: infant 0-3 years, child 4-12, adult 18 and more. 13-17 is `uncertain`, and so is a \
set whose range of ages reaches over a border and that does not tell each subject's age. \
`ages=` takes a CSV with the columns subject and age where a set's names do not tell it.

**Splits**: training rows are `train`, validation rows `choose`, test rows `report`.

**Subjects** keep one child on one side of a split. `subject_pattern` finds them in the path by a \
regular expression: its first group, or all of it.

**Conditions.** The first use of a set prints its license and consent conditions, once for each \
user. They are our summary; what you agreed to with the owners counts.

| kind | set | options |
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
| option | what it does |
|---|---|
| `only_expressions` | leave out rows of other classes (contempt, …); on in FER+ |
| `as_given` | keep the class names of your own set as they are |
| `subject_pattern` | a regular expression that finds the subject in the path |
| `allow_missing` | leave out listed images that are not there |
| `age_range` | years, as in `"0-2"`; the last year counts in full |
| `ages` | a CSV with subject and age |
| `every_s` | seconds between two frames of a video that are looked at (1) |
| `keep_leaks` | keep FER+ training rows that repeat a report image: for the audit |
| `seed` | the draw of FER+'s `choose` rows (0, as in training) |
| `keep_unlabelled` | keep AffectNet's rows without an expression |
| `frames`, `neutral` | CK+: `"peak"` (last frame) or `"last-third"`; first frame as neutral |
| `images` | the .npz that FER2013's text is unpacked to; else one in your cache folder |
"""


def section(dataset: Dataset) -> str:
    """Return a set's part of the page."""
    layout = textwrap.dedent(dataset.layout).strip()
    return (
        f"\n## {dataset.title}\n\n`{dataset.name}`\n\n```\n{layout}\n```\n\n"
        f"**Checked.** {dataset.basis}\n\n**Conditions.** {dataset.licence}\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
