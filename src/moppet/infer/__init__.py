"""Faces and expressions of images and recordings, on onnxruntime."""

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
