"""moppet reads facial expressions of infants, children and adults on your own machine."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from moppet import privacy

privacy.disable_telemetry()  # before anything imports onnxruntime, which reads its switch then

if TYPE_CHECKING:
    from moppet.cohort.gathering import gather
    from moppet.infer.detectors import find_faces
    from moppet.infer.expression_model import load_model
    from moppet.infer.pipeline import analyze, stream
    from moppet.timeline import Timeline, TimelineSettings, read_timeline
    from moppet.values import EXPRESSIONS, GROUPS, MoppetError

__version__ = "0.2.0.dev0"

__all__ = [
    "EXPRESSIONS",
    "GROUPS",
    "MoppetError",
    "Timeline",
    "TimelineSettings",
    "__version__",
    "analyze",
    "find_faces",
    "gather",
    "load_model",
    "read_timeline",
    "stream",
]

_HOMES: Final = {
    **dict.fromkeys(("analyze", "stream"), "moppet.infer.pipeline"),
    "find_faces": "moppet.infer.detectors",
    "gather": "moppet.cohort.gathering",
    "load_model": "moppet.infer.expression_model",
    **dict.fromkeys(("Timeline", "TimelineSettings", "read_timeline"), "moppet.timeline"),
    **dict.fromkeys(("EXPRESSIONS", "GROUPS", "MoppetError"), "moppet.values"),
}
"""Public name → its module, imported on first use: the command line starts fast, and Ctrl-C at once
ends it in one line."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'moppet' has no attribute {name!r}")
    return globals().setdefault(name, getattr(import_module(_HOMES[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
