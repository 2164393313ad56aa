"""What the page says for each question and each way of serving."""

import html
import re
from urllib.parse import urlencode

import httpx
import pytest

from theriac.provenance import Policy, SigningKey, Store
from theriac.provenance.query import QUERIES
from theriac.web import open_battery, open_store

from .conftest import served


def page(address, **fields):
    return httpx.get(f"{address}/?{urlencode(fields)}", timeout=30)


def said(text):
    """Returns what a reader sees."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


@pytest.mark.parametrize("mode", ["extended", "taibom"])
def test_every_question_is_answered(address, system_id, mode):
    for query, asked in QUERIES.items():
        if mode == "taibom" and not asked.predicate:
            continue
        fields = {"system": system_id, "query": query, "mode": mode}
        answer = page(address, **fields, arguments="00" * 32 if asked.arguments else "")
        assert answer.status_code == 200
        assert 'id="verdict"' in answer.text
        assert 'class="chain"' in answer.text
        assert asked.question in said(answer.text)


def test_an_unknown_system_is_incomplete(address):
    answer = page(address, system="urn:uuid:nobody")
    assert "Incomplete" in said(answer.text)
    assert "urn:uuid:nobody is not in the store" in said(answer.text)


def test_what_the_policy_does_not_trust_is_shown_and_does_not_count(battery, system_id):
    nobody = Policy((), given=True)
    with open_battery(battery, key=SigningKey.new(), policy=nobody) as site, served(site) as address:
        text = said(page(address, system=system_id).text)
    assert "Incomplete" in text
    assert "does not count" in text
    assert "the policy does not know its issuer" in text
    assert "a yellow patch in the corner" in text


def test_a_claim_added_to_a_store_outlives_the_server(tmp_path, battery, system_id):
    path = tmp_path / "evidence.sqlite"
    with Store(path, write=True) as store:
        store.add([file.read_bytes() for file in sorted((battery / "inference_claims").rglob("*.json"))])
    with open_store(str(path), key=SigningKey.new()) as site, served(site) as address:
        text = page(address, system=system_id).text
        assert "later nobody can" in said(text)
        form = {
            "token": site.token,
            "component": re.search(r'value="(sha256:\w+)">Weights', text)[1],
            "claim": "bias",
            "type": "selection bias",
            "severity": "low",
            "system": system_id,
        }
        assert httpx.post(f"{address}/attest", data=form, headers={"origin": address}).status_code == 303
    with open_store(str(path)) as site, served(site) as address:
        assert "1 claim of bias counts." in said(page(address, system=system_id, query="data-bias").text)


def test_the_battery_is_told_about(address):
    text = said(page(address).text)
    assert "credentials were read; 1 of them are unsigned or weakly signed." in text
    assert "Release 4" in text


def test_the_sample_graph(test_files):
    """The one known poisoning, one pollution and two biases of TAIBOM's own sample."""
    folder = test_files / "fixtures" / "taibom" / "sample_vcs"
    if not folder.is_dir():
        pytest.skip("the sample is not here")
    system = "urn:uuid:3a02992b-7a5b-4184-ba1e-358850e5344c"
    with open_battery(folder) as site, served(site) as address:
        assert system in page(address).text.replace("%3A", ":")
        for query, mode, number, names in (
            ("data-poisoning", "extended", 1, {"National Speed Limit"}),
            ("data-poisoning", "taibom", 1, {"National Speed Limit"}),
            ("data-pollution", "extended", 1, {"40mph"}),
            ("data-pollution", "taibom", 1, {"40mph"}),
            ("data-bias", "extended", 2, {"30mph"}),  # the other claim names the hash of something else
            ("data-bias", "taibom", 2, {"30mph", "50mph"}),
        ):
            text = page(address, system=system, query=query, mode=mode).text
            assert text.count('<article class="claim') == number
            assert set(re.findall(r'part-alarming.*?class="name"><bdi>([^<]+)', text, re.DOTALL)) == names
