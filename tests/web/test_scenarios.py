import json

import pytest

from theriac.errors import UserError
from theriac.web.scenarios import Goal, read_scenarios

POISONED = 'ai_system_has_data_poisoning("urn:uuid:1", Attestations)'


def goal(tmp_path, query):
    path = tmp_path / "scenarios.json"
    path.write_text(json.dumps({"scenarios": [{"name": "s", "queries": [{"name": "q", "query": query}]}]}))
    [scenario] = read_scenarios(path)
    [found] = scenario.goals
    return found


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (POISONED, ("data-poisoning", "urn:uuid:1", ())),
        (POISONED + ".", ("data-poisoning", "urn:uuid:1", ())),
        ('data_in_inferencing_system("urn:uuid:1", X)', ("data-in-system", "urn:uuid:1", ())),
        ('ai_system_code_hash_matches("urn:uuid:1", "ab12")', ("code-hash-matches", "urn:uuid:1", ("ab12",))),
        (
            'ai_system_providers_trusted_with_blacklist("urn:uuid:1", ["a@b", "c@d"])',
            ("providers-trusted-blacklist", "urn:uuid:1", ("a@b", "c@d")),
        ),
        ('ai_system_best_practice_attestations("urn:uuid:1", A, B, _)', ("best-practice", "urn:uuid:1", ())),
    ],
)
def test_a_plain_question_becomes_ours(tmp_path, query, wanted):
    found = goal(tmp_path, query)
    assert (found.query, found.system, found.arguments) == wanted
    assert found.why_not == ""


@pytest.mark.parametrize(
    "query",
    [
        'weights_from_data_id("urn:uuid:1", W)',
        'shell("rm -rf /")',
        f"{POISONED}, shell(id)",
        'ai_system_has_data_poisoning("urn:uuid:1", X) :- true',
        'ai_system_has_data_poisoning(System, "urn:uuid:1")',
        'ai_system_has_data_poisoning("urn:uuid:1", shell("id"))',
        'ai_system_has_data_poisoning("a\\"b", X)',
        "",
        None,
        7,
        "(" * 10_000,
    ],
)
def test_all_else_is_said_not_to_be_asked(tmp_path, query):
    found = goal(tmp_path, query)
    assert found == Goal("q", why_not=found.why_not)
    assert found.why_not


@pytest.mark.parametrize("document", [{}, {"scenarios": 3}, {"scenarios": [3, {"queries": {}}, {}]}])
def test_odd_files_have_no_questions(tmp_path, document):
    (tmp_path / "scenarios.json").write_text(json.dumps(document))
    assert all(scenario.goals == () for scenario in read_scenarios(tmp_path / "scenarios.json"))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert read_scenarios(tmp_path / "scenarios.json") == []
    (tmp_path / "scenarios.json").write_text('{"a": 1, "a": 2}')
    with pytest.raises(UserError, match=r"scenarios\.json"):
        read_scenarios(tmp_path / "scenarios.json")
    (tmp_path / "scenarios.json").unlink()
    (tmp_path / "scenarios.json").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="no regular file"):
        read_scenarios(tmp_path / "scenarios.json")
