"""``serve`` and ``worker``."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import webbrowser
from typing import Annotated

import typer

from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.settings import settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 for any free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the dashboard."""
    listener = _listen(host or settings().host, settings().port if port is None else port)
    address, bound = listener.getsockname()[:2]
    url = f"http://{_in_url(address)}:{bound}/"

    import waitress

    from insidessl_dash.dashboard.factory import create_app, create_services

    services = create_services(settings())
    app = create_app(settings(), services)
    services.warm()
    print(f"insidessl_dash is at {url}  (Ctrl-C stops it)", file=sys.stderr, flush=True)
    if browser and sys.stderr.isatty() and _has_display():
        threading.Timer(0.5, webbrowser.open, [url]).start()
    try:
        waitress.serve(
            app.server,
            sockets=[listener],
            threads=8,
            ident="insidessl_dash",
            max_request_body_size=(settings().upload_mb + 1) * 2**20,
        )
    finally:
        services.close()


def worker(
    scheduler: Annotated[str, typer.Argument(help="Address, e.g. tcp://10.0.0.5:8786.")],
) -> None:
    """Compute for a Dask scheduler: one process for each device of this machine."""
    from insidessl_dash.engine.cluster import run_workers

    run_workers(scheduler)


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything slow is imported, so that a port in use is said at once.

    Raises:
        ConfigError: The port is in use, or the address is not of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} is in use, perhaps by another dashboard. "
                "Stop that one, or choose another with --port."
            ) from error
        raise ConfigError(f"Cannot listen on {_in_url(host)}:{port}: {error.strerror}.") from error
    except (OverflowError, UnicodeError) as error:
        raise ConfigError(
            f"Cannot listen on {_in_url(host)}:{port}: not an address and port."
        ) from error
    return listener


def _in_url(host: str) -> str:
    """An IPv6 address stands in brackets before a port.

    >>> _in_url("::1"), _in_url("127.0.0.1")
    ('[::1]', '127.0.0.1')
    """
    return f"[{host}]" if ":" in host else host


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
