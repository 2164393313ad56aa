from dataclasses import replace

import pytest

from theriac.provenance.claims import Attestation
from theriac.provenance.query import QUERIES, Answer
from theriac.provenance.verdict import verdict_of

CLAIM = Attestation(
    id="urn:uuid:1",
    issuer="did:key:z",
    date="2026-03-31",
    component={"id": "urn:uuid:2", "hash": ""},
    component_kind="data",
    component_name="signs",
    type="poisoning",
    details={},
    evidence=[],
    path=("urn:uuid:2",),
    accepted=True,
    why_not="",
    profile="w3c",
    digest="sha256:0",
)


def asked(query="data-poisoning", answer=False, complete=True, mode="extended", alarming=False, claims=()):
    return verdict_of(Answer(query, "urn:uuid:3", mode, complete, answer, alarming, attestations=claims))


@pytest.mark.parametrize("mode", ["extended", "taibom"])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("query", ["data-poisoning", "data-pollution", "data-bias", "inference-vulnerabilities"])
def test_that_nobody_claims_anything_is_never_called_clean(query, complete, mode):
    for claims in ((), (replace(CLAIM, accepted=False),)):
        verdict = asked(query, complete=complete, mode=mode, claims=claims)
        assert verdict.tone in ("plain", "inconclusive")
        assert (verdict.tone == "plain") == (complete and mode == "extended")
        assert verdict.word in ("No evidence", "Incomplete")


def test_a_claim_that_counts_is_said_first():
    verdict = asked(answer=True, alarming=True, claims=(CLAIM, replace(CLAIM, accepted=False)))
    assert (verdict.tone, verdict.word, verdict.sentence) == ("poisoned", "Poisoned", "1 claim of poisoning counts.")
    verdict = asked("data-bias", True, complete=False, alarming=True, claims=(CLAIM, CLAIM))
    assert (verdict.word, verdict.sentence) == ("Biased", "2 claims of bias count; the chain is incomplete.")


def test_unsigned_claims_are_said_to_be_so():
    unsigned = replace(CLAIM, profile="unsigned")
    assert "It is unsigned or weakly signed" in asked(answer=True, alarming=True, claims=(unsigned,)).sentence
    assert "1 of them" in asked(answer=True, alarming=True, claims=(unsigned, CLAIM)).sentence


@pytest.mark.parametrize(
    ("answer", "alarming", "complete", "tone"),
    [
        (True, False, True, "clean"),
        (True, False, False, "clean"),
        (False, True, True, "poisoned"),
        (False, False, False, "inconclusive"),
    ],
)
def test_yes_and_no(answer, alarming, complete, tone):
    verdict = asked("weights-hash-matches", answer, complete=complete, alarming=alarming)
    assert verdict.tone == tone
    assert ("incomplete" in verdict.sentence) == (not complete)


@pytest.mark.parametrize(("answer", "word"), [([], "0 systems"), (["a"], "1 system"), (["a", "b"], "2 systems")])
def test_lists_are_counted(answer, word):
    assert asked("systems-using", answer).word == word
    assert asked("systems-using", answer, complete=False).tone == "inconclusive"


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("answer", [True, False, []])
def test_every_answer_has_a_verdict(query, complete, answer):
    verdict = asked(query, answer, complete)
    assert verdict.word
    assert verdict.sentence[0].isupper() or verdict.sentence[0].isdigit()
    assert verdict.sentence.endswith(".")
