"""What coders set right becomes labeled faces, cut where the machine saw them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import moppet
from moppet.commands import main as cli
from moppet.datasets.corrected_faces import labeled_faces
from moppet.datasets.readers import read_dataset
from moppet.timeline.annotations import add_correction, corrections_path, read_annotated
from moppet.timeline.people import People, Person, Piece, people_path

EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
AT = "2026-11-21T10:00:00+00:00"


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's timeline, a face set right by two coders, and a second one by one of them."""
    path = moppet.analyze(EXAMPLE, every=3).write(tmp_path_factory.mktemp("a") / "timeline.parquet")
    for by, start, end, face, label in (
        ("AB", 2.0, 5.0, 0, "surprise"),
        ("C/D", 2.0, 3.0, 0, "happiness"),
        ("AB", 11.0, 11.2, 1, "fear"),
    ):
        add_correction(
            corrections_path(path),
            **{"face_id": face, "start_s": start, "end_s": end, "label": label, "by": by, "at": AT},
        )
    People((Person("Mia", "child", (Piece(0),)),)).write(people_path(path))
    return path


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["data", "corrected", *map(str, arguments)])
    return done.exit_code, done.output or str(done.exception)


def test_a_stretch_gives_a_face_each_second_and_a_short_one_its_only_one(analyzed: Path) -> None:
    faces = labeled_faces(read_annotated(analyzed), 1.0)
    assert [(f.by, f.label, f.subject) for f in faces] == [
        ("AB", "surprise", "Mia"),
        ("C/D", "happiness", "Mia"),
        ("AB", "surprise", "Mia"),
        ("AB", "surprise", "Mia"),
        ("AB", "fear", "child.mp4: face 1"),
    ]
    assert [f.time_s for f in faces] == pytest.approx([2.5, 2.5, 3.5, 4.5, 11.0], abs=0.13)
    assert len(labeled_faces(read_annotated(analyzed), 100)) == 3


def test_the_faces_are_cut_out_and_can_be_trained_on(analyzed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said = run(analyzed, EXAMPLE, "-o", out)
    assert code == 0 and "4 faces in" in said and "data agreement" in said, said
    assert sorted(p.name for p in out.iterdir()) == ["AB.csv", "C_D.csv", "faces"]
    manifest = read_dataset(out / "AB.csv")
    labels = [manifest.names[i] for i in manifest.labels]
    assert sorted(labels) == ["fear", "surprise", "surprise", "surprise"]
    for row in range(len(labels)):
        image = manifest.image(row)
        assert image.shape[0] == image.shape[1] > 100
        assert len(moppet.find_faces(image)) == 1
    again, _ = run(analyzed, EXAMPLE, "-o", out)
    assert again == 0 and len((out / "AB.csv").read_text().splitlines()) == 5


def test_another_recording_is_refused(analyzed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    cv2.imwrite(str(other), np.zeros((32, 32, 3), np.uint8))
    for recording, words in (
        (other, "to another recording"),
        (tmp_path / "no.mp4", "does not exist"),
    ):
        code, said = run(analyzed, recording, "-o", tmp_path / "out")
        assert code != 0 and words in said
    assert not (tmp_path / "out").exists()


def test_a_timeline_that_nobody_set_right_is_said(analyzed: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.parquet"
    bare.write_bytes(analyzed.read_bytes())
    code, said = run(bare, EXAMPLE, "-o", tmp_path / "out")
    assert code != 0 and "has no corrections" in said and not (tmp_path / "out").exists()
