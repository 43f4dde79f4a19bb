"""A run after its plan: learn or load, make, write, say."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from moppet.app.data.source import counted, watched
from moppet.app.extras import extra
from moppet.app.synthesis.job import Job
from moppet.data.manifest import Manifest
from moppet.synthesise.plan import Plan
from moppet.synthesise.settings import Settings
from moppet.values import Image

if TYPE_CHECKING:
    from moppet.synthesise.loop import Lesson
    from moppet.synthesise.made import Made, Make
    from moppet.synthesise.pictures import TrainingPictures
    from moppet.synthesise.plan import Request

SHOWN: Final = 24
"""Pictures of each class on a sheet."""


@dataclass(frozen=True)
class Work:
    """A run of the command after its plan."""

    job: Job
    settings: Settings
    manifest: Manifest
    plan: Plan
    learn_from: Mapping[str, int]

    def run(self) -> None:
        raise NotImplementedError

    def say(self, text: str) -> None:
        self.job.console.print(text, soft_wrap=True)

    def write(self, make: Make, model: str, more: Mapping[str, Any], sources: str = "") -> Manifest:
        """Make the plan's pictures, write them, say where they are and return all rows."""
        from moppet.synthesise.made import MANIFEST, PICTURES, write_made

        out = self.job.output
        with watched() as progress:
            joined = write_made(
                *(out, self.plan, make, self.manifest, self.settings),
                model=model,
                sources=sources,
                progress=progress,
            )
        labels = joined.column("label")[len(self.manifest) :]
        made = {name: int((labels == name).sum()) for name in self.plan.names}
        if self.job.as_json:
            found = {
                "manifest": str(out / MANIFEST),
                "pictures": str(out / PICTURES),
                "method": self.settings.method,
                "model": model,
                "learned_from": dict(self.learn_from),
                "made": made,
                **more,
            }
            print(json.dumps(found, indent=1))
            return joined
        lost = len(self.plan) - sum(made.values())
        if lost:
            self.say(f"left out by the safety checker: {lost}")
        counts = ", ".join(f"{name} {count}" for name, count in made.items())
        self.say(f"made: {counts}, in {out / PICTURES}")
        self.say(
            f"manifest: {out / MANIFEST} (the data's rows and the made ones, which train only)"
        )
        self.say(f"are they any good, and new faces? moppet quality {shlex.quote(str(out))}")
        return joined

    def print_plan_as_json(self, more: Mapping[str, Any]) -> None:
        if self.job.as_json:
            found = {
                "method": self.settings.method,
                "learn_from": dict(self.learn_from),
                "counts": {k: sum(v.values()) for k, v in self.plan.counts().items()},
                "plan": self.plan.rows(),
                **more,
            }
            print(json.dumps(found, indent=1))


class Learned(Work):
    """A method that learns from the data set's own faces."""

    def run(self) -> None:
        out, device = self.job.output, _device(self.job.device)
        from moppet.synthesise.loop import learn, measure_budget, steps_kept
        from moppet.synthesise.made import GENERATOR, RUN, Made, begin

        planned = self._lessons(self._stand_ins())
        done = steps_kept(planned, out / RUN)
        budget = measure_budget(self.settings, planned, device, done)
        cost = {"steps": budget.steps, "minutes": round(budget.minutes, 2), "device": device}
        gone = f"{done:,} steps are done; " if done else ""
        self.say(f"learning on {device}: {gone}{budget}")
        if self.job.plan_only:
            self.print_plan_as_json({"budget": cost})
            return
        begin(out, self.settings)
        lessons = self._lessons(self._pictures())
        with watched() as progress:
            generator = learn(
                *(self.settings, lessons, out / RUN),
                device=device,
                progress=progress,
                shown=self._show if self.job.sheet is not None else None,
            )
        self._show(generator)
        sha256 = generator.save(out / GENERATOR)

        def make(request: Request) -> Made:
            return Made(generator.make(request.label, request.seed))

        learned = {name: n for each in lessons for name, n in each.pictures.counts().items()}
        self.write(make, sha256, {"generator": str(out / GENERATOR), "pictures_learned": learned})

    def _lessons(self, pictures: TrainingPictures) -> list[Lesson]:
        from moppet.synthesise.loop import plan_lessons

        return plan_lessons(self.settings, pictures, self.plan.names)

    def _stand_ins(self) -> TrainingPictures:
        """Black pictures, as many of each class: enough to measure what learning costs."""
        from moppet.synthesise.pictures import TrainingPictures

        s = self.settings
        names = tuple(name for name, count in self.learn_from.items() if count)
        label = np.repeat(np.arange(len(names)), [self.learn_from[name] for name in names])
        shape = (len(label), s.size, s.size) + (3,) * (s.colour == "rgb")
        return TrainingPictures(np.zeros(shape, np.uint8), label, names, np.arange(len(label)))

    def _pictures(self) -> TrainingPictures:
        """The faces to learn from, found as training finds them."""
        from moppet.data.faces import find_manifest_faces
        from moppet.synthesise.made import RUN
        from moppet.synthesise.pictures import FEW_PICTURES, cut_pictures, training_rows

        run = self.job.output / RUN
        run.mkdir(parents=True, exist_ok=True)
        rows = training_rows(self.manifest, self.settings)
        with watched() as progress:
            faces = find_manifest_faces(
                self.manifest.select(rows),
                cache=run / "faces.npz",
                progress=lambda done, total: progress("looking for faces", done, total),
            )
        pictures = cut_pictures(self.manifest, rows, faces, self.settings)
        lost = len(rows) - len(pictures)
        if lost:
            self.say(f"no face found in {counted(lost, 'picture')}: left out")
        few = [f"{n} ({c})" for n, c in pictures.counts().items() if c < FEW_PICTURES]
        if few:
            self.say(
                f"few pictures to learn from: {', '.join(few)}. What is made will resemble them "
                "closely; look at how near it comes before you pass it on."
            )
        return pictures

    def _show(self, generator: Any) -> None:
        from moppet.synthesise.sheet import write_sheet

        if self.job.sheet is not None:
            seeds: dict[str, list[int]] = {}
            for request in self.plan.requests:
                seeds.setdefault(request.label, []).append(request.seed)
            bands = {
                name: [generator.make(name, seed) for seed in seeds[name][:SHOWN]]
                for name in generator.names
                if name in seeds
            }
            write_sheet(bands, self.job.sheet)


class Painted(Work):
    """A diffusion model that somebody else trained."""

    def run(self) -> None:
        settings, device = self.settings, _device(self.job.device)
        from moppet.synthesise.diffusion import Diffusion
        from moppet.synthesise.inpaint import Inpaint
        from moppet.synthesise.made import begin
        from moppet.synthesise.sources import Sources

        if self.job.plan_only and not settings.model:
            self.say("what it costs is measured once a model is named (--model-folder)")
            self.print_plan_as_json({})
            return
        painter = Inpaint if settings.method == "inpaint" else Diffusion
        sources = Sources(self.manifest, settings)
        from_faces = settings.method == "inpaint" or settings.start == "image"
        if from_faces:
            sources.check(self.plan.requests)
        make = painter(settings, sources, device)
        started = time.perf_counter()
        first = self.plan.requests[0]
        made = make(first)
        seconds = time.perf_counter() - started
        minutes = seconds * len(self.plan) / 60
        self.say(
            f"painting on {device}: about {minutes:.1f} minutes ({len(self.plan):,} pictures of "
            f"{seconds:.1f} s)"
        )
        if self.job.plan_only:
            self.print_plan_as_json({"budget": {"minutes": round(minutes, 2), "device": device}})
            return
        begin(self.job.output, settings)

        def paint(request: Request) -> Made | None:
            return made if request == first else make(request)

        joined = self.write(paint, make.model, {}, sources.fingerprint() if from_faces else "")
        if self.job.sheet is not None:
            from moppet.synthesise.sheet import write_sheet

            write_sheet(self._shown(joined), self.job.sheet)

    def _shown(self, joined: Manifest) -> dict[str, list[Image]]:
        """The first made pictures of each class."""
        shown: dict[str, list[Image]] = {}
        labels = joined.column("label")
        for row in range(len(self.manifest), len(joined)):
            band = shown.setdefault(str(labels[row]), [])
            if len(band) < SHOWN:
                band.append(joined.image(row))
        return shown


def _device(asked: str) -> str:
    with extra("synthesise", "Synthesis"):
        from moppet.synthesise.device import find_device
    return find_device(asked)
