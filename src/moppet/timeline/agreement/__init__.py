"""How far a timeline and human coders agree. See docs/coders.md."""

from moppet.timeline.agreement.compared import FEW_BLOCKS, Comparison, Pair, compare_tracks
from moppet.timeline.agreement.tracks import (
    REASONS,
    Track,
    Units,
    human_track,
    machine_track,
    make_units,
)
from moppet.timeline.agreement.words import LEVELS, SKIP, Level, Vocabulary, check_known, read_map

__all__ = [
    "FEW_BLOCKS",
    "LEVELS",
    "REASONS",
    "SKIP",
    "Comparison",
    "Level",
    "Pair",
    "Track",
    "Units",
    "Vocabulary",
    "check_known",
    "compare_tracks",
    "human_track",
    "machine_track",
    "make_units",
    "read_map",
]
