"""How soon the live page's curve shows an image: delay, pace and dropped frames, in Chromium.

    python benchmarks/live.py [--seconds 60] [-o results/live.json] [--page-only]

A real `moppet serve`, a real Chromium without a screen, a camera of 640x480 that shows the example
video. The delay of a frame runs from the moment the page takes it from the camera until its values
are in the drawn curve: JPEG, WebSocket, finding, reading, smoothing, drawing. The camera's own
delay is not in it. Once with the machine to itself, once beside one busy process for each core.
The figures in docs/guides/workbench.md are filled in from the result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "child.mp4"
PAGE = HERE.parent / "docs" / "guides" / "workbench.md"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
START, END = "<!-- figures: made by benchmarks/live.py -->", "<!-- end of figures -->"
BUSY = "while True: pass"
MEASURE = """async (seconds) => {
  const { Camera } = await import("/static/camera.js");
  const { Curve } = await import("/static/curve.js");
  const { drawFaces, largest } = await import("/static/faces.js");
  const camera = new Camera(document.querySelector("#camera"));
  const curve = new Curve(document.querySelector("#curve"));
  const delays = [];
  const took = [];
  camera.addEventListener("ready", ({ detail }) => { curve.names = detail.names; });
  camera.addEventListener("rows", ({ detail }) => {
    drawFaces(document.querySelector("#boxes"), detail, curve.names);
    curve.add(largest(detail.rows));
    delays.push(performance.now() - camera.begun - detail.sent_s * 1000);
    took.push(detail.took_ms);
  });
  await camera.start();
  await new Promise((done) => setTimeout(done, 3000));
  delays.length = took.length = camera.dropped = 0;
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const found = { delays: [...delays], took: [...took], dropped: camera.dropped };
  camera.stop();
  return found;
}"""


def write_camera(path: Path) -> Path:
    """Write the example video as a camera of 640x480 and its own 12 frames a second."""
    with av.open(str(EXAMPLE)) as container, path.open("wb") as file:
        rate = container.streams.video[0].average_rate
        header = f"YUV4MPEG2 W640 H480 F{rate.numerator}:{rate.denominator} Ip A1:1 C420jpeg\n"
        file.write(header.encode())
        for frame in container.decode(video=0):
            image = cv2.resize(frame.to_ndarray(format="bgr24"), (640, 480))
            file.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())
    return path


def cpu_times() -> tuple[int, int]:
    """Return the time that all cores have worked and rested so far (Linux's ticks)."""
    numbers = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = numbers[3] + numbers[4]
    return sum(numbers) - idle, idle


def measure(seconds: int, busy: int) -> dict[str, Any]:
    """Return the figures of one run beside so many busy processes."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        camera = write_camera(Path(folder) / "camera.y4m")
        program = "from moppet.commands.main import main; main()"
        command = [sys.executable, "-c", program, "serve", "--no-browser", "--workspace", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
        try:
            address = server.stdout.readline().strip()
            with sync_playwright() as play:
                options = ["--no-sandbox", "--use-fake-device-for-media-stream"]
                options.append("--use-fake-ui-for-media-stream")
                options.append(f"--use-file-for-fake-video-capture={camera}")
                browser = play.chromium.launch(executable_path=BROWSER, args=options)
                page = browser.new_page(viewport={"width": 1200, "height": 900})
                page.goto(address)
                page.goto(address.split("?")[0] + "live")
                before = cpu_times()
                found = page.evaluate(MEASURE, seconds)
                used, idle = (b - a for a, b in zip(before, cpu_times(), strict=True))
                browser.close()
        finally:
            for process in (server, *others):
                process.terminate()
                process.wait()
    delays = found["delays"]
    return {
        "frames": len(delays),
        "frames_per_s": round(len(delays) / seconds, 2),
        "dropped": found["dropped"],
        "delay_ms": {
            "median": round(statistics.median(delays), 1),
            "p95": round(float(np.percentile(delays, 95)), 1),
            "longest": round(max(delays), 1),
        },
        "server_ms_median": round(statistics.median(found["took"]), 1),
        "cpu_busy": round(used / (used + idle), 2),
    }


def table(results: dict[str, Any]) -> str:
    names = {"alone": "none", "busy": f"{results['cores']} busy processes"}
    lines = [
        f"Measured on {results['cores']} cores for {results['seconds']} s each, with a camera of "
        "640x480 in Chromium. The delay runs from taking an image to drawing its point of the "
        "curve:",
        "",
        "| load | frames/s | dropped | median delay | 95 % within | longest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key, name in names.items():
        run = results[key]
        delay = run["delay_ms"]
        lines.append(
            f"| {name} | {run['frames_per_s']:.1f} | {run['dropped']} of "
            f"{run['frames'] + run['dropped']} | {delay['median']:.0f} ms | {delay['p95']:.0f} ms "
            f"| {delay['longest']:.0f} ms |"
        )
    return "\n".join(lines)


def fill(page: Path, results: dict[str, Any]) -> None:
    """Put the figures into the page, between its two marks."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{START}\n\n{table(results)}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "live.json")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--page-only", action="store_true", help="only fill in the saved figures")
    asked = parser.parse_args()
    if not asked.page_only:
        cores = len(os.sched_getaffinity(0))
        about = {"cores": cores, "machine": platform.machine(), "seconds": asked.seconds}
        runs = {name: measure(asked.seconds, n) for name, n in (("alone", 0), ("busy", cores))}
        asked.output.write_text(json.dumps({**about, **runs}, indent=1) + "\n", encoding="utf-8")
    fill(asked.page, json.loads(asked.output.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
