"""Human coders: their programs' file formats, and agreement with a timeline."""

from moppet.coders.codings import Code, Coding, Lane
from moppet.coders.programs import PROGRAMS, read_coding, write_program

__all__ = ["PROGRAMS", "Code", "Coding", "Lane", "read_coding", "write_program"]
