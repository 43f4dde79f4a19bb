"""`moppet card`: what is saved about a model in, its card in Markdown and HTML out."""

from __future__ import annotations

from pathlib import Path

from moppet.app.model_card.markdown import as_markdown
from moppet.app.model_card.page import build_page
from moppet.app.model_card.sections import build_sections
from moppet.study.card import read_results
from moppet.values import MoppetError


def write_model_card(model: str, output: Path, evaluation: Path | None = None) -> list[Path]:
    """Write model_card.md and model_card.html into a folder, and return their paths.

    model: a bundled model's name, or a model folder. evaluation: an evaluation.json of it, or
    the folder that holds it.
    """
    results = read_results(model, evaluation)
    sections = build_sections(results)
    texts = {
        "model_card.md": as_markdown(str(results.card["name"]), sections),
        "model_card.html": build_page(results, sections),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (output / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise MoppetError(f"{output} cannot be written: {error.strerror or error}.") from None
    return [output / name for name in texts]
