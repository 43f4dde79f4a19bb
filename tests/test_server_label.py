"""The label page's server: two raters apart, then what they agree on and what training takes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console
from starlette.testclient import TestClient
from typer.testing import CliRunner

from label_folder import draw_images
from moppet.commands import main as cli
from moppet.commands.options import DatasetOptions
from moppet.commands.train import audit_own
from moppet.datasets.manifest import read_manifest
from moppet.datasets.rater_agreement import read_ratings
from moppet.files import write_text
from moppet.server import ratings as rating_sets
from moppet.server.job_queue import Queue
from moppet.server.label_api import ClosedSet
from moppet.server.ratings import NewSet, Rater, RatingSet, RatingSets
from moppet.server.site import build_site
from moppet.server.workspace import Workspace
from moppet.values import EXPRESSIONS, MoppetError

TOKEN, PORT = "a-token-of-the-test", 8640
HERE = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return draw_images(tmp_path / "faces")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    site = build_site(workspace, Queue(workspace), TOKEN, PORT)
    headers = {"authorization": f"Bearer {TOKEN}"}
    with TestClient(site, base_url=HERE, headers=headers) as client:
        yield client


def post(client: TestClient, path: str, body: Any = None, status: int | None = None) -> Any:
    answer = client.post(f"/api/labels{path}", json=body)
    assert answer.status_code in ((200, 201) if status is None else (status,)), answer.text
    return answer.json()


def made(client: TestClient, faces: Path, **more: Any) -> RatingSet:
    """A set of the images in a folder beside the workspace."""
    post(client, "", {"name": "visit", "folder": str(faces), **more})
    return RatingSets(faces.parent / "work" / "labels").of("visit")


def rate(client: TestClient, rater: str, said: dict[str, str], of: RatingSet) -> None:
    """Rate all that is left: path → a class, or else a mark; others are happiness."""
    state = client.get(f"/api/labels/visit/raters/{rater}").json()
    while state["image"] is not None:
        word = said.get(of.images[state["image"]], "happiness")
        key = "label" if word in of.classes else "mark"
        body = {"image": state["image"], key: word}
        state = post(client, f"/visit/raters/{rater}/ratings", body)


def both(client: TestClient, faces: Path, **more: Any) -> tuple[RatingSet, dict[str, str]]:
    """Two raters who are done: ann is right, ben errs once and sees one face less."""
    of = made(client, faces, **more)
    truth = {path: path.split("/")[0] for path in of.images}
    for name in ("ann", "ben"):
        post(client, "/visit/raters", {"name": name})
    rate(client, "ann", {**truth, "sadness/child2_5.png": "no face"}, of)
    wrong = {"happiness/child0_0.png": "surprise", "sadness/child1_3.png": "no face"}
    rate(client, "ben", {**truth, **wrong, "sadness/child2_5.png": "no face"}, of)
    return of, truth


# ------------------------------------------------------------------------------- a new set


def test_a_set_lists_the_images_of_a_folder_and_its_sub_folders(
    client: TestClient, faces: Path
) -> None:
    (faces / "notes.txt").write_text("no image")
    (faces / ".hidden").mkdir()
    for name in ("._leftover.png", ".hidden/a.png"):
        (faces / name).write_bytes(b"x")
    told = post(client, "", {"name": "visit", "folder": str(faces)})
    assert told["images"] == 8 and told["classes"] == list(EXPRESSIONS)
    assert told["raters"] == [] and told["opened"] == []
    of = RatingSets(faces.parent / "work" / "labels").of("visit")
    drawn = [f"{('happiness', 'sadness')[i % 2]}/child{i // 2}_{i}.png" for i in range(8)]
    assert sorted(of.images) == sorted(drawn) != list(of.images)
    assert client.get("/api/labels").json() == [told]


def test_own_classes_are_called_as_agreement_calls_them(client: TestClient, faces: Path) -> None:
    of = made(client, faces, classes=["Happy", "Boredom", "angry"])
    assert of.classes == ("happiness", "boredom", "anger")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"name": "../x"}, "A set's name is"),
        ({"name": ".x"}, "A set's name is"),
        ({"name": "a/b"}, "A set's name is"),
        ({"name": "x."}, "A set's name is"),
        ({"name": "a" * 41}, "A set's name is"),
        ({"name": " "}, "A set's name is"),
        ({"name": 3}, "name must be a text, got 3"),
        ({"folder": "faces"}, "the full path"),
        ({"folder": "/nowhere"}, "There is no folder"),
        ({"folder": "/a\0b"}, "There is no folder"),
        ({"folder": "/etc/passwd"}, "There is no folder"),
        ({"folder": None}, "folder must be a text"),
        ({"classes": ["happy"]}, "2 to 20 classes, got 1"),
        ({"classes": ["happy", "joy"]}, "'happiness' occurs twice"),
        ({"classes": ["sad", "no face"]}, "cannot be a class"),
        ({"classes": ["sad", "a\nb"]}, "cannot be a class"),
        ({"classes": "sad, happy"}, "a list of texts"),
        ({"classes": [f"class {i}" for i in range(21)]}, "got 21"),
        ({"subject": "(child"}, "not a valid regular expression"),
        ({"seed": "0"}, "whole number"),
    ],
)
def test_a_set_that_cannot_be_is_refused_in_one_sentence(
    client: TestClient, faces: Path, workspace: Workspace, asked: dict[str, Any], said: str
) -> None:
    answer = post(client, "", {"name": "visit", "folder": str(faces), **asked}, status=400)
    assert said in answer["error"]
    assert not (workspace.root / "labels").exists()


def test_folders_without_or_with_too_many_images_are_refused(
    client: TestClient, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    asked = {"name": "visit", "folder": str(tmp_path / "empty")}
    assert "contains no images" in post(client, "", asked, status=400)["error"]
    monkeypatch.setattr(rating_sets, "MOST_IMAGES", 7)
    asked["folder"] = str(faces)
    assert "at most 7 images" in post(client, "", asked, status=400)["error"]


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
@pytest.mark.parametrize("name", [b"a\\b.png", b"\xff.png", b"a\nb.png", b" a.png"])
def test_file_names_that_no_table_can_hold_are_said(
    client: TestClient, tmp_path: Path, name: bytes
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x")
    answer = post(client, "", {"name": "visit", "folder": str(folder)}, status=400)
    assert "rename the file" in answer["error"]


def test_names_that_are_taken_are_refused_whatever_their_case(
    client: TestClient, faces: Path
) -> None:
    made(client, faces)
    asked = {"name": "VISIT", "folder": str(faces)}
    assert "already" in post(client, "", asked, status=400)["error"]
    post(client, "/visit/raters", {"name": "Ann"})
    assert "a rater ann already" in post(client, "/visit/raters", {"name": "ann"}, 400)["error"]
    for name in ("../../ann", "a/b", "", "ann\n.", "."):
        assert "error" in post(client, "/visit/raters", {"name": name}, 400)
    for path in ("/nobody", "/%2e%2e", "/visit/raters/ben", "/visit/raters/%2e%2e%2fset"):
        assert client.get(f"/api/labels{path}").status_code in (400, 404)


# --------------------------------------------------------------------------------- blindness


def test_a_image_comes_by_its_number_alone_and_without_its_name(
    client: TestClient, faces: Path
) -> None:
    of = made(client, faces)
    for number, path in enumerate(of.images):
        answer = client.get(f"/api/labels/visit/images/{number}")
        assert answer.headers["content-type"] == "image/png"
        told = json.dumps(dict(answer.headers))
        assert not any(word in told for word in ("happiness", "sadness", "child", "etag", "last-m"))
        image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(image, cv2.imread(str(faces / path)))
    for number in ("8", "-1", "set.json", "..%2f..%2fset.json"):
        assert client.get(f"/api/labels/visit/images/{number}").status_code in (400, 404)


def test_large_images_come_smaller_and_damaged_ones_name_no_file(
    client: TestClient, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    cv2.imwrite(str(folder / "anger_large.jpg"), np.zeros((3000, 2000, 3), np.uint8))
    cv2.imwrite(str(folder / "anger_thin.png"), np.zeros((4000, 1, 3), np.uint8))
    (folder / "anger_bad.png").write_bytes(b"no image")
    of = made(client, folder)
    shape = {}
    for number, path in enumerate(of.images):
        answer = client.get(f"/api/labels/visit/images/{number}")
        if path == "anger_bad.png":
            assert answer.status_code == 400 and "anger" not in answer.text
            assert "cannot be read" in answer.json()["error"]
        else:
            data = np.frombuffer(answer.content, np.uint8)
            shape[path] = cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2]
    assert shape == {"anger_large.jpg": (1600, 1067), "anger_thin.png": (1600, 1)}


def test_nothing_that_is_told_during_the_rating_holds_a_rating_or_a_path(
    client: TestClient, faces: Path
) -> None:
    of = made(client, faces, classes=["surprise", "zeal"])
    for name in ("ann", "ben"):
        post(client, "/visit/raters", {"name": name})
    told = []
    rate(client, "ann", dict.fromkeys(of.images, "zeal"), of)
    for path in ("", "/visit", "/visit/raters/ann", "/visit/raters/ben"):
        found = client.get(f"/api/labels{path}").json()
        for one in found if isinstance(found, list) else [found]:
            one.pop("classes", None)
        told.append(json.dumps(found))
    told.append(json.dumps(post(client, "/visit/raters/ann/undo")))
    assert not any(w in text for text in told for w in ("zeal", "surprise", "child", "sadness"))
    for path in ("agreement", "manifest", "decisions", "opened.json", "raters/ann.csv"):
        assert client.get(f"/api/labels/visit/{path}").status_code in (400, 404, 405)
    for path, body in (("manifest", {}), ("decisions", {"image": 0, "label": "zeal"})):
        assert "not open" in post(client, f"/visit/{path}", body, 400)["error"]


def test_each_rater_has_an_order_of_their_own_that_sub_folders_do_not_show(
    client: TestClient, tmp_path: Path
) -> None:
    of = made(client, draw_images(tmp_path / "many", each=20))
    orders = {name: of.order_of(name) for name in ("ann", "ben", "cem")}
    assert orders["ann"] == RatingSets(of.place.parent).of("visit").order_of("ann")
    assert sorted(orders["ann"]) == sorted(orders["ben"]) == list(range(40))
    for first, second in (("ann", "ben"), ("ben", "cem"), ("ann", "cem")):
        assert abs(np.corrcoef(np.argsort(orders[first]), np.argsort(orders[second]))[0, 1]) < 0.5
    for order in (range(40), *orders.values()):
        happy = [of.images[i].startswith("happiness") for i in order]
        changes = np.count_nonzero(np.diff(np.array(happy, int)))
        assert 10 < changes < 30  # about half, as by chance; 1 if folder by folder


# ---------------------------------------------------------------------------------- rating


def test_skipped_images_come_again_and_a_second_skip_leaves_them_out(
    client: TestClient, faces: Path
) -> None:
    of = made(client, faces)
    state = post(client, "/visit/raters", {"name": "ann"})
    order = of.order_of("ann")
    assert (state["image"], state["next"]) == tuple(order[:2]) and not state["undo"]
    for place, number in enumerate(order):
        said = {"mark": "skip"} if place in (1, 4) else {"label": "anger"}
        state = post(client, "/visit/raters/ann/ratings", {"image": number, **said})
    assert (state["image"], state["next"], state["again"]) == (order[1], order[4], True)
    assert (state["done"], state["later"], state["total"]) == (6, 2, 8)
    state = post(client, "/visit/raters/ann/ratings", {"image": order[1], "mark": "skip"})
    state = post(client, "/visit/raters/ann/ratings", {"image": order[4], "label": "fear"})
    assert state["image"] is None and state["done"] == 8
    rows = list(csv.DictReader(of.rater_file("ann").open(encoding="utf-8")))
    assert [row["path"] for row in rows] == [of.images[i] for i in order]
    assert [(row["label"], row["mark"]) for row in rows][1] == ("", "skipped")
    assert [row["label"] for row in rows if row["label"] != "anger"] == ["", "fear"]


def test_undo_goes_back_one_by_one_over_skips_to_the_first(client: TestClient, faces: Path) -> None:
    of = made(client, faces)
    post(client, "/visit/raters", {"name": "ann"})
    seen, state = [], client.get("/api/labels/visit/raters/ann").json()
    marks = iter([{"mark": "skip"}, *[{"label": "fear"}] * 4, {"mark": "skip"}])
    while state["image"] is not None:
        seen.append(state["image"])
        body = {"image": state["image"], **next(marks, {"label": "anger"})}
        state = post(client, "/visit/raters/ann/ratings", body)
    assert len(seen) == 10
    for number in reversed(seen):
        state = post(client, "/visit/raters/ann/undo")
        assert state["image"] == number
    assert (
        not state["undo"]
        and "nothing to undo" in post(client, "/visit/raters/ann/undo", status=400)["error"]
    )
    rate(client, "ann", {}, of)
    assert client.get("/api/labels/visit/raters/ann").json()["done"] == 8


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"label": "zeal"},
        {"label": "anger", "mark": "skip"},
        {"mark": "later"},
        {"mark": "unreadable"},
        {"label": 3},
        {"label": ["anger"]},
        {"image": 10**9, "label": "anger"},
        {"image": True, "label": "anger"},
        {"image": "0", "label": "anger"},
    ],
)
def test_a_rating_that_cannot_be_is_refused_and_nothing_is_lost(
    client: TestClient, faces: Path, said: dict[str, Any]
) -> None:
    of = made(client, faces)
    state = post(client, "/visit/raters", {"name": "ann"})
    state = post(client, "/visit/raters/ann/ratings", {"image": state["image"], "label": "fear"})
    before = of.rater_file("ann").read_bytes()
    asked = {"image": state["image"], **said}
    assert post(client, "/visit/raters/ann/ratings", asked, 400)["error"]
    assert of.rater_file("ann").read_bytes() == before


def test_a_key_pressed_in_two_windows_rates_one_image(client: TestClient, faces: Path) -> None:
    made(client, faces)
    state = post(client, "/visit/raters", {"name": "ann"})
    asked = {"image": state["image"], "label": "fear"}
    post(client, "/visit/raters/ann/ratings", asked)
    assert "Another image is next" in post(client, "/visit/raters/ann/ratings", asked, 400)["error"]
    assert client.get("/api/labels/visit/raters/ann").json()["done"] == 1


def test_a_damaged_image_is_passed_and_marked(client: TestClient, faces: Path) -> None:
    of = made(client, faces)
    state = post(client, "/visit/raters", {"name": "ann"})
    (faces / of.images[state["image"]]).write_bytes(b"damaged")
    asked = {"image": state["image"], "mark": "unreadable"}
    assert post(client, "/visit/raters/ann/ratings", asked)["done"] == 1
    assert [r.mark for r in Rater(of, "ann").given.values()] == ["unreadable"]


def test_a_restarted_server_goes_on_where_the_rater_left(
    client: TestClient, faces: Path, workspace: Workspace
) -> None:
    made(client, faces)
    state = post(client, "/visit/raters", {"name": "Zoë B"})
    for _ in range(3):
        state = post(
            client,
            "/visit/raters/Zoë B/ratings",
            {"image": state["image"], "label": "disgust"},
        )
    site = build_site(workspace, Queue(workspace), TOKEN, PORT)
    with TestClient(site, base_url=HERE, headers=dict(client.headers)) as later:
        assert later.get("/api/labels/visit/raters/Zoë B").json() == state


def test_a_kill_while_writing_leaves_the_ratings_before_it(tmp_path: Path, faces: Path) -> None:
    """A process is killed at every step of the writing of a new rating."""
    of = RatingSets(tmp_path / "labels").create(NewSet("visit", str(faces)))
    rater = Rater.begin(of, "ann")
    rater.rate(rater.queue[0], "fear")
    before = of.rater_file("ann").read_text(encoding="utf-8")
    program = """
import os, signal, sys
from pathlib import Path
from moppet.files import write_text
from moppet.server.ratings import Rater
from moppet.files import write_text
from moppet.server.ratings import RatingSets
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], kill)
rater = Rater(RatingSets(Path(sys.argv[1])).of("visit"), "ann")
rater.rate(rater.queue[0], "anger")
"""
    for step in ("fsync", "replace"):
        done = subprocess.run([sys.executable, "-c", program, str(of.place.parent), step])
        assert done.returncode == -9
        assert of.rater_file("ann").read_text(encoding="utf-8") == before
        assert of.raters() == ["ann"] and len(Rater(of, "ann").given) == 1
    again = Rater(of, "ann")
    again.rate(again.queue[0], "anger")
    assert len(Rater(of, "ann").given) == 2


def test_a_file_that_was_changed_by_hand_is_taken_or_said(tmp_path: Path, faces: Path) -> None:
    of = RatingSets(tmp_path / "labels").create(NewSet("visit", str(faces)))
    rows = f"path,label\n{of.images[0]},Happy\n{of.images[1]},\n"
    write_text(of.rater_file("ann"), rows)
    rater = Rater(of, "ann")
    assert {i: r.label for i, r in rater.given.items()} == {0: "happiness"}
    write_text(of.rater_file("ann"), "path,label\nother.png,happy\n")
    with pytest.raises(MoppetError, match="not in the set"):
        Rater(of, "ann")
    write_text(of.rater_file("ann"), f"path,label\n{of.images[0]},zeal\n")
    with pytest.raises(MoppetError, match="not a class of the set"):
        Rater(of, "ann")
    write_text(of.place / "set.json", "{}")
    with pytest.raises(MoppetError, match="is damaged"):
        RatingSets(tmp_path / "labels").of("visit")


# --------------------------------------------------------------- agreement and what follows


def test_the_agreement_opens_when_two_have_finished_and_ends_the_rating(
    client: TestClient, faces: Path
) -> None:
    of = made(client, faces)
    assert "two raters have finished" in post(client, "/visit/open", status=400)["error"]
    for name in ("ann", "ben", "cem"):
        post(client, "/visit/raters", {"name": name})
    rate(client, "ann", {}, of)
    said = post(client, "/visit/open", status=400)["error"]
    assert "ben has 8 left" in said and "ann" not in said
    rate(client, "ben", {of.images[0]: "anger"}, of)
    image = client.get("/api/labels/visit/raters/cem").json()["image"]
    post(client, "/visit/raters/cem/ratings", {"image": image, "label": "fear"})
    assert post(client, "/visit/open")["opened"] == ["ann", "ben"]
    assert client.get("/api/labels/visit/agreement").json()["raters"] == ["ann", "ben"]
    for path, body in (
        ("raters", {"name": "dee"}),
        ("raters/ann/undo", None),
        ("raters/cem/ratings", {"image": of.order_of("cem")[1], "label": "fear"}),
        ("open", None),
    ):
        assert "has ended" in post(client, f"/visit/{path}", body, 400)["error"]


def test_raters_who_share_no_class_open_nothing(client: TestClient, faces: Path) -> None:
    of = made(client, faces)
    for name, word in (("ann", "fear"), ("ben", "no face")):
        post(client, "/visit/raters", {"name": name})
        rate(client, name, dict.fromkeys(of.images, word), of)
    assert "nothing to compare" in post(client, "/visit/open", status=400)["error"]
    assert client.get("/api/labels/visit").json()["opened"] == []


@pytest.mark.parametrize("subject", [None, r"(child\d+)"])
def test_the_figures_are_those_of_the_command_line_on_the_same_files(
    client: TestClient, faces: Path, subject: str | None
) -> None:
    of, _ = both(client, faces, **({} if subject is None else {"subject": subject}))
    post(client, "/visit/open")
    found = client.get("/api/labels/visit/agreement").json()
    files = [str(of.rater_file(name)) for name in ("ann", "ben")]
    told = CliRunner().invoke(cli.app, ["data", "agreement", *files, "--json"])
    expected = json.loads(told.stdout)
    expected.pop("disagreements")
    assert {key: found[key] for key in expected} == expected
    assert expected["subjects"] == (4 if subject else 0)
    pair = found["pairs"][0]
    assert pair["equal"]["n"] == 6 and pair["equal"]["value"] == pytest.approx(5 / 6)
    assert found["fleiss_kappa"]["n"] == 6 and found["no_face"] == [1, 2]


def test_disagreements_stand_side_by_side_also_those_about_a_face(
    client: TestClient, faces: Path
) -> None:
    of, _ = both(client, faces)
    post(client, "/visit/open")
    found = client.get("/api/labels/visit/agreement").json()
    said = {of.images[one["image"]]: one["answers"] for one in found["disagreements"]}
    assert said == {
        "happiness/child0_0.png": ["happiness", "surprise"],
        "sadness/child1_3.png": ["sadness", "no face"],
    }
    assert "child" not in json.dumps(found)
    names, table = found["table_names"], np.array(found["tables"][0])
    assert names == ["happiness", "sadness", "surprise", "no face"]
    assert table.tolist() == [[3, 0, 1, 0], [0, 2, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_a_image_that_one_rater_skipped_can_be_decided(client: TestClient, faces: Path) -> None:
    of = made(client, faces)
    skipped, damaged = of.images[0], of.images[1]
    for name, marks in (("ann", {skipped: "skip"}), ("ben", {})):
        post(client, "/visit/raters", {"name": name})
        rate(client, name, {damaged: "skip", **marks}, of)
    post(client, "/visit/open")
    found = client.get("/api/labels/visit/agreement").json()
    assert found["unrated"] == [2, 1]
    assert found["disagreements"] == [{"image": 0, "answers": [None, "happiness"], "decided": None}]
    post(client, "/visit/decisions", {"image": 0, "label": "anger"})
    assert post(client, "/visit/manifest", {})["labels"] == {"happiness": 6, "anger": 1}


def test_decisions_are_kept_and_taken_back_and_the_command_line_reads_them(
    client: TestClient, faces: Path, tmp_path: Path
) -> None:
    of, _ = both(client, faces)
    post(client, "/visit/open")
    number = {path: i for i, path in enumerate(of.images)}
    mouth, face = number["happiness/child0_0.png"], number["sadness/child1_3.png"]
    for asked, said in (
        ({"image": number["happiness/child1_2.png"], "label": "fear"}, "nothing to decide"),
        ({"image": mouth, "label": "zeal"}, "A decision is one of"),
        ({"image": 99, "label": "fear"}, "none of this number"),
        ({"image": mouth}, "the key 'label' is needed"),
    ):
        assert said in post(client, "/visit/decisions", asked, 400)["error"]
    post(client, "/visit/decisions", {"image": mouth, "label": "happiness"})
    post(client, "/visit/decisions", {"image": face, "label": "no face"})
    post(client, "/visit/decisions", {"image": mouth, "label": "neutral"})
    one, two = client.get("/api/labels/visit/agreement").json()["disagreements"]
    assert {one["image"]: one["decided"], two["image"]: two["decided"]} == {
        mouth: "neutral",
        face: "no face",
    }
    files = [str(of.rater_file(name)) for name in ("ann", "ben")]
    command = ["data", "agreement", *files, "--adjudication", str(ClosedSet(of).adjudication)]
    told = CliRunner().invoke(
        cli.app, [*command, "--root", str(faces), "-o", str(tmp_path / "m.parquet"), "--json"]
    )
    assert [x["decided"] for x in json.loads(told.stdout)["disagreements"]] == ["neutral"]
    post(client, "/visit/decisions", {"image": mouth, "label": None})
    assert ClosedSet(of).decisions() == {of.images[face]: "no face"}


def test_training_takes_the_manifest_and_no_image_without_a_face(
    client: TestClient, tmp_path: Path
) -> None:
    of, truth = both(client, draw_images(tmp_path / "faces"))
    post(client, "/visit/open")
    mouth = of.images.index("happiness/child0_0.png")
    written = post(client, "/visit/manifest", {})
    # "no face" of both, and "no face" against one class, undecided
    assert written["left_out"] == 2 and written["images"] == 6 and written["unlabeled"] == 1
    post(client, "/visit/decisions", {"image": mouth, "label": "happiness"})
    face = of.images.index("sadness/child1_3.png")
    post(client, "/visit/decisions", {"image": face, "label": "sadness"})
    written = post(client, "/visit/manifest", {})
    assert written["labels"] == {"happiness": 4, "sadness": 3, "surprise": 0}
    assert written["unlabeled"] == 0 and written["left_out"] == 1
    assert written["command"] == f"moppet train {written['path']} -o my_model"
    assert written["rare"] == ["surprise"]

    manifest = audit_own(
        Console(quiet=True), DatasetOptions().read(Path(written["path"]), as_given=True)
    )
    expected = {path: name for path, name in truth.items() if path != "sadness/child2_5.png"}
    found = zip(manifest.column("path"), manifest.column("label"), strict=True)
    assert dict(found) == expected
    assert manifest.image(0).shape == (120, 100, 3)
    votes = dict(zip(manifest.column("path"), manifest.column("votes"), strict=True))
    assert np.isnan(votes["happiness/child0_0.png"]).all()  # decided: the decision alone counts
    assert votes["sadness/child0_1.png"].tolist() == [0, 2, 0]
    row = manifest.column("path").tolist().index("sadness/child1_3.png")
    assert manifest.column("label by ben")[row] is None and manifest.column("no_face")[row] == 1
    told = CliRunner().invoke(cli.app, ["data", "audit", written["path"], "--json"])
    assert told.exit_code == 0 and json.loads(told.stdout)["n"] == 7, told.stdout


def test_what_training_refuses_is_told_before_and_can_be_left_out(
    client: TestClient, faces: Path
) -> None:
    finetune = pytest.importorskip("moppet.train.finetuning")
    of, _ = both(client, faces)
    post(client, "/visit/open")
    mouth = of.images.index("happiness/child0_0.png")
    post(client, "/visit/decisions", {"image": mouth, "label": "surprise"})
    written = post(client, "/visit/manifest", {})
    assert written["rare"] == ["sadness", "surprise"]  # two images, one image
    with pytest.raises(MoppetError, match=r"sadness \(2\), surprise \(1\)"):
        finetune.check_classes(read_manifest(written["path"]))
    refused = post(client, "/visit/manifest", {"without_rare": True}, 400)
    assert "Fewer than two classes" in refused["error"]
    face = of.images.index("sadness/child1_3.png")
    post(client, "/visit/decisions", {"image": face, "label": "sadness"})
    written = post(client, "/visit/manifest", {"without_rare": True})
    assert written["labels"] == {"happiness": 3, "sadness": 3} and written["rare"] == []
    finetune.check_classes(read_manifest(written["path"]))


def test_two_raters_are_enough_to_learn_from(client: TestClient, faces: Path) -> None:
    """FER+'s ten raters are asked for three votes an image; two raters cannot give them."""
    dataset = pytest.importorskip("moppet.train.data_module")
    own = pytest.importorskip("moppet.train.recipe").Recipe("own", str(faces))
    both(client, faces)
    post(client, "/visit/open")
    manifest = read_manifest(post(client, "/visit/manifest", {})["path"])
    manifest = manifest.replace(split=["train"] * len(manifest))
    data = dataset.select_training_data(manifest, None, own)
    rows = data.training_rows(own)
    assert set(data.part[rows]) == {"train"} and len(rows) == 6


def test_leaving_a_class_out_keeps_the_votes_for_the_others(tmp_path: Path, faces: Path) -> None:
    of = RatingSets(tmp_path / "labels").create(NewSet("visit", str(faces)))
    said = {"ann": ["happiness", "sadness"] * 4, "ben": ["happiness", "sadness"] * 4}
    said["ben"][0] = said["ben"][1] = "fear"
    for name, words in said.items():
        lines = [f"{path},{word}" for path, word in zip(of.images, words, strict=True)]
        write_text(of.rater_file(name), "\n".join(["path,label", *lines]) + "\n")
    write_text(of.place / "opened.json", json.dumps({"raters": ["ann", "ben"]}))
    manifest = ClosedSet(of).manifest(without_rare=True)
    assert manifest.names == ("happiness", "sadness") and len(manifest) == 8
    votes = dict(zip(manifest.column("path"), manifest.column("votes").tolist(), strict=True))
    assert [votes[path] for path in of.images[:3]] == [[1, 0], [0, 1], [2, 0]]
    labels = dict(zip(manifest.column("path"), manifest.column("label"), strict=True))
    assert [labels[path] for path in of.images[:3]] == [None, None, "happiness"]
    assert manifest.root == faces.resolve()


def test_read_ratings_takes_the_raters_files_as_they_are(client: TestClient, faces: Path) -> None:
    of, _ = both(client, faces, subject=r"(child\d+)")
    ratings = read_ratings([of.rater_file("ann"), of.rater_file("ben")])
    assert ratings.raters == ("ann", "ben") and set(ratings.paths) == set(of.images)
    assert set(ratings.subjects) == {f"child{i}" for i in range(4)}
    assert int((ratings.given < 0).sum()) == 3  # "no face" is no rating, and never a class


def test_sets_and_requests_of_version_0_1_0_are_read(client: TestClient, faces: Path) -> None:
    of = made(client, faces)
    stored = json.loads((of.place / "set.json").read_text(encoding="utf-8"))
    stored["pictures"] = stored.pop("images")
    (of.place / "set.json").write_text(json.dumps(stored), encoding="utf-8")
    assert RatingSets(of.place.parent).of("visit") == of
    state = post(client, "/visit/raters", {"name": "ann"})
    asked = {"picture": state["image"], "label": "fear"}
    assert post(client, "/visit/raters/ann/ratings", asked)["done"] == 1
