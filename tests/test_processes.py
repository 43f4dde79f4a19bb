"""Worker processes do their tasks in any order, and end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moppet.processes import run_tasks

MAIN = """
import os, time
from pathlib import Path

def work(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(300)

if __name__ == "__main__":
    import sys
    from moppet.processes import run_tasks
    list(run_tasks(work, sys.argv[1:] * 2, 2))
"""


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_every_task_is_done_once() -> None:
    assert sorted(run_tasks(str, range(7), 2)) == [str(number) for number in range(7)]
    assert list(run_tasks(str, range(3), 1)) == ["0", "1", "2"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
def test_workers_end_with_a_killed_main_process(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    (pids := tmp_path / "pids").mkdir()
    main = subprocess.Popen([sys.executable, script, pids])
    wait_until(lambda: len(list(pids.iterdir())) == 2)
    workers = [int(path.name) for path in pids.iterdir()]
    assert all(map(runs, workers))
    os.kill(main.pid, signal.SIGKILL)
    main.wait()
    wait_until(lambda: not any(map(runs, workers)), 20)
