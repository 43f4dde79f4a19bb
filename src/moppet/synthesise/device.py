"""Where networks compute."""

from __future__ import annotations

import torch

from moppet.values import UsageError


def find_device(asked: str = "auto") -> str:
    """Return "cuda" or "cpu"; "auto" takes the first that is there.

    Raises UsageError for another word, and for a GPU that is not there.
    """
    there = torch.cuda.is_available()
    if asked == "auto":
        return "cuda" if there else "cpu"
    if asked not in ("cpu", "cuda"):
        raise UsageError(f"--device is auto, cpu or cuda, got {asked!r}.")
    if asked == "cuda" and not there:
        raise UsageError("--device cuda needs an NVIDIA GPU that torch can use; none is there.")
    return asked
