"""Training of generators; a stopped run resumes to the very same result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from moppet.synthesis.gan import Cgan, Gan
from moppet.synthesis.generator import FaceGenerator, load_state, read_done, save_state
from moppet.synthesis.learner import Learner, chance, in_range
from moppet.synthesis.settings import Settings, seed_of
from moppet.synthesis.training_images import TrainingImages, check_classes, file_word
from moppet.synthesis.vae import Vae
from moppet.values import UsageError


@dataclass(frozen=True)
class Synthesizer:
    """A way to make faces.

    title: in words. learner: the class that learns from the data set's faces; None for a method
    that brings a finished model.
    """

    name: str
    title: str
    learner: type[Learner] | None = None


SYNTHESIZERS: Final[dict[str, Synthesizer]] = {
    each.name: each
    for each in (
        Synthesizer("gan", "DCGAN, a network a class", Gan),
        Synthesizer("vae", "convolutional VAE, a network a class", Vae),
        Synthesizer("cgan", "conditional GAN, one network for all classes", Cgan),
        Synthesizer("diffusion", "Stable Diffusion, from text or from a training face"),
        Synthesizer("inpaint", "Grounding DINO, SAM and Stable Diffusion change part of a face"),
    )
}
"""Name → method."""


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is, and of how much."""
_TIMED_STEPS: Final = 3


@dataclass(frozen=True)
class Lesson:
    """One network's part of a run.

    names: its classes. batch, steps: of this network. file: of its checkpoint.
    """

    names: tuple[str, ...]
    pictures: TrainingImages
    batch: int
    steps: int
    file: str


def plan_lessons(
    settings: Settings, pictures: TrainingImages, asked: Sequence[str]
) -> list[Lesson]:
    """Return what each network of a run learns: one for all classes, or one for each asked for.

    A network for all classes also learns those that were not asked for, where there are enough
    images. Raises MoppetError where a class that was asked for has too few.
    """
    check_classes(pictures, asked)
    learner = SYNTHESIZERS[settings.method].learner
    assert learner is not None
    enough = tuple(n for n, count in pictures.counts().items() if count > 1)
    parts = [(name,) for name in asked] if learner.one_per_class else [enough]
    lessons = []
    for names in parts:
        own = pictures.only(names)
        batch, steps = settings.batch_of(len(own)), settings.steps_for(len(own))
        kind = file_word(names[0]) if learner.one_per_class else "all"
        lessons.append(Lesson(names, own, batch, steps, f"{settings.method}-{kind}.safetensors"))
    return lessons


@dataclass(frozen=True)
class Budget:
    """What a run will cost. steps: left to do. seconds_a_step: measured here, on a few."""

    steps: int
    seconds_a_step: float

    @property
    def minutes(self) -> float:
        """Minutes of learning that are left."""
        return self.steps * self.seconds_a_step / 60

    def __str__(self) -> str:
        spent = f"{self.minutes:.0f} minutes"
        if self.minutes < 1.5:
            spent = f"{math.ceil(self.minutes * 60)} seconds"
        return f"about {spent} ({self.steps:,} steps of {self.seconds_a_step:.2f} s)"


def measure_budget(
    settings: Settings, lessons: Sequence[Lesson], device: str = "cpu", done: int = 0
) -> Budget:
    """Do a few steps on networks that are thrown away, and return what all of them will take.

    done: steps that a stopped run did before.
    """
    seconds = 0.0
    steps = sum(lesson.steps for lesson in lessons)
    if steps > done and lessons:
        runner = _Runner(settings, lessons[0], device)
        runner.do(0)  # the first makes its memory and costs more
        taken = []
        for step in range(1, 1 + _TIMED_STEPS):
            started = time.perf_counter()
            runner.do(step)
            taken.append(time.perf_counter() - started)
        seconds = min(taken)  # what else runs only adds
    return Budget(max(0, steps - done), seconds)


def learn(
    settings: Settings,
    lessons: Sequence[Lesson],
    folder: Path,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    shown: Callable[[FaceGenerator], None] | None = None,
) -> FaceGenerator:
    """Learn to make the lessons' classes, going on from the folder's checkpoints if any.

    shown: called with what the running average makes by then, at every checkpoint.
    Raises UsageError if the folder holds a run of other settings or images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finished: dict[str, tuple[torch.nn.Module, int]] = {}
    for lesson in lessons:
        runner = _Runner(settings, lesson, device)
        for _ in runner.run(folder / lesson.file, progress):
            if shown is not None:
                shown(FaceGenerator(settings, finished | runner.made()))
        finished |= runner.made()
    return FaceGenerator(settings, finished)


def steps_kept(lessons: Sequence[Lesson], folder: Path) -> int:
    """Return how many steps of these lessons a stopped run did, as its checkpoints say."""
    found = 0
    for lesson in lessons:
        found += min(read_done(folder / lesson.file), lesson.steps)
    return found


def _load(file: Path, learner: Learner, lesson: Lesson) -> int:
    done = load_state(file, learner, lesson.pictures.fingerprint)
    if done > lesson.steps:
        raise UsageError(
            f"{file.parent} holds a run of {done:,} steps, and {lesson.steps:,} were asked for. "
            "Ask for as many or more, or name another folder with -o."
        )
    return done


def build_learner(settings: Settings, classes: int, name: str, device: str = "cpu") -> Learner:
    """Return a method's networks with the random weights of the settings' seed and the name."""
    make = SYNTHESIZERS[settings.method].learner
    assert make is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings.seed, "weights", name))
        learner = make(settings, classes)
    learner.to(device)
    return learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@dataclass
class _Runner:
    """One network as it learns its lesson."""

    settings: Settings
    lesson: Lesson
    device: str
    learner: Learner = field(init=False)

    def __post_init__(self) -> None:
        lesson = self.lesson
        self.learner = build_learner(self.settings, len(lesson.names), lesson.file, self.device)
        self.learner.train()
        self.learner.average.eval()
        self.pictures = in_range(lesson.pictures.pictures)
        self.label = torch.from_numpy(lesson.pictures.label)

    def run(self, file: Path, progress: Progress | None) -> Iterator[int]:
        """Do the steps that are left; yield the number done at each checkpoint."""
        lesson = self.lesson
        fingerprint = lesson.pictures.fingerprint
        done = _load(file, self.learner, lesson)
        what = f"learning {lesson.names[0] if len(lesson.names) == 1 else 'all classes'}"
        while done < lesson.steps:
            self.do(done)
            done += 1
            if progress is not None:
                progress(what, done, lesson.steps)
            if done % self.settings.checkpoint_steps == 0 or done == lesson.steps:
                save_state(file, self.learner, fingerprint, done)
                yield done

    def do(self, step: int) -> dict[str, float]:
        """Do a step; its images and its chance depend on the seed and its number alone."""
        settings, lesson = self.settings, self.lesson
        rows = draw_batch(lesson, settings, step)
        rng = chance(settings.seed, lesson.file, step)
        losses = self.learner.step(
            self.pictures[rows].to(self.device), self.label[rows].to(self.device), rng
        )
        self.learner.follow(step + 1)
        return losses

    def made(self) -> dict[str, tuple[torch.nn.Module, int]]:
        """Return class → the running average and the class's number in it."""
        return {n: (self.learner.average, i) for i, n in enumerate(self.lesson.names)}


def draw_batch(lesson: Lesson, settings: Settings, step: int) -> NDArray[np.intp]:
    """Return the rows of a step's batch.

    They come from shuffled passes over the images, of each class in turn where sampling is
    balanced, so that every image of a class is seen equally often.
    """
    label = lesson.pictures.label
    first = step * lesson.batch
    numbers = np.arange(first, first + lesson.batch)
    if settings.sampling == "plain" or len(lesson.names) == 1:
        return _from_passes(np.arange(len(label)), numbers, (settings.seed, lesson.file))
    classes = len(lesson.names)
    rows = np.empty(lesson.batch, np.intp)
    for number in range(classes):
        own = numbers % classes == number
        rows[own] = _from_passes(
            np.flatnonzero(label == number),
            numbers[own] // classes,
            (settings.seed, lesson.file, number),
        )
    return rows


def _from_passes(
    rows: NDArray[np.intp], numbers: NDArray[np.int64], parts: tuple[int | str, ...]
) -> NDArray[np.intp]:
    """Return the rows at these places of an endless row of shuffled passes."""
    passes, places = numbers // len(rows), numbers % len(rows)
    drawn = np.empty(len(numbers), np.intp)
    for number in np.unique(passes):
        rng = np.random.default_rng(seed_of(*parts, "pass", int(number)))
        at = passes == number
        drawn[at] = rng.permutation(rows)[places[at]]
    return drawn
