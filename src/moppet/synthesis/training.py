"""Training of generators: tasks, cost, checkpoints. A resumed run gives exactly the same result."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moppet.synthesis.generators import find_generator
from moppet.synthesis.settings import SynthesisSettings, changed_settings, seed_of
from moppet.synthesis.trained_generators import (
    FaceGenerator,
    TrainedGenerator,
    load_tensors,
    random_source,
    save_tensors,
    tensors_under,
    to_tensor,
)
from moppet.synthesis.training_images import TrainingImages, check_classes, safe_name
from moppet.values import MoppetError, Progress, UsageError, no_progress

_TIMED_STEPS: Final = 3
_OLD_NAMES: Final = {"maker": "generator", "judge": "discriminator"}
"""Name in checkpoints of version 0.1 → name now."""


@dataclass(frozen=True)
class TrainingTask:
    """The training of one network.

    names: its classes. batch, steps: of this network. file: name of its checkpoint.
    """

    names: tuple[str, ...]
    images: TrainingImages
    batch: int
    steps: int
    file: str


def plan_tasks(
    settings: SynthesisSettings, images: TrainingImages, names: Sequence[str]
) -> list[TrainingTask]:
    """Return the networks to train: one for all classes, or one for each of the names.

    A network for all classes is also trained on other classes that have enough images.
    Raises MoppetError if one of the names has too few images.
    """
    check_classes(images, names)
    one_per_class = find_generator(settings.method).load().one_per_class
    enough = tuple(n for n, count in images.counts().items() if count > 1)
    tasks = []
    for classes in [(name,) for name in names] if one_per_class else [enough]:
        own = images.only(classes)
        batch, steps = settings.batch_of(len(own)), settings.steps_for(len(own))
        part = safe_name(classes[0]) if one_per_class else "all"
        file = f"{settings.method}-{part}.safetensors"
        tasks.append(TrainingTask(classes, own, batch, steps, file))
    return tasks


@dataclass(frozen=True)
class Budget:
    """What a run will cost. steps: remaining. seconds_per_step: measured on this machine."""

    steps: int
    seconds_per_step: float

    @property
    def minutes(self) -> float:
        """Remaining minutes of training."""
        return self.steps * self.seconds_per_step / 60

    def __str__(self) -> str:
        duration = f"{self.minutes:.0f} minutes"
        if self.minutes < 1.5:
            duration = f"{math.ceil(self.minutes * 60)} seconds"
        return f"about {duration} ({self.steps:,} steps of {self.seconds_per_step:.2f} s)"


def measure_budget(
    settings: SynthesisSettings, tasks: Sequence[TrainingTask], device: str = "cpu", done: int = 0
) -> Budget:
    """Do a few steps with networks that are then discarded, and return what all steps will take.

    done: steps of an interrupted run.
    """
    steps = sum(task.steps for task in tasks)
    if steps <= done:
        return Budget(0, 0.0)
    run = _TaskRun(settings, tasks[0], device)
    run.step(0)  # the first step allocates memory and takes longer
    taken = []
    for step in range(1, 1 + _TIMED_STEPS):
        started = time.perf_counter()
        run.step(step)
        taken.append(time.perf_counter() - started)
    return Budget(steps - done, min(taken))  # other programs can only make it slower


def train_generator(
    settings: SynthesisSettings,
    tasks: Sequence[TrainingTask],
    folder: Path,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
    preview: Callable[[FaceGenerator], None] | None = None,
) -> FaceGenerator:
    """Train the networks, starting from the folder's checkpoints if there are any.

    preview: called with the generator at every checkpoint.
    Raises UsageError if the folder contains a run with other settings or images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finished: dict[str, tuple[torch.nn.Module, int]] = {}
    for task in tasks:
        run = _TaskRun(settings, task, device)
        for _ in run.run(folder / task.file, progress):
            if preview is not None:
                preview(FaceGenerator(settings, finished | run.parts()))
        finished |= run.parts()
    return FaceGenerator(settings, finished)


def count_done(tasks: Sequence[TrainingTask], folder: Path) -> int:
    """Return how many steps of these tasks the checkpoints in the folder have done."""
    return sum(min(read_done(folder / task.file), task.steps) for task in tasks)


def build_generator(
    settings: SynthesisSettings, classes: int, name: str, device: str = "cpu"
) -> TrainedGenerator:
    """Return a method's networks with random weights that depend on the seed and the name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings.seed, "weights", name))
        built: TrainedGenerator = find_generator(settings.method).load()(settings, classes)
    built.to(device)
    return built.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class _TaskRun:
    """One network in training."""

    def __init__(self, settings: SynthesisSettings, task: TrainingTask, device: str) -> None:
        self.settings, self.task, self.device = settings, task, device
        self.networks = build_generator(settings, len(task.names), task.file, device)
        self.networks.train()
        self.networks.average.eval()
        self.images = to_tensor(task.images.images)
        self.label = torch.from_numpy(task.images.label)

    def run(self, file: Path, progress: Progress) -> Iterator[int]:
        """Do the remaining steps; yield the number of steps done at each checkpoint."""
        task, fingerprint = self.task, self.task.images.fingerprint
        done = load_state(file, self.networks, fingerprint)
        if done > task.steps:
            raise UsageError(
                f"{file.parent} contains a run of {done:,} steps, but only {task.steps:,} were "
                f"requested. Request at least {done:,}, or choose another folder with -o."
            )
        what = f"training {task.names[0] if len(task.names) == 1 else 'all classes'}"
        while done < task.steps:
            self.step(done)
            done += 1
            progress(what, done, task.steps)
            if done % self.settings.checkpoint_steps == 0 or done == task.steps:
                save_state(file, self.networks, fingerprint, done)
                yield done

    def step(self, number: int) -> dict[str, float]:
        """Do one step; its images and randomness depend only on the seed and its number."""
        settings, task = self.settings, self.task
        rows = draw_batch(task, settings, number)
        rng = random_source(settings.seed, task.file, number)
        losses = self.networks.step(
            self.images[rows].to(self.device), self.label[rows].to(self.device), rng
        )
        self.networks.update_average(number + 1)
        return losses

    def parts(self) -> dict[str, tuple[torch.nn.Module, int]]:
        """Return class → the network with averaged weights, and the class's number in it."""
        return {name: (self.networks.average, i) for i, name in enumerate(self.task.names)}


def draw_batch(task: TrainingTask, settings: SynthesisSettings, step: int) -> NDArray[np.intp]:
    """Return the rows of a step's batch.

    They come from shuffled passes over the images; with balanced sampling, over the images of
    each class in turn. Every image of a class is therefore used equally often.
    """
    label = task.images.label
    first = step * task.batch
    numbers = np.arange(first, first + task.batch)
    if settings.sampling == "plain" or len(task.names) == 1:
        return _from_passes(np.arange(len(label)), numbers, (settings.seed, task.file))
    classes, rows = len(task.names), np.empty(task.batch, np.intp)
    for number in range(classes):
        own = numbers % classes == number
        rows[own] = _from_passes(
            np.flatnonzero(label == number),
            numbers[own] // classes,
            (settings.seed, task.file, number),
        )
    return rows


def _from_passes(
    rows: NDArray[np.intp], numbers: NDArray[np.int64], parts: tuple[int | str, ...]
) -> NDArray[np.intp]:
    """Return the rows at these positions of an endless sequence of shuffled passes."""
    passes, places = numbers // len(rows), numbers % len(rows)
    drawn = np.empty(len(numbers), np.intp)
    for number in np.unique(passes):
        rng = np.random.default_rng(seed_of(*parts, "pass", int(number)))
        at = passes == number
        drawn[at] = rng.permutation(rows)[places[at]]
    return drawn


def save_state(path: Path, networks: TrainedGenerator, fingerprint: str, done: int) -> None:
    """Save everything that resuming needs: networks, moving average, optimizer states."""
    tensors = {f"networks.{k}": v for k, v in networks.state_dict().items()}
    for name, optimizer in networks.optimizers.items():
        for number, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{name}.{number}.{key}"] = torch.as_tensor(value)
    metadata = {"done": str(done), "settings": _run_key(networks), "data": fingerprint}
    save_tensors(path, tensors, metadata)


def read_done(path: Path) -> int:
    """Return how many steps a checkpoint has done, 0 if there is none."""
    return _steps(load_tensors(path)[1], path) if path.is_file() else 0


def load_state(path: Path, networks: TrainedGenerator, fingerprint: str) -> int:
    """Restore a checkpoint; return the steps done, 0 if there is none.

    Raises UsageError if the checkpoint has other settings or images.
    """
    if not path.is_file():
        return 0
    saved, metadata = load_tensors(path)
    for name, ours, other in (
        ("settings", _run_key(networks), "with other settings"),
        ("data", fingerprint, "on other images or labels"),
    ):
        if metadata.get(name) != ours:
            raise UsageError(
                f"{path.parent} contains a run {other}. Choose another folder with -o, or remove "
                "this one."
            )
    tensors = {
        ".".join(_OLD_NAMES.get(part, part) for part in key.split(".")): value
        for key, value in saved.items()
    }
    try:
        networks.load_state_dict(tensors_under("networks.", tensors))
        for name, optimizer in networks.optimizers.items():
            moments = tensors_under(f"optimizer.{name}.", tensors)
            optimizer.load_state_dict(_optimizer_state(optimizer, moments))
    except (RuntimeError, LookupError, TypeError, ValueError):
        raise MoppetError(f"{path} is damaged. Remove it to start over.") from None
    return _steps(metadata, path)


def _steps(metadata: Mapping[str, str], path: Path) -> int:
    done = metadata.get("done", "0")
    if not done.isascii() or not done.isdigit() or len(done) > 12:
        raise MoppetError(f"{path} is damaged. Remove it to start over.")
    return int(done)


def _optimizer_state(
    optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]
) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _run_key(networks: TrainedGenerator) -> str:
    """The settings that training depends on; not its length, nor how often it is saved."""
    kept = changed_settings(networks.settings)
    for name in ("steps", "epochs", "checkpoint_steps"):
        kept.pop(name, None)
    return json.dumps([kept, networks.classes], sort_keys=True)
