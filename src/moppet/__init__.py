"""moppet reads facial expressions of infants, children and adults on your own machine."""

import importlib.metadata

from moppet.infer import analyze, find_faces, load_model, stream
from moppet.timeline import Timeline, TimelineSettings, read_timeline
from moppet.values import EXPRESSIONS, GROUPS, MoppetError

__version__ = importlib.metadata.version("moppet")

__all__ = [
    "EXPRESSIONS",
    "GROUPS",
    "MoppetError",
    "Timeline",
    "TimelineSettings",
    "__version__",
    "analyze",
    "find_faces",
    "load_model",
    "read_timeline",
    "stream",
]
