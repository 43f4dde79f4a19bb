"""Synthetic faces: generators, their training, and folders of generated images."""
