"""Human coders: their programs' file formats, and agreement with a timeline."""

from moppet.coders.agreement import FEW_BLOCKS, Comparison, Pair, compare_tracks
from moppet.coders.code_map import (
    LEVELS,
    Level,
    Vocabulary,
    check_known,
    map_text,
    one_word,
    read_map,
    unknown_labels,
)
from moppet.coders.codings import Code, Coding, Lane, shifted
from moppet.coders.programs import PROGRAMS, read_coding, write_program
from moppet.coders.time_units import REASONS, Track, Units, human_track, machine_track, make_units
from moppet.coders.timeline_coding import coding_of, corrected_lanes
from moppet.vocabulary import SKIP

__all__ = [
    "FEW_BLOCKS",
    "LEVELS",
    "PROGRAMS",
    "REASONS",
    "SKIP",
    "Code",
    "Coding",
    "Comparison",
    "Lane",
    "Level",
    "Pair",
    "Track",
    "Units",
    "Vocabulary",
    "check_known",
    "coding_of",
    "compare_tracks",
    "corrected_lanes",
    "human_track",
    "machine_track",
    "make_units",
    "map_text",
    "one_word",
    "read_coding",
    "read_map",
    "shifted",
    "unknown_labels",
    "write_program",
]
