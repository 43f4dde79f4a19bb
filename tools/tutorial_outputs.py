"""Run the commands of the tutorials and write their output into the pages.

    python tools/tutorial_outputs.py                            # both tutorials, about five minutes
    python tools/tutorial_outputs.py recording.md               # one of them

In a page, a block of the language `console` holds commands (lines that start with "$ ") and their
output; a block with title="NAME" is a file, written before the commands that follow it. Everything
runs in a folder of its own, see `reader_folder.prepare`. An image that the page shows from the
folder with its own name (recording/ for recording.md) is copied from there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reader_folder import ROOT, prepare

TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^```(?P<head>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*$", re.MULTILINE)
TIME_TAKEN = re.compile(r"(?<= frames in )\d+(\.\d+)? s$", re.MULTILINE)  # differs by machine


def refreshed(page: Path, folder: Path) -> str:
    """Return the page's text with the outputs of a run in `folder`."""
    environment = prepare(folder)
    text = page.read_text(encoding="utf-8")
    return BLOCK.sub(lambda block: _block(block, folder, environment), text)


def _block(block: re.Match[str], folder: Path, environment: dict[str, str]) -> str:
    title = re.search(r'title="([^"]+)"', block["head"])
    if title:
        (folder / title[1]).write_text(block["body"], encoding="utf-8")
    if block["head"] != "console":
        return block[0]
    commands = COMMAND.findall(block["body"])
    shown = [f"{command}\n{_output(command[2:], folder, environment)}" for command in commands]
    return f"```console\n{''.join(shown)}```"


def _output(command: str, folder: Path, environment: dict[str, str]) -> str:
    run = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    if run.returncode:
        raise SystemExit(f"{command}\nended with exit code {run.returncode}:\n{run.stdout}")
    return "".join(f"{line.rstrip()}\n" for line in run.stdout.splitlines())


def images(page: Path) -> Iterator[Path]:
    """Yield where the images lie that the page's own commands write."""
    for name in re.findall(
        rf"!\[[^\]]*\]\(({page.stem}/[^)]+)\)", page.read_text(encoding="utf-8")
    ):
        yield page.parent / name


def outputs(text: str) -> list[str]:
    """Return a page's console blocks, times that depend on the machine left out."""
    return [
        TIME_TAKEN.sub("… s", b["body"]) for b in BLOCK.finditer(text) if b["head"] == "console"
    ]


def main() -> None:
    for name in sys.argv[1:] or sorted(path.name for path in TUTORIALS.glob("*.md")):
        page = TUTORIALS / name
        with tempfile.TemporaryDirectory() as folder:
            text = refreshed(page, Path(folder))
            for image in images(page):
                image.parent.mkdir(exist_ok=True)
                found = next(path for path in Path(folder).glob("**/*") if path.name == image.name)
                shutil.copyfile(found, image)
        page.write_text(text, encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
