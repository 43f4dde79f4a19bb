"""`moppet blur`: a recording with its faces hidden."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from moppet.commands.console import counted, watched
from moppet.commands.options import ModelOption, choice, flag, output_option
from moppet.values import MoppetError, UsageError

HOWS = ("blur", "cover")


@dataclass(frozen=True, kw_only=True)
class BlurOptions:
    """What `moppet blur` is asked for."""

    recording: Annotated[Path, typer.Argument(help="A video.")]
    output: Annotated[Path, output_option("The video to write (.mp4).")]
    timeline: Annotated[
        Path | None, typer.Option(help="Its timeline; default: analyze it first.")
    ] = None
    how: Annotated[str, choice("How to hide faces: blur or cover.", *HOWS)] = "blur"
    overlay: Annotated[bool, flag("--overlay", "Write the expression above each face.")] = False
    sound: Annotated[bool, flag("--sound", "Keep the sound; a voice may tell who it is.")] = False
    check_every: Annotated[
        int, typer.Option(help="Search every Nth frame for faces left over.", min=1)
    ] = 5
    model: ModelOption = "default"


def blur(options: BlurOptions) -> None:
    """Write a video in which no face can be recognized.

    Faces are hidden along their tracks, wider where unsure, and the whole frame where a face was
    lost. Exit code 1 if a face is still found in the result: watch it before you show it.
    """
    if options.how not in HOWS:
        raise UsageError(f"--how takes blur or cover, got {options.how!r}.")
    if options.output.suffix.lower() != ".mp4":
        raise UsageError(f"-o takes a name that ends in .mp4, got {options.output.name!r}.")
    if options.output.exists() and options.output.samefile(options.recording):
        raise UsageError("The blurred video would replace the recording: choose another name.")
    from moppet.infer.blurring import blur_recording

    timeline = _timeline(options)
    how: Any = options.how
    with watched("frames") as show:
        total = timeline.metadata.get("frame_count")
        found = blur_recording(
            options.recording,
            timeline,
            options.output,
            how=how,
            overlay=options.overlay,
            sound=options.sound,
            check_every=options.check_every,
            progress=lambda done: show("blur", done, total),
        )
    whole = f", {found.whole:,} hidden as a whole" if found.whole else ""
    typer.echo(f"{options.output}: {counted(found.frames, 'frame')}{whole}")
    if found.seen:
        times = ", ".join(f"{time_s:.1f} s" for time_s in found.seen[:10])
        more = f" and {len(found.seen) - 10} more" if len(found.seen) > 10 else ""
        raise MoppetError(
            f"faces are still found in {len(found.seen)} of {found.checked} frames of "
            f"{options.output} ({times}{more}): do not show it; try --how cover."
        )
    typer.echo(f"no face was found in {counted(found.checked, 'frame')} of the result")


def _timeline(options: BlurOptions) -> Any:
    if options.timeline is None:
        from moppet.infer.pipeline import analyze

        return analyze(str(options.recording), model=options.model)
    from moppet.media import recording_sha256
    from moppet.timeline.annotations import read_annotated

    timeline = read_annotated(options.timeline).timeline
    wanted = timeline.metadata.get("source_sha256")
    if wanted and wanted != recording_sha256(options.recording):
        raise UsageError(
            f"{options.timeline} belongs to another recording, not to {options.recording}."
        )
    return timeline
