"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from moppet.evaluate.saved_results import current_results
from moppet.files import write_text
from moppet.pages import evaluation_charts as charts
from moppet.pages.document import render_document
from moppet.pages.tables import (
    Card,
    Cell,
    Row,
    Table,
    class_cell,
    confusion_table,
    count_cell,
    facts_of,
    figure_cell,
    share_cell,
)
from moppet.pages.wording import (
    FIGURES,
    MEANINGS,
    Json,
    count,
    counted,
    interval,
    levels,
    license_of,
    number,
    p_value,
)
from moppet.timeline.time_axis import NO_VALUE
from moppet.vocabulary import current_key

_CARDS: Final = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
_PER_CLASS: Final = ("recall", "precision", "f1", "auc")
_BY_PART: Final = ("accuracy", "balanced_accuracy", "macro_f1")
_RATERS: Final = {
    "model_plurality_agreement": "model vs. majority",
    "human_plurality_agreement": "rater vs. majority",
}


def write_page(
    evaluation: Mapping[str, Any], path: Path, *, images: Mapping[int, str] | None = None
) -> Path:
    """Write an evaluation as one HTML file that needs no network, and return its path.

    evaluation: the content of evaluation.json; the page holds nothing that is not in it.
    images: row → an image of the face as a data: URI, for the mistakes; None for none.
    Raises MoppetError if the file cannot be written.
    """
    return write_text(path, build_page(evaluation, images))


def build_page(evaluation: Json, images: Mapping[int, str] | None = None) -> str:
    """Return the whole document."""
    evaluation = current_results(evaluation)
    heading = f"{evaluation['about']['model']['name']} on {data_name(evaluation)}"
    shown = levels(evaluation)
    return render_document(
        "evaluation",
        f"{heading} · moppet evaluation",
        css=("evaluation.css",),
        script=True,
        images=bool(images),
        uris=images,
        found=evaluation,
        heading=heading,
        about=_about(evaluation),
        cards=list(_cards(evaluation)),
        overall=_overall_table(shown),
        class_tables=[_class_table(level, grouped) for _, level, grouped in shown],
        against=_against(evaluation),
        parts=[(title, list(_parts(level, grouped))) for title, level, grouped in shown],
        matrices=[(title, _matrix(level)) for title, level, _ in shown],
        roc=[(title, charts.roc_panels(level, grouped)) for title, level, grouped in shown],
        reliability=[(title, *charts.reliability(level)) for title, level, _ in shown],
        maps=charts.embedding_maps(evaluation),
        training=charts.training_history(evaluation["training"]),
        mistakes=_mistakes(evaluation["mistakes"]),
        facts=facts_of(_facts(evaluation)),
    )


def data_name(evaluation: Json) -> str:
    """Return the name of the data: its file or folder, or else its sources."""
    data = evaluation["about"]["data"]
    return str(data.get("name") or ", ".join(data["sources"]) or "unnamed data")


def _about(evaluation: Json) -> list[str]:
    about, rows = evaluation["about"], evaluation["rows"]
    unlabeled = rows["without_label"]
    more = f" ({count(unlabeled)} more without a label)" if unlabeled else ""
    facts = [
        counted(rows["evaluated"], "labeled face"),
        _split(about["split"]) + more,
        f"{len(evaluation['classes']['names'])} classes",
    ]
    return [*facts, f"evaluated {about['created_at'][:10]}"] if about.get("created_at") else facts


def _split(split: str) -> str:
    return "all rows" if split == "all" else f"split {current_key(split)}"


def _cards(evaluation: Json) -> Iterator[Card]:
    whole = evaluation["classes"]["parts"]["all"]
    for name in _CARDS:
        yield _card(FIGURES[name], whole["overall"][name])
    if evaluation["groups"] is not None:
        groups = evaluation["groups"]
        title = f"accuracy, {len(groups['names'])} groups"
        yield _card(title, groups["parts"]["all"]["overall"]["accuracy"])
    ceiling = whole["overall"].get("human_plurality_agreement")
    if ceiling is not None and ceiling["value"] is not None:
        model = number(whole["overall"]["model_plurality_agreement"]["value"])
        title = FIGURES["human_plurality_agreement"]
        yield _card(title, ceiling, note=f"the model: {model}")
    for gap in evaluation["classes"]["gaps"][:1]:
        rater = gap["figures"].get("one_rater")
        note = f"n = {count(gap['n_children'])} and {count(gap['n_others'])}"
        note += f"; one rater: {number(rater['value'], signed=True)}" if rater else ""
        others = "adults" if gap["others"] == "adult" else gap["others"]
        title = f"accuracy, children minus {others}"
        yield _card(title, gap["figures"]["accuracy"], signed=True, note=note)
    rows, missed = evaluation["rows"], evaluation["classes"]["missed_wrong"]["value"]
    note = f"of {counted(rows['evaluated'], 'image')}; accuracy if every missed face counts "
    yield Card("faces found", count(rows["faces_found"]), (f"{note}as wrong: {number(missed)}",))


def _card(title: str, figure: Json, *, signed: bool = False, note: str | None = None) -> Card:
    note = f"n = {count(figure['n'])}" if note is None else note
    value = number(figure["value"], signed=signed)
    return Card(title, value, (interval(figure, signed=signed), note))


def _overall_table(shown: Sequence[tuple[str, Json, bool]]) -> Table:
    rows = []
    for name in FIGURES:
        found = [_overall(level["parts"]["all"], name) for _, level, _ in shown]
        if found[0] is not None:
            cells = [figure_cell(one) if one is not None else NO_VALUE for one in found]
            rows.append([FIGURES[name], *cells, Cell(MEANINGS[name], left=True)])
    head = ["figure", *(title for title, _, _ in shown), "meaning"]
    return Table("All faces, with 95 % intervals", head, rows, css="figures wide")


def _overall(part: Json, name: str) -> Any:
    found = part["one_rater"] if name == "one_rater" else part["overall"].get(name)
    return None if found is None or found["value"] is None else found


def _class_table(level: Json, grouped: bool) -> Table:
    names, per_class = level["names"], level["parts"]["all"]["per_class"]
    rows: list[Row] = [
        [
            class_cell(name, names, grouped=grouped),
            count(per_class["recall"][name]["n"]),
            *(figure_cell(per_class[figure][name]) for figure in _PER_CLASS),
        ]
        for name in names
    ]
    kind = "group" if grouped else "class"
    head = [kind, "n", "recall", "precision", "F1", "AUC"]
    return Table(f"Each {kind}, with 95 % intervals", head, rows, css="figures")


def _matrix(level: Json) -> Table:
    caption = "Rows: label. Columns: prediction."
    return confusion_table(caption, level["names"], level["parts"]["all"]["confusion"])


def _parts(level: Json, grouped: bool) -> Iterator[Table]:
    """Yield the figures of the subgroups, and the recall of each class in them."""
    kind = "groups" if grouped else "classes"
    yield _part_table(level["parts"], f"By age, and by whether a face was found: {kind}", level)
    ages = {k: part for k, part in level["parts"].items() if not k.endswith("face found")}
    if len(ages) > 1:
        recalls = [part["per_class"]["recall"] for part in ages.values()]
        rows = [
            [name, *(figure_cell(of[name], f"n = {count(of[name]['n'])}") for of in recalls)]
            for name in level["names"]
        ]
        yield Table("Recall by age, with n", ["recall", *ages], rows, css="figures")
    for column, parts in level["by"].items():
        yield _part_table(parts, f"By {column}: {kind}", level)


def _part_table(parts: Mapping[str, Json], caption: str, level: Json) -> Table:
    def accuracy(part: Json) -> Json:
        found: Json = part["overall"]["accuracy"]
        return found

    whole = accuracy(level["parts"]["all"])
    lowest = [accuracy(part)["low"] for part in parts.values()]
    known = [x for x in [*lowest, whole["low"], whole["value"]] if x is not None]
    start = math.floor(10 * min(known)) / 10 if known else 0.0
    raters = [name for name in _RATERS if name in level["parts"]["all"]["overall"]]
    rows: list[Row] = [
        [
            name,
            count_cell(part["n"]),
            Cell(charts.draw_whisker(accuracy(part), whole["value"], start), left=True),
            *(figure_cell(part["overall"][figure]) for figure in (*_CARDS, *raters)),
        ]
        for name, part in parts.items()
    ]
    head = ["subgroup", "n", f"accuracy, {start:.1f} to 1", *(FIGURES[name] for name in _CARDS)]
    head += [_RATERS[name] for name in raters]
    tall = " tall" if len(rows) > 20 else ""
    return Table(caption, head, rows, css=f"figures sortable{tall}")


def _against(evaluation: Json) -> Json | None:
    """Return the comparison with a second model, None if there was none."""
    against = evaluation["against"]
    if against is None:
        return None
    first, second = evaluation["about"]["model"]["name"], against["model"]["name"]
    if first == second:
        first, second = f"{first} (first)", f"{second} (second)"
    return {
        "first": first,
        "second": second,
        "left_out": left_out(against, first, second),
        "tables": [
            _differences(against, first, second),
            _class_differences(against),
            _areas(against, first, second),
            *_part_differences(against, first, second),
        ],
    }


def left_out(against: Json, first: str, second: str) -> list[str]:
    """Return sentences about the faces and probabilities that a comparison leaves out."""
    said = []
    if against["left_out"]:
        faces = counted(against["faces_left_out"], "face")
        said.append(
            f"{second} does not know {', '.join(against['left_out'])}: the comparison leaves out "
            f"{faces} with these labels, and {first}'s probabilities of these classes."
        )
    if against["second_left_out"]:
        said.append(
            f"{second}'s probabilities of {', '.join(against['second_left_out'])} are left out, "
            f"because {first} or the data does not know these classes."
        )
    return said


def _differences(against: Json, first: str, second: str) -> Table:
    differences = against["differences"]["all"]
    rows: list[Row] = [
        [
            title,
            figure_cell(against["first"]["overall"][name]),
            figure_cell(against["second"]["overall"][name]),
            *_difference(differences[name]),
        ]
        for name, title in FIGURES.items()
        if differences.get(name, {}).get("value") is not None
    ]
    head = ["figure", first, second, "difference", "p"]
    return Table("All faces; paired bootstrap", head, rows, css="figures")


def _difference(figure: Json) -> tuple[Cell, str]:
    return figure_cell(figure, signed=True), p_value(figure["p"])


def _class_differences(against: Json) -> Table:
    names, differences = against["names"], against["differences"]["all"]
    recalls = against["first"]["per_class"]["recall"]
    rows: list[Row] = [
        [
            class_cell(name, names),
            count(recalls[name]["n"]),
            *_difference(differences[f"recall/{name}"]),
            *_difference(differences[f"f1/{name}"]),
        ]
        for name in names
    ]
    head = ["class", "n", "difference in recall", "p", "difference in F1", "p"]
    return Table("Each class; paired bootstrap", head, rows, css="figures")


def _areas(against: Json, first: str, second: str) -> Table:
    rows: list[Row] = [
        [
            class_cell(name, against["names"]),
            number(test["first"]),
            number(test["second"]),
            *_difference(test),
        ]
        for name, test in against["auc"].items()
    ]
    caption = "Each class against the others: area under the ROC curve; DeLong's test"
    return Table(caption, ["class", first, second, "difference", "p"], rows, css="figures")


def _part_differences(against: Json, first: str, second: str) -> Iterator[Table]:
    parts = {k: v for k, v in against["differences"].items() if k != "all"}
    if not parts:
        return
    rows = [
        [
            name,
            count(figures["accuracy"]["n"]),
            *(figure_cell(figures[figure], signed=True) for figure in _BY_PART),
        ]
        for name, figures in parts.items()
    ]
    head = ["subgroup", "n", *(FIGURES[name] for name in _BY_PART)]
    caption = f"{first} minus {second}, by age; paired bootstrap"
    yield Table(caption, head, rows, css="figures")


def _mistakes(mistakes: Sequence[Json]) -> Table:
    voted = any(one["votes_on_label"] is not None for one in mistakes)
    aged = any(one["age_band"] is not None for one in mistakes)
    rows = [
        [
            Cell(str(one["row"]), sort=str(one["row"])),
            Cell(_place(one), css="path"),
            one["label"],
            one["read_as"],
            *([one["age_band"] or NO_VALUE] if aged else []),
            "yes" if one["face_found"] else "no",
            share_cell(one["confidence"]),
            share_cell(one["p_label"]),
            *([share_cell(one["votes_on_label"])] if voted else []),
        ]
        for one in mistakes
    ]
    head = [
        *("row", "image", "label", "prediction"),
        *(["age band"] if aged else []),
        *("face found", "confidence", "probability of the label"),
        *(["votes for the label"] if voted else []),
    ]
    return Table("Mistakes", head, rows, css="sortable tall", words=6 if aged else 5)


def _place(one: Json) -> str:
    place = str(one["path"])
    if one["array_row"] is not None:
        return f"{place} [{one['array_row']}]"
    return f"{place} at {one['time_s']:.2f} s" if one["time_s"] is not None else place


def _facts(evaluation: Json) -> Json:
    about, against = evaluation["about"], evaluation["against"]
    model, data = about["model"], about["data"]
    second = {} if against is None else against["model"]
    groups = evaluation["group_of"]
    return {
        "Model": model["name"],
        "SHA-256 of the model": model["sha256"],
        "Classes of the model": ", ".join(model["labels"]),
        "Groups": ", ".join(f"{name}: {group}" for name, group in groups.items()),
        "Temperature of the probabilities": f"{model['temperature']:g}",
        "License of the model": license_of(model),
        "Training data": model["training_data"],
        "Limits stated in the model card": model["limits"],
        "Second model": second.get("name"),
        "SHA-256 of the second model": second.get("sha256"),
        "Data": data_name(evaluation),
        "Sources": ", ".join(data["sources"]),
        "Classes of the data": ", ".join(data["classes"]),
        "License of the data, and consent": license_of(data) or "unspecified",
        "Rows": _rows(evaluation["rows"], about["split"]),
        "Intervals": about["intervals"],
        "Evaluated": about.get("created_at"),
        "Versions": ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
    }


def _rows(rows: Json, split: str) -> str:
    text = f"{count(rows['in_data'])} in the data, {count(rows['in_split'])} of them used "
    text += f"({_split(split)})"
    if rows["without_label"]:
        text += f", {count(rows['without_label'])} without a label"
    unknown = sum(rows["of_unknown_class"].values())
    if unknown:
        text += f", {count(unknown)} of classes that the model does not know"
    if rows.get("unreadable"):
        text += f", {count(rows['unreadable'])} whose image cannot be read"
    if rows["duplicates"] is not None:
        faces, images = (
            count(rows["duplicates"]["faces"]),
            counted(rows["duplicates"]["images"], "image"),
        )
        text += f", {faces} found to be duplicates of {images}"
    found, default = rows["faces_found"], rows["faces_found_at_default_thresholds"]
    return (
        f"{text}; {count(rows['evaluated'])} evaluated, a face found in {count(found)}, in "
        f"{count(default)} at the detector's default thresholds"
    )
