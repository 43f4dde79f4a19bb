"""Nothing leaves the machine, and no file is written elsewhere: the system calls are the witness.

Each command runs under strace, in a home of its own. A network address that is not this machine's,
a question to a name server, and a file outside the output and moppet's own cache are findings.
`make test` installs strace. Without it these tests are skipped, but in CI they fail.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from ferplus_sample import draw_face

REPO = Path(__file__).parents[1]
EXAMPLE = REPO / "examples" / "child.mp4"
IDLE_S = 20
CALLS = (
    "connect,sendto,sendmsg,sendmmsg,bind,open,openat,openat2,creat,truncate,"
    "rename,renameat,renameat2,mkdir,mkdirat,mknod,mknodat,symlink,symlinkat,link,linkat"
)
STRACE = ["strace", "-ff", "-y", "-qq", "-s", "256", "--seccomp-bpf", "-e", f"trace={CALLS}"]
# What moppet sets by itself: a stranger's environment has none of it.
UNSET = (
    *("ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"),
    *("DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE"),
    *("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
)
# Local services that look names up for a program.
RESOLVERS = ("nscd/socket", "systemd/resolve", "avahi-daemon/socket", "dbus/system_bus_socket")


# -------------------------------------------------------------------- what a trace has to say


def network_findings(line: str) -> list[str]:
    """Return what a line of strace shows of other machines or of name servers."""
    if not line.startswith(("connect(", "send", "bind(")):
        return []
    found = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
    places = [four or six for four, six in found]
    near = [place.startswith(("127.", "::ffff:127.")) or place == "::1" for place in places]
    asks = re.search(r"sin6?_port=htons\(53\)", line) or any(name in line for name in RESOLVERS)
    return [line] if asks or not all(near) else []


def file_findings(line: str, cwd: Path, allowed: tuple[Path, ...]) -> list[str]:
    """Return what a line of strace shows of files made or changed outside the allowed folders."""
    call, _, rest = line.partition("(")
    if re.search(r"\) += -1 E", line) or call in ("connect", "bind") or call.startswith("send"):
        return []
    if call in ("open", "openat", "openat2"):
        if not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", rest):
            return []
        # The descriptor's own path, which knows of links and of the folder it is relative to.
        paths = re.findall(r"= \d+<([^>]*)>$", rest)
    else:
        # These are relative to the folder of the run: moppet changes to no other.
        paths = re.findall(r'"([^"]*)"', rest)
        paths = paths[:1] if call in ("mkdir", "mkdirat", "mknod", "mknodat") else paths[-1:]
    return [
        line
        for path in paths
        if not any(Path(cwd, path).is_relative_to(place) for place in allowed)
    ]


class Traced:
    """A command under strace in a home of its own; afterwards, what it did outside."""

    def __init__(self, folder: Path, command: list[Any]) -> None:
        self.folder = folder
        for name in ("home", "out", "tmp", "cache", "trace"):
            (folder / name).mkdir(parents=True)
        kept = {k: v for k, v in os.environ.items() if k not in UNSET}
        own = {
            "HOME": folder / "home",
            "XDG_CACHE_HOME": folder / "cache",
            "TMPDIR": folder / "tmp",
            "PYTHONDONTWRITEBYTECODE": 1,
            "OMP_NUM_THREADS": 1,
        }
        with (folder / "printed.txt").open("wb") as printed:
            self.process = subprocess.Popen(
                [*STRACE, "-o", str(folder / "trace" / "call"), *map(str, command)],
                cwd=folder / "out",
                env=kept | {name: str(value) for name, value in own.items()},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def printed(self) -> str:
        return (self.folder / "printed.txt").read_text(encoding="utf-8")

    def end(self, timeout_s: float = 280) -> int:
        try:
            return self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def findings(self) -> list[str]:
        """Return the system calls that must not be, and what was left in the home or behind."""
        allowed = tuple(
            place.resolve()
            for place in (
                self.folder / "out",
                self.folder / "tmp",
                self.folder / "cache" / "moppet",
                Path("/dev"),
                Path("/proc"),
            )
        )
        found = []
        for trace in sorted((self.folder / "trace").iterdir()):
            for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
                found += network_findings(line)
                found += file_findings(line, (self.folder / "out").resolve(), allowed)
        left = [*(self.folder / "home").rglob("*"), *(self.folder / "tmp").rglob("*")]
        left += [p for p in (self.folder / "cache").iterdir() if p.name != "moppet"]
        return found + [f"left behind: {path}" for path in left]


# ---------------------------------------------------------------------------------- the runs


@pytest.fixture(scope="module", autouse=True)
def _strace() -> None:
    """Skip where strace is missing or may not trace; in CI that is a failure."""
    reason = "strace is not installed (make test installs it)"
    if shutil.which("strace"):
        done = subprocess.run([*STRACE, "-o", os.devnull, "true"], capture_output=True, text=True)
        if done.returncode == 0:
            return
        reason = f"strace may not trace here: {done.stderr.strip()}"
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


class Runs(NamedTuple):
    """Every command once, traced: by name."""

    ended: dict[str, int]
    traced: dict[str, Traced]


COMMANDS = ("analyze", "notebook", "serve", "train", "evaluate", "report", "watch")


def write_faces(folder: Path) -> Path:
    """Drawn faces in a folder for each class; eight children, named by the files."""
    rng = np.random.default_rng(0)
    for name in ("happiness", "sadness"):
        (folder / name).mkdir(parents=True)
        for i in range(14):
            face = draw_face(name, rng)
            # Light of its own, or every drawn face would be a near duplicate of the others.
            light = cv2.resize(rng.uniform(0.1, 1, (5, 5)), face.shape[::-1])
            cv2.imwrite(str(folder / name / f"c{i % 8}_{i:03d}.png"), face * light)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Run all commands, those that wait beside those that work."""
    for library in ("torch", "uvicorn", "matplotlib"):
        pytest.importorskip(library)
    folder = tmp_path_factory.mktemp("privacy")
    faces = write_faces(folder / "faces")
    program = [sys.executable, "-m", "moppet"]
    traced: dict[str, Traced] = {}

    def start(name: str, *command: Any) -> Traced:
        traced[name] = Traced(folder / name, list(command))
        return traced[name]

    try:
        served = start("serve", *program, "serve", "--no-browser", "--workspace", "work")
        begin_s = time.monotonic()
        # What telemetry sends, it sends some seconds after the library was loaded.
        code = (
            f"import moppet, time; moppet.analyze({str(EXAMPLE)!r}, every=40); time.sleep({IDLE_S})"
        )
        start("notebook", sys.executable, "-c", code)
        _use_page(served)
        start("train", *program, "train", faces, "-o", "model", "--quick")
        start("analyze", *program, "analyze", EXAMPLE, "--every", "40", "-o", ".").end()
        timeline = folder / "analyze" / "out" / "child" / "timeline.parquet"
        start("report", *program, "report", timeline, "-o", "report.html").end()
        rule = "sadness >= 50 % for 1 s -> alert"
        watch = start("watch", *program, "watch", EXAMPLE, "--rule", rule, "--log", "guard.jsonl")
        watch.end()
        start("evaluate", *program, "evaluate", "default", faces, "-o", "evaluation").end()
        time.sleep(max(0.0, begin_s + IDLE_S - time.monotonic()))
        os.killpg(served.process.pid, signal.SIGINT)
        ended = {name: one.end() for name, one in traced.items()}
        yield Runs(ended, traced)
    finally:
        for one in traced.values():
            if one.process.poll() is None:
                os.killpg(one.process.pid, signal.SIGKILL)


def _use_page(served: Traced) -> None:
    """Open the page and have it analyze the example: that is a process of its own."""
    address = until(lambda: re.search(r"http://\S+", served.printed()))[0]
    port = urlsplit(address).port
    (token,) = parse_qs(urlsplit(address).query)["token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(method: str, path: str, body: bytes | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, body, headers)
        return json.loads(connection.getresponse().read())

    ask("PUT", "/api/uploads/child.mp4", EXAMPLE.read_bytes())
    job = {"recording": "child.mp4", "settings": {"every": 40}}
    ask("POST", "/api/jobs", json.dumps(job).encode())
    until(lambda: ask("GET", "/api/jobs")[0]["state"] in ("done", "failed"), 120)


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come true")


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_leaves_the_machine_and_no_file_is_written_elsewhere(runs: Runs, name: str) -> None:
    one = runs.traced[name]
    assert runs.ended[name] in (0, 130, -signal.SIGINT), one.printed()[-2000:]
    assert one.findings() == []


def test_every_command_did_its_work_and_was_traced(runs: Runs) -> None:
    made = {
        "analyze": "child/timeline.parquet",
        "report": "report.html",
        "watch": "guard.jsonl",
        "train": "model/model.onnx",
        "evaluate": "evaluation/evaluation.html",
    }
    assert [
        name
        for name, file in made.items()
        if not (runs.traced[name].folder / "out" / file).is_file()
    ] == []
    assert list((runs.traced["serve"].folder / "out" / "work").rglob("timeline.parquet"))
    for one in runs.traced.values():
        lines = [p.read_text(errors="replace") for p in (one.folder / "trace").iterdir()]
        assert any("/moppet/" in text and "openat(" in text for text in lines)


# ------------------------------------------------------------------- that these tests can fail

OUTSIDE = {
    "a name is looked up": (
        "import socket\ntry: socket.getaddrinfo('moppet.invalid', 443)\nexcept OSError: pass"
    ),
    "another machine is called": (
        "import socket; s = socket.socket(); s.settimeout(0.1)\n"
        "try: s.connect(('192.0.2.1', 443))\nexcept OSError: pass"
    ),
    "a packet is sent": (
        "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        "try: s.sendto(b'x', ('2001:db8::1', 9))\nexcept OSError: pass"
    ),
    "a port is opened to others": "import socket; socket.socket().bind(('0.0.0.0', 0))",
    "the home is written to": "import os; open(os.path.expanduser('~/id'), 'w')",
    "another program's cache is written to": (
        "import os, pathlib; pathlib.Path(os.environ['XDG_CACHE_HOME'], 'Microsoft').mkdir()"
    ),
    "a child process writes": (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'open(\"../elsewhere\", \"w\")'])"
    ),
    "a temporary file stays": "import tempfile; tempfile.mkstemp()",
}


@pytest.mark.parametrize("code", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_program_that_does_not_keep_to_itself_is_found(code: str, tmp_path: Path) -> None:
    one = Traced(tmp_path / "run", [sys.executable, "-c", code])
    assert one.end() == 0, one.printed()
    assert one.findings()


def test_a_program_that_keeps_to_itself_is_not_found(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, socket, tempfile\n"
        "pathlib.Path('result').mkdir(); open('result/file', 'w')\n"
        "pathlib.Path(os.environ['XDG_CACHE_HOME'], 'moppet').mkdir()\n"
        "tempfile.TemporaryFile().write(b'x')\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "socket.create_connection(s.getsockname())\n"
    )
    one = Traced(tmp_path / "run", [sys.executable, "-c", code])
    assert one.end() == 0, one.printed()
    assert one.findings() == []
