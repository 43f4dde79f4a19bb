"""Detect faces and classify expressions with onnxruntime. Modules are imported on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from moppet.infer.detectors import DETECTORS, find_faces
    from moppet.infer.models import ExpressionModel, bundled_models, load_model
    from moppet.infer.pipeline import Analysis, LiveReader, Progress, Settings, analyze, stream

__all__ = [
    "DETECTORS",
    "Analysis",
    "ExpressionModel",
    "LiveReader",
    "Progress",
    "Settings",
    "analyze",
    "bundled_models",
    "find_faces",
    "load_model",
    "stream",
]

_MODULES: Final = {
    **dict.fromkeys(("DETECTORS", "find_faces"), "detectors"),
    **dict.fromkeys(("ExpressionModel", "bundled_models", "load_model"), "models"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'moppet.infer' has no attribute {name!r}")
    module = import_module(f"moppet.infer.{_MODULES.get(name, 'pipeline')}")
    return globals().setdefault(name, getattr(module, name))
