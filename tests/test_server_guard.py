"""The page's guard: what is paused, called, kept and told, and what happens when nobody watches."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from guard_clips import DISTRESS, child_timeline
from live_page import BEARER, HERE, PORT, TOKEN, CryingReader, ask, camera, message, show
from model_folder import write_whole_model
from moppet.commands import main as cli
from moppet.guard import DEFAULT_RULES, DISTRESS_RULES, DistressScore, read_log
from moppet.guard.distress import write_distress
from moppet.guard.notifications import Channels
from moppet.guard.trials import Measured, make_trial, match_trial
from moppet.server import guard_session as session_module
from moppet.server import live_api as live_module
from moppet.server.job_queue import Queue
from moppet.server.site import build_site
from moppet.server.workspace import Workspace
from moppet.values import UsageError

RULE = "negative >= 60 % for 1 s -> pause; again within 2 min -> pause and alert"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Where the local command writes what it was told."""
    return tmp_path / "calls"


@pytest.fixture
def client(workspace: Workspace, calls: Path) -> Iterator[TestClient]:
    command = f"sh -c 'echo $MOPPET_EVENT $MOPPET_TIME_S >> {calls}'"
    channels = Channels(command, None, command, sound="none")
    site = build_site(workspace, Queue(workspace), TOKEN, PORT, channels)
    with TestClient(site, base_url=HERE) as client:
        yield client


@pytest.fixture
def crying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "LiveReader", CryingReader)


def until(true: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come true")


def records_in(workspace: Workspace) -> list[dict[str, Any]]:
    logs = sorted(workspace.guards.glob("*.jsonl"))
    return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


# --------------------------------------------------------------------------------- the guard


@pytest.mark.usefixtures("crying")
def test_a_guard_pauses_alerts_resumes_and_keeps_numbers_only(
    client: TestClient, workspace: Workspace, calls: Path
) -> None:
    with camera(client) as socket:
        assert show(socket, 0, 0.5) == []
        begun = ask(socket, "guard", rules=RULE)
        assert begun["kind"] == "guarding" and begun["rules"] == RULE.split("; ")
        assert show(socket, 0.5, 19) == [
            ("pause", 2.0), ("resume", 8.0), ("pause", 16.0), ("alert", 16.0)
        ]  # fmt: skip
        ended = ask(socket, "end")
        assert ended["summary"]["events"] == {"pause": 2, "alert": 1, "resume": 1}
        assert show(socket, 19, 20) == []
    until(lambda: calls.exists() and len(calls.read_text().splitlines()) == 2)
    assert sorted(calls.read_text().splitlines()) == ["alert 16.000", "resume 8.000"]
    told = records_in(workspace)
    assert [one["event"] for one in told] == [
        "start", "pause", "resume", "pause", "alert", "end"
    ]  # fmt: skip
    assert told[0]["settings"]["rules"] == RULE.split("; ") and told[0]["model"] == "scripted"
    assert told[1]["why"]["value"][-1] == 0.9 and told[1]["why"]["counts"][-1] is True
    kept = {p.relative_to(workspace.root).as_posix() for p in workspace.root.rglob("*.*")}
    assert kept == {"queue.sqlite", f"guard/{begun['log']}.jsonl"}


@pytest.mark.usefixtures("crying")
def test_a_person_lets_it_go_on(client: TestClient, workspace: Workspace, calls: Path) -> None:
    with camera(client) as socket:
        ask(socket, "guard", rules=RULE, auto_resume=False)
        assert show(socket, 0, 10) == [("pause", 2.0), ("calm", 8.0)]
        resumed = ask(socket, "resume")
        assert [(one["event"], one["by"]) for one in resumed["events"]] == [("resume", "hand")]
        assert ask(socket, "resume")["events"] == []
        assert show(socket, 10, 17) == [("pause", 16.0), ("alert", 16.0)]
        ask(socket, "end")
    until(lambda: calls.exists() and len(calls.read_text().splitlines()) == 2)
    assert sorted(calls.read_text().splitlines()) == ["alert 16.000", "resume 9.900"]
    assert [one["event"] for one in read_log(next(workspace.guards.iterdir()))] == [
        "pause", "resume", "pause", "alert"
    ]  # fmt: skip


@pytest.mark.usefixtures("crying")
def test_an_unwatched_child_is_told_when_the_page_goes_away(
    client: TestClient, workspace: Workspace, calls: Path
) -> None:
    with camera(client) as socket:
        ask(socket, "guard", rules=RULE)
        show(socket, 0, 1)
    until(lambda: calls.exists() and calls.read_text().strip() == "stopped")
    assert [one["event"] for one in records_in(workspace)] == ["start", "stopped", "end"]


@pytest.mark.usefixtures("crying")
def test_an_unwatched_child_is_told_once_when_images_stay_away(
    client: TestClient, workspace: Workspace, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "QUIET_S", 0.2)
    with camera(client) as socket:
        ask(socket, "guard", rules=RULE)
        show(socket, 0, 0.5)
        until(lambda: calls.exists() and calls.read_text().strip() == "stopped")
        time.sleep(0.5)
        show(socket, 5, 5.5)
        assert ask(socket, "end")["kind"] == "ended"
    told = records_in(workspace)
    assert [one["event"] for one in told] == ["start", "stopped", "start", "end"]
    assert told[1]["reason"] == "no image came for 0.2 s"
    assert calls.read_text().split() == ["stopped"]


@pytest.mark.usefixtures("crying")
@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"do": "guard", "rules": "joyy >= 60 % for 1 s -> pause"}, "Did you mean 'joy'?"),
        ({"do": "guard", "rules": "pause"}, "rule 1"),
        ({"do": "guard", "rules": ""}, "at least one rule"),
        ({"do": "guard", "rules": 3}, "rules must be a text, got 3"),
        (
            {"do": "guard", "rules": RULE, "child": "loudest"},
            "must be 'largest' or 'longest'",
        ),
        ({"do": "guard", "rules": RULE, "child": 3}, "must be 'largest' or 'longest', got 3"),
        ({"do": "guard", "rules": RULE, "auto_resume": 1}, "true or false"),
        ({"do": "guard"}, "the key 'rules' is needed"),
        ({"do": "resume"}, "No guard is running"),
        ({"do": "end"}, "No guard is running"),
        ({}, "No guard is running"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_and_may_be_mended(
    client: TestClient, workspace: Workspace, wish: dict[str, Any], said: str
) -> None:
    with camera(client) as socket:
        socket.send_json(wish)
        refused = socket.receive_json()
        assert refused["kind"] == "refused" and said in refused["error"]
        assert not workspace.guards.exists()
        assert ask(socket, "guard", rules=RULE)["kind"] == "guarding"
        assert ask(socket, "guard", rules=RULE)["error"] == "The guard is running already."
        assert "no guard command 'dance'" in ask(socket, "dance")["error"]
        show(socket, 0, 0.3)
        ask(socket, "end")


@pytest.mark.usefixtures("crying")
def test_a_guard_without_room_for_its_log_does_not_begin(
    client: TestClient, workspace: Workspace
) -> None:
    workspace.guards.write_text("in the way")
    with camera(client) as socket:
        refused = ask(socket, "guard", rules=RULE)
        assert refused["kind"] == "refused" and "cannot be written" in refused["error"]
        socket.send_bytes(message(0))
        assert socket.receive_json()["guarding"] is False


# ------------------------------------------------------------------------ rules, calls and logs


def test_rules_are_checked_as_one_types(client: TestClient) -> None:
    good = client.post("/api/guard/check", headers=BEARER, json={"rules": "\n".join(DEFAULT_RULES)})
    assert good.json() == {"rules": list(DEFAULT_RULES)}
    for rules, said in (
        ("negativ ≥ 6 % for 1 s → pause", "negative"),
        ("hm", "rule 1"),
        (None, ""),
    ):
        answer = client.post("/api/guard/check", headers=BEARER, json={"rules": rules})
        assert answer.status_code == 400 and said in answer.json()["error"]


def test_the_page_learns_whom_the_command_line_named_and_no_more(workspace: Workspace) -> None:
    channels = Channels("sh -c 'echo secret'", sound="none", webhook="https://a.example/secret")
    site = build_site(workspace, Queue(workspace), TOKEN, PORT, channels)
    with TestClient(site, base_url=HERE) as client:
        about = client.get("/api/guard", headers=BEARER).json()
    assert about["commands"] == {"alert": "sh"} and about["webhook"] == "a.example"
    assert about["rules"] == list(DEFAULT_RULES) and "secret" not in json.dumps(about)


def test_the_page_learns_how_well_the_model_s_score_works(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/api/guard", headers=BEARER).json()["measured"] is None
    model = write_whole_model(tmp_path / "model")
    score = DistressScore(0.0, {"m_jaw_open": (0.0,)}, {"m_jaw_open": 1.0})
    trial = make_trial("one", child_timeline(0), DISTRESS, age_years=3)
    measured = Measured.of([match_trial(trial, [20.0, 50.0], 60.0)])
    write_distress(model / "card.toml", f"{score.to_toml()}\n{measured.to_toml()}")
    monkeypatch.setattr(session_module, "find_model", lambda: model)
    about = client.get("/api/guard", headers=BEARER).json()
    assert about["rules"] == list(DISTRESS_RULES)
    assert about["measured"]["missed"]["n"] == 2 and about["measured"]["clips"] == 1
    rules = {"rules": "\n".join(DISTRESS_RULES)}
    assert client.post("/api/guard/check", headers=BEARER, json=rules).json() == {
        "rules": list(DISTRESS_RULES)
    }
    refused = client.post(
        "/api/guard/check", headers=BEARER, json={"rules": "cheek_puff >= 5 % for 1 s -> pause"}
    )
    assert refused.status_code == 400 and "only brow_lower" in refused.json()["error"]


@pytest.mark.usefixtures("crying")
def test_logs_are_listed_and_exported(client: TestClient, workspace: Workspace) -> None:
    assert client.get("/api/guard/logs", headers=BEARER).json() == []
    with camera(client) as socket:
        name = ask(socket, "guard", rules=RULE)["log"]
        show(socket, 0, 19)
        ask(socket, "end")
    (listed,) = client.get("/api/guard/logs", headers=BEARER).json()
    assert listed["name"] == name and listed["events"] == {"pause": 2, "alert": 1, "stopped": 0}
    lines = client.get(f"/api/guard/logs/{name}.jsonl", headers=BEARER)
    assert [json.loads(line) for line in lines.text.splitlines()] == records_in(workspace)
    table = client.get(f"/api/guard/logs/{name}.csv", headers=BEARER)
    assert "attachment" in table.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(row["event"], row["time_s"]) for row in rows] == [
        ("pause", "2.0"), ("resume", "8.0"), ("pause", "16.0"), ("alert", "16.0")
    ]  # fmt: skip


def test_only_logs_are_given_out_and_a_damaged_one_is_named(
    client: TestClient, workspace: Workspace
) -> None:
    workspace.guards.mkdir()
    (workspace.guards / "20260101T000000.000000Z.jsonl").write_text("{")
    (workspace.guards / "notes.jsonl").write_text("{}")
    (listed,) = client.get("/api/guard/logs", headers=BEARER).json()
    assert "is damaged" in listed["error"]
    damaged = client.get("/api/guard/logs/20260101T000000.000000Z.csv", headers=BEARER)
    assert damaged.status_code == 400 and "not a guard log" in damaged.json()["error"]
    for name in ("notes.jsonl", "..%2fqueue.sqlite", "20260101T000000.000000Z.sqlite",
                 "20270101T000000.000000Z.jsonl"):  # fmt: skip
        assert client.get(f"/api/guard/logs/{name}", headers=BEARER).status_code == 404


def test_a_program_that_is_none_is_refused_before_the_page_opens(tmp_path: Path) -> None:
    for option, value in (("--on-alert", "no-such-program"), ("--webhook", "ftp://a.example")):
        asked = ["serve", option, value, "--workspace", str(tmp_path / "work")]
        done = CliRunner().invoke(cli.app, asked)
        assert isinstance(done.exception, UsageError) and option in str(done.exception)
    assert not (tmp_path / "work").exists()


def test_the_pages_are_there_and_hold_no_inline_script_or_style(client: TestClient) -> None:
    for path in ("/live", "/guard"):
        page = client.get(path, headers=BEARER)
        assert page.status_code == 200 and " style=" not in page.text and "<style" not in page.text
        assert page.text.count("<script") == page.text.count('<script type="module" src=') == 1
