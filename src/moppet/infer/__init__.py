"""Faces and expressions of pictures and recordings, on onnxruntime."""

from moppet.infer.catalogue import bundled_models, load_model
from moppet.infer.detect import DETECTORS, find_faces
from moppet.infer.expressions import ExpressionModel
from moppet.infer.live import LiveReader
from moppet.infer.pipeline import Analysis, Progress, Settings, analyze, stream

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
