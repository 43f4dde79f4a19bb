"""The coders' programs, both ways: ELAN, BORIS, Datavyu and Praat. See docs/coders.md."""

from moppet.timeline.coders.codes import Code, Coding, Lane, shifted
from moppet.timeline.coders.corrected import corrected_lanes
from moppet.timeline.coders.files import PROGRAMS, read_coding, write_program
from moppet.timeline.coders.machine import coding_of

__all__ = [
    "PROGRAMS",
    "Code",
    "Coding",
    "Lane",
    "coding_of",
    "corrected_lanes",
    "read_coding",
    "shifted",
    "write_program",
]
