"""The live and guard pages in a real browser; its camera shows a child, happy, then crying."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from browsing import wait_until
from moppet.server.security import COOKIE

ROOT = Path(__file__).parents[1]
FILM = ROOT / "examples" / "child.mp4"
FACES = ROOT / "benchmarks" / "guard_faces"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
CRIES_AT_S = 6.0
RULE = "negative >= 60 % for 4 s -> pause and alert"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")


SERVE = "from moppet.commands.main import main; main()"
CALM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from guard_rows import GROUP_OF, NAMES, face
from moppet.server import live_api
from moppet.timeline import TimelineSettings
class CalmReader:
    def __init__(self, settings=None):
        pass
    names, group_of, model_name, settings = NAMES, GROUP_OF, "scripted", TimelineSettings()
    card = {{"name": "scripted", "labels": list(NAMES), "groups": GROUP_OF}}
    def read(self, frame):
        more = {{"box_x": 80, "box_y": 60, "expression": "calm", "group": None, "confidence": 0.9}}
        return [face(round(frame.time_s, 3), 0.1, **more)]
live_api.LiveReader = CalmReader
{SERVE}
"""
"""A server whose child never cries, and that answers at once, also on a busy machine."""


class Page(NamedTuple):
    home: str
    cookie: str
    process: subprocess.Popen[str]
    work: Path
    calls: Path


def camera_file(path: Path) -> Path:
    """Write what the camera shows, 10 frames a second: a toddler who is happy and then cries."""
    happy, crying = (
        cv2.resize(cv2.imread(str(FACES / f"toddler_light_{name}.jpg")), (240, 240))
        for name in ("happiness", "crying")
    )
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\n")
        for i in range(round(10 * CRIES_AT_S) + 120):
            face = happy if i < 10 * CRIES_AT_S else crying
            sway = np.float32([[1, 0, 40 + 6 * np.sin(i / 10)], [0, 1, 4 * np.cos(i / 8)]])
            image = cv2.warpAffine(face, sway, (320, 240), borderMode=cv2.BORDER_REPLICATE)
            file.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())
    return path


@pytest.fixture
def page(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A real server, told on its command line whom to call. Its parameter: the program."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    work, calls = tmp_path / "work", tmp_path / "calls"
    program = getattr(request, "param", SERVE)
    command = [sys.executable, "-c", program, "serve", "--no-browser", "--port", str(port)]
    command += ["--workspace", str(work)]
    command += ["--on-alert", f"sh -c 'echo $MOPPET_EVENT $MOPPET_RULE >> {calls}'"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    home, path = process.stdout.readline().strip().split("?")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", f"/?{path}")  # at once: it waits until the server is ready
    cookie = str(connection.getresponse().headers["set-cookie"]).split(";")[0]
    connection.close()
    yield Page(home, cookie.removeprefix(f"{COOKIE}="), process, work, calls)
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    camera = camera_file(tmp_path / "child.y4m")
    options = ["--no-sandbox", "--use-fake-device-for-media-stream"]
    options.append(f"--use-file-for-fake-video-capture={camera}")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=options)
        yield browser
        browser.close()


def open_page(browser: Any, page: Page, path: str, complaints: list[str]) -> Any:
    made = browser.new_page(viewport={"width": 1200, "height": 900})
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.context.add_cookies([{"name": COOKIE, "value": page.cookie, "url": page.home}])
    made.goto(page.home + path)
    return made


def hold(page: Any, selector: str) -> None:
    page.focus(selector)
    page.keyboard.down(" ")
    page.wait_for_timeout(1300)
    page.keyboard.up(" ")


def test_live_asks_first_then_draws_the_child_s_face_without_lagging(
    page: Page, browser: Any
) -> None:
    from playwright.sync_api import expect

    complaints: list[str] = []
    live = open_page(browser, page, "live", complaints)
    expect(live.locator("#off")).to_be_visible()
    live.click("#turn")
    expect(live.locator("#said")).to_contain_text("is not allowed to use the camera")
    live.context.grant_permissions(["camera"])
    live.click("#turn")
    expect(live.locator("#now")).to_contain_text("happiness")
    drawn = "document.querySelector('{}').getContext('2d').getImageData(0,0,{}).data.some(v => v)"
    assert live.evaluate(drawn.format("#boxes", "320,240"))
    expect(live.locator("#now")).to_contain_text("sadness")
    # It drops images and keeps up: few are on their way at a time, however long each takes.
    number = "parseFloat(document.querySelector('#{}').textContent)"
    rate, delay = number.format("rate"), number.format("delay")
    wait_until(live, f"{rate} > 0 && {rate} * {delay} / 1000 < 4")
    colors = live.evaluate(
        "[...document.querySelector('#curve').getContext('2d').getImageData(0,0,"
        "document.querySelector('#curve').width,document.querySelector('#curve').height).data]"
        ".reduce((all, v, i, d) => (i % 4 ? all : all.add(`${v},${d[i+1]},${d[i+2]}`)), new Set())"
        ".size"
    )
    assert colors > 8
    live.check("#blur")
    assert "blur" in live.evaluate("getComputedStyle(document.querySelector('#camera')).filter")
    second = open_page(browser, page, "live", complaints)
    second.context.grant_permissions(["camera"])
    second.click("#turn")
    expect(second.locator("#said")).to_contain_text("Another page uses the camera")
    live.click("#turn")
    assert live.evaluate("document.querySelector('#camera').srcObject") is None
    expect(second.locator("#now")).to_contain_text("face")
    expect(second.locator("#said")).to_be_empty()
    assert complaints == [] and not list(page.work.rglob("*.jp*g"))


def test_the_guard_pauses_the_film_of_a_crying_child_within_six_seconds_and_says_why(
    page: Page, browser: Any
) -> None:
    from playwright.sync_api import expect

    complaints: list[str] = []
    guard = open_page(browser, page, "guard", complaints)
    guard.context.grant_permissions(["camera"])
    film = "document.querySelector('#show')"
    expect(guard.locator("#rules-said")).to_have_text("3 rules understood.")
    guard.fill("#rules", "negativ >= 60 % for 4 s -> pause")
    expect(guard.locator("#rules-said")).to_contain_text("Did you mean 'negative'?")
    guard.fill("#rules", RULE)
    expect(guard.locator("#rules-said")).to_have_text("1 rule understood.")
    expect(guard.locator("#command")).to_contain_text("The program sh")
    expect(guard.locator("#missing")).to_have_text("Still needed: a video, the camera.")
    guard.set_input_files("#film", FILM)
    guard.click("#turn")
    begun_s = time.monotonic()
    expect(guard.locator("#now")).to_contain_text("happiness")
    guard.click("#start")
    wait_until(guard, f"{film}.currentTime > 0.5")
    expect(guard.locator("#state")).to_have_text("watching")

    expect(guard.locator("#rest")).to_be_visible(timeout=20_000)
    assert time.monotonic() - begun_s < CRIES_AT_S + 6 + 2  # a camera takes a while to begin
    assert guard.evaluate(f"{film}.paused")
    expect(guard.locator("#rest-why")).to_contain_text("negative ≥ 60 % for 4 s")
    stopped_at = guard.evaluate(f"{film}.currentTime")
    guard.evaluate(f"{film}.play().catch(() => 0)")  # as a key of the keyboard would
    guard.wait_for_timeout(300)
    assert guard.evaluate(f"{film}.currentTime") - stopped_at < 0.2
    guard.click("#go-on")  # a click is not enough
    expect(guard.locator("#rest")).to_be_visible()
    hold(guard, "#go-on")
    expect(guard.locator("#rest")).to_be_hidden()
    wait_until(guard, f"{film}.currentTime > {stopped_at} + 0.3")

    guard.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    guard.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(guard.locator("#rest-why")).to_contain_text("not being watched: this page is hidden")
    assert guard.evaluate(f"{film}.paused")
    guard.evaluate("delete document.hidden")
    expect(guard.locator("#rest-why")).to_contain_text("was not watched for a while")
    hold(guard, "#go-on")
    wait_until(guard, f"!{film}.paused")
    hold(guard, "#end")
    expect(guard.locator("#screen")).to_be_hidden()
    events = guard.locator("#events li")
    kinds = [events.nth(i).get_attribute("data-event") for i in range(events.count())]
    assert kinds == ["pause", "alert", "resume", "stopped"]
    events.nth(0).locator("summary").click()
    expect(events.nth(0).locator("svg path.value")).to_be_visible()
    with guard.expect_download() as download:
        guard.get_by_role("link", name="JSON lines").click()
    records = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    pause, alert = records[1], records[2]
    assert (pause["event"], alert["event"], pause["rule"]) == ("pause", "alert", RULE)
    why = pause["why"]
    calm = [t for t, v in zip(why["time_s"], why["value"], strict=True) if v < 0.1]
    assert calm and 4 <= pause["time_s"] - calm[-1] < 6
    assert page.calls.read_text() == f"alert {RULE}\n"
    assert complaints == [] and records[-1]["event"] == "end"


@pytest.mark.parametrize("page", [CALM], indirect=True)
def test_a_guard_whose_camera_freezes_or_whose_server_goes_stops_the_film(
    page: Page, browser: Any
) -> None:
    from playwright.sync_api import expect

    complaints: list[str] = []
    guard = open_page(browser, page, "guard", complaints)
    guard.context.grant_permissions(["camera"])
    guard.set_input_files("#film", FILM)
    guard.click("#turn")
    expect(guard.locator("#start")).to_be_enabled()
    expect(guard.locator("#now")).to_contain_text("face")
    guard.click("#start")
    wait_until(guard, "document.querySelector('#show').currentTime > 0.3")
    guard.evaluate(
        "document.querySelector('#camera').getVideoPlaybackQuality = () => ({totalVideoFrames: 7})"
    )
    expect(guard.locator("#rest-why")).to_contain_text("the camera delivers no new image")
    guard.evaluate("delete document.querySelector('#camera').getVideoPlaybackQuality")
    expect(guard.locator("#rest-why")).to_contain_text("was not watched for a while")
    hold(guard, "#go-on")
    expect(guard.locator("#rest")).to_be_hidden()
    page.process.terminate()
    expect(guard.locator("#rest-why")).to_contain_text("child is not being watched")
    assert guard.evaluate("document.querySelector('#show').paused")
    hold(guard, "#go-on")
    expect(guard.locator("#rest")).to_be_visible()
    page.process.wait(timeout=20)
    (log,) = (page.work / "guard").iterdir()
    told = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    # "stopped" comes when the server ends; a camera that is frozen for long also stops and starts.
    assert told == ["start", "stopped"] * (len(told) // 2) + ["end"] and len(told) > 2
    assert "stopped" in page.calls.read_text()
    assert complaints == []
