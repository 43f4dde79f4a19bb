"""The command line as a user meets it: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from moppet.commands import main as cli


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


def run_moppet(capture: pytest.CaptureFixture[str], *arguments: Any) -> Done:
    """What `moppet` with these arguments ends with, in this process."""
    capture.readouterr()
    code: Any = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["moppet", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
    return Done(code, *capture.readouterr())
