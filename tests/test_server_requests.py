"""Whatever is asked of the server, it answers with a status below 500 and one sentence."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from moppet.infer.pipeline import Settings
from moppet.server.job_queue import Queue
from moppet.server.site import build_site
from moppet.server.workspace import Workspace
from report_samples import two_people

TOKEN, PORT = "a-token-of-the-test", 8640
HERE = f"http://127.0.0.1:{PORT}"
BEARER = {"authorization": f"Bearer {TOKEN}"}
ROOT = Path(__file__).parents[1]
DEEP = 100_000
ODD_JSON: list[Any] = [
    None, True, 0, -1, 0.5, 2**31, 2**53, 2**63, 2**70, 10**400, 10**4000, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), "", " ", ".", "..", "/", "~nobody/x", "/a\0b", "a\nb", "\udcff",
    "\ud800", "\u202e", "</script>", "9" * 5000, "/" + "a" * 5000, "/a/" * 5000, "x" * 100_000,
    "\U00020000" * 40, "(a|a)*$", "(" * 150, "a{9999999999}", "[" * 200, "anger", "no face", "skip",
    [], {}, [[]], [1, "a", None], ["a", "b"], {"a": {"b": []}}, [{}], {"persons": []},
]  # fmt: skip
ODD_BODIES = [
    b"", b"null", b"[]", b"{", b"\xff\xfe{\0}\0", b"[" * DEEP, b'{"a":' * DEEP, b'{"a":1e999}',
    b'{"face":' + b"9" * 5000 + b"}", b'{"path":"\\ud800"}', b"\xef\xbb\xbf{}",
    b'"' + b"x" * 999_000,
]  # fmt: skip
ODD_WORDS = [
    "0", "-1", "1", "2", "99", "9" * 23, "9" * 4000, "9" * 5000, "1e3", "1.5", "abc", "%00",
    "\u0661", "9223372036854775807", "9223372036854775808", "..%2f..%2fx", "%2e%2e", "a" * 300,
    "a" * 5000, "%ff%fe", "%ed%a0%80", "\u202e", "x;y", "csv", "elan", "name", "join", "split",
    "forget", "visit", "Ann", "timeline.parquet", "report.html", "%0d%0aSet-Cookie:%20a=b",
    "{number}", "a.mp4",
]  # fmt: skip
KNOWN = {
    "name": ["visit", "a.mp4", "report.html", "timeline.parquet"],
    "rater": ["Ann"],
    "image": ["0", "1"],
    "edit": ["name", "join", "split", "forget"],
    "kind": ["csv", "json", "elan", "boris", "summary", "corrections"],
}
"""Part of a path → what it may be; the numbers are 1."""
ODD_NUMBERS = [
    "nan", "inf", "-inf", "1e308", "-1e308", "5e-324", "0", "1", "-5", "x", "", "9" * 400, "1e999",
]  # fmt: skip
KEYS = [
    "recording", "path", "settings", "model", "every", "face", "name", "role", "into", "at_s",
    "label", "by", "start_s", "end_s", "folder", "classes", "subject", "seed", "image", "mark",
    "rules", "child", "auto_resume", "without_rare", "persons", "pieces", "odd",
]  # fmt: skip
VALID: list[dict[str, Any]] = [
    {"path": str(ROOT / "examples" / "child.mp4"), "settings": {"model": "default", "every": 9}},
    {"face": 0, "name": "Mia", "role": "child"},
    {"face": 0, "into": 1},
    {"face": 0, "at_s": 1.0},
    {"face": 0, "label": "anger", "by": "A", "start_s": 0.0, "end_s": 1.0},
    {"persons": [{"name": "A", "role": None, "pieces": [{"face": 0, "from_s": 0, "to_s": None}]}]},
    {"name": "visit", "folder": "/tmp", "classes": ["anger", "fear"], "subject": None, "seed": 0},
    {"image": 0, "label": "anger", "mark": None},
    {"rules": "negative >= 60 % for 4 s -> pause", "child": "largest", "auto_resume": True},
]


def replaced(value: Any, odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A valid body in which one value, at any depth, is an odd one, or missing."""
    if isinstance(value, dict) and value:
        return st.sampled_from(sorted(value)).flatmap(
            lambda key: st.one_of(
                replaced(value[key], odd).map(lambda new: {**value, key: new}),
                st.just({k: v for k, v in value.items() if k != key}),
            )
        )
    if isinstance(value, list) and value:
        return replaced(value[0], odd).map(lambda new: [new, *value[1:]])
    return odd


values = st.recursive(
    st.sampled_from(ODD_JSON) | st.text(max_size=20) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=4,
)
objects = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)
bodies = st.one_of(
    st.sampled_from(ODD_BODIES),
    st.one_of(*(replaced(one, values) for one in VALID), objects, values).map(
        lambda value: json.dumps(value).encode("utf-8", "surrogatepass")
    ),
)
words = st.sampled_from(ODD_WORDS) | st.text(max_size=12).map(
    lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="")
)
numbers = st.sampled_from(ODD_NUMBERS) | st.floats().map(str)


class Site:
    """A site with a finished job, a rating set and a guard log; and its routes."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        queue = Queue(self.workspace)
        shutil.copy(ROOT / "examples" / "child.mp4", self.workspace.recordings / "a.mp4")
        number = queue.add(self.workspace.recordings / "a.mp4", Settings())["id"]
        folder = Path(queue.job(number).folder)
        folder.mkdir()
        two_people().write(folder / "timeline.parquet")
        queue._set(number, state="done")
        self.app = build_site(self.workspace, queue, TOKEN, PORT)
        self.client = TestClient(
            self.app, base_url=HERE, headers=BEARER, raise_server_exceptions=False
        )
        faces = root.parent / "faces"
        faces.mkdir()
        for i in range(2):
            shutil.copy(next((ROOT / "tests" / "pictures").glob("*.jpg")), faces / f"{i}.jpg")
        self.faces = faces
        assert self.client.post(
            "/api/labels", json={"name": "visit", "folder": str(faces)}
        ).is_success
        assert self.client.post("/api/labels/visit/raters", json={"name": "Ann"}).is_success
        self.routes = sorted(
            (method, route.path)
            for route in self.app.app.routes
            for method in (getattr(route, "methods", None) or ())
            if method != "HEAD"
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield Site(tmp_path_factory.mktemp("server") / "work")


def check(answer: Any) -> None:
    """Every refusal is one sentence without internals."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        sentence = answer.json()["error"]
        assert sentence and "Traceback" not in sentence


PROFILE = settings(
    max_examples=int(os.environ.get("MOPPET_FUZZ_EXAMPLES", "15")) * 15,
    deadline=None,
    derandomize="MOPPET_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


@PROFILE
@given(data=st.data())
def test_no_request_is_answered_with_an_internal_error(site: Site, data: st.DataObject) -> None:
    method, path = data.draw(st.sampled_from(site.routes))
    while "{" in path:
        start, end = path.index("{"), path.index("}")
        known = st.sampled_from(KNOWN.get(path[start + 1 : end], ["1"]))
        word = data.draw(st.one_of(known, known, words)).replace("{", "%7B").replace("}", "%7D")
        path = path[:start] + word + path[end + 1 :]
    query = ""
    if data.draw(st.booleans()):
        names = ["face", "start_s", "end_s", "points", "token", "job", "\u202e", ""]
        pairs = data.draw(st.lists(st.tuples(st.sampled_from(names), numbers | words), max_size=5))
        query = "?" + "&".join(f"{quote(name)}={value}" for name, value in pairs)
    body = data.draw(bodies) if method != "GET" else None
    check(site.client.request(method, path + query, content=body, follow_redirects=False))


def test_curves_and_boxes_of_odd_spans(site: Site) -> None:
    for start in ODD_NUMBERS:
        for end in ODD_NUMBERS:
            span = f"start_s={start}&end_s={end}"
            check(site.client.get(f"/api/jobs/1/boxes?{span}"))
            for more in ("face=0", f"face={'9' * 400}", "face=-1", f"face=0&points={'9' * 30}"):
                check(site.client.get(f"/api/jobs/1/curves?{span}&{more}"))


@pytest.mark.parametrize("number", ODD_WORDS)
def test_jobs_of_odd_numbers(site: Site, number: str) -> None:
    for rest in ("", "/timeline", "/recording", "/export/csv", "/results/report.html"):
        check(site.client.get(f"/api/jobs/{number}{rest}"))
    for rest in ("cancel", "resume", f"corrections/{number}/remove"):
        check(site.client.post(f"/api/jobs/{number}/{rest}", json={"by": "A"}))
    check(site.client.get(f"/static/{number}"))


@pytest.mark.parametrize("body", ODD_BODIES)
def test_odd_bodies(site: Site, body: bytes) -> None:
    for method, path in (
        ("POST", "/api/jobs"),
        ("POST", "/api/jobs/1/people/name"),
        ("PUT", "/api/jobs/1/people"),
        ("POST", "/api/jobs/1/corrections"),
        ("POST", "/api/labels"),
        ("POST", "/api/labels/visit/raters/Ann/ratings"),
        ("POST", "/api/guard/check"),
    ):
        answer = site.client.request(method, path, content=body)
        check(answer)
        assert answer.status_code == 400


def test_uploads_of_odd_names(site: Site) -> None:
    content = (ROOT / "examples" / "child.mp4").read_bytes()
    for name in (*ODD_WORDS, "\u00fc" * 150, "\U0001f476" * 60, "-rf", 'q"q', "$(touch x)", " x"):
        check(site.client.put(f"/api/uploads/{quote(name, safe='%')}.mp4", content=content))
    for path in site.workspace.recordings.iterdir():
        assert path.suffix == ".mp4" and len(os.fsencode(path.name)) < 256


@pytest.mark.parametrize("pattern", ["(a|a)*$", "(x+x+)+y", "(.*)*\\d\\d\\d!"])
def test_a_subject_pattern_that_takes_for_ever_is_refused(
    site: Site, pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moppet.server.ratings._PATTERN_S", 1.0)
    for letter in "ax":
        shutil.copy(next(site.faces.iterdir()), tmp_path / f"{letter * 40}!.jpg")
    begun = time.monotonic()
    body = {"name": "slow", "folder": str(tmp_path), "subject": pattern}
    answer = site.client.post("/api/labels", json=body)
    assert answer.status_code == 400 and "simplify" in answer.json()["error"]
    assert time.monotonic() - begun < 20


def test_patterns_that_are_none_are_refused(site: Site) -> None:
    for pattern in ("(", "a{9999999999}", "(" * 5000 + ")" * 5000, "(?P<n>x)(?P<n>y)"):
        body = {"name": "odd", "folder": str(site.faces), "subject": pattern}
        assert site.client.post("/api/labels", json=body).status_code == 400


def test_damaged_files_of_a_set_do_not_hide_the_others(site: Site) -> None:
    damaged = site.workspace.root / "labels" / "damaged"
    damaged.mkdir()
    try:
        for content in (b"", b"{}", b"[" * DEEP, b'{"folder":3}', b"\xff", b'{"seed":1e999}'):
            (damaged / "set.json").write_bytes(content)
            found = {one["name"]: one for one in site.client.get("/api/labels").json()}
            assert "damaged" in found["damaged"]["error"] and found["visit"]["images"] == 2
            check(site.client.get("/api/labels/damaged"))
    finally:
        shutil.rmtree(damaged)


def test_damaged_guard_logs_are_named(site: Site) -> None:
    folder = site.workspace.guards
    folder.mkdir(exist_ok=True)
    log = folder / "20260101T000000.000000Z.jsonl"
    for content in (
        b"", b"x", b"[" * DEEP, b"[1]", b'{"event":[]}', b'{"event":"start","at":1e999}', b"\xff\n"
    ):  # fmt: skip
        log.write_bytes(content)
        check(site.client.get("/api/guard/logs"))
        for kind in ("jsonl", "csv"):
            check(site.client.get(f"/api/guard/logs/{log.stem}.{kind}"))


def test_live_commands_of_odd_json_are_refused(site: Site) -> None:
    headers, live = {**BEARER, "origin": HERE}, f"ws://127.0.0.1:{PORT}/api/live"
    for text in ("[" * 19_000, '{"a":' * 3900, '{"do":"\\ud800"}', '{"do":[1]}', '{"do":1e999}'):
        with site.client.websocket_connect(live, headers=headers) as socket:
            assert socket.receive_json()["kind"] == "ready"
            socket.send_text(text)
            answer = socket.receive_json()
            assert answer["kind"] in ("refused", "failed")
            assert "internal" not in answer["error"]
