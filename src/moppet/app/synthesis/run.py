"""From a data set to pictures, settings and a manifest."""

from __future__ import annotations

import sys
from dataclasses import replace

from rich.console import Console

from moppet.app.extras import extra
from moppet.app.synthesis.job import Job, choose_settings
from moppet.app.synthesis.planned import plan_job, print_plan
from moppet.app.synthesis.work import Learned, Painted
from moppet.data.manifest import Manifest
from moppet.data.provenance import check_sources
from moppet.synthesise.settings import LEARNED, Settings
from moppet.values import UsageError


def run_synthesis(job: Job) -> None:
    """Make pictures as asked and say what was made."""
    from moppet.synthesise.made import PART, RUN, check_output, no_space

    if job.as_json:
        job = replace(job, console=Console(stderr=True, highlight=False))
    settings = choose_settings(job)
    check_output(job.output, job.data, settings.method)
    if job.sheet is not None and job.sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet writes a .png, but {job.sheet.name!r} is not.")
    manifest = _read(job, settings)
    check_sources(job.output, manifest)
    learn_from = _counts(manifest, settings)
    plan = plan_job(job, settings, learn_from)
    print_plan(job.console, plan, learn_from)
    try:
        with no_space(job.output):
            work = Learned if settings.method in LEARNED else Painted
            work(job, settings, manifest, plan, learn_from).run()
    except KeyboardInterrupt:
        kept = [d for d in (RUN, PART) if (job.output / d).is_dir()]
        if kept:
            print(
                f"moppet: what was learned and made is kept in {job.output}; the same command "
                "goes on from there.",
                file=sys.stderr,
            )
        raise


def _read(job: Job, settings: Settings) -> Manifest:
    """Return the manifest, with a split: its own, and what `moppet train` would draw of the rest.

    For once there are made rows, no more split is drawn.
    """
    from moppet.app.train import audit_own, read_own
    from moppet.data.readers import announce_licence

    manifest = read_own(job.data, job.kind, job.subject)
    announce_licence(manifest)
    with extra("synthesise", "Synthesis"):
        from moppet.train.run import lacking_parts, with_split
    lacking, given = lacking_parts(manifest), {part for part in manifest.column("split") if part}
    if not lacking or (given and "train" not in given):
        return manifest
    manifest = with_split(audit_own(job.console, manifest), settings.seed)
    count = int((manifest.column("split") == "train").sum())
    came = "a split" if len(lacking) == 2 else f"rows that {lacking[0]}"
    job.console.print(
        f"they came without {came}: {count} train, and only these are learned from; others choose "
        "and report, in the manifest too",
        soft_wrap=True,
    )
    return manifest


def _counts(manifest: Manifest, settings: Settings) -> dict[str, int]:
    """Return how many pictures there are to learn from, by class."""
    from moppet.synthesise.pictures import training_rows

    labels = manifest.labels[training_rows(manifest, settings)]
    counts = {name: int((labels == i).sum()) for i, name in enumerate(manifest.names)}
    kept = settings.classes or manifest.names
    return {name: counts[name] for name in kept}
