"""`procession web`: the dashboard, served on its own."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import click

from procession.cli.calling import loaded
from procession.cli.shared import open_app, store_options
from procession.errors import ConfigError

PORT = 8686


@click.command()
@click.argument("target", metavar="[MODULE:APP]", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond loopback, say who may enter.")
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--read-only", is_flag=True, help="Nobody can act.")
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Who may enter: user:password[:viewer|operator|admin], one a line. Put TLS before it.",
)
@click.option("--hide", multiple=True, metavar="WORD", help="Hide values of keys with this word, too, such as iban.")
@click.option("--title", help="Shown beside the name; default: the namespace.")
@store_options
def web(
    target: str | None,
    host: str,
    port: int,
    read_only: bool,
    password_file: Path | None,
    hide: tuple[str, ...],
    title: str | None,
    url: str | None,
    namespace: str | None,
) -> None:
    """Show the jobs live in a browser: what waits, runs, was processed and failed.

    Needs no MODULE:APP: all that it shows is in the store. Given one, that app's own settings say where the store is.
    """
    needed()
    import uvicorn

    from procession.web import Dashboard, Passwords, hide_keys
    from procession.web.access import is_loopback

    if not is_loopback(host) and password_file is None:
        raise ConfigError(
            f"--host {host} would show every job to whoever finds it: give --password-file FILE, or stay on 127.0.0.1"
            " and let a proxy that knows who is who mount Dashboard(app, auth=…) instead"
        )
    if target is not None and (url is not None or namespace is not None):
        raise ConfigError("give either MODULE:APP or --url and --namespace: the app says where its store is")
    auth = Passwords.of_file(password_file) if password_file else None
    app = open_app(url, namespace) if target is None else loaded(target)
    server = uvicorn.Server(
        uvicorn.Config(
            Dashboard(app, auth=auth, read_only=read_only, title=title, redact=hide_keys(*hide)),
            host=host,
            port=port,
            log_level="warning",
            lifespan="off",
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            server_header=False,
        )
    )
    try:  # listening already, so that whoever reads the address below is answered
        line = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: cannot listen there: {error}") from None
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"the dashboard of {app.settings.namespace!r} is at http://{shown}:{line.getsockname()[1]}/")
    with suppress(KeyboardInterrupt):  # which uvicorn raises once more when it has ended
        server.run(sockets=[line])


def needed() -> None:
    """Raises ConfigError, naming the extra, where a package of the dashboard is missing."""
    try:
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401

        import procession.web  # noqa: F401
    except ImportError as missing:
        raise ConfigError(
            f'the dashboard needs {missing.name or "more packages"}: pip install "procession[web]"'
        ) from None
