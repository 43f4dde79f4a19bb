"""moppet reads facial expressions of infants, children and adults on your own machine."""

from moppet.infer import analyze, find_faces, load_model, stream
from moppet.timeline import read_timeline
from moppet.values import EXPRESSIONS, GROUPS

__all__ = [
    "EXPRESSIONS",
    "GROUPS",
    "analyze",
    "find_faces",
    "load_model",
    "read_timeline",
    "stream",
]
