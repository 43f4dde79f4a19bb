"""The parts of an evaluation: rows, readings, figures, curves, comparison, map."""
