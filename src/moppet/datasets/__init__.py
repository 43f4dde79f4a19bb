"""Datasets of labeled faces: manifests, splits, duplicates, audits, raters and readers."""
