"""Tiny studies of drawn faces, for the tests of studies."""

from __future__ import annotations

from pathlib import Path

from ferplus_sample import write_ferplus

RECIPES = Path(__file__).parents[1] / "recipes"


def write_study(folder: Path, text: str) -> Path:
    """Write a data set, ferplus.npz, and a study's recipe; return the recipe's path."""
    write_ferplus(folder / "ferplus.npz")
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def quietly(text: str) -> None:
    """Report nothing."""
