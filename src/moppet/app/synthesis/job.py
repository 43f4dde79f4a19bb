"""What `moppet synthesise` was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from moppet.synthesise.settings import METHODS, Settings, read_settings, settings_from
from moppet.values import UsageError


@dataclass(frozen=True)
class Job:
    """What `moppet synthesise` was asked for.

    chosen: settings by name, over those of the file. targets: "class=N" each.
    """

    data: Path
    output: Path
    chosen: Mapping[str, Any]
    settings_file: Path | None = None
    kind: str | None = None
    subject: str | None = None
    per_class: int | None = None
    targets: Sequence[str] = ()
    plan_only: bool = False
    sheet: Path | None = None
    device: str = "auto"
    as_json: bool = False
    console: Console = field(default_factory=lambda: Console(highlight=False))


def choose_settings(job: Job) -> Settings:
    """Return the settings of the file, if any, with those that were chosen put over them."""
    table: dict[str, Any] = {}
    where = "moppet synthesise"
    if job.settings_file is not None:
        where = str(job.settings_file)
        given = asdict(read_settings(job.settings_file))
        table = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    table |= job.chosen
    if "method" not in table:
        raise UsageError(f"--method is needed: one of {', '.join(METHODS)}.")
    return settings_from(table, where)
