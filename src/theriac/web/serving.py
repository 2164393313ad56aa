"""The web server that carries a site."""

import socket

import uvicorn

from theriac.errors import UserError
from theriac.web.app import create_app
from theriac.web.site import Site

_MOST_AT_ONCE = 64


def server_of(site: Site, name: str) -> uvicorn.Server:
    """Returns a server for a site; run it with the sockets that it shall listen on.

    Args:
        site: What is served.
        name: The name under which it is served, beside ``localhost`` and bare addresses.
    """
    config = uvicorn.Config(
        create_app(site, name),
        log_level="warning",
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,  # there is no proxy whose word on the visitor's address or scheme counts
        limit_concurrency=_MOST_AT_ONCE,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Raises:
        UserError: If the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        do = "choose another --host or --port"
        raise UserError(f"cannot listen: {said}", where=f"{host}:{port}", do=do) from None
