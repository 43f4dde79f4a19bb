"""What several test files share: the command line, rendered images, a tiny expression model.

`command_line.py`, `rendered.py` and `model_folder.py` hold the functions behind these fixtures.
"""

from __future__ import annotations

import os

# Before a library counts the cores: the tests, and the programs they start, share the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import pytest
from hypothesis import settings

import model_folder
import rendered
from command_line import Run, run_moppet

collect_ignore = [] if os.environ.get("MOPPET_TORTURE") else ["torture"]
"""`make torture` runs what takes an hour."""

settings.register_profile("moppet", deadline=None)  # a busy machine is no defect
settings.load_profile("moppet")
with suppress(ImportError):
    from playwright.sync_api import expect

    expect.set_options(timeout=90_000)  # nor of a page


@pytest.fixture(scope="session", autouse=True)
def _one_opencv_thread() -> None:
    """Keep OpenCV from taking every core: the tests share the machine."""
    cv2.setNumThreads(1)


@pytest.fixture(scope="module")
def one_torch_thread() -> None:
    """Keep PyTorch from taking every core."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def moppet(capsys: pytest.CaptureFixture[str]) -> Run:
    """moppet(*arguments) → exit code, stdout and stderr of `moppet` with these arguments."""
    return partial(run_moppet, capsys)


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A model folder: gray 32-pixel input, the seven expressions, temperature 1.5."""
    return model_folder.write_model(tmp_path / "tiny")


@pytest.fixture(scope="session")
def pictures() -> dict[str, rendered.Still]:
    """The rendered stills by file name, each with its truth."""
    return rendered.read_stills()


@pytest.fixture(scope="session")
def turned() -> Callable[..., tuple]:
    """turned(image, degrees) → the image turned clockwise, and the matrix to it."""
    return rendered.turned


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """write_video(path, frames, fps=20) → the path of an H.264 file."""
    return rendered.write_video
