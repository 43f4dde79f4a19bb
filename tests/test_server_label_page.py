"""The label page in a browser: two people rate, a third decides, training gets its manifest."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsing import wait_until
from label_folder import draw_images
from moppet.datasets.manifest import read_manifest
from moppet.server.ratings import RatingSets

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The page of a real server, with its token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from moppet.commands.main import main; main()"
    command = [sys.executable, "-c", program, "serve", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--workspace", str(tmp_path / "work")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(timeout=20)


class Person:
    """Somebody at the page, with the files at hand to know what a number stands for."""

    def __init__(self, page: Any, work: Path) -> None:
        from playwright.sync_api import expect

        self.page, self.expect = page, expect
        self.sets = RatingSets(work / "labels")

    def image(self) -> str:
        """The path of the image in sight."""
        source = self.page.locator("#stage img").get_attribute("src")
        path = self.sets.of("visit 1").images[int(source.rsplit("/", 1)[1])]
        folder, file = path.split("/")
        for word in (file, file.split("_")[0], f"{folder}/"):
            assert word not in self.page.content() and word not in self.page.url
        return path

    def ready(self) -> None:
        """Wait until the image is in sight."""
        self.expect(self.page.locator("#shown")).to_have_attribute("aria-busy", "false")

    def press(self, key: str, done: int) -> None:
        """Press a key, and wait until so many images are done."""
        self.page.keyboard.press(key)
        self.expect(self.page.locator("#far")).to_contain_text(f"{done} of 8")
        self.ready()


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_two_raters_a_decision_and_a_manifest(address: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    faces = draw_images(tmp_path / "faces")
    complaints: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(address)
        page.get_by_role("button", name="I have read this").click()
        page.get_by_role("link", name="Label").click()
        expect(page.locator("#no-sets")).to_be_visible()
        page.fill("#folder", "faces")
        page.fill("#set-name", "visit 1")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("the full path")
        page.fill("#folder", str(faces))
        page.get_by_role("button", name="Create the set").click()
        expect(page.locator("#set-what")).to_contain_text("8 images")
        home = page.url
        person = Person(page, tmp_path / "work")
        rate_as_ann(page, person)
        page.goto(home)
        expect(page.locator("#opening")).to_contain_text("One more rater is needed")
        rate_as_ben(page, person)
        page.get_by_role("link", name="Back to the set").click()
        expect(page.locator("#opening")).to_contain_text("2 raters have finished")
        page.get_by_role("button", name="show agreement").click()
        decide_and_write(page)
        page.goto(home)
        expect(page.locator("#new-rater")).to_be_hidden()
        browser.close()
    assert complaints == []
    manifest = read_manifest(tmp_path / "work" / "labels" / "visit 1" / "manifest.parquet")
    label = dict(zip(manifest.column("path"), manifest.column("label"), strict=True))
    assert label == {p: p.split("/")[0] for p in label} and len(label) == 7
    assert "sadness/child3_7.png" not in label


def rate_as_ann(page: Any, person: Person) -> None:
    """All by keys: a skip, a slip that is undone, a reload in between."""
    expect = person.expect
    page.fill("#rater", "ann")
    page.keyboard.press("Enter")
    expect(page.locator("#far")).to_have_text("0 of 8")
    person.ready()
    skipped = person.image()
    person.press("s", 0)
    expect(page.locator("#far")).to_contain_text("1 skipped")
    slip = person.image()
    page.context.set_offline(True)
    page.keyboard.press("7")
    expect(page.locator("#said")).to_contain_text("moppet does not answer")
    page.context.set_offline(False)
    person.ready()
    person.press("7", 1)
    expect(page.locator("#said")).to_be_empty()
    expect(page.locator("#last")).to_contain_text("anger")
    page.keyboard.press("Backspace")
    expect(page.locator("#far")).to_contain_text("0 of 8")
    person.ready()
    assert person.image() == slip
    for done in range(1, 8):
        if done == 4:
            here = person.image()
            page.reload()
            expect(page.locator("#far")).to_contain_text("3 of 8")
            person.ready()
            assert person.image() == here
        person.press(key_of(person.image()), done)
    expect(page.locator("#far")).to_contain_text("shown again now")
    assert person.image() == skipped
    page.keyboard.press(key_of(skipped))
    expect(page.locator("#all-done-title")).to_have_text("All 8 images are done")


def key_of(path: str) -> str:
    """The key of what is drawn; child3's frown is no face to anybody."""
    return "0" if path.endswith("_7.png") else "2" if path.startswith("happiness") else "3"


def rate_as_ben(page: Any, person: Person) -> None:
    """With the mouse where it is a class; calls one smile a surprise."""
    page.fill("#rater", "ann")
    page.keyboard.press("Enter")
    person.expect(page.locator("#said")).to_contain_text("a rater ann already")
    page.fill("#rater", "ben")
    page.keyboard.press("Enter")
    person.expect(page.locator("#far")).to_have_text("0 of 8")
    person.ready()
    for done in range(1, 9):
        path = person.image()
        word = {"0": "no face", "2": "happiness", "3": "sadness"}[key_of(path)]
        word = "surprise" if path == "happiness/child0_0.png" else word
        page.locator("#choosing").get_by_role("button", name=word).click()
        if done < 8:
            person.expect(page.locator("#far")).to_contain_text(f"{done} of 8")
            person.ready()


def decide_and_write(page: Any) -> None:
    from playwright.sync_api import expect

    line = page.locator("#figures tbody tr").first
    expect(line).to_contain_text("ann – ben")
    expect(line).to_contain_text("0.86")  # six of the seven that both gave a class
    expect(page.locator("#figures")).to_contain_text("Fleiss")
    expect(page.locator(".crossed .other", has_text="1")).to_have_count(1)
    card = page.locator("#disputed > li")
    expect(card).to_have_count(1)
    expect(card.locator(".said li")).to_have_text(["ann: happiness", "ben: surprise"])
    wait_until(page, "document.querySelector('#disputed img').naturalWidth > 0")
    card.get_by_role("button", name="surprise").click()
    expect(card).to_contain_text("settled: surprise")
    card.get_by_role("combobox").select_option("fear")
    expect(card).to_contain_text("settled: fear")
    card.get_by_role("button", name="happiness").click()
    expect(page.locator("#disputed-what")).to_contain_text("none unsettled")
    page.reload()
    expect(card.get_by_role("button", name="happiness")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Write the manifest").click()
    expect(page.locator("#written")).to_contain_text("happiness 4, sadness 3, surprise 0")
    page.get_by_role("button", name="Write it without them").click()
    expect(page.locator("#written")).to_contain_text("7 images: happiness 4, sadness 3. Left")
    expect(page.locator("#written code")).to_contain_text("moppet train '/")
