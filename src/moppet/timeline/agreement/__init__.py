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
from moppet.timeline.agreement.words import (
    LEVELS,
    SKIP,
    Level,
    Vocabulary,
    check_known,
    map_text,
    one_word,
    read_map,
    unknown_labels,
)

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
    "map_text",
    "one_word",
    "read_map",
    "unknown_labels",
]
