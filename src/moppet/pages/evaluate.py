"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from moppet.evaluate.saved_results import current_results
from moppet.files import write_text
from moppet.pages import evaluation_charts as charts
from moppet.pages.document import render_document, render_macro
from moppet.pages.html_tables import (
    Cell,
    Row,
    Table,
    class_cell,
    confusion_table,
    count_cell,
    figure_cell,
    share_cell,
)
from moppet.pages.wording import (
    FIGURES,
    MEANINGS,
    Json,
    count,
    counted,
    levels,
    number,
    p_value,
)
from moppet.timeline.time_axis import NO_VALUE

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
        data_name=data_name(evaluation),
        shown=shown,
        overall=_overall_table(shown),
        class_tables=[_class_table(level, grouped) for _, level, grouped in shown],
        against=_against(evaluation),
        display=list(_display_tables(evaluation.get("display") or {})),
        movements=list(_movement_tables(evaluation.get("movements"))),
        parts=[(title, list(_parts(level, grouped))) for title, level, grouped in shown],
        matrices=[(title, _matrix(level)) for title, level, _ in shown],
        roc=[(title, list(charts.roc_panels(level, grouped))) for title, level, grouped in shown],
        reliability_table=charts.reliability_table,
        maps=list(charts.embedding_maps(evaluation)),
        training=charts.training_history(evaluation["training"]),
        mistakes=_mistakes(evaluation["mistakes"]),
    )


def data_name(evaluation: Json) -> str:
    """Return the name of the data: its file or folder, or else its sources."""
    data = evaluation["about"]["data"]
    return str(data.get("name") or ", ".join(data["sources"]) or "unnamed data")


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


def _display_tables(display: Mapping[str, Json | None]) -> Iterator[Table]:
    """Yield the display reading's figures, if both readings were measured."""
    for kind, level in display.items():
        if level is not None:
            yield _part_table(level["parts"], f"Display reading: {kind}", level)
            yield _class_table(level, grouped=kind == "groups")


def _movement_tables(found: Json | None) -> Iterator[Table]:
    """Yield Pearson's r with the data's own measures if it has any, and the means by label."""
    if found is None:
        return
    by = {f"{c}: {value}": r for c, values in found["by"].items() for value, r in values.items()}
    for caption, columns in (
        ("Pearson's r with the data's own measure, with n", found["parts"] | by),
        ("Mean of each movement by label, with n", found["means"]),
    ):
        if columns:
            rows = [
                [
                    name,
                    *(
                        figure_cell(of[name], f"n = {count(of[name]['n'])}")
                        for of in columns.values()
                    ),
                ]
                for name in next(iter(columns.values()))
            ]
            yield Table(caption, ["movement", *columns], rows, css="figures")


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
            Cell(render_macro("whisker", accuracy(part), whole["value"], start), left=True),
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
    sentences = []
    if against["left_out"]:
        faces = counted(against["faces_left_out"], "face")
        sentences.append(
            f"{second} does not know {', '.join(against['left_out'])}: the comparison leaves out "
            f"{faces} with these labels, and {first}'s probabilities of these classes."
        )
    if against["second_left_out"]:
        sentences.append(
            f"{second}'s probabilities of {', '.join(against['second_left_out'])} are left out, "
            f"because {first} or the data does not know these classes."
        )
    return sentences


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
