"""Trust policies: what is not allowed does not count, and is shown all the same."""

import pytest

from theriac.errors import ExitCode, UserError
from theriac.provenance import ask, read_policy
from theriac.provenance.kinds import FOREIGN_ONLY, KINDS

from .random_graphs import hash_of
from .signed import signs

SYSTEM = "urn:x:system"


@pytest.fixture
def graph(store, key):
    return signs(store, key)


@pytest.fixture
def claim(graph, stranger):
    return graph.claim("poisoning", "red", stranger)


def poisoning(store, policy):
    return ask(store, "data-poisoning", SYSTEM, policy=policy)


def test_an_empty_policy_lets_nobody_speak(store, claim, policy):
    answer = poisoning(store, policy())
    assert (answer.answer, answer.complete, answer.status) == (False, False, ExitCode.INCONCLUSIVE)
    assert len(answer.attestations) == 1
    assert any("does not know its issuer" in warning for warning in answer.warnings)


@pytest.mark.parametrize(
    ("may", "about", "why"),
    [
        ('["poisoning"]', '["*"]', ""),
        ('["*"]', '["urn:x:system"]', ""),
        ('["poisoning"]', '["urn:x:sys*"]', ""),
        ('["poisoning"]', '["urn:x:red"]', ""),
        ('["poisoning"]', '["urn:x:blue", "urn:y:*"]', "does not let issuer 1 speak about this system"),
        ('["bias", "poisoning-check"]', '["*"]', "does not let issuer 1 claim poisoning"),
        ('["describe"]', '["*"]', "does not let issuer 1 claim poisoning"),
    ],
)
def test_who_may_claim_what_about_what(store, claim, key, stranger, policy, may, about, why):
    describer = f'did = "{key.did}"\nmay = ["describe"]'
    answer = poisoning(store, policy(describer, f'did = "{stranger.did}"\nmay = {may}\nabout = {about}'))
    [found] = answer.attestations
    assert (answer.answer, answer.complete, found.accepted) == (not why, True, not why)
    assert found.why_not.endswith(why)


@pytest.mark.parametrize("kind", [kind for kind in (*KINDS, *FOREIGN_ONLY) if kind.endswith("attestation")])
def test_every_kind_of_claim_can_be_allowed(policy, kind):
    """By the word under which claims of that kind are gathered."""
    right = kind.removesuffix("-attestation")
    assert policy(f'id = "x"\nmay = ["{right}"]').issuers[0].may == [right]


def test_a_system_described_by_a_stranger_is_incomplete(store, claim, stranger, policy):
    answer = poisoning(store, policy(f'did = "{stranger.did}"\nmay = ["*"]'))
    assert not answer.complete
    assert any("does not know its issuer" in warning for warning in answer.warnings)


def test_a_strangers_twin_of_the_system_does_not_hide_it(store, graph, key, stranger, policy):
    own = graph["system"]
    graph.add("system", "ai-system", own["credentialSubject"] | {"name": "twin"}, stranger)
    trust = policy(f'did = "{key.did}"\nmay = ["*"]')
    assert poisoning(store, trust).complete
    assert not ask(store, "data-poisoning", SYSTEM).complete  # without a policy both are as good


def test_a_strangers_config_does_not_say_what_weights_were_trained_on(store, graph, key, stranger, policy):
    """Else anybody could add a poisoned past to a model, or a clean one to a model without any."""
    graph.system("bare", "Inferencing", "weights")
    graph.claim("poisoning", "red")
    config = graph["weights-config"]
    trust = policy(f'did = "{key.did}"\nmay = ["*"]')
    assert ask(store, "data-poisoning", "urn:x:bare", policy=trust).answer
    graph.retract("weights-config")
    graph.add("forged-config", "config", config["credentialSubject"], stranger)
    answer = ask(store, "data-poisoning", "urn:x:bare", policy=trust)
    assert (answer.answer, answer.complete) == (False, False)
    assert [found.accepted for found in answer.attestations] == [False]


def test_a_provider_claim_that_does_not_count_leaves_the_origin_unknown(store, graph, key, stranger, policy):
    for part in ("red", "blue"):
        graph.provided(part, "urn:uuid:tony", stranger)
    trust = policy(f'did = "{key.did}"\nmay = ["*"]', f'did = "{stranger.did}"\nmay = ["bias"]')
    answer = ask(store, "providers-trusted-whitelist", SYSTEM, ["urn:uuid:tony"], policy=trust)
    assert (answer.answer, answer.status) == (False, ExitCode.INCONCLUSIVE)
    assert [found.accepted for found in answer.attestations] == [False, False]


def test_an_unsigned_name_is_not_a_signed_one(store, graph, key, policy):
    """An issuer named by id only stands for credentials without W3C's signature; a did only for signed ones."""
    graph.claim("poisoning", "red")
    describer = f'did = "{key.did}"\nmay = ["describe"]'
    assert not poisoning(store, policy(describer, f'id = "{key.did}"\nmay = ["*"]')).answer
    assert poisoning(store, policy(describer, f'did = "{key.did}"\nmay = ["poisoning"]')).answer


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version = 2", "version"),
        ("", "version"),
        ("version = 1\nissuers = []", "issuers"),
        ("version = [", "is not TOML"),
        ('version = 1\n[[issuer]]\nname = "x"\nmay = ["*"]', "either did or id"),
        ('version = 1\n[[issuer]]\nname = "x"\ndid = "did:key:z"\nid = "x"\nmay = ["*"]', "either did or id"),
        ('version = 1\n[[issuer]]\nname = "x"\ndid = "key"\nmay = ["*"]', "did"),
        ('version = 1\n[[issuer]]\nname = "x"\nid = "x"\nmay = ["poison"]', "may"),
        ('version = 1\n[[issuer]]\nname = "x"\nid = "x"\nmay = []', "may"),
        ('version = 1\n[[issuer]]\nname = "x"\nid = "x"\nmay = ["*"]\nabout = []', "about"),
        ('version = 1\n[[issuer]]\nname = "x"\nid = "x"\nmay = "*"', "may"),
    ],
)
def test_a_malformed_policy_is_one_clear_line(tmp_path, text, reason):
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(UserError, match=reason) as error:
        read_policy(tmp_path / "policy.toml")
    assert "\n" not in str(error.value)


def test_a_policy_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_policy(tmp_path / "absent.toml")
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not TOML"):
        read_policy(tmp_path / "policy.toml")


def test_hashes_stated_by_a_describer_whose_word_does_not_count_match_nothing(store, graph, stranger, policy):
    for hash in (hash_of("weights"), hash_of("other")):
        answer = ask(store, "weights-hash-matches", SYSTEM, [hash], policy=policy(_all(stranger)))
        assert (answer.answer, answer.status) == (False, ExitCode.INCONCLUSIVE)  # nor do they raise an alarm


def _all(key):
    return f'did = "{key.did}"\nmay = ["*"]'
