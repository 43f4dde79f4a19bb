"""Tries networks that do not come with moppet: once each, in a process with limits.

A network file may demand any amount of time and memory, or give back anything. Before one is used
here, a child process loads it and runs it twice. What passed is remembered by its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from moppet.values import ModelError

MOST_BYTES: Final = 2**31
"""Networks of more bytes are refused; ONNX cannot hold them in one file."""

OUTPUTS: Final = ("logits", "embedding", "display_logits", "movements")
"""The outputs of a network that are used; only the first is needed."""
_COLUMNS: Final = {
    "logits": "classes",
    "display_logits": "classes in display_logits",
    "movements": "movements",
}
_SLACK: Final = 0.01
"""A movement may be this much outside its range, by rounding; it is then clipped."""

_VERSION: Final = "1"  # of what is tried; another one tries everything again
_CPU_S: Final = 10
_WALL_S: Final = 120
_MORE_MEMORY: Final = 2**30
_CHILD: Final = "from moppet.infer.model_probe import try_here; try_here()"
_TOO_LONG: Final = f"runs for more than {_CPU_S} s on three small images: use another network"
_TOO_LARGE: Final = f"needs more than {_MORE_MEMORY // 2**30} GB of memory: use another network"
_ENDED: Final = "ends the process that runs it: the file is damaged, or needs too much memory"


@dataclass(frozen=True)
class Expected:
    """What an expression network must fit.

    shape: channels, height, width of its input. classes: width of its logits, and of its
        display_logits if it has them.
    mean, scale: the input is (value - mean) / scale, values from 0 to 255.
    lowest: the least value of each of its movements, 0 or -1; the largest is 1. Empty for none.
    """

    shape: tuple[int, int, int]
    classes: int
    mean: float
    scale: float
    lowest: tuple[float, ...] = ()

    def width(self, output: str) -> int | None:
        """The columns that an output must have; None for any number."""
        known = {"logits": self.classes, "display_logits": self.classes}
        return {**known, "movements": len(self.lowest)}.get(output)


def probe_network(content: bytes, expected: Expected, path: Path) -> None:
    """Raise ModelError if an expression network is unfit, endless or too large; see `Expected`.

    content: the ONNX file. path: its name, for the error.
    """
    _probe(content, {"kind": "expressions", **asdict(expected)}, path)


def probe_yunet(content: bytes, path: Path) -> None:
    """Raise ModelError if a file is no YuNet detector, or takes too much time or memory."""
    _probe(content, {"kind": "yunet"}, path)


def _probe(content: bytes, task: Mapping[str, Any], path: Path) -> None:
    request = json.dumps({**task, "version": _VERSION}, sort_keys=True).encode()
    key = hashlib.sha256(request + b"\n" + hashlib.sha256(content).digest()).hexdigest()
    passed = _folder() / key[:32]
    with suppress(OSError):
        if passed.exists():
            return
    problem = _ask_child(request + b"\n" + content)
    if problem:
        raise ModelError(f"{path} {problem}.")
    with suppress(OSError):
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()


def _folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("moppet", appauthor=False) / "networks_tried"


def _ask_child(request: bytes) -> str:
    """Return what the child process found wrong, "" for nothing."""
    import subprocess
    from tempfile import TemporaryDirectory

    import moppet

    root = str(Path(moppet.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with TemporaryDirectory() as empty:  # where the network finds no file of ours
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CHILD],
                input=request,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_WALL_S,
                cwd=empty,
                env={**os.environ, "PYTHONPATH": paths},
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _TOO_LONG
        except OSError as error:
            return f"cannot be tried in a process of its own: {error.strerror}"
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(done.stdout)["problem"])
    with suppress(ValueError, ImportError):
        import signal

        if signal.Signals(-done.returncode).name in ("SIGXCPU", "SIGKILL"):
            return _TOO_LONG
    return _ENDED


# ------------------------------------------------------------------------- in the child process


def try_here() -> None:
    """Read a request from stdin, try its network, and write what is wrong to stdout, as JSON."""
    head, _, content = sys.stdin.buffer.read().partition(b"\n")
    task = json.loads(head)
    run = _yunet_problem if task["kind"] == "yunet" else _network_problem
    import numpy as np  # noqa: F401  what the limit of memory does not count

    if task["kind"] == "yunet":
        import cv2  # noqa: F401
    else:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    _limit(len(content))
    try:
        problem = run(content, task)
    except MemoryError:
        problem = _TOO_LARGE
    sys.stdout.write(json.dumps({"problem": problem}))
    sys.stdout.flush()
    os._exit(0)  # without destructors, which a damaged network may crash


def _limit(size: int) -> None:
    """Limit the time and the memory of this process. size: of the network in bytes."""
    try:
        import resource
    except ImportError:  # Windows: the time alone is limited, by the parent
        return
    seconds = _CPU_S + size // 20_000_000
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _MORE_MEMORY + 6 * size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _network_problem(content: bytes, task: Mapping[str, Any]) -> str:
    from moppet.infer.devices import make_session

    if any(_outside(content)):
        return "keeps its weights in other files: save it as one file"
    try:
        session = make_session(content, 1)
    except Exception as error:  # onnxruntime's errors share no public base class
        return _failed(error, "cannot be run by onnxruntime")
    given = {key: task[key] for key in ("classes", "mean", "scale")}
    channels, height, width = task["shape"]
    expected = Expected((channels, height, width), **given, lowest=tuple(task["lowest"]))
    wrong = session_problem(session, expected)
    if wrong:
        return wrong
    try:
        return _answer_problem(session, expected)
    except Exception as error:
        return _failed(error, "cannot be run by onnxruntime")


def _failed(error: Exception, what: str) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "llocat" in text or "bad_alloc" in text:
        return _TOO_LARGE
    return f"{what}: {''.join(c if c.isprintable() else ' ' for c in text[:200]).rstrip('.')}"


def session_problem(session: Any, expected: Expected) -> str:
    """Return what is wrong with the inputs and outputs that a session declares, "" for nothing."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        return f"has {len(inputs)} inputs; one, of images, is needed"
    given, shape = inputs[0].shape, expected.shape
    if len(given) != 4 or any(
        isinstance(got, int) and got != want for got, want in zip(given[1:], shape, strict=True)
    ):
        return f"takes input {given}, but its card requires (n, {list(shape)})"
    if isinstance(given[0], int):
        return f"takes {given[0]} images at a time; export it with a batch size that may vary"
    if inputs[0].type != "tensor(float)":
        return f"takes {inputs[0].type}; tensor(float) is needed"
    return _outputs_problem({one.name: one for one in session.get_outputs()}, expected)


def _outputs_problem(outputs: Mapping[str, Any], expected: Expected) -> str:
    if "logits" not in outputs:
        return f"has outputs {', '.join(outputs)}; 'logits' is needed"
    if expected.lowest and "movements" not in outputs:
        return f"has no output 'movements', but its card names {len(expected.lowest)} of them"
    for name in [one for one in OUTPUTS if one in outputs]:
        if outputs[name].type not in ("tensor(float)", "tensor(float16)", "tensor(double)"):
            return f"gives {name} of {outputs[name].type}; numbers are needed"
        got, wanted = (outputs[name].shape or [None])[-1], expected.width(name)
        if isinstance(got, int) and wanted not in (None, got):
            return f"has {got} {_COLUMNS[name]}, but its card names {wanted}"
    return ""


def _answer_problem(session: Any, expected: Expected) -> str:
    """Return what is wrong with the outputs for one and for three images, "" for nothing."""
    import numpy as np

    name = session.get_inputs()[0].name
    values = np.random.default_rng(0).integers(0, 256, (3, *expected.shape)).astype(np.float32)
    values[0], values[1] = values[0] // 4 + 96, 0
    with np.errstate(all="ignore"):
        images = ((values - np.float32(expected.mean)) / expected.scale).astype(np.float32)
    there = {out.name for out in session.get_outputs()}
    wanted = [out for out in OUTPUTS if out in there]
    for count in (1, 3):
        answers = session.run(wanted, {name: np.ascontiguousarray(images[:count])})
        for what, answer in zip(wanted, answers, strict=True):
            got, width = np.shape(answer), expected.width(what)
            if len(got) != 2 or got[0] != count or width not in (None, got[1]):
                columns = "d" if width is None else width
                return f"gives {what} of shape {got} for {count} images, not ({count}, {columns})"
            if not np.isfinite(answer).all():
                return f"gives {what} that are not finite numbers for ordinary images"
            if what == "movements" and not _in_range(answer, expected.lowest):
                return "gives movements that are not from 0 to 1 (from -1 to 1 where two-way)"
    return ""


def _in_range(movements: Any, lowest: tuple[float, ...]) -> bool:
    import numpy as np

    low = np.array(lowest) - _SLACK
    return bool((movements >= low).all() and (movements <= 1 + _SLACK).all())


def _outside(content: bytes) -> Iterator[bool]:
    """Yield True for each tensor of an ONNX file that is kept in another file."""
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # protobuf has its own for a damaged file; onnxruntime refuses it
        return
    waiting: list[Any] = [model]
    while waiting:
        message = waiting.pop()
        if isinstance(message, onnx.TensorProto):
            yield message.data_location == onnx.TensorProto.EXTERNAL
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                repeated = not hasattr(value, "ListFields")
                waiting += list(value) if repeated else [value]


def _yunet_problem(content: bytes, task: Mapping[str, Any]) -> str:
    import cv2
    import numpy as np

    no = "is not a YuNet model that OpenCV can read"
    path = Path("yunet.onnx")  # the child's folder is an empty one
    path.write_bytes(content)
    try:
        net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.7)
        ramp = np.linspace(0, 255, 320 * 320 * 3).reshape(320, 320, 3)
        _, rows = net.detect(ramp.astype(np.uint8))
    except cv2.error as error:
        return _TOO_LARGE if error.code == cv2.Error.STS_NO_MEM else no
    if rows is not None and (np.ndim(rows) != 2 or np.shape(rows)[1] != 15):
        return no
    return ""
