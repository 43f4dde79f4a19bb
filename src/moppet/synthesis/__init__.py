"""Synthetic faces: generators trained on a dataset's own faces, and diffusion models."""
