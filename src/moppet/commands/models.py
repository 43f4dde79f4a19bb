"""`moppet models`: the bundled models."""

from __future__ import annotations

import json

import typer

from moppet.commands.options import JsonOption


def models(as_json: JsonOption = False) -> None:
    """List the bundled models: classes, accuracy and license."""
    from moppet.infer.expression_model import bundled_models, read_card

    folders = bundled_models()
    cards = {name: read_card(folder) for name, folder in folders.items()}
    if as_json:
        typer.echo(json.dumps(cards, indent=1))
        return
    for name, card in cards.items():
        score = card.get("scores", {}).get("accuracy", {})
        measured = (
            f"accuracy {score['value']:.3f} ({score['low']:.3f}-{score['high']:.3f}), "
            f"n = {score['n']}"
            if {"value", "low", "high", "n"} <= score.keys()
            else "no figures on its card"
        )
        license_name = card.get("license", "not stated")
        typer.echo(f"{name}: {', '.join(card['labels'])}")
        typer.echo(f"  {measured}; license {license_name}")
        typer.echo(f"  {folders[name]}")
