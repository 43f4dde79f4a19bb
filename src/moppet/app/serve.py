"""`moppet serve`: the page, on this machine alone."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from pathlib import Path
from typing import Annotated, Final

import platformdirs
import typer

from moppet.app.extras import extra
from moppet.values import MoppetError

HOST: Final = "127.0.0.1"
PORT: Final = 8640


def serve(
    port: Annotated[
        int | None, typer.Option(help=f"Default: {PORT}, or a free one.", min=1, max=65535)
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open nothing.")
    ] = False,
    workspace: Annotated[
        Path | None, typer.Option(help="Folder of its recordings and results.")
    ] = None,
) -> None:
    """Open the page: drop recordings, watch them being read, look at what was found."""
    with extra("app", "The page"):
        import uvicorn

        from moppet.app.server.queue import Queue
        from moppet.app.server.site import build_site
        from moppet.app.server.workspace import Workspace
    place = Workspace(
        workspace or Path(platformdirs.user_data_dir("moppet", appauthor=False)) / "workspace"
    )
    listener = _listen(port)
    number = int(listener.getsockname()[1])
    token = secrets.token_urlsafe(24)
    address = f"http://{HOST}:{number}/?token={token}"
    typer.echo(address)
    typer.echo(f"recordings and results: {place.root}  (Ctrl-C ends)")
    site = build_site(place, Queue(place), token, number)
    config = uvicorn.Config(
        site, log_level="warning", access_log=False, server_header=False, ws="websockets-sansio"
    )
    if not no_browser:
        webbrowser.open(address)
    uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int | None) -> socket.socket:
    """Return a socket of this machine alone; MoppetError where the port that was named is taken."""
    for wanted in (PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, wanted))
            return listener
        except OSError:
            listener.close()
    raise MoppetError(f"Port {port} is taken: name another with --port, or leave it out.")
