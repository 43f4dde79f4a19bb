"""Speed and memory of `analyze` beside the libraries' own limit, all in one run.

    python benchmarks/speed.py [--seconds 60] [--yunet MODEL.onnx] [-o results/speed.json]
    python benchmarks/speed.py --page docs/reference/speed.md    the page from results/speed.json

Clips: the rendered example, looped, at 640x480 and 1920x1080 with one face, at 1280x720 with five,
and longer at 640x480; at 640x480 also by two workers at once. Every frame is read and every face
classified. Rows of each clip:

- decode: PyAV to RGB.
- limit: decoding, and for each face one run of R-Net, O-Net and the expression network (in batches
  of 16), each by its library alone, on patches that are there already. Nobody can do less.
- yunet: decoding, and YuNet by OpenCV on every frame, if its file is given.
- analyze: `moppet.analyze`.

Each row runs in a process of its own, after a warm-up of a second of the clip. CPU time is user and
system time of all its threads. Other work on the machine makes every row slower: compare ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "child.mp4"
RATE = 30
BATCH = 16


class Clip(NamedTuple):
    """A clip to measure: its name in the table, size, faces, and length as a multiple."""

    name: str
    width: int
    height: int
    faces: int
    times: int = 1
    workers: int = 1


CLIPS = (
    Clip("640×480, 1 face", 640, 480, 1),
    Clip("1920×1080, 1 face", 1920, 1080, 1),
    Clip("1280×720, 5 faces", 1280, 720, 5),
    Clip("640×480, 1 face, 2 workers", 640, 480, 1, workers=2),
)
LONGER = Clip("640×480, 1 face, 10 times as long", 640, 480, 1, times=10)


def images(clip: Path, end_s: float | None) -> Iterator[Any]:
    """Decode a clip to RGB, with as many threads as FFmpeg likes."""
    import av

    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            if end_s is not None and frame.time >= end_s:
                return
            yield frame.to_ndarray(format="rgb24")


def decode(clip: Path, end_s: float | None, _faces: int, _model: str) -> int:
    return sum(1 for _ in images(clip, end_s))


def limit(clip: Path, end_s: float | None, faces: int, _: str) -> int:
    import numpy as np

    import moppet
    from moppet.infer.detectors.mtcnn import load_onnx
    from moppet.infer.devices import make_session

    rnet, onet = (make_session(load_onnx(name), 1) for name in ("rnet", "onet"))
    model = moppet.load_model()
    kind = model.preprocessing
    channels = 1 if kind.color == "gray" else 3
    noise = np.random.default_rng(0).standard_normal
    small, large, crops = (
        noise((n, c, side, side), np.float32)
        for n, c, side in ((faces, 3, 24), (faces, 3, 48), (BATCH, channels, kind.size))
    )
    count = waiting = 0
    for _ in images(clip, end_s):
        count, waiting = count + 1, waiting + faces
        rnet.run(None, {"image": small})
        onet.run(None, {"image": large})
        while waiting >= BATCH:
            model.session.run(None, {"image": crops})
            waiting -= BATCH
    return count


def yunet(clip: Path, end_s: float | None, _: int, model: str) -> int:
    import cv2

    count, net = 0, None
    for image in images(clip, end_s):
        height, width = image.shape[:2]
        scale = min(1.0, 640 / max(width, height))
        size = (round(width * scale), round(height * scale))
        net = net or cv2.FaceDetectorYN.create(model, "", size)
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        net.detect(cv2.resize(image, size) if scale < 1 else image)
        count += 1
    return count


def analyze(clip: Path, end_s: float | None, _faces: int, _model: str) -> int:
    import moppet

    return int(moppet.analyze(clip, end_s=end_s).metadata["frame_count"])


ROWS: dict[str, Callable[[Path, float | None, int, str], int]] = {
    "decode": decode,
    "limit": limit,
    "yunet": yunet,
    "analyze": analyze,
}


def measure_here(row: str, clip: Path, faces: int, model: str) -> None:
    """Run one row in this process and print its figures as JSON."""
    ROWS[row](clip, 1.0, faces, model)
    cpu, wall = time.process_time(), time.perf_counter()
    frames = ROWS[row](clip, None, faces, model)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    result = {
        "frames": frames,
        "cpu_ms_per_frame": round(1000 * cpu / frames, 2),
        "frames_per_s": round(frames / wall, 1),
        "peak_memory_mb": round(peak_memory_mb()),
    }
    print(json.dumps(result))


def peak_memory_mb() -> float:
    """Return this process's peak memory; getrusage alone also counts the process it came from."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        unit = 1024**2 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(row: str, clip: Path, kind: Clip, model: str) -> dict[str, float]:
    """Measure a row in processes of their own, as many at once as the clip has workers."""
    command = [sys.executable, __file__, "--row", row, "--clip", str(clip), "--yunet", model]
    command += ["--faces", str(kind.faces)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(kind.workers)]
    done = [one.communicate() for one in running]
    if any(one.returncode for one in running):
        sys.exit(f"{row} failed:\n{done[0][1]}")
    found = [json.loads(out) for out, _ in done]
    together = dict(found[0])
    for name, combine in (
        ("cpu_ms_per_frame", lambda values: round(sum(values) / len(values), 2)),
        ("frames_per_s", lambda values: round(sum(values), 1)),
        ("peak_memory_mb", max),
    ):
        together[name] = combine([one[name] for one in found])
    return together


def write_clip(kind: Clip, seconds: float, path: Path) -> Path:
    """Write the example, looped, at a clip's size, as often side by side as it has faces."""
    import av
    import numpy as np

    columns, rows = (1, 1) if kind.faces == 1 else (3, 2)
    width, height = kind.width // columns // 2 * 2, kind.height // rows // 2 * 2
    count, most = 0, round(seconds * kind.times * RATE)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        while count < most:
            with av.open(str(EXAMPLE)) as container:
                for frame in container.decode(video=0):
                    small = frame.reformat(width, height, format="rgb24").to_ndarray()
                    whole = np.full((kind.height, kind.width, 3), 128, np.uint8)
                    for k in range(kind.faces):
                        y, x = k // columns * height, k % columns * width
                        whole[y : y + height, x : x + width] = small
                    image = av.VideoFrame.from_ndarray(whole, format="rgb24")
                    for _ in range(3):  # the example has about a third of these frames a second
                        if count == most:
                            break
                        image.pts, image.time_base = count, Fraction(1, RATE)
                        out.mux(stream.encode(image))
                        count += 1
        out.mux(stream.encode(None))
    return path


def compare(kind: Clip, seconds: float, model: str, folder: Path) -> dict[str, Any]:
    """Return a clip's rows, and what share of the limit's speed `analyze` reaches."""
    clip = write_clip(kind, seconds, folder / "clip.mp4")
    rows = [row for row in ROWS if model or row != "yunet"]
    found: dict[str, Any] = {row: measure(row, clip, kind, model) for row in rows}
    least, spent = found["limit"]["cpu_ms_per_frame"], found["analyze"]["cpu_ms_per_frame"]
    found["share_of_limit"] = round(least / spent, 2)
    return found


def page(results: dict[str, Any], path: Path) -> None:
    """Write the page with the table and, beside it, its plot."""
    lines = [
        "# Speed",
        "",
        "`make bench` measures how fast `moppet.analyze` reads every frame and classifies every",
        "face, beside a limit measured in the same run: decoding, and for each face one run of",
        "R-Net, O-Net and the expression network, each by its library alone. CPU time counts all",
        "threads. Other work on the machine slows every row, so compare the rows with each other.",
        "",
        "| clip | row | CPU ms a frame | frames/s | peak memory, MB |",
        "|---|---|---|---|---|",
    ]
    for name, rows in results["clips"].items():
        for row in (row for row in ROWS if row in rows):
            one = rows[row]
            lines.append(
                f"| {name} | {row} | {one['cpu_ms_per_frame']:.2f} | {one['frames_per_s']:.0f} | "
                f"{one.get('peak_memory_mb', '–')} |"
            )
    shares = ", ".join(
        f"{name}: {rows['share_of_limit']:.0%}".replace("%", " %")
        for name, rows in results["clips"].items()
    )
    lines += [
        "",
        f"Share of the limit's speed, by CPU time: {shares}.",
        "",
        f"Measured on {results['machine']}, Python {results['python']}, with clips of "
        f"{results['seconds']:g} s; load average before the run {results['load_before']}.",
        "",
        f"![CPU time of a frame, by clip and row]({path.stem}.svg)",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    plot(results["clips"], path.with_suffix(".svg"))


def plot(clips: dict[str, Any], path: Path) -> None:
    """Draw the CPU time of each clip's rows as bars."""
    import matplotlib as mpl
    import numpy as np

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "moppet"
    from matplotlib import pyplot as plt

    rows = [row for row in ROWS if any(row in found for found in clips.values())]
    figure, axes = plt.subplots(figsize=(7.5, 1 + 0.75 * len(clips)), layout="constrained")
    colors = dict(zip(ROWS, ("#8a8f98", "#2a6fbb", "#c9a227", "#2e8b57"), strict=True))
    for k, row in enumerate(rows):
        y = np.arange(len(clips)) + (k - (len(rows) - 1) / 2) * 0.26
        values = [found.get(row, {}).get("cpu_ms_per_frame", np.nan) for found in clips.values()]
        bars = axes.barh(y, values, 0.24, color=colors[row], label=row)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set_yticks(range(len(clips)), list(clips))
    axes.invert_yaxis()
    axes.set_xlabel("CPU ms a frame")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="length of each clip")
    parser.add_argument("--yunet", default="", help="YuNet's ONNX file; without it, not measured")
    parser.add_argument("--long", action="store_true", help="also ten times as long, for memory")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "speed.json")
    parser.add_argument("--page", type=Path, help="write this page from the output, and stop")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--clip", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--faces", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        measure_here(options.row, options.clip, options.faces, options.yunet)
        return
    if options.page:
        page(json.loads(options.output.read_text(encoding="utf-8")), options.page)
        return
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "seconds": options.seconds,
        "clips": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind in (*CLIPS, *[LONGER] * options.long):
            found = compare(kind, options.seconds, options.yunet, Path(folder))
            results["clips"][kind.name] = found
    options.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    options.output.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
