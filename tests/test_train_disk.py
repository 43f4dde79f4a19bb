"""A run's files where the disk takes no more, or where they are damaged: nothing kept is lost."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from moppet.synthesis.trained_generators import save_tensors as save_generated
from moppet.train.checkpoints import (
    LAST,
    LOG_FIELDS,
    append_log,
    cut_log,
    read_epoch,
    read_log,
    save_tensors,
)
from moppet.train.networks import build_network, save_network
from moppet.train.recipe import Recipe
from moppet.values import MoppetError, UsageError

RECIPE = Recipe("tiny", "faces")
TOLD = '{"data": "faces", "name": "tiny"}'


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become larger than so many bytes: what a full disk does to a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def row(epoch: int) -> dict[str, float]:
    return dict.fromkeys(LOG_FIELDS, epoch / 7) | {"epoch": epoch}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    append_log(tmp_path, row(1))
    append_log(tmp_path, row(2))
    save_tensors(tmp_path / LAST, {"network.a": torch.ones(9)}, {"epoch": "2"})
    return tmp_path


def test_a_log_that_cannot_grow_stays_as_it_was(run: Path) -> None:
    log = (run / "log.csv").read_bytes()
    with room_for(len(log)), pytest.raises(MoppetError, match=r"Cannot write .*log\.csv: .+\.$"):
        append_log(run, row(3))
    assert (run / "log.csv").read_bytes() == log
    append_log(run, row(3))
    assert read_log(run) == [row(1), row(2), row(3)]
    assert {path.name for path in run.iterdir()} == {LAST, "log.csv"}


def test_a_log_that_cannot_be_cut_stays_as_it_was(run: Path) -> None:
    log = (run / "log.csv").read_bytes()
    with room_for(10), pytest.raises(MoppetError, match=r"Cannot write .*log\.csv"):
        cut_log(run, 1)
    assert (run / "log.csv").read_bytes() == log
    cut_log(run, 1)
    assert read_log(run) == [row(1)]


def test_a_log_that_needs_no_cut_is_not_written(run: Path) -> None:
    with room_for(0):
        cut_log(run, 2)
    assert read_log(run) == [row(1), row(2)]


def test_weights_that_find_no_room_leave_the_ones_before(run: Path) -> None:
    before = (run / LAST).read_bytes()
    with room_for(50), pytest.raises(MoppetError, match=r"Cannot write .*last\.safetensors"):
        save_tensors(run / LAST, {"network.a": torch.zeros(9)}, {"epoch": "3"})
    assert (run / LAST).read_bytes() == before
    network = build_network("childcnn", 2, input_size=32)
    with room_for(50), pytest.raises(MoppetError, match=r"Cannot write .*weights\.safetensors"):
        save_network(network, run / "weights.safetensors")
    assert {path.name for path in run.iterdir()} == {LAST, "log.csv"}


@pytest.mark.parametrize(
    "text", ["epoch,loss\n1,2\n", f"{','.join(LOG_FIELDS)}\n1,x,1,1,1,1\n"], ids=["columns", "word"]
)
def test_a_damaged_log_is_told_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(MoppetError, match=r"the log .*log\.csv is damaged"):
        read_log(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_told_in_one_sentence(run: Path, share: float) -> None:
    whole = (run / LAST).read_bytes()
    (run / LAST).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(MoppetError, match=r"is damaged\. Remove it to start again"):
        read_epoch(run, RECIPE, "b" * 128)


def test_a_checkpoint_from_before_the_cuts_were_told_is_gone_on_with(tmp_path: Path) -> None:
    metadata = {"epoch": "4", "recipe": TOLD, "data": "a" * 64}
    save_tensors(tmp_path / LAST, {"network.a": torch.ones(9)}, metadata)
    assert read_epoch(tmp_path, RECIPE, "a" * 64 + "b" * 64) == 4
    with pytest.raises(UsageError, match="on other images or labels"):
        read_epoch(tmp_path, RECIPE, "b" * 128)


@pytest.mark.parametrize("save", [save_tensors, save_generated], ids=["training", "synthesis"])
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_weights_have_the_mode_of_any_new_file(
    tmp_path: Path, save: Callable[..., None], umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        for _ in range(2):  # also where there is one already
            save(tmp_path / "weights.safetensors", {"a": torch.zeros(2)}, {"b": "c"})
    finally:
        os.umask(before)
    assert (tmp_path / "weights.safetensors").stat().st_mode & 0o777 == mode
    assert len(list(tmp_path.iterdir())) == 1
