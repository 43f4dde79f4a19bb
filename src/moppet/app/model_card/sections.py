"""The nine sections of a model card (Mitchell et al. 2019) from what is saved about the model."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from moppet.app.evaluation.words import count, number, with_interval
from moppet.app.model_card import words
from moppet.app.model_card.analyses import build_analyses
from moppet.app.model_card.blocks import Block, Facts, Figures, Items, Section, Text
from moppet.study.card import ALL, Measured, SavedResults

_SHOWN: Final = {
    *("name", "file", "sha256", "licence", "labels", "groups", "network", "temperature"),
    *("training_data", "limits", "preprocessing", "rows", "scores"),
}
_COLUMNS: Final = {
    "train_loss": "loss, training",
    "train_accuracy": "accuracy, training",
    "choose_loss": "loss, set aside",
    "choose_accuracy": "accuracy, set aside",
    "choose_balanced": "balanced accuracy, set aside",
}
_ASKED: Final = {
    "network": "the kind of network",
    "licence": "the licence",
    "author": "who made it",
    "date": "when",
    "version": "its version",
    "contact": "whom to write to",
}


def build_sections(results: SavedResults) -> list[Section]:
    """Return the card's sections; what is not saved is said to be missing."""
    return [
        Section("details", "Model details", _details(results)),
        Section("use", "Intended use", [Items(list(words.USES))]),
        Section("factors", "Factors", _factors(results)),
        Section("metrics", "Metrics", _metrics(results)),
        Section("evaluation", "Evaluation data", _evaluation_data(results)),
        Section("training", "Training data", _training_data(results)),
        Section("analyses", "Quantitative analyses", build_analyses(results.measured)),
        Section("ethics", "Ethical considerations", [Items(list(words.ETHICS))]),
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
    blocks: list[Block] = [Text(words.FACTORS)]
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
        [title, words.EXPLAINED.get(name, "–")]
        for name, title in words.TITLES.items()
        if name in overall
    ]
    rows += [[words.title_of(name), "–"] for name in sorted(overall - words.TITLES.keys())]
    rows += [
        [words.CLASS_TITLES[name], meaning]
        for name, meaning in words.PER_CLASS.items()
        if name in per_class
    ]
    blocks: list[Block] = [Text(words.DECISION)]
    if not rows:
        return [*blocks, Text("No figures are saved.", missing=True)]
    return [*blocks, Text(words.INTERVALS), Figures("Figures", ["figure", "what it is"], rows, 2)]


def _evaluation_data(results: SavedResults) -> list[Block]:
    blocks: list[Block] = []
    figures, evaluation = results.figures, results.evaluation
    if figures is None:
        blocks.append(Text("No figures on rows kept for reporting are saved.", missing=True))
    else:
        facts = _known(
            ("Labelled faces kept for reporting", figures.get("rows")),
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
                "the whole picture stands for it."
            )
        )
        blocks += [Facts(facts)] if facts else []
    if evaluation is None:
        blocks.append(Text("No evaluation on other pictures is given.", missing=True))
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
                    ("Rows", str(made.get("split", "not stated"))),
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
    parts = {"train": "Learned from", "choose": "Chose by", "report": "Kept for reporting"}
    facts = [
        (parts.get(key, key), f"{count(n)} labelled faces" if isinstance(n, int) else str(n))
        for key, n in card.get("rows", {}).items()
    ]
    if facts:
        blocks.append(Facts(facts))
    else:
        blocks.append(Text("The number of its pictures is not saved.", missing=True))
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
    blocks.append(Items([*_few(results.measured), *_lost(results.measured), *words.ADVICE]))
    if results.missing:
        blocks.append(Text("Not there: " + "; ".join(results.missing) + ".", missing=True))
    return blocks


def _few(measured: list[Measured]) -> list[str]:
    """Say which classes and parts have too few faces for their figures to mean much."""
    lines = []
    for one in measured:
        few = []
        for name, rows in one.parts.items():
            few += (
                [f"{name} ({count(rows.n)})"] if rows.n is not None and rows.n < words.FEW else []
            )
        recalls = one.parts[ALL].per_class.get("recall", {}) if ALL in one.parts else {}
        few += [
            f"{name} ({count(recall['n'])})"
            for name, recall in recalls.items()
            if recall.get("n") is not None and recall["n"] < words.FEW
        ]
        if few and not one.again:
            lines.append(
                f"Fewer than {words.FEW} faces, too few to say how well they are read: "
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


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
