"""Detect faces and classify expressions with onnxruntime. Modules are imported on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from moppet.infer.detectors import DETECTORS
    from moppet.infer.expression_model import ExpressionModel

__all__ = ["DETECTORS", "ExpressionModel"]

_HOMES: Final = {"DETECTORS": "detectors", "ExpressionModel": "expression_model"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'moppet.infer' has no attribute {name!r}")
    module = import_module(f"moppet.infer.{_HOMES[name]}")
    return globals().setdefault(name, getattr(module, name))
