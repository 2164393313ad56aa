"""What other web sites, strangers' credentials and clumsy clients must not be able to do."""

import hashlib
import json
import re
from urllib.parse import urlencode

import httpx
import pytest

from theriac.provenance import Issuer, SigningKey, Store, data_poisoning, link_to, verify
from theriac.web import open_battery, open_store
from theriac.web.guard import MAX_BODY

from .conftest import KEY, artifact, served

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\u202egpj"


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address, headers={"origin": address}) as opened:
        yield opened


def page(client, **fields):
    return client.get("/?" + urlencode(fields))


def token_in(text):
    return re.search(r'name="token" value="([^"]+)"', text)[1]


def component_in(text, name):
    return re.search(rf'value="(sha256:\w+)">[^<]*{name}<', text)[1]


def a_claim(client, system_id, name="20 mph", **changes):
    text = page(client, system=system_id).text
    return {
        "token": token_in(text),
        "component": component_in(text, name),
        "claim": "poisoning",
        "type": "data injection",
        "severity": "low",
        "description": "seen by me",
        "system": system_id,
    } | changes


def counted(site, system_id):
    return sum(claim.accepted for claim in data_poisoning(site.store, system_id).attestations)


def test_a_claim_is_added_and_retracted(client, site, system_id):
    assert counted(site, system_id) == 1
    added = client.post("/attest", data=a_claim(client, system_id))
    assert added.status_code == 303
    assert added.headers["location"].startswith("/?system=urn")
    assert counted(site, system_id) == 2
    text = client.get(added.headers["location"]).text
    assert "2 claims of poisoning count." in text
    mine = re.search(r'name="credential" value="([^"]+)"', text)[1]
    back = {"token": token_in(text), "credential": mine, "reason": "a mistake", "system": system_id}
    assert client.post("/retract", data=back).status_code == 303
    assert counted(site, system_id) == 1
    assert "retracted at" in page(client, system=system_id).text
    assert "retracted already" in client.post("/retract", data=back).text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://127.0.0.1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_forms_of_other_sites_are_refused(client, site, system_id, headers):
    form = a_claim(client, system_id)
    assert client.post("/attest", data=form, headers=headers).status_code == 403
    assert counted(site, system_id) == 1


def test_a_form_without_origin_is_refused(address, client, site, system_id):
    assert httpx.post(f"{address}/attest", data=a_claim(client, system_id)).status_code == 403
    assert counted(site, system_id) == 1


@pytest.mark.parametrize("token", ["x", "é" * 43])
def test_forms_need_the_token(client, site, system_id, token):
    answer = client.post("/attest", data=a_claim(client, system_id, token=token))
    assert (answer.status_code, counted(site, system_id)) == (403, 1)
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "user@127.0.0.1", "localhost.", "", "[::1"]
)
def test_other_names_are_refused(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.status_code in (400, 421)
    assert "Traffic signs" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "[::1]:8000", "192.0.2.1"])
def test_own_names_and_addresses_are_served(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def test_a_read_only_site_has_no_forms_and_takes_none(battery, system_id):
    with open_battery(battery) as site, served(site) as address, httpx.Client(base_url=address) as client:
        text = page(client, system=system_id).text
        assert "POISONED" in text.upper()
        assert 'method="post"' not in text
        form = {"token": site.token, "claim": "bias", "type": "x", "severity": "low", "component": "x"}
        answer = client.post("/attest", data=form, headers={"origin": address})
        assert (answer.status_code, "read-only" in answer.text) == (403, True)
        form = {"token": site.token, "credential": "x"}
        assert client.post("/retract", data=form, headers={"origin": address}).status_code == 403


def test_a_read_only_store_is_not_changed(tmp_path, system_id, battery):
    path = tmp_path / "evidence.sqlite"
    with Store(path, write=True) as store:
        store.add([file.read_bytes() for file in sorted((battery / "inference_claims").rglob("*.json"))])
    before = path.read_bytes()
    with open_store(str(path)) as site, served(site) as address:
        assert "1 claim of poisoning" in httpx.get(f"{address}/?system={system_id}").text
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["evidence.sqlite"]


def test_nobody_retracts_what_others_signed(client, site, system_id):
    text = page(client, system=system_id).text
    digest = re.search(r"/credential/(sha256:\w+)/download", text)[1]
    answer = client.post("/retract", data={"token": token_in(text), "credential": digest, "system": system_id})
    assert (answer.status_code, counted(site, system_id)) == (400, 1)
    assert "only the key that signed" in answer.text


def test_long_and_endless_forms_are_refused(client):
    assert client.post("/attest", content=b"x" * (MAX_BODY + 1)).status_code == 413
    assert client.post("/attest", content=iter([b"x"] * 3)).status_code == 411
    assert client.put("/attest", content=b"x").status_code == 405
    many = "&".join(f"f{number}=1" for number in range(5000))
    answer = client.post("/attest", content=many, headers={"content-type": "application/x-www-form-urlencoded"})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("path", ["/", "/nothing", "/?system=x&query=y", "/static/site.css", "/credential/sha256:0"])
def test_every_answer_is_strict(client, path):
    headers = client.get(path).headers
    rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["style-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")
    assert "server" not in headers


def test_pages_need_nothing_from_elsewhere_and_have_no_inline_script(client, system_id):
    for path in ("/", f"/?system={system_id}"):
        text = client.get(path).text
        assert re.findall(r"<script[^>]*>", text) == ['<script src="/static/htmx-2.0.11.min.js" defer>']
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
        linked = re.findall(r'\s(?:src|href|action)="([^"]*)"', text)
        assert linked
        assert all(link.startswith(("/", "#", "data:,")) for link in linked)


def test_hostile_names_stay_text(tmp_path):
    issuer = Issuer(KEY)
    data = issuer.data(artifact(EVIL))
    pack = issuer.issue("data-pack", {"name": EVIL, "datasets": [link_to(data)]})
    system = issuer.issue("ai-system", {"name": EVIL, "label": "Inferencing", "data": link_to(pack)})
    issuer.poisoning(data, type=EVIL, severity="high", description=EVIL)
    issuer.write(tmp_path)
    goal = {"name": EVIL, "query": EVIL}
    (tmp_path / "scenarios.json").write_text(json.dumps({"scenarios": [{"name": EVIL, "queries": [goal]}]}))
    with open_battery(tmp_path, key=SigningKey.new()) as site, served(site) as address:
        pages = [f"/?{urlencode({'system': system['id'], 'search': EVIL})}", f"/?{urlencode({'system': EVIL})}", "/"]
        first = httpx.get(address + pages[0]).text
        pages += re.findall(r'href="(/credential/sha256:\w+)', first)
        assert "POISONED" in first.upper()
        assert len(pages) >= 6
        for path in pages:
            text = httpx.get(address + path).text
            assert "alert(1)" in text
            assert "<script>" not in text
            assert "<img" not in text
            assert ">49" not in text
            assert "\u202e" not in text


def test_the_download_is_the_signed_document(client, system_id):
    text = page(client, system=system_id).text
    path = re.search(r'href="(/credential/(sha256:\w+)/download)"', text)
    answer = client.get(path[1])
    assert path[2] == f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    assert verify(answer.content).valid
    assert verify(answer.content).digest == path[2]
    assert re.fullmatch(r'attachment; filename="[\w-]+\.json"', answer.headers["content-disposition"])


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/docs", "/openapi.json", "/credential/x"],
)
def test_nothing_else_is_served(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text


@pytest.mark.parametrize(
    "fields",
    [
        {"system": "x" * 501},
        {"system": "x", "query": "x"},
        {"system": "x", "query": "code-hash-matches"},
        {"system": "x", "query": "systems-using", "mode": "taibom"},
        {"mode": "x"},
        {"after": "-1"},
        {"before": "9" * 30},
        {"search": "x" * 201},
    ],
)
def test_wrong_addresses_get_one_clear_line(client, fields):
    answer = page(client, **fields)
    assert 400 <= answer.status_code < 500
    [said] = re.findall(r'role="alert">([^<]+)</p>', answer.text)
    assert "Traceback" not in answer.text
    assert 5 < len(said) < 300


@pytest.mark.parametrize("search", ["%", "_", "' OR 1=1 --", "%' UNION SELECT 1 --", "\\"])
def test_a_search_is_text(client, search):
    answer = page(client, search=search)
    assert answer.status_code == 200
    assert "No system has that name or id." in answer.text
