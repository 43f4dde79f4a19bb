"""Whole experiments: evaluate a model, compare, repeat a published study."""
