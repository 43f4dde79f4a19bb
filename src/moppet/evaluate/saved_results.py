"""Saved results of a model: its card, metrics, training curves, and an evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from annotated_types import Interval

from moppet.config import check_stored, read_stored
from moppet.evaluate.chart_data import read_training
from moppet.files import file_sha256
from moppet.infer.expression_model import find_model, network_file, read_card
from moppet.values import ModelError, UsageError

Json = Mapping[str, Any]
ALL: Final = "all"
_MOST: Final = 10**15
"""Larger numbers are no figures."""
PER_CLASS: Final = ("recall", "precision", "f1", "auc")


_FORMER_KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "": {"made": "about", "memorised": "memorized", "pictures": "images", "made_at": "created_at"},
    "about": {
        "made_by": "generators",
        "made_at": "created_at",
        "licence": "license",
        "judge": "classifier",
    },
    "about/model": {"licence": "license"},
    "about/data": {"licence": "license"},
    "data": {"pictures": "images"},
    "rows": {"made": "synthetic", "in_made": "in_synthetic", "copies": "duplicates"},
    "rows/duplicates": {"pictures": "images"},
    "memory": {"real_twins": "real_duplicates"},
    "memory/histogram": {"made": "synthetic"},
    "all": {"n_made": "n_synthetic"},
    "of_class/*": {"n_made": "n_synthetic"},
    "memorized/*": {"likeness": "similarity"},
}
"""Where in the results → key in files of earlier versions → key now."""


def current_results(results: Json) -> dict[str, Any]:
    """Return the content of an evaluation.json, quality.json or explanation.json of any version
    under today's keys."""
    found = copy.deepcopy(dict(results))
    for place, renamed in _FORMER_KEYS.items():
        for table in _tables(found, place.split("/") if place else []):
            for former, key in renamed.items():
                if former in table:
                    table[key] = table.pop(former)
    return found


def _tables(found: Any, place: Sequence[str]) -> list[dict[str, Any]]:
    if not place:
        return [found] if isinstance(found, dict) else []
    if not isinstance(found, dict | list):
        return []
    values = found if isinstance(found, dict) else dict(enumerate(found))
    inside = values.values() if place[0] == "*" else [values.get(place[0])]
    return [table for one in inside for table in _tables(one, place[1:])]


@dataclass(frozen=True)
class Figures:
    """Figures of some rows.

    n: rows. overall: figure → estimate. per_class: figure → class → estimate.
    confusion: rows by true class, columns by prediction; None if it was not saved.
    An estimate has value, low, high and n; None for what is undefined.
    """

    n: int | None
    overall: dict[str, Json]
    per_class: dict[str, dict[str, Json]]
    confusion: list[list[int]] | None


@dataclass(frozen=True)
class ResultSet:
    """Metrics on one set of images, prepared in one way.

    of: the set and the preparation, in words. again: the same images as before, prepared in
    another way. names: the classes, in the order of the confusion.
    parts: "all", age bands and the like. by: column of the data → value → figures.
    gaps: how children differ from others: "of", and "model" and "one_rater" differences.
    missed_wrong: accuracy if every face that was not found counts as wrong.
    """

    of: str
    names: tuple[str, ...]
    parts: dict[str, Figures]
    by: dict[str, dict[str, Figures]] = field(default_factory=dict)
    gaps: list[Json] = field(default_factory=list)
    missed_wrong: Json | None = None
    again: bool = False


_Number = Annotated[float, Interval(gt=-_MOST, lt=_MOST)]
_Count = Annotated[int, Interval(ge=0, lt=_MOST)]


@dataclass(frozen=True)
class _Estimate:
    value: _Number | None
    low: _Number | None
    high: _Number | None
    n: _Count | None = None
    p: _Number | None = None


@dataclass(frozen=True)
class _Part:
    """The figures of some faces, as `_nested` returns them."""

    n: _Count | None = None
    overall: dict[str, _Estimate] = field(default_factory=dict)
    per_class: dict[str, dict[str, _Estimate]] = field(default_factory=dict)
    confusion: tuple[tuple[_Count, ...], ...] | None = None

    def problems(self) -> Iterator[str]:
        if any(len(row) != len(self.confusion or ()) for row in self.confusion or ()):
            yield "confusion must have as many columns as rows."


@dataclass(frozen=True)
class _Gap:
    of: str
    model: _Estimate
    one_rater: _Estimate | None = None


@dataclass(frozen=True)
class _Movement:
    """One facial movement: whether the network has it, and why not."""

    exported: bool
    left_out: str | None = None


@dataclass(frozen=True)
class _Figures:
    """The content of figures.json: aligned and raw have figures by part. Older files have fewer.

    display: of the display reading, by the kind of faces, and part. movements: by name.
    """

    names: tuple[str, ...] = ()
    rows: _Count | None = None
    faces_found: _Count | None = None
    faces_found_at_default_thresholds: _Count | None = None
    aligned: dict[str, _Part] | None = None
    raw: dict[str, _Part] | None = None
    aligned_missed_wrong: dict[str, _Estimate] = field(default_factory=dict)
    gap: _Gap | None = None
    human: dict[str, _Estimate] = field(default_factory=dict)
    display: dict[str, dict[str, _Part]] = field(default_factory=dict)
    movements: dict[str, _Movement] = field(default_factory=dict)


@dataclass(frozen=True)
class _Network:
    name: str
    sha256: str


@dataclass(frozen=True)
class _Data:
    name: str | None = None
    sources: tuple[str, ...] = ()
    license: str | None = None


@dataclass(frozen=True)
class _About:
    model: _Network
    data: _Data
    split: str = ""
    created_at: str | None = None


@dataclass(frozen=True)
class _Rows:
    evaluated: _Count | None = None
    faces_found: _Count | None = None


@dataclass(frozen=True)
class _LevelGap:
    of: str
    figures: dict[str, _Estimate]


@dataclass(frozen=True)
class _Level:
    names: tuple[str, ...]
    parts: dict[str, _Part]
    by: dict[str, dict[str, _Part]]
    gaps: tuple[_LevelGap, ...]
    missed_wrong: _Estimate


@dataclass(frozen=True)
class _Evaluation:
    """What a card takes from evaluation.json."""

    about: _About
    classes: _Level
    rows: _Rows = _Rows()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Scores:
    scores: dict[str, _Estimate]


@dataclass(frozen=True)
class SavedResults:
    """Everything that is saved about a model.

    bytes: of the network's file. measured: the first set has faces prepared as in use.
    evaluation: the content of evaluation.json. missing: files that do not exist.
    """

    card: Json
    bytes: int
    figures: Json | None
    training: Json | None
    evaluation: Json | None
    measured: list[ResultSet]
    missing: list[str]


def read_results(model: str | Path, evaluation: Path | None = None) -> SavedResults:
    """Return what is saved about a model.

    model: a bundled model's name, or a model folder. evaluation: an evaluation.json of it.
    Raises UsageError if the evaluation is of another model, ModelError or MoppetError for damaged
    files.
    """
    folder = find_model(model)
    card = read_card(folder)
    network = network_file(folder, str(card.get("file", "model.onnx")))
    if not network.is_file() or file_sha256(network) != card["sha256"]:
        raise ModelError(
            f"{network} is not the network that {folder / 'card.toml'} describes: it is missing "
            "or was replaced. Get the model folder again."
        )
    figures = _read_figures(folder / "figures.json")
    training = read_training(folder)
    found = None if evaluation is None else _read_evaluation(evaluation, card)
    measured, missing = [], []
    if figures is None:
        missing.append("figures.json, the figures on the test rows")
        measured += _from_scores(card)
    else:
        measured += _from_figures(figures)
    if training is None:
        missing.append("training.csv, the training history")
    if found is None:
        missing.append("an evaluation.json of `moppet evaluate`, the figures on other images")
    else:
        measured.append(_from_evaluation(found))
    return SavedResults(card, network.stat().st_size, figures, training, found, measured, missing)


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    return read_stored(dict[str, Any], path, "file of results", _remedy(path))


def _remedy(path: Path) -> str:
    command = "evaluate" if path.name.startswith("evaluation") else "train"
    return f"Create it again with `moppet {command}`."


def _read_figures(path: Path) -> Json | None:
    found = _read_json(path)
    if found is None:
        return None
    for way in _WAYS:
        found[way] = _each(_nested, found.get(way))
    if "display" in found:
        found["display"] = _each(partial(_each, _nested), found["display"])
    check_stored(_Figures, found, str(path), _remedy(path))
    return found


def _each(change: Callable[[Any], Any], table: Any) -> Any:
    return {k: change(v) for k, v in table.items()} if isinstance(table, dict) else table


def _nested(part: Any) -> Any:
    """Return a part with its figures in "overall" and "per_class": some files have them beside."""
    if not isinstance(part, dict):
        return part
    found = {"overall": {}, "per_class": {}, **part}
    beside = {k: found.pop(k) for k, v in part.items() if isinstance(v, dict) and "value" in v}
    for place, more in (
        ("overall", beside),
        ("per_class", {k: found.pop(k) for k in PER_CLASS if k in part}),
    ):
        if isinstance(found[place], dict):
            found[place] = found[place] | more
    return found


def _read_evaluation(path: Path, card: Json) -> Json:
    place = path / "evaluation.json" if path.is_dir() else path
    found = _read_json(place)
    if found is None:
        raise UsageError(
            f"--evaluation needs the evaluation.json of a model; {place} is not there."
        )
    found = current_results(found)
    if isinstance(level := found.get("classes"), dict):
        level["parts"] = _each(_nested, level.get("parts"))
        level["by"] = _each(partial(_each, _nested), level.get("by"))
    about = check_stored(_Evaluation, found, str(place), _remedy(place)).about.model
    if about.sha256 != card["sha256"]:
        raise UsageError(
            f"{place} is about another network ({about.name}, {about.sha256[:12]}…) than this "
            f"card's ({card['name']}, {card['sha256'][:12]}…)."
        )
    return found


_WAYS: Final = {
    "aligned": "detected and aligned as in use",
    "raw": "the data set's own crops, unchanged",
}


def _from_figures(figures: Json) -> list[ResultSet]:
    names = tuple(figures.get("names", ()))
    gap = figures.get("gap")
    missed = figures.get("aligned_missed_wrong", {}).get("accuracy")
    made: list[ResultSet] = []
    for way, words in _WAYS.items():
        if figures[way] is not None:
            parts = {k: _rows(v) for k, v in figures[way].items()}
            first = not made
            made.append(
                ResultSet(
                    f"the test rows, {words}" if first else words,
                    names or _names(parts),
                    _with_raters(parts, figures.get("human", {})),
                    gaps=[gap] if gap and first else [],
                    missed_wrong=missed if first else None,
                    again=not first,
                )
            )
    return made


def _from_scores(card: Json) -> list[ResultSet]:
    """Return the figures of a card: [scores], with recall_<class> and accuracy_<part>."""
    scores = {
        name: {"value": None, "low": None, "high": None, **one}
        for name, one in card.get("scores", {}).items()
        if isinstance(one, dict)
    }
    check_stored(_Scores, {"scores": scores}, "card.toml", "Correct it.")
    if not scores:
        return []
    recalls = {f"recall_{label}": str(label) for label in card["labels"]}
    parts = {
        name: name.removeprefix("accuracy_").replace("_", " ")
        for name in scores
        if name.startswith("accuracy_")
    }
    whole = Figures(
        scores.get("accuracy", {}).get("n"),
        {name: one for name, one in scores.items() if name not in {*recalls, *parts}},
        {"recall": {recalls[name]: one for name, one in scores.items() if name in recalls}},
        None,
    )
    by_part = {
        part: Figures(scores[name].get("n"), {"accuracy": scores[name]}, {}, None)
        for name, part in parts.items()
    }
    names = tuple(str(label) for label in card["labels"])
    return [ResultSet("the scores on its card", names, {ALL: whole, **by_part})]


def _from_evaluation(found: Json) -> ResultSet:
    level = found["classes"]
    data = found["about"]["data"]
    name = str(data.get("name") or ", ".join(data.get("sources", ())) or "unnamed data")
    return ResultSet(
        f"the evaluation on {name}",
        tuple(level["names"]),
        {name: _rows(part) for name, part in level["parts"].items()},
        {
            column: {value: _rows(part) for value, part in parts.items()}
            for column, parts in level["by"].items()
        },
        [
            {
                "of": f"accuracy, {gap['of']}",
                "model": gap["figures"]["accuracy"],
                "one_rater": gap["figures"].get("one_rater"),
            }
            for gap in level["gaps"]
            if "accuracy" in gap["figures"]
        ],
        level["missed_wrong"],
    )


def _rows(part: Json) -> Figures:
    overall = dict(part["overall"])
    if overall.get("one_rater", {"value": 0})["value"] is None:
        del overall["one_rater"]
    per_class = {k: v for k, v in part["per_class"].items() if k in PER_CLASS}
    return Figures(part.get("n"), overall, per_class, part.get("confusion"))


def _names(parts: Mapping[str, Figures]) -> tuple[str, ...]:
    """Return the classes of a file that does not list them: those of its recalls."""
    for rows in parts.values():
        for by_class in rows.per_class.values():
            return tuple(by_class)
    return ()


def _with_raters(parts: dict[str, Figures], human: Json) -> dict[str, Figures]:
    for name, rows in parts.items():
        if name in human and human[name]["value"] is not None:
            rows.overall["one_rater"] = human[name]
    return parts
