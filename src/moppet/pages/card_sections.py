"""The nine sections of a model card (Mitchell et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from moppet.evaluate.saved_results import ALL, Measured, Rows, SavedResults
from moppet.pages.wording import FIGURES, MEANINGS, count, number, with_interval
from moppet.vocabulary import current_key

Estimate = Mapping[str, Any]
"""value, low, high and n; None for what is undefined."""


@dataclass(frozen=True)
class Text:
    """A paragraph. missing: says that something was not saved or not measured."""

    text: str
    missing: bool = False


@dataclass(frozen=True)
class Heading:
    """What the blocks after it are about."""

    text: str


@dataclass(frozen=True)
class Facts:
    """What something is called, and what it is."""

    items: list[tuple[str, str]]


@dataclass(frozen=True)
class Items:
    """Sentences of one kind."""

    items: list[str]


@dataclass(frozen=True)
class Figures:
    """A table. A cell is text or an estimate; the first of a row heads it.

    words: how many columns hold text that is set left. counted: estimates show their own n.
    """

    caption: str
    head: list[str]
    rows: list[list[str | Estimate]]
    words: int = 1
    counted: bool = False


@dataclass(frozen=True)
class Confusion:
    """Counts, rows by label, columns by reading."""

    caption: str
    names: tuple[str, ...]
    counts: list[list[int]]


Block = Text | Heading | Facts | Items | Figures | Confusion


@dataclass(frozen=True)
class Section:
    """A section of the card. name: for links."""

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)


ABOUT: Final = (
    "Sections after “Model Cards for Model Reporting” (Mitchell et al. 2019). Every figure is read "
    "from what was saved with the model; nothing is typed in."
)
USES: Final = (
    "Meant for: saying, from an image or a video, which of its classes a face shows, on the "
    "user's own machine, as a reading that a person can check.",
    "Meant for people who code facial behavior in recordings, and for those who build and study "
    "such readers.",
    "Not meant for diagnosis, for finding out what somebody feels, thinks or intends, or for any "
    "decision about a person that no person makes.",
    "Not meant for watching people who have not agreed, or whose parents have not.",
    "Laws may forbid a use: in the European Union, inferring emotions of people at work or in "
    "education is prohibited except for medical or safety reasons (Regulation (EU) 2024/1689, "
    "Article 5).",
)
FACTORS: Final = (
    "Readings of faces are known to depend on age, sex, skin color, turn of the head, light, "
    "what covers the face, sharpness, and on how people of a place and time show and name "
    "expressions."
)
DECISION: Final = (
    "A face's class is the one with the largest probability, whatever that is. Probabilities are "
    "softmax(logits / temperature) with the card's temperature, 1 where it gives none (Guo et al. "
    "2017)."
)
INTERVALS: Final = (
    "Beside each figure stands its 95 % interval. It says how far the figure would move with other "
    "faces of the same kind, and nothing of another kind of faces. A dash is a figure that is not "
    "defined; it is never 0."
)
ETHICS: Final = (
    "An expression is not a feeling. What a face shows can be put on, held back or read wrongly, "
    "and the labels that a model learns are other people's readings, not the truth of a person.",
    "Mistakes fall on people who cannot object, children above all. Whoever uses a reading has "
    "to be able to look at the recording and to overrule it.",
    "An image of a face is personal data. moppet reads on the machine that it runs on and sends "
    "nothing anywhere; whoever keeps recordings and results answers for them.",
    "Children can agree to little and their parents speak for them: film, keep and label only "
    "what they have agreed to, and delete it when they ask.",
    "A model repeats the lopsidedness of its images. Groups that the tables do not name were "
    "not looked at, which is no sign that they are read well.",
)
ADVICE: Final = (
    "Measure on faces of your own before you rely on the model (`moppet evaluate`), and code some "
    "recordings by hand beside it.",
    "Compare a difference between groups with its interval and its n before you speak of one.",
)
FEW: Final = 30
"""Fewer faces than this are too few to say how well they are read."""

TITLES: Final = {
    **FIGURES,
    "ece_before_scaling": "calibration error before temperature scaling",
    "commonest": "always answering the commonest class",
}
EXPLAINED: Final = {
    **MEANINGS,
    "ece_before_scaling": "the same at temperature 1",
    "commonest": "the accuracy of a guess that looks at no face",
}
PER_CLASS: Final = {
    "recall": "of the faces of a class, the share that is read as it",
    "precision": "of the faces that are read as a class, the share that is of it",
    "f1": "harmonic mean of recall and precision",
    "auc": "area under the ROC curve, the class against the others",
}
CLASS_TITLES: Final = {"recall": "recall", "precision": "precision", "f1": "F1", "auc": "AUC"}


def title_of(figure: str) -> str:
    """Return what a figure is called, also one that is not known here."""
    return TITLES.get(figure, figure.replace("_", " "))


_OF_PARTS = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "one_rater")
NOTHING: Mapping[str, Any] = {"value": None, "low": None, "high": None}


def build_analyses(measured: list[Measured]) -> list[Block]:
    """Return the tables of every set of images that the model was measured on."""
    if not measured:
        return [Text("No figures are saved, so nothing can be said.", missing=True)]
    blocks: list[Block] = []
    for one in measured:
        if one.again:
            continue
        ways = [one, *(other for other in measured if other.again)] if one is measured[0] else [one]
        blocks += [Heading(_capital(one.of)), _overall(ways)]
        blocks += _parts("By part", one.parts)
        for column, parts in one.by.items():
            blocks += _parts(f"By {column}", parts)
        blocks += [Text(_gap(gap)) for gap in one.gaps]
        blocks += _classes("Each class", one)
        blocks += _crossed("Recall of each class in each part", one)
        confusion = one.parts[ALL].confusion if ALL in one.parts else None
        if confusion and len(confusion) == len(one.names):
            blocks.append(Confusion("Labels (rows) and readings (columns)", one.names, confusion))
    return blocks


def _overall(measured: list[Measured]) -> Block:
    figures = [one.parts.get(ALL, Rows(None, {}, {}, None)) for one in measured]
    names = [name for name in TITLES if any(name in rows.overall for rows in figures)]
    more = {name for rows in figures for name in rows.overall} - set(TITLES)
    table: list[list[Any]] = [
        [title_of(name), *(rows.overall.get(name, NOTHING) for rows in figures)]
        for name in [*names, *sorted(more)]
    ]
    ns: list[Any] = ["n", *(_count(rows.n) for rows in figures)]
    heads = [one.of if one.again else "value" for one in measured]
    return Figures("All faces", ["figure", *heads], [ns, *table])


def _parts(caption: str, parts: Mapping[str, Rows]) -> list[Block]:
    if len(parts) < 2:
        return []
    shown = [name for name in _OF_PARTS if any(name in rows.overall for rows in parts.values())]
    table: list[list[Any]] = [
        [name, _count(rows.n), *(rows.overall.get(figure, NOTHING) for figure in shown)]
        for name, rows in parts.items()
    ]
    return [Figures(caption, ["faces", "n", *(title_of(name) for name in shown)], table)]


def _gap(gap: Mapping[str, Any]) -> str:
    text = f"Gap ({gap['of']}): the model {with_interval(gap['model'], signed=True)}"
    p = gap["model"].get("p")
    if p is not None:
        text += f", p {'under 0.001' if p < 0.001 else f'= {p:.3f}'}"
    rater = gap.get("one_rater")
    if rater and rater["value"] is not None:
        text += f"; one human rater {with_interval(rater, signed=True)}"
    return text + "."


def _classes(caption: str, measured: Measured) -> list[Block]:
    per_class = measured.parts[ALL].per_class if ALL in measured.parts else {}
    shown = [name for name in CLASS_TITLES if name in per_class]
    if not shown:
        return []
    table: list[list[Any]] = []
    for name in measured.names:
        n = per_class.get("recall", {}).get(name, {}).get("n")
        figures = (per_class[figure].get(name, NOTHING) for figure in shown)
        table.append([name, _count(n), *figures])
    heads = ["class", "n", *(CLASS_TITLES[name] for name in shown)]
    return [Figures(caption, heads, table)]


def _crossed(caption: str, measured: Measured) -> list[Block]:
    parts = {
        name: rows.per_class["recall"]
        for name, rows in measured.parts.items()
        if name != ALL and "recall" in rows.per_class
    }
    if not parts:
        return []
    table: list[list[Any]] = [
        [name, *(recalls.get(name, NOTHING) for recalls in parts.values())]
        for name in measured.names
    ]
    return [Figures(caption, ["class", *parts], table, counted=True)]


def _count(n: int | None) -> str:
    return "–" if n is None else count(n)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_SHOWN: Final = {
    *("name", "file", "sha256", "licence", "labels", "groups", "network", "temperature"),
    *("training_data", "limits", "preprocessing", "rows", "scores"),
}
_COLUMNS: Final = {
    "train_loss": "loss, training",
    "train_accuracy": "accuracy, training",
    "val_loss": "loss, set aside",
    "val_accuracy": "accuracy, set aside",
    "val_balanced": "balanced accuracy, set aside",
}
_ASKED: Final = {
    "network": "the kind of network",
    "licence": "the license",
    "author": "who made it",
    "date": "when",
    "version": "its version",
    "contact": "whom to write to",
}


def build_sections(results: SavedResults) -> list[Section]:
    """Return the card's sections; what is not saved is said to be missing."""
    return [
        Section("details", "Model details", _details(results)),
        Section("use", "Intended use", [Items(list(USES))]),
        Section("factors", "Factors", _factors(results)),
        Section("metrics", "Metrics", _metrics(results)),
        Section("evaluation", "Evaluation data", _evaluation_data(results)),
        Section("training", "Training data", _training_data(results)),
        Section("analyses", "Quantitative analyses", build_analyses(results.measured)),
        Section("ethics", "Ethical considerations", [Items(list(ETHICS))]),
        Section("caveats", "Caveats and recommendations", _caveats(results)),
    ]


def _details(results: SavedResults) -> list[Block]:
    card = results.card
    facts = [("Name", str(card["name"]))]
    facts += [(_capital(key), str(card[key])) for key in _ASKED if key in card]
    facts += [
        (_capital(key.replace("_", " ")), str(value))
        for key, value in card.items()
        if key not in _SHOWN | _ASKED.keys() and isinstance(value, str | int | float)
    ]
    facts.append(("Classes", ", ".join(str(label) for label in card["labels"])))
    groups = card.get("groups", {})
    if groups:
        facts.append(("Groups", ", ".join(f"{name}: {group}" for name, group in groups.items())))
    facts += [
        ("Input", _input(card["preprocessing"])),
        ("Temperature", f"{card['temperature']:g}" if "temperature" in card else "none"),
        ("File", f"{card.get('file', 'model.onnx')}, {count(results.bytes)} bytes"),
        ("SHA-256", str(card["sha256"])),
        ("Card made by", f"moppet {version('moppet')}, from saved results only"),
    ]
    blocks: list[Block] = [Facts(facts)]
    absent = [words for key, words in _ASKED.items() if key not in card]
    if absent:
        blocks.append(Text(f"card.toml does not say: {', '.join(absent)}.", missing=True))
    return blocks


def _input(preprocessing: Any) -> str:
    size = preprocessing.get("size")
    text = f"aligned face, {size} × {size} pixels, {preprocessing.get('colour')}"
    detail = preprocessing.get("detail_px")
    return f"{text}, averaged down to {detail} pixels first" if detail else text


def _factors(results: SavedResults) -> list[Block]:
    found: dict[str, dict[str, int | None]] = {}
    for measured in results.measured:
        if measured.again:
            continue
        ages = {name: rows.n for name, rows in measured.parts.items() if name != ALL}
        if ages:
            found[f"part of {measured.of}"] = ages
        for column, parts in measured.by.items():
            found[f"{column}, in {measured.of}"] = {k: rows.n for k, rows in parts.items()}
    blocks: list[Block] = [Text(FACTORS)]
    if not found:
        return [*blocks, Text("Nothing is saved about any of them.", missing=True)]
    lines = [
        f"By {name}: "
        + ", ".join(f"{value} ({count(n)})" if n is not None else value for value, n in ns.items())
        + "."
        for name, ns in found.items()
    ]
    return [
        *blocks,
        Text("Figures are saved by these, with the number of faces:"),
        Items(lines),
        Text("By no other factor is anything saved.", missing=True),
    ]


def _metrics(results: SavedResults) -> list[Block]:
    overall = {name for m in results.measured for rows in m.parts.values() for name in rows.overall}
    per_class = {
        name for m in results.measured for rows in m.parts.values() for name in rows.per_class
    }
    rows: list[list[Any]] = [
        [title, EXPLAINED.get(name, "–")] for name, title in TITLES.items() if name in overall
    ]
    rows += [[title_of(name), "–"] for name in sorted(overall - TITLES.keys())]
    rows += [
        [CLASS_TITLES[name], meaning] for name, meaning in PER_CLASS.items() if name in per_class
    ]
    blocks: list[Block] = [Text(DECISION)]
    if not rows:
        return [*blocks, Text("No figures are saved.", missing=True)]
    return [*blocks, Text(INTERVALS), Figures("Figures", ["figure", "what it is"], rows, 2)]


def _evaluation_data(results: SavedResults) -> list[Block]:
    blocks: list[Block] = []
    figures, evaluation = results.figures, results.evaluation
    if figures is None:
        blocks.append(Text("No figures on test rows are saved.", missing=True))
    else:
        facts = _known(
            ("Labeled test faces", figures.get("rows")),
            ("A face was found in", figures.get("faces_found")),
            (
                "… at the detector's default thresholds",
                figures.get("faces_found_at_default_thresholds"),
            ),
        )
        blocks.append(
            Text(
                "Rows of the training data's own set (see there) that neither trained the model "
                "nor chose anything. A face is found and aligned as in use; where none is found, "
                "the whole image stands for it."
            )
        )
        blocks += [Facts(facts)] if facts else []
    if evaluation is None:
        blocks.append(Text("No evaluation on other images is given.", missing=True))
    else:
        made, rows = evaluation["made"], evaluation.get("rows", {})
        data = made["data"]
        blocks.append(Text("Besides, an evaluation of its own:"))
        blocks.append(
            Facts(
                [
                    ("Data", str(data.get("name") or "not stated")),
                    ("Sources", ", ".join(data.get("sources", ())) or "not stated"),
                    ("Licence and consent", str(data.get("licence") or "not stated")),
                    ("Rows", current_key(str(made.get("split", "not stated")))),
                    *_known(("Labelled faces", rows.get("evaluated"))),
                    *_known(("A face was found in", rows.get("faces_found"))),
                    *_known(("Evaluated", made.get("made_at"))),
                ]
            )
        )
        if evaluation.get("notes"):
            blocks += [Text("Its notes:"), Items(list(evaluation["notes"]))]
    return blocks


def _known(*pairs: tuple[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, count(value) if isinstance(value, int) else str(value))
        for name, value in pairs
        if value is not None
    ]


def _training_data(results: SavedResults) -> list[Block]:
    card = results.card
    blocks: list[Block] = []
    if card.get("training_data"):
        blocks.append(Text(str(card["training_data"])))
    else:
        blocks.append(Text("card.toml does not say what the model learned from.", missing=True))
    parts = {"train": "Learned from", "val": "Validated on", "test": "Tested on"}
    facts = [
        (
            parts.get(current_key(key), key),
            f"{count(n)} labeled faces" if isinstance(n, int) else str(n),
        )
        for key, n in card.get("rows", {}).items()
    ]
    if facts:
        blocks.append(Facts(facts))
    else:
        blocks.append(Text("The number of its images is not saved.", missing=True))
    training = results.training
    if training is None:
        return [*blocks, Text("The course of its training is not saved.", missing=True)]
    return [*blocks, _course(training)]


def _course(training: Any) -> Block:
    columns, best = training["columns"], training["best_epoch"]
    epochs = columns["epoch"]
    marked = {"first": 0, "last": len(epochs) - 1}
    if best is not None:
        marked["least loss on rows set aside"] = epochs.index(best)
    shown = [
        name for name in columns if name != "epoch" and any(v is not None for v in columns[name])
    ]
    rows: list[list[Any]] = [
        [which, f"{epochs[i]:g}", *(number(columns[name][i]) for name in shown)]
        for which, i in marked.items()
    ]
    heads = [_COLUMNS.get(name, name.replace("_", " ")) for name in shown]
    return Figures("The course of the training", ["", "epoch", *heads], rows)


def _caveats(results: SavedResults) -> list[Block]:
    blocks: list[Block] = []
    limits = results.card.get("limits")
    if limits:
        blocks.append(Text(str(limits)))
    else:
        blocks.append(Text("card.toml names no limits.", missing=True))
    blocks.append(Items([*_few(results.measured), *_lost(results.measured), *ADVICE]))
    if results.missing:
        blocks.append(Text("Not there: " + "; ".join(results.missing) + ".", missing=True))
    return blocks


def _few(measured: list[Measured]) -> list[str]:
    """Say which classes and parts have too few faces for their figures to mean much."""
    lines = []
    for one in measured:
        few = []
        for name, rows in one.parts.items():
            few += [f"{name} ({count(rows.n)})"] if rows.n is not None and rows.n < FEW else []
        recalls = one.parts[ALL].per_class.get("recall", {}) if ALL in one.parts else {}
        few += [
            f"{name} ({count(recall['n'])})"
            for name, recall in recalls.items()
            if recall.get("n") is not None and recall["n"] < FEW
        ]
        if few and not one.again:
            lines.append(
                f"Fewer than {FEW} faces, too few to say how well they are read: "
                f"{', '.join(few)}, in {one.of}."
            )
    return lines


def _lost(measured: list[Measured]) -> list[str]:
    return [
        f"With every face that was not found counted as wrong, the accuracy in {one.of} is "
        f"{with_interval(one.missed_wrong)}."
        for one in measured
        if one.missed_wrong is not None
    ]
