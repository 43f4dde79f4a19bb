"""`moppet synthesize`: synthetic faces for the rarer classes, and a manifest with them."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from moppet.commands.console import counted, extra, say, watched
from moppet.commands.options import (
    DataArgument,
    DatasetOptions,
    JsonOption,
    SetOption,
    ShowFacesFile,
    choice,
    find_faces,
    flag,
    output_option,
    read_list,
    read_pairs,
)
from moppet.synthesis.generators import GENERATORS, SyntheticImage, find_generator
from moppet.values import Image, UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest
    from moppet.synthesis.generators import ImageGenerator
    from moppet.synthesis.sampling_plan import ImageRequest, SamplingPlan
    from moppet.synthesis.settings import SynthesisSettings
    from moppet.synthesis.synthetic_folder import Generate
    from moppet.synthesis.training import TrainingTask
    from moppet.synthesis.training_images import TrainingImages

_PROMPTS: Final = 3
_SHOWN: Final = 24
"""Images of each class on a sheet."""


@dataclass(frozen=True, kw_only=True)
class SynthesizeOptions:
    """What `moppet synthesize` is asked for."""

    data: DataArgument
    output: Annotated[Path, output_option("A new output folder.")]
    method: Annotated[
        str | None, choice(f"One of {', '.join(GENERATORS)}; or set in --settings.", *GENERATORS)
    ] = None
    per_class: Annotated[
        int | None,
        typer.Option(help="New images for each class; default: even out the classes.", min=1),
    ] = None
    target: Annotated[
        list[str] | None, typer.Option(help="New images for one class, class=count; repeatable.")
    ] = None
    plan_only: Annotated[bool, flag("--plan-only", "Only print the plan and its cost.")] = False
    steps: Annotated[int | None, typer.Option(help="Training steps of the generator.", min=1)] = (
        None
    )
    epochs: Annotated[
        int | None,
        typer.Option(help="Training epochs of the generator, instead of --steps.", min=1),
    ] = None
    size: Annotated[int | None, typer.Option(help="Side of the images, in pixels.")] = None
    color: Annotated[str | None, choice("gray or rgb.", "gray", "rgb")] = None
    classes: Annotated[
        str | None, typer.Option(help="Only these classes, separated by commas.")
    ] = None
    ages: Annotated[
        str | None, typer.Option(help="Learn from these age bands only, such as infant,child.")
    ] = None
    show_faces: ShowFacesFile = None
    model_folder: Annotated[
        Path | None, typer.Option(help="Stable Diffusion folder for diffusion and inpaint.")
    ] = None
    settings: Annotated[
        Path | None, typer.Option(help="Settings (TOML), such as settings.toml of another run.")
    ] = None
    set: SetOption = None
    dataset: DatasetOptions
    seed: Annotated[
        int | None, typer.Option(help="Random seed; the same seed gives the same result.", min=0)
    ] = None
    device: Annotated[str, choice("auto, cpu or cuda.", "auto", "cpu", "cuda")] = "auto"
    as_json: JsonOption = False


def synthesize(options: SynthesizeOptions) -> None:
    """Generate synthetic faces for the rarer classes."""
    settings = choose_settings(options)
    from moppet.datasets.provenance import check_sources
    from moppet.synthesis.sampling_plan import make_plan, read_targets
    from moppet.synthesis.synthetic_folder import PART, RUN, check_output, full_disk_as_error
    from moppet.synthesis.training_images import class_counts

    check_output(options.output, options.data, settings.method)
    if options.show_faces is not None and options.show_faces.suffix.lower() != ".png":
        raise UsageError(f"--show-faces takes a .png file, got {options.show_faces.name!r}.")
    console = Console(highlight=False, stderr=options.as_json)
    manifest = _read(options, settings, console)
    check_sources(options.output, manifest)
    counts = class_counts(manifest, settings)
    names = [name for name in counts if counts[name] or options.target] or list(counts)
    wanted = read_targets(names, counts, options.per_class, options.target or ())
    plan = make_plan(settings, wanted)
    print_plan(console, plan, counts)
    try:
        with full_disk_as_error(options.output):
            kind = TrainedRun if settings.trained else ReadyRun
            kind(options, settings, manifest, plan, counts, console).run()
    except KeyboardInterrupt:
        if any((options.output / part).is_dir() for part in (RUN, PART)):
            print(
                f"moppet: the work so far is kept in {options.output}. "
                "Rerun the same command to resume.",
                file=sys.stderr,
            )
        raise


def choose_settings(options: SynthesizeOptions) -> SynthesisSettings:
    """Return the settings of the file, if any, with those of the command line."""
    from moppet.synthesis.settings import override_settings, read_settings

    if options.steps is not None and options.epochs is not None:
        raise UsageError("give --steps or --epochs, not both.")
    given: dict[str, Any] = {
        "method": options.method,
        "steps": options.steps,
        "epochs": 0 if options.steps is not None else options.epochs,
        "size": options.size,
        "color": options.color,
        "seed": options.seed,
        "classes": None if options.classes is None else read_list(options.classes),
        "only_ages": None if options.ages is None else read_list(options.ages),
        "model": None if options.model_folder is None else str(options.model_folder),
    }
    changes = read_pairs(options.set, "--set")
    changes |= {name: value for name, value in given.items() if value is not None}
    if options.settings is not None:
        return override_settings(read_settings(options.settings), changes, str(options.settings))
    if "method" not in changes:
        raise UsageError(f"--method is needed: one of {', '.join(GENERATORS)}.")
    return override_settings(None, changes, "moppet synthesize")


def _read(options: SynthesizeOptions, settings: SynthesisSettings, console: Console) -> Manifest:
    """Return the manifest with a split: its own, or the one that `moppet train` would draw."""
    from moppet.commands.train import audit_own

    manifest = options.dataset.read(options.data, as_given=True)
    with extra("synthesize", "Synthesis"):
        from moppet.train.training_run import lacking_parts, with_split
    lacking, given = lacking_parts(manifest), {part for part in manifest.column("split") if part}
    if not lacking or (given and "train" not in given):
        return manifest
    manifest = with_split(audit_own(console, manifest), settings.seed)
    count = int((manifest.column("split") == "train").sum())
    came = "split" if len(lacking) == 2 else f"{lacking[0]} rows"
    say(
        console,
        f"the images have no {came}: {count} are drawn for training, and only these are learned "
        "from; the manifest marks the others for validation and test",
    )
    return manifest


def print_plan(console: Console, plan: SamplingPlan, learn_from: Mapping[str, int]) -> None:
    table = Table(title="synthetic faces to generate", title_justify="left", min_width=17)
    for name in ("class", "training images", "synthetic", "total"):
        table.add_column(name, justify="left" if name == "class" else "right")
    made = {name: sum(values.values()) for name, values in plan.counts().items()}
    for name, there in learn_from.items():
        new = made.get(name, 0)
        table.add_row(name, f"{there:,}", f"{new:,}" if new else "–", f"{there + new:,}")
    console.print(table)
    for factor in plan.factors:
        title = factor.replace("_", " ")
        counts = plan.counts(factor)
        values = list(dict.fromkeys(v for row in counts.values() for v in row))
        table = Table(title=f"by {title}", title_justify="left", min_width=len(title) + 3)
        table.add_column("class")
        for value in values:
            table.add_column(value, justify="right")
        for name, row in counts.items():
            table.add_row(name, *(str(row.get(value, 0)) for value in values))
        console.print(table)
    for request in plan.requests[:_PROMPTS]:
        if request.prompt:
            say(console, f"prompt: {request.prompt}")


@dataclass(frozen=True)
class SynthesisRun:
    """A run of the command after its plan. counts: class → number of images to learn from."""

    options: SynthesizeOptions
    settings: SynthesisSettings
    manifest: Manifest
    plan: SamplingPlan
    counts: Mapping[str, int]
    console: Console

    def run(self) -> None:
        raise NotImplementedError

    def say(self, text: str) -> None:
        say(self.console, text)

    def write(
        self, generate: Generate, model: str, more: Mapping[str, Any], sources: str = ""
    ) -> Manifest:
        """Generate and write the plan's images, print where they are and return all rows."""
        from moppet.synthesis.synthetic_folder import IMAGES, MANIFEST, write_synthetic

        out = self.options.output
        with watched() as progress:
            joined = write_synthetic(
                *(out, self.plan, generate, self.manifest, self.settings),
                model=model,
                sources=sources,
                progress=progress,
            )
        labels = joined.column("label")[len(self.manifest) :]
        made = {name: int((labels == name).sum()) for name in self.plan.names}
        if self.options.as_json:
            found = {
                "manifest": str(out / MANIFEST),
                "images": str(out / IMAGES),
                "method": self.settings.method,
                "model": model,
                "trained_on": dict(self.counts),
                "generated": made,
                **more,
            }
            print(json.dumps(found, indent=1))
            return joined
        lost = len(self.plan) - sum(made.values())
        if lost:
            self.say(f"removed by the safety checker: {lost}")
        counts = ", ".join(f"{name} {count}" for name, count in made.items())
        self.say(f"synthetic faces: {counts}, in {out / IMAGES}")
        self.say(
            f"manifest: {out / MANIFEST} (the real rows, and the synthetic ones for training only)"
        )
        self.say(f"to check their quality: moppet quality {shlex.quote(str(out))}")
        return joined

    def print_plan_as_json(self, more: Mapping[str, Any]) -> None:
        if self.options.as_json:
            found = {
                "method": self.settings.method,
                "train_on": dict(self.counts),
                "counts": {k: sum(v.values()) for k, v in self.plan.counts().items()},
                "plan": self.plan.rows(),
                **more,
            }
            print(json.dumps(found, indent=1))


class TrainedRun(SynthesisRun):
    """A run with a generator that is trained on the dataset's own faces."""

    def run(self) -> None:
        out, device = self.options.output, _device(self.options.device)
        from moppet.synthesis.synthetic_folder import GENERATOR, RUN, start_folder
        from moppet.synthesis.training import count_done, measure_budget, train_generator
        from moppet.synthesis.training_images import blank_images

        planned = self._tasks(blank_images(self.counts, self.settings))
        done = count_done(planned, out / RUN)
        budget = measure_budget(self.settings, planned, device, done)
        cost = {"steps": budget.steps, "minutes": round(budget.minutes, 2), "device": device}
        gone = f"{done:,} steps are done already; " if done else ""
        self.say(f"training on {device}: {gone}{budget}")
        if self.options.plan_only:
            self.print_plan_as_json({"budget": cost})
            return
        start_folder(out, self.settings)
        tasks = self._tasks(self._images())
        with watched() as progress:
            generator = train_generator(
                *(self.settings, tasks, out / RUN),
                device=device,
                progress=progress,
                preview=self._show if self.options.show_faces is not None else None,
            )
        self._show(generator)
        sha256 = generator.save(out / GENERATOR)

        def generate(request: ImageRequest) -> SyntheticImage:
            return SyntheticImage(generator.generate(request.label, request.seed))

        counts = {name: n for task in tasks for name, n in task.images.counts().items()}
        self.write(generate, sha256, {"generator": str(out / GENERATOR), "images_used": counts})

    def _tasks(self, images: TrainingImages) -> list[TrainingTask]:
        from moppet.synthesis.training import plan_tasks

        return plan_tasks(self.settings, images, self.plan.names)

    def _images(self) -> TrainingImages:
        """The faces to learn from, found as training finds them."""
        from moppet.synthesis.synthetic_folder import RUN
        from moppet.synthesis.training_images import FEW_IMAGES, cut_images, training_rows

        rows = training_rows(self.manifest, self.settings)
        faces = find_faces(self.manifest.select(rows), self.options.output / RUN)
        images = cut_images(self.manifest, rows, faces, self.settings)
        lost = len(rows) - len(images)
        if lost:
            self.say(f"no face found in {counted(lost, 'image')}, which are left out")
        few = [f"{n} ({c})" for n, c in images.counts().items() if c < FEW_IMAGES]
        if few:
            self.say(
                f"few training images: {', '.join(few)}. Synthetic faces will resemble them "
                "closely; check for copies with `moppet quality` before you share any."
            )
        return images

    def _show(self, generator: Any) -> None:
        from moppet.synthesis.synthetic_folder import write_sheet

        if self.options.show_faces is not None:
            seeds: dict[str, list[int]] = {}
            for request in self.plan.requests:
                seeds.setdefault(request.label, []).append(request.seed)
            bands = {
                name: [generator.generate(name, seed) for seed in seeds[name][:_SHOWN]]
                for name in generator.names
                if name in seeds
            }
            write_sheet(bands, self.options.show_faces)


class ReadyRun(SynthesisRun):
    """A run with a generator that is not trained here, such as a diffusion model."""

    def run(self) -> None:
        settings, device = self.settings, _device(self.options.device)
        from moppet.synthesis.synthetic_folder import start_folder
        from moppet.synthesis.training_images import StartingFaces

        if self.options.plan_only and settings.prompted and not settings.model:
            self.say("the cost can be measured once a model is given (--model-folder)")
            self.print_plan_as_json({})
            return
        sources = StartingFaces(self.manifest, settings)
        if settings.starts_from_faces:
            sources.check(self.plan.requests)
        kind = find_generator(settings.method).load()
        generator: ImageGenerator = kind(settings, sources, device)
        started = time.perf_counter()
        first = self.plan.requests[0]
        image = generator(first)
        seconds = time.perf_counter() - started
        minutes = seconds * len(self.plan) / 60
        self.say(
            f"generating on {device}: about {minutes:.1f} minutes ({len(self.plan):,} images, "
            f"{seconds:.1f} s each)"
        )
        if self.options.plan_only:
            self.print_plan_as_json({"budget": {"minutes": round(minutes, 2), "device": device}})
            return
        start_folder(self.options.output, settings)

        def generate(request: ImageRequest) -> SyntheticImage | None:
            return image if request == first else generator(request)

        text_only = settings.prompted and not settings.starts_from_faces
        used = "" if text_only else sources.fingerprint()
        joined = self.write(generate, generator.model, {}, used)
        if self.options.show_faces is not None:
            from moppet.synthesis.synthetic_folder import write_sheet

            write_sheet(self._shown(joined), self.options.show_faces)

    def _shown(self, joined: Manifest) -> dict[str, list[Image]]:
        """The first made images of each class."""
        shown: dict[str, list[Image]] = {}
        labels = joined.column("label")
        for row in range(len(self.manifest), len(joined)):
            band = shown.setdefault(str(labels[row]), [])
            if len(band) < _SHOWN:
                band.append(joined.image(row))
        return shown


def _device(asked: str) -> str:
    with extra("synthesize", "Synthesis"):
        from moppet.synthesis.pretrained import find_device
    return find_device(asked)
