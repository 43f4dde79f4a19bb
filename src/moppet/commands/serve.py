"""`moppet serve`: the local page."""

from __future__ import annotations

import os
import secrets
import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from moppet.commands.console import extra
from moppet.commands.options import AlertOptions, flag
from moppet.values import MoppetError

HOST: Final = "127.0.0.1"
PORT: Final = 8640


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What `moppet serve` is asked for."""

    port: Annotated[
        int | None, typer.Option(help=f"Port; default: {PORT}, or a free one.", min=1, max=65535)
    ] = None
    no_browser: Annotated[bool, flag("--no-browser", "Print the address, but open no browser.")] = (
        False
    )
    workspace: Annotated[Path | None, typer.Option(help="Folder for recordings and results.")] = (
        None
    )
    alerts: AlertOptions


def serve(options: ServeOptions) -> None:
    """Open the local page, to analyze and review recordings.

    Only this machine can open the page. It is also where you correct expressions, label faces and
    use a camera. Ctrl-C ends it.
    """
    with extra("app", "The page"):
        import platformdirs
        import uvicorn

        from moppet.guard.notifications import Alerts
        from moppet.server.connections import server_config
        from moppet.server.job_queue import Queue
        from moppet.server.security import OpeningCodes
        from moppet.server.site import build_site
        from moppet.server.workspace import Workspace
    channels = options.alerts.channels("none")
    host = Alerts(channels).webhook_host  # an error if a program or address cannot work
    former = os.umask(0o077)  # other users of this machine cannot read what is stored
    try:
        place = Workspace(
            options.workspace
            or Path(platformdirs.user_data_dir("moppet", appauthor=False)) / "workspace"
        )
        place.claim()
        queue = Queue(place)
        listener = _listen(options.port)
        number = int(listener.getsockname()[1])
        first = secrets.token_urlsafe(24)

        def address(code: str) -> str:
            return f"http://{HOST}:{number}/?token={code}"

        def print_next(code: str) -> None:
            typer.echo(f"The page was opened. To open it in another browser: {address(code)}")

        typer.echo(address(first))
        typer.echo(f"Recordings and results are in {place.root}. Press Ctrl-C to end.")
        if host:
            typer.echo(f"Alerts are sent to {host}: numbers and rules, no images.")
        codes = OpeningCodes(first, print_next)
        site = build_site(place, queue, secrets.token_urlsafe(24), number, channels, codes)
        config = server_config(site)
        if not options.no_browser:
            # The list of processes shows a browser's address to other users of this machine.
            webbrowser.open(address(codes.new()))
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        os.umask(former)


def _listen(port: int | None) -> socket.socket:
    """Return a socket that only this machine can reach; MoppetError if the port is taken."""
    for wanted in (PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, wanted))
            listener.listen()  # a browser that connects at once waits instead of being refused
            return listener
        except OSError:
            listener.close()
    raise MoppetError(f"Port {port} is taken. Choose another --port, or leave the option out.")
