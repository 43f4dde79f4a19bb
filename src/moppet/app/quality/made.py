"""The end of the page: how the figures were made, and what their words mean."""

from __future__ import annotations

from html import escape

from moppet.app.evaluation.words import Json, count
from moppet.app.report.content import section
from moppet.app.report.tables import format_share

_NOTES = (
    (
        "Pictures",
        "are cut as a video's frames are: the face is found, turned upright and cropped. Where no "
        "face is found the whole picture stands for it.",
    ),
    (
        "Distances",
        "are measured in the embedding of the model named above. FID and KID are named after their "
        "formulas; on this embedding their values cannot be compared with those of any publication "
        "that uses Inception's.",
    ),
    (
        "JS divergence",
        "is estimated from nearest neighbours in the first principal components of the real faces' "
        "embeddings. With few faces it is rough: look at what it is among real faces.",
    ),
    (
        "Among real faces",
        "the real ones are cut in two halves, one person's pictures in one half. The halves are "
        "smaller than the whole, which makes them differ a little more than they should.",
    ),
    (
        "Intervals",
        "of distances come from random halves of both kinds, those of shares from bootstrap draws; "
        "groups (a person, the copies of a picture) are drawn together.",
    ),
    (
        "No alarm",
        "does not prove that nobody can be recognised: it compares expressions, aligned looks and "
        "whole pictures, and not who people are.",
    ),
    ("A dash", "stands where a figure is not defined; it is never 0."),
    ("Every number", "of this page stands in quality.json beside it."),
)


def build_made(quality: Json) -> str:
    """Return the command, and from what everything was made."""
    made, rows = quality["made"], quality["rows"]
    model, judge, space = made["model"], made["judge"], made["space"]
    facts = {
        "Made pictures": made["path"],
        "Made by": ", ".join(made["made_by"]) or "not stated",
        "Made faces": f"{count(rows['made'])} of {count(rows['in_made'])} rows, "
        f"{count(rows['kept'])} kept",
        "Real pictures": made["real_path"],
        "Real faces": f"{count(rows['real'])} of {count(rows['in_real'])} rows"
        + (" (split train)" if rows["real_split"] == "train" else ""),
        "Their sources": ", ".join(made["sources"]),
        "Their licence and consent": made["licence"] or "not stated",
        "Embedding of": model["name"],
        "Its SHA-256": model["sha256"],
        "It learned from": model["training_data"],
        "Judge": judge["name"] if judge != model else "the same",
        "Judge's SHA-256": judge["sha256"] if judge != model else None,
        "Space of the JS divergence": f"{space['components']} principal components, "
        f"{format_share(space['explained'])} of the variance",
        "Intervals": made["intervals"],
        "moppet": made["moppet_version"],
        "Made": made.get("made_at"),
    }
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(text))}</dd></div>"
        for name, text in facts.items()
        if text
    )
    command = made.get("command")
    again = (
        f'<p>To make this again:</p><pre tabindex="0"><code>{escape(command)}</code></pre>'
        if command
        else ""
    )
    return section("made", "How it was made", f'{again}<dl class="facts">{items}</dl>')


def build_notes() -> str:
    """Return what the words and figures mean."""
    body = "".join(f"<p><strong>{term}</strong> {text}</p>" for term, text in _NOTES)
    return section("notes", "Notes on the figures", f'<div class="notes">{body}</div>')
