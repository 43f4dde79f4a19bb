"""moppet reads facial expressions of infants, children and adults on your own machine."""

from moppet import privacy

privacy.disable_telemetry()  # before anything imports onnxruntime, which reads its switch then

from moppet.infer import analyze, find_faces, load_model, stream  # noqa: E402
from moppet.timeline import Timeline, TimelineSettings, read_timeline  # noqa: E402
from moppet.values import EXPRESSIONS, GROUPS, MoppetError  # noqa: E402

__version__ = "0.1.0"

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
