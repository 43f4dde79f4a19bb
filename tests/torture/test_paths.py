"""Names, pipes, playlists, links, files that grow or vanish, and odd values of every option."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from child import Tally, faults, moppet

from rendered import read_stills, write_video

NAMES = (
    "a\nb.mp4", "\U0001f476\u202egpj.mp4", "-o.mp4", "--help.mp4", "a b'\"$(id).mp4",
    "x" * 250 + ".mp4", "[abc].mp4", "*.mp4", "a;b|c&.mp4", "con.mp4", ".hidden.mp4", "..mp4",
    " .mp4", "%s%n%x.mp4", "<script>alert(1)<\u2215script>.mp4", "\x1b[31mred\x07.mp4",
    "[red]x[bold].mp4", "{0}.mp4", "~.mp4", "CAPS.MP4", "mid\u0301.mp4", "tab\there.mp4",
    "seq%03d.mp4", os.fsdecode(b"bytes\xff\xfe.mp4"),
)  # fmt: skip
NO_FILES = (
    "http://127.0.0.1:1/a.mp4", "data:video/mp4;base64,AAAA", "file:{clip}", "concat:{clip}|{clip}",
    "pipe:0", "fd:0", "subfile,,start,0,end,9999,,:{clip}", "rtsp://127.0.0.1:1/x", "tee:{clip}",
    "lavfi:testsrc", "camera:x", "camera:", "camera:-1", "camera:999999999999", "", " ", "x" * 5000,
    "/dev/null", "/dev/zero", "/dev/urandom", "/dev/full", "/dev/stdin", "/proc/self/mem", "/proc",
    "{root}/missing.mp4", "{root}/no*.mp4", "{root}/pipe.mp4", "{root}/pipe.jpg",
    "{root}/socket.mp4",
    "{root}/loop.mp4", "{root}/dangling.mp4", "{root}/empty", "{root}/folder.mp4",
)  # fmt: skip
PLAYLISTS = {
    "HLS, address": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:1/a.ts\n"
    "#EXT-X-ENDLIST\n",
    "HLS, file": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{clip}\n#EXT-X-ENDLIST\n",
    "HLS, path": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n",
    "HLS, no end": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n",
    "HLS, secret": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "concat, neighbor": "ffconcat version 1.0\nfile clip.mp4\n",
    "concat, path": "ffconcat version 1.0\nfile '{clip}'\noption safe 0\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><AdaptationSet><Representation id='v'><BaseURL>file://{clip}</BaseURL>"
    "</Representation></AdaptationSet></Period></MPD>",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "ASX": '<asx version="3.0"><entry><ref href="http://127.0.0.1:1/x.mp4"/></entry></asx>',
}
OPTIONS = (
    "--every 0", "--every 999999999999999999999", "--start nan", "--start inf", "--end nan",
    "--start 5 --end 1", "--start 1e308", "--smooth nan", "--smooth inf", "--smooth 1e308",
    "--smooth -1", "--min-face nan", "--min-face inf", "--min-face 1e9", "--min-face -1",
    "--format exe", "--format ,", "--format csv,csv,csv", "--detector x", "--detector yunet",
    "--detector yunet --detector-model /etc/passwd", "--detector yunet --detector-model /dev/zero",
    "--model nope", "--model /", "--model ../../x", "--model /dev/zero", "--resume",
)  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a face."""
    face = cv2.resize(next(iter(read_stills().values())).image, (240, 180))
    frames = [np.roll(face, i, axis=1) for i in range(20)]
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


def odd_files(root: Path) -> None:
    """Pipes, sockets, links and folders under names that NO_FILES gives."""
    for name in ("pipe.mp4", "pipe.jpg"):
        os.mkfifo(root / name)
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(root)  # a socket's path is short
        try:
            one.bind("socket.mp4")
        finally:
            os.chdir(here)
    (root / "loop.mp4").symlink_to("loop.mp4")
    (root / "dangling.mp4").symlink_to("nowhere.mp4")
    (root / "empty").mkdir()
    (root / "folder.mp4").mkdir()


def test_names_and_no_files(clip: Path, tmp_path: Path) -> None:
    tally = Tally()
    odd_files(tmp_path)
    for number, name in enumerate(NAMES):
        path, folder = tmp_path / name, tmp_path / f"named{number}"
        shutil.copy(clip, path)
        ended = moppet("analyze", path, "-o", folder)
        wrong = faults(ended) + ["not read"] * (ended.code != 0)
        tally.add("names", ascii(name[:30]), ended, wrong)
    for number, template in enumerate(NO_FILES):
        source = template.replace("{clip}", str(clip)).replace("{root}", str(tmp_path))
        folder = tmp_path / f"none{number}"
        ended = moppet("analyze", "-o", folder, "--no-report", "--", source, limit_s=40)
        wrong = faults(ended, folder) + ["was read"] * (ended.code == 0)
        tally.add("no files", ascii(template[:30]), ended, wrong)
    tally.close()


def test_playlists_and_options(clip: Path, tmp_path: Path) -> None:
    tally = Tally()
    shutil.copy(clip, tmp_path / "clip.mp4")
    for name, text in PLAYLISTS.items():
        for suffix in ("m3u8", "mp4", "ts", "mpd"):
            path, folder = tmp_path / f"list.{suffix}", tmp_path / "listed"
            path.write_text(text.replace("{clip}", str(clip)))
            ended = moppet("analyze", path, "-o", folder, "--no-report", limit_s=40)
            wrong = faults(ended, folder) + ["was read"] * (ended.code == 0)
            tally.add("playlists", f"{name} as .{suffix}", ended, wrong)
    for number, options in enumerate(OPTIONS):
        folder = tmp_path / f"option{number}"
        ended = moppet("analyze", clip, "-o", folder, "--no-report", *options.split())
        tally.add("options", options, ended, faults(ended, folder))
    tally.close()


def test_links_and_batches(clip: Path, tmp_path: Path) -> None:
    tally = Tally()
    ring = tmp_path / "alone" / "ring"
    ring.mkdir(parents=True)
    shutil.copy(clip, ring / "x.mp4")
    (ring / "up").symlink_to("..")
    (tmp_path / "link.mp4").symlink_to(clip)
    (tmp_path / "bad.mp4").write_bytes(b"\0" * 9999)
    for case, sources, code in (
        ("a folder with a link to its parent", [ring], 0),
        ("a pattern through links", [f"{ring}/**/*.mp4"], 0),
        ("a link", [tmp_path / "link.mp4"], 0),
        ("the same twice", [clip, clip], 0),
        ("one is missing", [clip, tmp_path / "missing.mp4"], 2),
        ("one is damaged", [tmp_path / "bad.mp4", clip], 1),
    ):
        folder = tmp_path / "out" / case.replace(" ", "_")
        ended = moppet("analyze", *sources, "-o", folder, "--no-report")
        wrong = faults(ended) + [f"exit code {ended.code}, not {code}"] * (ended.code != code)
        tally.add("links and batches", case, ended, wrong)
    output = moppet("analyze", clip, "-o", tmp_path / "link.mp4", "--no-report")
    tally.add("output", "a file", output, faults(output) + ["taken"] * (output.code == 0))
    for place in ("/proc/x", "/dev/full"):
        output = moppet("analyze", clip, "-o", place, "--no-report")
        tally.add("output", place, output, faults(output) + ["taken"] * (output.code == 0))
    tally.close()


def test_files_that_change_while_they_are_read(clip: Path, tmp_path: Path) -> None:
    tally = Tally()
    long = tmp_path / "long.mp4"
    face = cv2.resize(next(iter(read_stills().values())).image, (320, 240))
    write_video(long, (np.roll(face, i, axis=1) for i in range(400)))
    changes: dict[str, Callable[[Path], None]] = {
        "vanishes": lambda path: path.unlink(),
        "is cut": lambda path: os.truncate(path, 1000),
        "grows": _grow,
        "is replaced": lambda path: os.replace(shutil.copy(clip, path.with_suffix(".new")), path),
    }
    for case, change in changes.items():
        for delay_s in (0.2, 0.6, 1.5):
            path = tmp_path / f"{case.replace(' ', '_')}{delay_s}.mp4"
            shutil.copy(long, path)
            timer = threading.Timer(delay_s, change, [path])
            timer.start()
            ended = moppet("analyze", path, "-o", tmp_path / f"o{path.stem}", "--no-report")
            timer.join()
            tally.add(case, f"after {delay_s} s", ended, faults(ended))
    tally.close()


def _grow(path: Path) -> None:
    for _ in range(100):
        with path.open("ab") as file:
            file.write(b"\0" * 9999)
        time.sleep(0.02)
