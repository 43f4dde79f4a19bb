"""`moppet` and `python -m moppet`: the command line, in a process that is moppet's own."""

from __future__ import annotations

import io
import sys

from moppet import privacy


def main() -> None:
    try:
        for stream in (sys.stdout, sys.stderr):
            # A file name may contain bytes that are not text.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        privacy.use_own_caches()
        privacy.remove_telemetry_files()
        from moppet.commands.main import main as command_line
    except KeyboardInterrupt:
        print("moppet: stopped.", file=sys.stderr)
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
