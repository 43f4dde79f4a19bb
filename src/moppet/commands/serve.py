"""`moppet serve`: the local page."""

from __future__ import annotations

import os
import secrets
import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from moppet.commands.console import extra
from moppet.commands.options import (
    READINGS,
    AlertOptions,
    PriorOption,
    choice,
    flag,
    read_reading,
)
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.infer.pipeline import Settings

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
    reading: Annotated[
        str | None,
        choice("Reading that decides; default: observers, live: display.", *READINGS),
    ] = None
    prior: PriorOption = "natural"
    alerts: AlertOptions

    def __post_init__(self) -> None:
        if self.reading is not None:
            read_reading(self.reading)


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
    settings, live = _analysis_settings(options)
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
        site = build_site(
            place, queue, secrets.token_urlsafe(24), number, channels, codes, settings, live
        )
        config = server_config(site)
        if not options.no_browser:
            # The list of processes shows a browser's address to other users of this machine.
            webbrowser.open(address(codes.new()))
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        os.umask(former)


def _analysis_settings(options: ServeOptions) -> tuple[Settings, Settings | None]:
    """Return the settings of recordings, and of the camera: None for its defaults.

    A camera cannot estimate its prior, so it has the model's own then. Raises UsageError if the
    default model has no such reading or its prior cannot be changed.
    """
    from moppet.infer.expression_model import load_model
    from moppet.infer.pipeline import Settings
    from moppet.infer.priors import read_prior
    from moppet.timeline import TimelineSettings

    prior = read_prior(options.prior)
    given = TimelineSettings(reading=read_reading(options.reading or "observers"))
    settings = Settings(prior=prior, timeline=given)
    if settings == Settings() and options.reading is None:
        return settings, None
    model = load_model(prior="uniform" if prior == "estimate" else prior)
    if given.reading != "observers" and not model.has_display:
        raise UsageError(
            f"the model {model.name!r} has no display reading: use --reading observers, or leave "
            "the option out."
        )
    reading = options.reading or ("display" if model.has_display else "observers")
    live = TimelineSettings(reading=read_reading(reading))
    return settings, Settings(prior="natural" if prior == "estimate" else prior, timeline=live)


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
