"""What the figures are called, and what each of them says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FIGURES: Final[Mapping[str, str]] = {
    "js_divergence": "JS divergence",
    "kernel_distance": "KID",
    "frechet_distance": "FID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}
"""Figure → what people call it, in the order of the tables. KID and FID on moppet's embedding."""
MEANINGS: Final[Mapping[str, str]] = {
    "js_divergence": "how well made and real faces can be told apart, in bits: 0 not at all, "
    "1 always",
    "kernel_distance": "distance of the two kinds, kernel (KID), on moppet's embedding: 0 alike, "
    "below 0 by chance",
    "frechet_distance": "distance of the two kinds, Fréchet (FID), on moppet's embedding: 0 alike; "
    "comes out too high for few faces",
    "precision": "share of the made faces that lie among real ones: do they look real?",
    "recall": "share of the real faces that lie among made ones: is every kind made?",
    "density": "how thickly real faces surround a made one: about 1 alike",
    "coverage": "share of the real faces with a made one nearby",
}
CARDS: Final = ("js_divergence", "frechet_distance", "kernel_distance", "precision", "coverage")
DRAWN: Final = ("js_divergence", "precision", "recall", "coverage")
