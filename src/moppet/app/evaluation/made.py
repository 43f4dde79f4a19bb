"""The end of the page: how the figures were made, and what their words mean."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from moppet.app.evaluation.headline import data_name
from moppet.app.evaluation.words import Json, count
from moppet.app.report.content import section


def build_made(evaluation: Json) -> str:
    """Return the command, and from what everything was made."""
    items = "".join(
        f"<div><dt>{escape(title)}</dt><dd>{escape(text)}</dd></div>"
        for title, text in _facts(evaluation)
        if text
    )
    command = evaluation["made"].get("command")
    again = (
        f'<p>To make this again:</p><pre tabindex="0"><code>{escape(command)}</code></pre>'
        if command
        else ""
    )
    return section("made", "How it was made", f'{again}<dl class="facts">{items}</dl>')


def _facts(evaluation: Json) -> Iterator[tuple[str, str]]:
    made, rows = evaluation["made"], evaluation["rows"]
    model, data = made["model"], made["data"]
    yield "Model", model["name"]
    yield "Model's SHA-256", model["sha256"]
    yield "Model's classes", ", ".join(model["labels"])
    groups = evaluation["group_of"]
    yield "Groups", ", ".join(f"{name}: {group}" for name, group in groups.items())
    yield "Temperature of its probabilities", f"{model['temperature']:g}"
    yield "Model's licence", model["licence"] or ""
    yield "Learned from", model["training_data"] or ""
    yield "Limits, by its card", model["limits"] or ""
    if evaluation["against"] is not None:
        yield "Second model", evaluation["against"]["model"]["name"]
        yield "Second model's SHA-256", evaluation["against"]["model"]["sha256"]
    yield "Data", data_name(evaluation)
    yield "Sources", ", ".join(data["sources"])
    yield "Data's classes", ", ".join(data["classes"])
    yield "Data's licence and consent", data["licence"] or "not stated"
    yield "Rows", _rows(rows, made["split"])
    yield "Intervals", made["intervals"]
    yield "Evaluated", made.get("made_at") or ""
    yield "Versions", ", ".join(f"{name} {version}" for name, version in made["versions"].items())


def _rows(rows: Json, split: str) -> str:
    which = "every row" if split == "all" else f"split {split}"
    text = f"{count(rows['in_data'])} in the data, {count(rows['in_split'])} of them used ({which})"
    if rows["without_label"]:
        text += f", {count(rows['without_label'])} without a label"
    unknown = sum(rows["of_unknown_class"].values())
    if unknown:
        text += f", {count(unknown)} of classes that the model does not know"
    if rows.get("unreadable"):
        text += f", {count(rows['unreadable'])} whose picture cannot be read"
    if rows["copies"] is not None:
        faces, pictures = count(rows["copies"]["faces"]), count(rows["copies"]["pictures"])
        text += f", {faces} found to be copies, of {pictures} pictures"
    found, default = rows["faces_found"], rows["faces_found_at_default_thresholds"]
    return (
        f"{text}; {count(rows['evaluated'])} evaluated, a face found in {count(found)}, in "
        f"{count(default)} at the detector's default thresholds"
    )


_NOTES = (
    (
        "Pictures",
        "are cut as a video's frames are: the face is found, turned upright and cropped. Where no "
        "face is found the whole picture stands for it; “no face found” shows those alone.",
    ),
    (
        "Intervals",
        "hold 95 % of the figures of bootstrap draws; one subject's pictures and the copies of a "
        "picture are drawn together. They say how the figure would vary with other faces of this "
        "kind, not what another kind of faces would give.",
    ),
    (
        "A dash",
        "stands where a figure is not defined (the recall of a class without faces, say); it is "
        "never 0. It stands for interval and p where the figure rests on one subject or picture.",
    ),
    (
        "Means over classes",
        "leave out a class whose figure is not defined: a part without any “fear” is judged on "
        "the other classes.",
    ),
    (
        "Small numbers",
        "are shown like large ones: look at n and at the interval before you compare. Where few "
        "faces are all read alike the draws know no other outcome: accuracy, recall and precision "
        "then have exact binomial limits, and “no spread” stands for the interval of any other "
        "figure, which is no certainty. The calibration error of few faces comes "
        "out too high, and that of the draws higher still, so that it can lie below its interval.",
    ),
    (
        "Every number",
        "of this page stands in evaluation.json beside it.",
    ),
)


def build_notes(evaluation: Json) -> str:
    """Return what the words and figures mean."""
    notes = list(_NOTES)
    if evaluation["groups"] is not None:
        notes.insert(
            1,
            (
                "Groups",
                "are those of the model's card; a group's probability is the sum of its classes'.",
            ),
        )
    body = "".join(
        f"<p><strong>{term}</strong> {text.replace(' %', '&nbsp;%')}</p>" for term, text in notes
    )
    return section("notes", "Notes on the figures", f'<div class="notes">{body}</div>')
