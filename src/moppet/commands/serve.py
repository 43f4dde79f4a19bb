"""`moppet serve`: the page, on this machine alone."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from pathlib import Path
from typing import Annotated, Final

import platformdirs
import typer

from moppet.commands.console import extra
from moppet.guard.notifications import Alerts, Channels
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
    on_alert: Annotated[
        str | None, typer.Option(help="Program to start when the page's guard alerts.")
    ] = None,
    on_pause: Annotated[str | None, typer.Option(help="Program to start when it pauses.")] = None,
    on_resume: Annotated[
        str | None, typer.Option(help="Program to start when the video goes on.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Tell this address of alerts: they LEAVE this machine.")
    ] = None,
) -> None:
    """Open the page: drop recordings, watch them being read, look at what was found."""
    with extra("app", "The page"):
        import uvicorn

        from moppet.server.job_queue import Queue
        from moppet.server.live_api import LARGEST_MESSAGE
        from moppet.server.site import build_site
        from moppet.server.workspace import Workspace
    channels = Channels(on_alert, on_pause, on_resume, sound="none", webhook=webhook)
    told = Alerts(channels).webhook_host  # also refuses what cannot work
    place = Workspace(
        workspace or Path(platformdirs.user_data_dir("moppet", appauthor=False)) / "workspace"
    )
    listener = _listen(port)
    number = int(listener.getsockname()[1])
    token = secrets.token_urlsafe(24)
    address = f"http://{HOST}:{number}/?token={token}"
    typer.echo(address)
    typer.echo(f"recordings and results: {place.root}  (Ctrl-C ends)")
    if told:
        typer.echo(f"alerts leave this machine, to {told}: numbers and rules, no image")
    site = build_site(place, Queue(place), token, number, channels)
    config = uvicorn.Config(
        site,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=2 * LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # images do not get smaller
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
            listener.listen()  # who opens the address at once waits, and is not refused
            return listener
        except OSError:
            listener.close()
    raise MoppetError(f"Port {port} is taken: name another with --port, or leave it out.")
