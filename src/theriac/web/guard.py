"""What every request must pass and every answer carries, whatever the page.

The site has no passwords: it listens on this machine only. So other web sites, open in the same browser, must not be
able to use it: not by forms that they submit (the origin is checked), not by names that they let point to this machine
(the ``Host`` is checked), not by frames, and not by text of credentials that a page might take for script.
"""

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

MAX_BODY = 64 << 10
_SAFE = ("GET", "HEAD")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers hide the origin of our own forms, too
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
# The same frame as every page has, so that the script of an open page can put it in its place
_REFUSED = """<!doctype html>
<html lang="en"><title>Refused</title><main id="page"><p class="problem" role="alert">Refused: {why}.</p></main></html>
"""
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """Refuses what does not come from the site's own pages, and adds the headers that keep browsers strict.

    Args:
        application: What is guarded.
        name: The name under which the site is served, beside ``localhost`` and bare addresses.
    """

    def __init__(self, application: Application, name: str) -> None:
        self.application = application
        self.name = name.lower()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with a refusal."""
        if scope["type"] != "http":
            return
        headers = list(scope["headers"])
        refusal = refusal_of(scope["method"], scope["scheme"], headers, self.name)

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                still = scope["path"].startswith("/static/")
                kept = [(name, value) for name, value in message["headers"] if name.lower() != b"cache-control"]
                ours = _HEADERS | {"cache-control": "no-cache" if still else "no-store"}
                message["headers"] = kept + [(name.encode(), value.encode()) for name, value in ours.items()]
            await send(message)

        if refusal is None:
            await self.application(scope, receive, strict)
            return
        status, why = refusal
        body = _REFUSED.format(why=why).encode()
        about = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await strict({"type": "http.response.start", "status": status, "headers": about})
        await send({"type": "http.response.body", "body": body})


def refusal_of(method: str, scheme: str, headers: list[tuple[bytes, bytes]], name: str) -> tuple[int, str] | None:
    """Returns the status and the reason with which a request is refused, or None."""
    hosts = [value for key, value in headers if key == b"host"]
    if len(hosts) != 1 or not is_ours(host := hosts[0].decode("latin-1"), name):
        return 421, "this site is not served under that name"
    if method in _SAFE:
        return None
    if method != "POST":
        return 405, "only GET and POST are known"
    values = {key: value.decode("latin-1") for key, value in headers}
    same_site = values.get(b"sec-fetch-site", "same-origin") == "same-origin"  # older browsers do not say
    if values.get(b"origin") != f"{scheme}://{host}" or not same_site:
        return 403, "the form was not sent by a page of this site"
    length = values.get(b"content-length", "")
    if not (length.isascii() and length.isdigit()):
        return 411, "the length of the form is missing"
    if len(length) > 9 or int(length) > MAX_BODY:
        return 413, "the form is too long"
    return None


def is_ours(host: str, name: str) -> bool:
    """Returns whether a ``Host`` header names this site; names that a stranger can let point here do not.

    >>> [is_ours(h, "127.0.0.1") for h in ("localhost:8000", "127.0.0.1:8000", "[::1]:80", "evil.example:8000", "")]
    [True, True, True, False, False]
    """
    try:
        parts = urlsplit(f"//{host}")
        hostname, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.netloc != host or "@" in host or not hostname:
        return False
    if hostname in ("localhost", name):
        return True
    try:
        ipaddress.ip_address(hostname)  # an address cannot be rebound, a name can
    except ValueError:
        return False
    return True
