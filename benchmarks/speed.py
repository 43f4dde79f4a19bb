"""Speed and memory of `analyze` beside the libraries' own limit, all in one run.

    python benchmarks/speed.py [--clip FILE] [--yunet MODEL.onnx] [-o results/speed.json]

Cases: the clip as it is, and the clip as 640x480 looped to one minute (and, for memory, to ten).
Beside `analyze` (every frame classified): decoding alone (PyAV to RGB) and decoding with YuNet on
every frame (OpenCV), the least that anybody must do. Each runs in a process of its own; CPU time
is that process's user and system time less the same process's start-up.
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
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "child.mp4"


def decode(clip: Path, _: str) -> int:
    import av

    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(
            1 for frame in container.decode(video=0) if frame.to_ndarray(format="rgb24") is not None
        )


def yunet(clip: Path, model: str) -> int:
    import av
    import cv2

    count = 0
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        scale = min(1.0, 640 / max(stream.width, stream.height))
        size = (round(stream.width * scale), round(stream.height * scale))
        net = cv2.FaceDetectorYN.create(model, "", size)
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="bgr24")
            net.detect(cv2.resize(image, size) if scale < 1 else image)
            count += 1
    return count


def analyze(clip: Path, _: str) -> int:
    import moppet

    return int(moppet.analyze(clip).metadata["frame_count"])


CASES = {"decode": decode, "decode + YuNet": yunet, "analyze": analyze}


def measure_here(case: str, clip: Path, model: str) -> None:
    """Run one case in this process and print its figures as JSON."""
    import av  # noqa: F401
    import cv2  # noqa: F401

    import moppet  # noqa: F401

    cpu, wall = time.process_time(), time.perf_counter()
    frames = CASES[case](clip, model)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "frames": frames,
        "cpu_ms_per_frame": round(1000 * cpu / frames, 2),
        "frames_per_s": round(frames / wall, 1),
        "peak_memory_mb": round(peak),
    }
    print(json.dumps(result))


def measure(case: str, clip: Path, model: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--case", case, "--clip", str(clip), "--yunet", model],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{case} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout))


def looped(clip: Path, seconds: int, path: Path) -> Path:
    """Write the clip as 640x480 H.264, repeated until it lasts `seconds`."""
    import av

    with av.open(str(path), "w") as out:
        stream = None
        count, rate = 0, 25
        while stream is None or count < seconds * rate:
            with av.open(str(clip)) as container:
                rate = round(float(container.streams.video[0].average_rate or 25))
                if stream is None:
                    stream = out.add_stream("libx264", rate=rate)
                    stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
                    stream.options = {"preset": "veryfast", "crf": "23"}
                for frame in container.decode(video=0):
                    if count >= seconds * rate:
                        break
                    small = frame.reformat(640, 480, format="yuv420p")
                    small.pts, small.time_base = count, Fraction(1, rate)
                    out.mux(stream.encode(small))
                    count += 1
        out.mux(stream.encode(None))
    return path


def compare(clip: Path, model: str) -> dict[str, dict[str, float]]:
    cases = [case for case in CASES if model or case != "decode + YuNet"]
    results = {case: measure(case, clip, model) for case in cases}
    analyzed = results["analyze"]["cpu_ms_per_frame"]
    for case in cases[:-1]:
        ratio = analyzed / results[case]["cpu_ms_per_frame"]
        results["analyze"][f"cpu, times {case}"] = round(ratio, 2)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, default=EXAMPLE)
    parser.add_argument("--yunet", default="", help="YuNet's ONNX file; without it, not measured")
    parser.add_argument("--long", action="store_true", help="also ten minutes, for memory")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "speed.json")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure_here(options.case, options.clip, options.yunet)
        return
    results: dict[str, object] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        results[options.clip.name] = compare(options.clip, options.yunet)
        minute = looped(options.clip, 60, Path(folder) / "minute.mp4")
        results["640x480, 1 minute"] = compare(minute, options.yunet)
        if options.long:
            ten = looped(options.clip, 600, Path(folder) / "ten.mp4")
            results["640x480, 10 minutes"] = {"analyze": measure("analyze", ten, "")}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
