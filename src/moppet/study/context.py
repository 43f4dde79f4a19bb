"""What the cells of a study share: its images, their faces, and how one cell is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moppet.datasets.duplicates import with_duplicate_groups
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.study.executors import Json


class StudyContext(ABC):
    """Runs the cells of one kind of study. It is sent whole to other processes.

    A subclass reads its images once, when it is made from a plan.
    """

    plan: Any

    @abstractmethod
    def run(self, cell: Any) -> Json:
        """Run a cell, and return its line of the ledger."""

    @abstractmethod
    def estimate(self, todo: Sequence[Any], finished: Mapping[Any, Json]) -> str:
        """Return in words how long the cells will take."""

    @abstractmethod
    def progress(self, line: Json) -> str:
        """Return a finished cell's line in words."""

    @abstractmethod
    def summarize(self, finished: Mapping[Any, Json]) -> list[Json]:
        """Return the rows of the study's results; none where too few cells are finished."""

    def runnable(self, cells: list[Any], report: Callable[[str], None]) -> list[Any]:
        """Return the cells that can run here, and report why others cannot."""
        del report
        return cells

    def folder_of(self, cell: Any) -> Path:
        """Return the folder of a cell's unfinished run."""
        parts, work = (*cell.key, self.plan.hash_of(cell)), Path(self.plan.work)
        return work / "-".join(str(part).replace(" ", "_") for part in parts)

    def line(self, cell: Any) -> Json:
        """Return what every line of the ledger begins with: the cell's key and its hash."""
        key = dict(zip(self.plan.KEY, cell.key, strict=True))
        return {**key, "recipe": self.plan.hash_of(cell)}


def find_study_faces(manifest: Manifest, work: Path) -> tuple[Manifest, Faces]:
    """Return the manifest with duplicates grouped, and its faces, which `work` caches."""
    work.mkdir(parents=True, exist_ok=True)
    manifest = with_duplicate_groups(manifest)  # duplicates stay on one side of every split
    return manifest, find_manifest_faces(manifest, cache=work / "faces.npz")
