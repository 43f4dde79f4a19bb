"""Rendered faces and clips of invented people, each with a known truth."""
