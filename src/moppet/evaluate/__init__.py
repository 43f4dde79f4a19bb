"""Evaluation of models and synthetic faces: predictions, metrics, comparison, explanation."""
