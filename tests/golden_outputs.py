"""What moppet puts out, as numbers and codes: what `test_golden_outputs.py` holds fast.

Each function of OUTPUTS drives moppet from outside (its command line, its public names) in an empty
folder and returns plain values: dicts, lists, numbers, and codes (names of expressions, groups and
states), no sentence. `tools/freeze_golden_outputs.py` keeps them in `tests/golden/`.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import html
import io
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

import moppet
from command_line import Done, run_moppet

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden"
OLD = GOLDEN / "old"
PICTURES = Path(__file__).parent / "pictures"
EXAMPLE = ROOT / "examples" / "child.mp4"
STUDIES = ROOT / "docs" / "studies"
DEV_SET = "shared/data/ferplus/ferplus_dev.npz"
"""Where the committed studies' recipes look for their data, from two folders above themselves."""

STATES = ("ok", "low_quality", "no_face", "unreadable", "skipped")
CODES = {*moppet.EXPRESSIONS, *moppet.GROUPS.values(), *STATES, "true", "false"}


class _Streams:
    """What was printed since the last look, as pytest's capture gives it."""

    def __init__(self, out: io.StringIO, err: io.StringIO) -> None:
        self._streams = (out, err)

    def readouterr(self) -> tuple[str, str]:
        found = tuple(stream.getvalue() for stream in self._streams)
        for stream in self._streams:
            stream.seek(0)
            stream.truncate()
        return found  # type: ignore[return-value]


def run(*arguments: Any, folder: Path, code: int = 0) -> Done:
    """What `moppet` with these arguments ends with, run in a folder; it must end with this code."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        done = run_moppet(_Streams(out, err), *arguments)  # type: ignore[arg-type]
    assert done.code == code, f"moppet {arguments} ended with {done.code}: {done.err or done.out}"
    return done


def plain(value: Any) -> Any:
    """The numbers and codes of JSON values: other text is left out, of dicts with its key."""
    if isinstance(value, dict):
        kept = {key: plain(each) for key, each in value.items() if _counts(each)}
        return {key: each for key, each in kept.items() if each not in ({}, [])}
    if isinstance(value, list):
        return [plain(each) for each in value if _counts(each)]
    return value


def _counts(value: Any) -> bool:
    return not isinstance(value, str) or value in CODES


def read_csv(path: Path) -> dict[str, list[Any]]:
    """A CSV's columns: numbers as numbers, empty cells as None, all else as it is."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [_cell(row[name]) for row in rows] for name in rows[0]}


def _cell(text: str) -> Any:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def columns_of(path: Path) -> dict[str, list[Any]]:
    """A timeline file's columns by `moppet.read_timeline`."""
    table = moppet.read_timeline(path).table
    return {name: table[name].to_pylist() for name in table.column_names}


# ------------------------------------------------------------------------------- the example


def analyze_example(work: Path) -> dict[str, Any]:
    """Read the example into `work`/child, and return what `--json` prints."""
    done = run(
        *("analyze", EXAMPLE, "-o", work, "--format", "parquet,csv,json", "--json"), folder=work
    )
    return json.loads(done.out)["summary"]


def example(work: Path) -> dict[str, Any]:
    """The example's timeline, summary, report, and its agreement with two coders."""
    summary = analyze_example(work)
    folder = work / "child"
    return {
        "timeline": read_csv(folder / "timeline.csv"),
        "summary": plain(summary),
        "report": table_rows(folder / "report.html"),
        "agreement": {
            level: agreement(folder / "timeline.csv", level, work)
            for level in ("expression", "group")
        },
    }


def table_rows(page: Path) -> list[list[str]]:
    """Each row of a page's tables that holds a number: its codes, then its numbers with units.

    "99 %" is "99%", "over 99 %" too; captions, heads and words are left out.
    """
    text = page.read_text(encoding="utf-8")
    rows = []
    for table in re.findall(r"<table.*?</table>", text, flags=re.DOTALL):
        for row in re.findall(r"<tr[ >].*?</tr>", table, flags=re.DOTALL):
            if "<td" not in row:
                continue
            cells = re.findall(r"<t[dh][ >].*?</t[dh]>", row, flags=re.DOTALL)
            words = [html.unescape(re.sub(r"<.*?>", " ", cell)).strip() for cell in cells]
            codes = [word for word in words if word in CODES]
            found = [number for word in words for number in numbers_in(word)]
            if found:
                rows.append([*codes, *found])
    return rows


def numbers_in(text: str) -> list[str]:
    """The numbers in a text with their unit, "%" or "s", if they have one."""
    found = re.findall(r"(?<![\w.])([-+\u2212]?\d[\d,]*(?:\.\d+)?)\s*(%|s\b)?", text)
    return [number.replace(",", "").replace("\N{MINUS SIGN}", "-") + unit for number, unit in found]


def agreement(timeline: Path, level: str, work: Path) -> Any:
    """The first child of the example against two coders of one file."""
    coders = OLD / "coders.eaf"
    output = work / f"agreement_{level}"
    done = run(
        *("compare", timeline, coders, coders, "--tier", "Anna A", "--tier2", "Bea A"),
        *("--face", "0", "--level", level, "-o", output, "--json"),
        folder=work,
    )
    found = json.loads((output / "agreement.json").read_text(encoding="utf-8"))
    assert found == json.loads(done.out)
    return plain(found)


# ------------------------------------------------------------------------------ evaluation


def evaluation(work: Path) -> Any:
    """The bundled model, and an untrained one beside it, on the six rendered stills of one face."""
    for path in sorted(PICTURES.glob("age*.jpg")):
        label = "neutral" if "neutral" in path.name else "happiness"
        (work / "faces" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, work / "faces" / label)
    return evaluate(work, "default", "faces", "--against", OLD / "model")


def evaluate(work: Path, *arguments: Any) -> Any:
    """What `moppet evaluate` with these arguments writes."""
    output = work / f"evaluation_{len(list(work.iterdir()))}"
    done = run("evaluate", *arguments, "-o", output, "--json", folder=work)
    found = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    assert found == json.loads(done.out)
    return plain(found)


# --------------------------------------------------------------------------------- studies

BLANK = 128
STUDY_ROWS = 252
"""The report rows of the two studies of children: every cell has this many probabilities."""
INFANTS = {"happiness": 410, "neutral": 299, "sadness": 261, "surprise": 241, "anger": 50}
INFANTS_SEED = 3473
"""One of the seeds by which the folds of the stand-in rows are as long as those of the cells."""


def happy_sad_study(work: Path) -> Any:
    """The ablation's committed cells, summed up by its recipe of 0.1.0; see `_study`."""
    return _study(work, OLD / "recipes" / "child-happy-sad.toml", write_children)


def synthesis_study(work: Path) -> Any:
    """The committed cells of the study of synthetic faces, summed up by the recipe of today."""
    return _study(work, ROOT / "recipes" / "child-synthesis.toml", write_children)


def infant_study(work: Path) -> Any:
    """The committed cells of two of the infants' data sets, summed up by the recipe of 0.1.0."""
    return _study(work, OLD / "recipes" / "infant-hybrid.toml", write_infants)


def study_of_real_rows(work: Path, name: str, data: Path) -> Path:
    """Sum a committed study up by its own data; return the folder that its pages are in."""
    place = work / DEV_SET
    place.parent.mkdir(parents=True)
    place.symlink_to(data.resolve())
    return _sum_up(work, ROOT / "recipes" / f"{name}.toml")


def _study(work: Path, recipe: Path, write_rows: Callable[[Path], None]) -> Any:
    """A finished study's committed cells, summed up by rows that stand in for FER+'s.

    The cells hold what each network read, not what was true: that is FER+'s own and not ours to
    commit. So other truths stand in, made here, and the figures are not those of docs/studies/:
    but a change of how cells are matched, counted, drawn or compared would change them as well.
    `study_of_real_rows` is the whole thing, where the data is at hand.
    """
    (work / DEV_SET).parent.mkdir(parents=True)
    write_rows(work / DEV_SET)
    output = _sum_up(work, recipe)
    return {
        "rows": plain(read_rows(output / f"{recipe.stem}.json")),
        "page": page_numbers(output / f"{recipe.stem}.md"),
    }


def page_numbers(page: Path) -> list[list[str]]:
    """The numbers in each row of a Markdown page's tables, but for their heads."""
    lines = page.read_text(encoding="utf-8").splitlines()
    bodies = [
        line
        for line, after in pairwise([*lines, ""])
        if line.startswith("|") and not line.startswith("|-") and not after.startswith("|-")
    ]
    return [found for line in bodies if (found := numbers_in(line))]


def read_rows(path: Path) -> Any:
    """A study's .json."""
    return json.loads(path.read_text(encoding="utf-8"))


def _sum_up(home: Path, recipe: Path) -> Path:
    """Run a study of which every cell is finished, from home/repo/recipes as in a checkout."""
    recipes, output = home / "repo" / "recipes", home / "repo" / "docs" / "studies"
    work = home / "repo" / "runs" / recipe.stem
    for folder in (recipes, output, work):
        folder.mkdir(parents=True)
    shutil.copy(OLD / "blank_faces.npz", work / "faces.npz")  # blank pictures need no search
    shutil.copy(recipe, recipes)
    for path in STUDIES.glob(f"{recipe.stem}.*"):
        shutil.copy(path, output)  # with the .json, whose measured speeds are kept
    done = run("study", recipes / recipe.name, "--minutes", "0", folder=home)
    assert re.search(r"\b0 to run", done.out) or "left out" in done.out, done.out
    return output


def write_children(path: Path) -> None:
    """Rows for the studies of happy against sad: what was read most often, every fifth turned."""
    lines = (STUDIES / "child-happy-sad.cells.jsonl").read_text(encoding="utf-8").splitlines()
    read = np.mean([json.loads(line)["probabilities"] for line in lines], axis=0)
    turned = np.random.default_rng(0).random(STUDY_ROWS) < 0.2
    label = np.concatenate([np.repeat([0, 1], [120, 100]), read.argmax(axis=1) ^ turned])
    report = np.arange(len(label)) >= len(label) - STUDY_ROWS
    group = np.arange(len(label))
    group[-40::2] = group[-39::2]  # twenty pairs of copies among the report rows
    _write_rows(path, np.array(["happiness", "sadness"])[label], report, group, bands=(0, 1))


def write_infants(path: Path) -> None:
    """Rows for the study of infants: classes as frequent as there, in an order drawn at random."""
    label = np.repeat(list(INFANTS), list(INFANTS.values()))
    label = np.random.default_rng(INFANTS_SEED).permutation(label)
    group = np.arange(len(label))
    group[1:80:2] = group[0:80:2]
    _write_rows(path, label, np.zeros(len(label), bool), group, bands=(0,))


def _write_rows(path: Path, label: Any, report: Any, group: Any, bands: Any) -> None:
    """A file like FER+'s: blank pictures, all alike, and nine votes for the label."""
    names = [*moppet.EXPRESSIONS, "contempt", "unknown", "NF"]
    n = len(label)
    votes = np.zeros((n, len(names)), np.uint8)
    votes[np.arange(n), [names.index(name) for name in label]] = 9
    np.savez(
        path,
        images=np.full((n, 48, 48), BLANK, np.uint8),
        votes=votes,
        vote_names=np.array(names),
        split=report.astype(np.int8),
        dup_group=group.astype(np.int32),
        near_dup_group=np.full(n, -1, np.int32),
        leaks_into_split1=np.zeros(n, bool),
        age_band=np.resize(bands, n).astype(np.int8),
    )


# ------------------------------------------------------------------- files of moppet 0.1.0


def old_timelines(work: Path) -> dict[str, Any]:
    """A recording's old files: its timeline, its people and corrections, a stopped analysis."""
    home = _old(work)
    whole = home / "whole" / "clip"
    run(
        *("export", whole / "timeline.parquet", "-o", home / "export"),
        *("--format", "elan,summary", "--probabilities", "0"),
        folder=home,
    )
    summary = read_csv(home / "export" / "summary.csv")
    summary.pop("timeline", None)  # its path, in a folder of this run
    run("report", whole / "timeline.csv", "-o", home / "page.html", folder=home)
    # A stopped analysis goes on from its journal; the model is named as it was then.
    run(
        *("analyze", "clip.mp4", "-o", "stopped", "--model", "model", "--smooth", "0.2"),
        *("--no-report", "--resume"),
        folder=home,
    )
    return {
        "timeline": columns_of(whole / "timeline.parquet"),
        "summary": summary,
        "annotations": annotations(home / "export" / "clip.eaf"),
        "report": table_rows(home / "page.html"),
        "resumed": columns_of(home / "stopped" / "clip" / "timeline.parquet"),
    }


def annotations(path: Path) -> list[list[Any]]:
    """An .eaf's annotations, sorted: who, from, to (milliseconds), what; tiers' names left out."""
    root = ElementTree.parse(path).getroot()
    at = {
        slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")
    }
    found = [
        [
            tier.get("PARTICIPANT") or "",
            at[one.get("TIME_SLOT_REF1")],
            at[one.get("TIME_SLOT_REF2")],
            _cell(one.findtext("ANNOTATION_VALUE") or ""),
        ]
        for tier in root.iter("TIER")
        for one in tier.iter("ALIGNABLE_ANNOTATION")
    ]
    return sorted(found, key=str)


def old_manifests(work: Path) -> dict[str, Any]:
    """Manifests whose splits are train, choose and report; one has made rows (`made_by`)."""
    home = _old(work)
    audits = {
        name: plain(json.loads(run("data", "audit", path, "--json", folder=home).out))
        for name, path in (("split", "faces.parquet"), ("made", "balanced/manifest.parquet"))
    }
    # No split is drawn through made rows.
    run("data", "split", "balanced/manifest.parquet", "-o", "x.parquet", folder=home, code=2)
    return {
        "audit": audits,
        "choose": evaluate(home, "model", "balanced/manifest.parquet", "--split", "choose"),
        "report": evaluate(home, "model", "faces.parquet", "--split", "report"),
        "default": evaluate(home, "model", "balanced/manifest.parquet"),
    }


def old_run(work: Path) -> dict[str, Any]:
    """A training that was stopped after its first of two epochs, gone on with.

    Its weights are all zero (so that the file is small): what is held is that it goes on, by its
    old recipe and on its old rows, and what its model's card says of them.
    """
    home = _old(work)
    for path in (home / "run").glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    run("train", "recipe.toml", "-o", "run", "--accelerator", "cpu", folder=home)
    with (home / "run" / "log.csv").open(newline="", encoding="utf-8") as file:
        log = [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    card = tomllib.loads((home / "run" / "model" / "card.toml").read_text(encoding="utf-8"))
    assert moppet.load_model(home / "run" / "model").name == "old-run"
    return {"log": log, "card": plain({key: card[key] for key in ("labels", "groups")})}


def _old(work: Path) -> Path:
    return Path(shutil.copytree(OLD, work / "old"))


# ------------------------------------------------------------------------- kept and compared

OUTPUTS: dict[str, Callable[[Path], Any]] = {
    "example": example,
    "evaluation": evaluation,
    "happy_sad_study": happy_sad_study,
    "synthesis_study": synthesis_study,
    "infant_study": infant_study,
    "old_timelines": old_timelines,
    "old_manifests": old_manifests,
    "old_run": old_run,
}


def read_golden(name: str) -> Any:
    """What is kept under a name of OUTPUTS."""
    with gzip.open(GOLDEN / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


def write_golden(name: str, value: Any) -> Path:
    """Keep it; equal values give equal files."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    path = GOLDEN / f"{name}.json.gz"
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return path
