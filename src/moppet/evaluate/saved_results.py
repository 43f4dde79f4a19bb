"""Saved results of a model: its card, metrics, training curves, and an evaluation."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from moppet.evaluate.chart_data import read_training
from moppet.files import file_sha256, parse_json, read_bytes
from moppet.infer.expression_model import find_model, network_file, read_card
from moppet.values import ModelError, MoppetError, UsageError

Json = Mapping[str, Any]
ALL: Final = "all"
_ODD: Final = (KeyError, TypeError, AttributeError, ValueError)
_MOST: Final = 1e15
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
    figures = _read_json(folder / "figures.json")
    training = read_training(folder)
    found = None if evaluation is None else _read_evaluation(evaluation, card)
    measured, missing = [], []
    if figures is None:
        missing.append("figures.json, the figures on the test rows")
        measured += _from_scores(card)
    else:
        measured += _from_figures(figures, folder / "figures.json")
    if training is None:
        missing.append("training.csv, the training history")
    if found is None:
        missing.append("an evaluation.json of `moppet evaluate`, the figures on other images")
    else:
        assert evaluation is not None
        measured.append(_from_evaluation(found, evaluation))
    return SavedResults(card, network.stat().st_size, figures, training, found, measured, missing)


def _read_json(path: Path) -> Json | None:
    if not path.exists():
        return None
    content = read_bytes(path, "file of results")
    with suppress(MoppetError):
        found = parse_json(content, str(path))
        if isinstance(found, dict):
            return found
    raise _not_figures(path)


def _not_figures(path: Path) -> MoppetError:
    return MoppetError(
        f"{path} does not contain results of moppet: create it again with `moppet "
        f"{'evaluate' if path.name.startswith('evaluation') else 'train'}`."
    )


def _read_evaluation(path: Path, card: Json) -> Json:
    place = path / "evaluation.json" if path.is_dir() else path
    found = _read_json(place)
    if found is None:
        raise UsageError(
            f"--evaluation needs the evaluation.json of a model; {place} is not there."
        )
    found = current_results(found)
    try:
        model, sha256 = found["about"]["model"]["name"], found["about"]["model"]["sha256"]
    except _ODD:
        raise _not_figures(place) from None
    if sha256 != card["sha256"]:
        raise UsageError(
            f"{place} is about another network ({model}, {str(sha256)[:12]}…) than this card's "
            f"({card['name']}, {card['sha256'][:12]}…)."
        )
    return found


def _from_figures(figures: Json, path: Path) -> list[ResultSet]:
    """Read figures.json: aligned and raw → part → figures. Older files have fewer figures."""
    ways = {
        "aligned": "detected and aligned as in use",
        "raw": "the data set's own crops, unchanged",
    }
    try:
        names = tuple(str(name) for name in figures.get("names", ()))
        gap = figures.get("gap")
        missed = figures.get("aligned_missed_wrong", {}).get("accuracy")
        made: list[ResultSet] = []
        for way, words in ways.items():
            if way in figures:
                parts = {str(k): _rows(v) for k, v in figures[way].items()}
                first = not made
                made.append(
                    ResultSet(
                        words if made else f"the test rows, {words}",
                        names or _names(parts),
                        _with_raters(parts, figures.get("human", {})),
                        gaps=[gap] if gap and first else [],
                        missed_wrong=missed if first else None,
                        again=not first,
                    )
                )
        return made
    except _ODD:
        raise _not_figures(path) from None


def _from_scores(card: Json) -> list[ResultSet]:
    """Return the figures of a card: [scores], with recall_<class> and accuracy_<part>."""
    scores = {
        name: {"value": None, "low": None, "high": None, **one}
        for name, one in card.get("scores", {}).items()
        if isinstance(one, dict)
    }
    scores = {name: one for name, one in scores.items() if _is_estimate(one)}
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


def _from_evaluation(found: Json, path: Path) -> ResultSet:
    try:
        level = found["classes"]
        data = found["about"]["data"]
        name = str(data.get("name") or ", ".join(data["sources"]) or "unnamed data")
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
            ],
            level["missed_wrong"],
        )
    except _ODD:
        raise _not_figures(path) from None


def _rows(part: Json) -> Figures:
    """Read both forms: figures side by side, or below "overall" and "per_class"."""
    flat = {**part, **part.get("overall", {}), **part.get("per_class", {})}
    n = part.get("n")
    if not _is_count(n):
        raise ValueError("n is no count")
    return Figures(
        n,
        {
            name: value
            for name, value in flat.items()
            if _is_estimate(value) and not (name == "one_rater" and value["value"] is None)
        },
        {
            name: {k: v for k, v in flat[name].items() if _is_estimate(v)}
            for name in PER_CLASS
            if isinstance(flat.get(name), dict)
        },
        _counts(part.get("confusion")),
    )


def _is_estimate(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(key in value and _is_number(value[key]) for key in ("value", "low", "high"))
        and _is_count(value.get("n"))
    )


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (plain and abs(value) < _MOST)


def _is_count(value: Any) -> bool:
    plain = isinstance(value, int) and not isinstance(value, bool)
    return value is None or (plain and 0 <= value < _MOST)


def _counts(rows: Any) -> list[list[int]] | None:
    """Return a confusion matrix; ValueError if it is none."""
    if rows is None:
        return None
    whole = all(
        isinstance(row, list) and len(row) == len(rows) and all(map(_is_count, row)) for row in rows
    )
    if not whole or any(n is None for row in rows for n in row):
        raise ValueError("no confusion matrix")
    return list(rows)


def _names(parts: Mapping[str, Figures]) -> tuple[str, ...]:
    """Return the classes of a file that does not list them: those of its recalls."""
    for rows in parts.values():
        for by_class in rows.per_class.values():
            return tuple(by_class)
    return ()


def _with_raters(parts: dict[str, Figures], human: Json) -> dict[str, Figures]:
    for name, rows in parts.items():
        if _is_estimate(human.get(name)) and human[name]["value"] is not None:
            rows.overall["one_rater"] = human[name]
    return parts
