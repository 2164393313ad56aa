"""The site's addresses: the page, each credential, and the two forms that add to the store."""

import re
import secrets
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Form, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from theriac.errors import UserError
from theriac.provenance import SigningKey
from theriac.provenance.canonical import canonical
from theriac.provenance.query import QUERIES
from theriac.web.asking import Asking, Attesting, Retracting, Shown, answer, chosen
from theriac.web.attesting import attest, retract
from theriac.web.guard import Application, Guard
from theriac.web.listing import list_systems
from theriac.web.rendering import environment
from theriac.web.site import Site

_MISSING = "There is no such page."
router = APIRouter()


def create_app(site: Site, name: str = "localhost") -> Application:
    """Returns the site as an ASGI application.

    Args:
        site: What is served.
        name: The name under which it is served, beside ``localhost`` and bare addresses.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.include_router(router)
    app.mount("/static", StaticFiles(packages=[("theriac.web", "static")]))
    app.add_exception_handler(UserError, _problem)
    app.add_exception_handler(HTTPException, _problem)
    app.add_exception_handler(RequestValidationError, _problem)
    app.add_exception_handler(Exception, _problem)
    return Guard(app, name)


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


_Site = Annotated[Site, Depends(_site)]


@router.get("/")
def page(site: _Site, asking: Annotated[Asking, Query()]) -> Response:
    """Shows the systems, the questions, and the answer to the one that is asked."""
    shown: Shown | None = None
    problem = ""
    if asking.system:
        try:
            shown = answer(site, asking)
        except UserError as error:
            problem = str(error)
    with site.store.snapshot() as view:
        systems = list_systems(view, asking.search, every=asking.every, after=asking.after, before=asking.before)
    values = {"asking": asking, "shown": shown, "problem": problem, "systems": systems, "queries": QUERIES}
    return _page("index.html.j2", site, 400 if problem else 200, **values)


@router.get("/credential/{digest}")
def credential(site: _Site, digest: str, asking: Annotated[Asking, Query()]) -> Response:
    """Shows one credential, with the way back to the answer that led to it."""
    with site.store.snapshot() as view:
        entry = chosen(view, digest)
    return _page("credential.html.j2", site, entry=entry, document=entry.document, asking=asking)


@router.get("/credential/{digest}/download")
def download(site: _Site, digest: str) -> Response:
    """Sends the signed document, byte for byte as its digest was taken."""
    with site.store.snapshot() as view:
        entry = chosen(view, digest)
    # what the store keeps, and the digest is taken of, is the canonical form
    data = canonical(entry.document)
    name = re.sub(r"[^A-Za-z0-9-]", "", f"{entry.kind or 'credential'}-{entry.id.rpartition(':')[2]}")[:100]
    headers = {"content-disposition": f'attachment; filename="{name}.json"'}
    return Response(data, media_type="application/json", headers=headers)


@router.post("/attest")
def add(site: _Site, form: Annotated[Attesting, Form()]) -> Response:
    """Signs a claim, adds it and goes back to the answer."""
    key = _may_write(site, form.token)
    with site.store.snapshot() as view:
        component = chosen(view, form.component)
    said = {"type": form.type, "description": form.description}
    attest(site.store, key, component, form.claim, severity=form.severity, **said)
    return RedirectResponse(form.address(query=f"data-{form.claim}"), 303)


@router.post("/retract")
def take_back(site: _Site, form: Annotated[Retracting, Form()]) -> Response:
    """Signs a retraction, adds it and goes back to the answer."""
    key = _may_write(site, form.token)
    with site.store.snapshot() as view:
        entry = chosen(view, form.credential)
    retract(site.store, key, entry, form.reason)
    return RedirectResponse(form.address(), 303)


@router.get("/static/report.css")
def style() -> Response:
    """Sends the reports' style, which the site shares."""
    text = files("theriac.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    return Response(text, media_type="text/css")


def _may_write(site: Site, token: str) -> SigningKey:
    if site.key is None:
        raise HTTPException(403, "This site is read-only.")
    if not secrets.compare_digest(token.encode(), site.token.encode()):
        raise HTTPException(403, "The form is from before the server was started again; go back and reload the page.")
    return site.key


def _page(template: str, site: Site, status: int = 200, **values: Any) -> HTMLResponse:
    text = environment().get_template(template).render(site=site, **values)
    return HTMLResponse(text, status)


async def _problem(request: Request, error: Exception) -> Response:
    """Says in one line what went wrong."""
    site = _site(request)
    if isinstance(error, UserError):
        missing = str(error).startswith("there is no such credential")
        return _page("problem.html.j2", site, 404 if missing else 400, problem=str(error))
    if isinstance(error, HTTPException):
        text = _MISSING if error.status_code == 404 else str(error.detail)
        return _page("problem.html.j2", site, error.status_code, problem=text)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        return _page("problem.html.j2", site, 422, problem=f"{field}: {first['msg']}")
    text = f"Unexpected {type(error).__name__}; the server's own output says more. Please report it."
    return _page("problem.html.j2", site, 500, problem=text)
