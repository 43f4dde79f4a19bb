"""`moppet synthesize render | clip`: rendered faces and clips of invented people."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from moppet.commands.console import counted, extra, say, watched
from moppet.commands.options import (
    DefaultVerb,
    JobsOption,
    JsonOption,
    SetOption,
    add_command,
    choice,
    output_option,
    read_pairs,
)
from moppet.commands.synthesize import synthesize

if TYPE_CHECKING:
    from moppet.synthesis.render.build import Studio

AssetsOption = Annotated[
    Path | None,
    typer.Option("--assets", help="Folder of MakeHuman assets (head.npz, textures/)."),
]
RendererOption = Annotated[
    str | None, choice("rasterizer (fast) or mitsuba (slow).", "rasterizer", "mitsuba")
]
OwnSeedOption = Annotated[
    int | None,
    typer.Option("--seed", help="Random seed; the same seed gives the same result.", min=0),
]


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """What `moppet synthesize render` is asked for."""

    plan: Annotated[Path, typer.Argument(help="The plan (TOML).")]
    output: Annotated[Path, output_option("A new output folder.")]
    jobs: JobsOption = 1
    assets: AssetsOption = None
    renderer: RendererOption = None
    limit: Annotated[int | None, typer.Option(help="Only the first images.", min=1)] = None
    seed: OwnSeedOption = None
    set: SetOption = None
    as_json: JsonOption = False


def render(options: RenderOptions) -> None:
    """Render faces of invented people by a plan.

    Writes the images, manifest.parquet (for train, evaluate and data) and truth.parquet (every
    parameter and facial movement). An interrupted run resumes when the command is rerun.
    """
    from moppet.synthesis.render.plan import read_plan

    given = {"renderer": options.renderer, "seed": options.seed}
    changes = read_pairs(options.set, "--set")
    changes |= {name: value for name, value in given.items() if value is not None}
    plan = read_plan(options.plan, changes)
    studio = _studio(options.assets, plan.renderer)
    from moppet.synthesis.render.rendered_folder import MANIFEST, TRUTH, render_plan
    from moppet.synthesis.synthetic_folder import full_disk_as_error

    console, out = Console(highlight=False, stderr=options.as_json), options.output
    with _resumable("images", out), watched("images") as progress, full_disk_as_error(out):
        made = render_plan(
            *(plan, out, partial(studio.render_square, size=plan.size)),
            jobs=options.jobs,
            limit=options.limit,
            progress=progress,
            looks=studio.looks,
        )
    if options.as_json:
        print(json.dumps({"manifest": str(out / MANIFEST), **made._asdict()}, indent=1))
        return
    parts = ", ".join(f"{name} {count:,}" for name, count in made.splits.items())
    say(console, f"rendered: {counted(made.rendered, 'image')}, kept from before: {made.kept:,}")
    for reason, count in made.left_out.items():
        say(console, f"left out: {counted(count, 'image')}: {reason}")
    say(console, f"manifest: {out / MANIFEST} ({counted(made.people, 'person')}; {parts})")
    say(console, f"every parameter and movement: {out / TRUTH}")
    say(console, f"to check it: moppet data audit {shlex.quote(str(out / MANIFEST))}")


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """What `moppet synthesize clip` is asked for."""

    script: Annotated[Path, typer.Argument(help="The script (TOML).")]
    output: Annotated[Path, output_option("The video to write (.mp4), or a folder for several.")]
    jobs: JobsOption = 1
    assets: AssetsOption = None
    renderer: RendererOption = None
    seed: OwnSeedOption = None
    set: SetOption = None
    as_json: JsonOption = False


def clip(options: ClipOptions) -> None:
    """Render a video of invented people by a script.

    Writes the video, and beside it the true timeline (.truth.parquet), which `moppet compare`
    takes as a coder's file, and every facial movement (.movements.parquet).
    """
    from moppet.synthesis.render.script import read_script

    given = {"renderer": options.renderer, "seed": options.seed}
    changes = read_pairs(options.set, "--set")
    changes |= {name: value for name, value in given.items() if value is not None}
    script = read_script(options.script, changes)
    studio = _studio(options.assets, script.renderer)
    from moppet.synthesis.render.clip import render_clips
    from moppet.synthesis.synthetic_folder import full_disk_as_error

    console, out = Console(highlight=False, stderr=options.as_json), options.output
    with _resumable("frames", out), watched("frames") as progress, full_disk_as_error(out.parent):
        made = render_clips(script, out, studio, jobs=options.jobs, progress=progress)
    if options.as_json:
        print(json.dumps([one.as_json() for one in made], indent=1))
        return
    for one in made:
        say(console, f"video: {one.video} ({counted(one.frames, 'frame')}, {one.seconds:g} s)")
    say(console, f"beside it: {made[0].truth.name}, the true timeline, and")
    say(console, f"{made[0].movements.name}, every facial movement")
    truth = shlex.quote(str(made[0].truth))
    say(console, f"to score an analysis: moppet compare TIMELINE.parquet {truth}")


@contextmanager
def _resumable(what: str, out: Path) -> Iterator[None]:
    """Print how to resume when Ctrl-C is pressed."""
    try:
        yield
    except KeyboardInterrupt:
        print(
            f"moppet: the {what} so far are kept in {out if out.is_dir() else out.parent}. "
            "Rerun the same command to resume.",
            file=sys.stderr,
        )
        raise


def _studio(assets: Path | None, renderer: str) -> Studio:
    """Return what renders; MoppetError in one sentence where the extra is not installed."""
    with extra("render", "Rendering"):
        from moppet.synthesis.render.build import Studio

        studio = Studio(assets, renderer)
        studio.check()
    return studio


synthesis = typer.Typer(
    cls=DefaultVerb,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Generate synthetic faces.\n\n"
    "`moppet synthesize DATA` is short for `moppet synthesize faces DATA`.",
)
add_command(
    synthesis,
    synthesize,
    "synthesize faces my_faces/ -o synthetic --method cgan",
    {"--sheet": "--show-faces", "--colour": "--color"},
    name="faces",
)
add_command(synthesis, render, "synthesize render plan.toml -o rendered --jobs 4")
add_command(synthesis, clip, "synthesize clip script.toml -o child.mp4")
