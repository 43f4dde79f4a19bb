"""The look page's layers, exports and half-read recordings, as the page asks for them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from moppet.coders import read_coding
from moppet.infer.pipeline import Analysis, Settings
from moppet.server import timeline_view
from moppet.server.job_queue import Queue
from moppet.server.site import build_site
from moppet.server.workspace import Workspace
from moppet.timeline import Timeline, build_timeline, read_journal, read_timeline
from moppet.values import EXPRESSIONS
from test_timeline_people import TWO

TOKEN, PORT = "a-token-of-the-test", 8640
BEARER = {"authorization": f"Bearer {TOKEN}"}
EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
LAYER_ENDS = ("people.json", "corrections.jsonl")


class Recording:
    """A finished job in a workspace, and a client that asks of it."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.queue = Queue(self.workspace)
        self.source = self.workspace.recordings / "visit1.mp4"
        self.source.write_bytes(b"a video")
        self.number = self.queue.add(self.source, Settings())["id"]
        self.queue._set(self.number, state="done")
        self.folder = Path(self.queue.job(self.number).folder)
        self.folder.mkdir()
        self.path = TWO.write(self.folder / "timeline.parquet")
        site = build_site(self.workspace, self.queue, TOKEN, PORT)
        base = f"http://127.0.0.1:{PORT}"
        self.client = TestClient(site, base_url=base, headers=BEARER)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        found = self.client.request(method, f"/api/jobs/{self.number}/{path}", json=body)
        self.status = found.status_code
        return found.json()

    def download(self, kind: str) -> tuple[str, bytes]:
        found = self.client.get(f"/api/jobs/{self.number}/export/{kind}")
        assert found.status_code == 200, found.text
        return found.headers["content-disposition"], found.content

    def people(self) -> dict[int, str]:
        return {face["id"]: face["name"] for face in self.ask("GET", "timeline")["faces"]}


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(tmp_path / "work")
    with made.client:
        yield made


def test_faces_are_named_joined_split_and_undone(recording: Recording) -> None:
    first = recording.ask("GET", "timeline")
    assert recording.people() == {0: "face 0", 1: "face 1", 2: "face 2"}
    named = recording.ask("POST", "people/name", {"face": 0, "name": "Mia", "role": "child"})
    assert [f["name"] for f in named["faces"] if f["role"] == "child"] == ["Mia"]
    joined = recording.ask("POST", "people/join", {"face": 1, "into": 0})
    assert {f["id"]: f["rows"] for f in joined["faces"]} == {0: 120, 2: 120}
    split = recording.ask("POST", "people/split", {"face": 2, "at_s": 10})
    assert recording.people() == {0: "Mia", 2: "face 2", 3: "face 2 (2)"}
    assert all(e["end_s"] <= 10 for e in split["episodes"] if e["face"] == 2)
    undone = recording.ask("PUT", "people", joined["people"])
    assert {**joined, "people": None} == {**undone, "people": None}
    recording.ask("POST", "people/forget", {"face": 0})
    assert recording.ask("GET", "timeline")["faces"] == first["faces"]
    assert read_timeline(recording.path) == TWO  # the machine's own is never touched


@pytest.mark.parametrize(
    ("edit", "body", "said"),
    [
        ("join", {"face": 0, "into": 2}, "both appear at 4.00 s"),
        ("join", {"face": 0}, "the key 'into' is needed"),
        ("name", {"face": 0, "name": "x" * 61}, "1 to 60"),
        ("name", {"face": 0, "name": "Mia", "role": "king"}, "'child' or 'caregiver' or 'other'"),
        ("name", {"face": True, "name": "Mia"}, "face must be a whole number, got true"),
        ("split", {"face": 0, "at_s": "now"}, "at_s must be a number, got 'now'"),
        ("split", {"face": 0, "at_s": 19}, "nothing to split"),
        ("forget", {"face": 5}, "no face 5"),
    ],
)
def test_an_edit_that_cannot_be_changes_nothing(
    recording: Recording, edit: str, body: dict[str, Any], said: str
) -> None:
    answer = recording.ask("POST", f"people/{edit}", body)
    assert recording.status == 400 and said in answer["error"]
    assert {path.name for path in recording.folder.iterdir()} == {"timeline.parquet"}
    assert recording.ask("POST", "people/steal", {}) and recording.status == 404


def test_a_correction_lies_beside_the_machine_s_word_and_moves_with_its_face(
    recording: Recording,
) -> None:
    said = {"face": 0, "start_s": 1.0, "end_s": 2.5, "label": "sadness", "by": " A  B "}
    (first,) = recording.ask("POST", "corrections", said)["corrections"]
    assert recording.status == 201
    assert (first["face"], first["label"], first["by"]) == (0, "sadness", "A B")
    recording.ask("POST", "people/name", {"face": 1, "name": "Mia"})
    recording.ask("POST", "people/join", {"face": 0, "into": 1})
    head = recording.ask("POST", "corrections", said | {"face": 0, "start_s": 5, "end_s": 9})
    spans = [(c["face"], c["start_s"], c["end_s"]) for c in head["corrections"]]
    assert spans == [(0, 1.0, 2.5), (0, 5.0, 9.0), (0, 5.0, 9.0)]  # both of Mia's faces
    kept = (recording.folder / "timeline.corrections.jsonl").read_text().splitlines()
    assert [json.loads(line)["face_id"] for line in kept] == [0, 0, 1]
    after = recording.ask("POST", "corrections/1/remove", {"by": "CD"})["corrections"]
    assert [c["number"] for c in after] == [2, 3]
    assert read_timeline(recording.path) == TWO
    _, elan = recording.download("elan")
    (recording.folder / "a.eaf").write_bytes(elan)
    lanes = {lane.title: lane for lane in read_coding(recording.folder / "a.eaf").lanes}
    assert [tuple(c) for c in lanes["Mia corrected by A B"].codes] == [(5.0, 9.0, "sadness")]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": "boredom"}, "one of neutral"),
        ({"by": ""}, "your name or initials"),
        ({"end_s": 1.0}, "must start before it ends"),
        ({"start_s": 18, "end_s": 19}, "not visible from 18.00"),
        ({"end_s": None}, "end_s must be a number, got None"),
        ({"face": 9}, "no face 9"),
    ],
)
def test_a_correction_that_cannot_be_is_refused(
    recording: Recording, changed: dict[str, Any], said: str
) -> None:
    body = {"face": 0, "start_s": 1.0, "end_s": 2.5, "label": "sadness", "by": "AB"} | changed
    answer = recording.ask("POST", "corrections", body)
    assert recording.status == 400 and said in answer["error"]
    assert not (recording.folder / "timeline.corrections.jsonl").exists()
    assert "no correction 3" in recording.ask("POST", "corrections/3/remove", {"by": "A"})["error"]


def test_every_file_to_take_away_knows_who_is_who(recording: Recording) -> None:
    recording.ask("POST", "people/name", {"face": 0, "name": "Mia", "role": "child"})
    name, content = recording.download("parquet")
    assert name == 'attachment; filename="visit1.parquet"'
    (recording.folder / "copy.parquet").write_bytes(content)
    assert read_timeline(recording.folder / "copy.parquet").face_name(0) == "Mia"
    _, table = recording.download("csv")
    assert len(table.splitlines()) == TWO.table.num_rows + 1
    _, summary = recording.download("summary")
    rows = list(csv.DictReader(io.StringIO(summary.decode())))
    assert [(row["role"], row["people"]) for row in rows] == [
        ("child", "Mia"),
        ("unnamed", "face 1; face 2"),
    ]
    name, boris = recording.download("boris")
    assert name == 'attachment; filename="visit1 boris.zip"'
    with zipfile.ZipFile(io.BytesIO(boris)) as archive:
        assert len(archive.namelist()) == 3
        assert b"Mia" in archive.read("visit1_tabular.tsv")
    for kind, mark in (("datavyu", b"PK"), ("textgrid", b"ooTextFile"), ("json", b"{")):
        assert mark in recording.download(kind)[1][:40], kind
    report = recording.client.get(f"/api/jobs/{recording.number}/results/report.html")
    assert report.status_code == 404  # none was written with this timeline
    assert recording.client.get("/api/jobs/1/export/exe").status_code == 404
    everything = recording.client.get("/api/summary.csv").text
    assert everything == summary.decode()


def test_the_report_is_written_anew_once_people_are_named(recording: Recording) -> None:
    report = recording.folder / "report.html"
    report.write_text("old")
    ask = f"/api/jobs/{recording.number}/results/report.html"
    assert recording.client.get(ask).text == "old"
    recording.ask("POST", "people/name", {"face": 0, "name": "Mia <3", "role": "child"})
    written = recording.client.get(ask).text
    assert "<h3>Mia &lt;3</h3>" in written and "Mia <3" not in written


def test_a_name_with_odd_letters_makes_a_safe_file_name(recording: Recording) -> None:
    odd = build_timeline(
        [{"frame": 0, "time_s": 0.0, "status": "no_face"}],
        names=EXPRESSIONS,
        group_of={},
        metadata={"source_name": 'a"; ü\r\nx.mp4'},
    )
    odd.write(recording.path)
    name, _ = recording.download("summary")
    assert "\n" not in name and name.count('"') == 2


def half(timeline: Timeline, tmp_path: Path) -> Path:
    """The journal of an analysis of the example that was stopped after 60 frames."""
    del timeline
    journal = tmp_path / "journal.arrows"
    analysis = Analysis(EXAMPLE, Settings(every=4), journal=journal)

    def stop(position: Any) -> None:
        if position.frames > 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analysis.run(stop)
    return journal


def test_what_is_read_so_far_can_be_looked_at(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.path.unlink()
    recording.queue._set(recording.number, state="failed")
    answer = recording.ask("GET", "timeline")
    assert (
        recording.status == 400 and "No frame of this recording is analyzed yet" in answer["error"]
    )
    journal = half(TWO, recording.folder)
    monkeypatch.setattr(timeline_view, "_unfinished", {})
    head = recording.ask("GET", "timeline")
    assert head["complete"] is False and head["state"] == "failed"
    assert head["name"] == "child.mp4" and head["size_px"] == [480, 360]
    rows = read_journal(journal)
    assert head["faces"][0]["rows"] == len([r for r in rows if r["face_id"] == 0])
    drawn = recording.ask("GET", "curves?face=0&start_s=0&end_s=20&points=500")
    assert len(drawn["time_s"]) == head["faces"][0]["rows"]
    said = {"face": 0, "start_s": 0, "end_s": 1, "label": "fear", "by": "AB"}
    assert "Wait until" in recording.ask("POST", "corrections", said)["error"]
    assert "Wait until" in recording.ask("POST", "people/forget", {"face": 0})["error"]


def test_a_recording_is_deleted_with_its_results_but_never_one_that_lies_elsewhere(
    recording: Recording, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "mine.mp4"
    elsewhere.write_bytes(b"mine")
    queue = recording.queue
    other = queue.add(elsewhere, Settings())["id"]
    twin = queue.add(recording.source, Settings())["id"]
    for number in (other, twin):
        answer = recording.client.delete(f"/api/jobs/{number}")
        assert answer.status_code == 400 or queue.job(number).state not in ("queued", "running")
        queue._set(number, state="canceled")
    queue._running = None
    for number in (other, recording.number):
        assert recording.client.delete(f"/api/jobs/{number}").json() == {"deleted": number}
    assert elsewhere.exists() and recording.source.exists() and not recording.folder.exists()
    assert recording.client.delete(f"/api/jobs/{twin}").status_code == 200
    assert not recording.source.exists() and queue.jobs() == []
    assert recording.client.delete(f"/api/jobs/{twin}").status_code == 400
    assert queue.add(elsewhere, Settings())["id"] > twin  # no number comes twice


def test_layers_of_another_recording_are_refused_and_nothing_is_added(
    recording: Recording,
) -> None:
    """The results folder was used for another recording: the first child's names stayed."""
    hashes = ({**TWO.metadata, "source_sha256": letter * 64} for letter in "ab")
    first, second = (
        Timeline(TWO.table, TWO.names, TWO.group_of, TWO.settings, about) for about in hashes
    )
    correction = {"face": 0, "start_s": 1, "end_s": 2, "label": "fear", "by": "AB"}
    first.write(recording.path)
    recording.ask("POST", "people/name", {"face": 0, "name": "Mia", "role": "child"})
    shares = recording.ask("POST", "corrections", correction)["shares"]["0"]
    fear = next(one for one in shares["expressions"] if one["label"] == "fear")
    assert fear["corrected"] == 1 and fear["share"] is None  # all else is unsure
    layers = [recording.path.with_name(f"timeline.{end}") for end in LAYER_ENDS]
    before = [path.read_bytes() for path in layers]
    second.write(recording.path)
    for method, path, body in (
        ("GET", "timeline", None),
        ("GET", "export/elan", None),
        ("POST", "people/name", {"face": 2, "name": "Tom", "role": "child"}),
        ("POST", "corrections", correction),
    ):
        answer = recording.ask(method, path, body)
        assert recording.status == 400 and "another recording" in str(answer), (method, path)
    assert [path.read_bytes() for path in layers] == before
