"""`moppet` and `python -m moppet`: the command line, in a process that is moppet's own."""

from __future__ import annotations

from moppet import privacy


def main() -> None:
    privacy.use_own_caches()
    privacy.remove_telemetry_files()
    from moppet.commands.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
