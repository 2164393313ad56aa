"""``theriac serve``: a page to ask a store in a browser, and to try out what a claim would change."""

import ipaddress
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from theriac.cli.options import printable
from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from socket import socket

    from theriac.provenance.keys import SigningKey
    from theriac.provenance.policy import Policy
    from theriac.web.site import Site

app = App(name="serve")


@app.default
def serve(
    *,
    store: str | None = None,
    battery: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    read_only: Annotated[bool, Parameter(negative="")] = False,
    key: str | None = None,
    policy: Path | None = None,
) -> int:
    """Serve a page on this machine: choose a system and a question, see the answer, the claims and the chain.

    Visitors can add claims and retract them again, to see what they change; --read-only keeps them from it. There are
    no passwords: whoever reaches the port can do all that the page can. Stop it with Ctrl-C.

    Args:
        store: The store to serve, a file or a postgresql:// URL; evidence.sqlite by default.
        battery: Serve a folder of credentials instead, for instance a TAIBOM battery; unsigned ones are taken and
            marked, and what is added is gone when the server stops.
        host: The address to listen on; others than this machine's open the page to your network.
        port: The port; 0 takes a free one.
        read_only: Only show.
        key: Name of the key that signs what visitors add; by default one that is gone when the server stops.
        policy: Whose word counts, a TOML file; without it, everybody's whose signature holds.
    """
    if store is not None and battery is not None:
        raise UserError("--store and --battery exclude each other", do="give one of them")
    if not (read_only or _is_local(host)) and (battery is None or key is not None):
        do = "add --read-only, or listen on 127.0.0.1"
        raise UserError("everybody in your network could add to the store or sign with the key", where="--host", do=do)
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UserError("the web server is missing", do="pip install 'theriac[serve]'") from None
    from theriac.provenance.policy import EVERYBODY, read_policy
    from theriac.web.serving import listening

    signing = None if read_only else _key(key)
    trust = EVERYBODY if policy is None else read_policy(policy)
    with _opened(store, battery, signing, key or "", trust) as site, listening(host, port) as opened:
        _run(site, host, opened)
    return ExitCode.NOTHING


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(name: str | None) -> "SigningKey":
    from theriac.provenance.keys import SigningKey, default_folder, load

    return SigningKey.new() if name is None else load(default_folder(), name)


def _opened(
    store: str | None, battery: Path | None, key: "SigningKey | None", name: str, policy: "Policy"
) -> "AbstractContextManager[Site]":
    from theriac.web.site import open_battery, open_store

    if battery is not None:
        return open_battery(battery, key=key, key_name=name, policy=policy)
    return open_store(store or "evidence.sqlite", key=key, key_name=name, policy=policy)


def _run(site: "Site", host: str, listening: "socket") -> None:
    from theriac.web.serving import server_of

    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    print(printable(f"theriac serves {site.title} on {address} (Ctrl-C stops it)"), flush=True)
    # the server hands a signal on when it has stopped: it shall end this block, and not the process
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server_of(site, host).run(sockets=[listening])
    except KeyboardInterrupt:
        print("theriac: stopped")
