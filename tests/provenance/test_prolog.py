import json
import re
import shutil
import subprocess

import pytest

from theriac.provenance import Accepted, issue, link_to
from theriac.provenance.prolog import to_prolog

from .graphs import HOSTILE, POISONED, SAMPLE, add_taibom_sample, broken, hostile, poison
from .graphs import road_signs as make_road_signs
from .subjects import FOREIGN, PERFORMANCE

SWIPL = shutil.which("swipl")
needs_prolog = pytest.mark.skipif(SWIPL is None, reason="no SWI-Prolog here")

# Our own reading of the question "is there evidence that training data of this inferencing system are poisoned?"
RULES = """
training_data(System, Data) :-
    ai_system(System, _, data(_, Config), "Inferencing", _),
    trained_system_configs(Config, _, data(_, Weights), _),
    taibom_data(Weights, _, _, "Weights", _, _, _),
    trained_system_configs(_, aiSystem(_, Training), data(_, Weights), _),
    ai_system(Training, _, data(_, Pack), _, _),
    taibom_datapack(Pack, Datasets, _),
    member(dataset(_, Data), Datasets).
poisoned(System, Data, Details) :-
    training_data(System, Data),
    poisoning_attestation(_, attestation(Details, "poisoning"), component(_, Data)).
"""


def facts(store):
    with store.snapshot() as view:
        return list(to_prolog(view))


def of(predicate, lines):
    return [line for line in lines if line.startswith(f"{predicate}(")]


def ask_prolog(tmp_path, lines, goal, rules=RULES):
    """Runs a goal that writes JSON terms, one on a line, over the facts."""
    (tmp_path / "facts.pl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "rules.pl").write_text(
        ":- use_module(library(http/json)).\n"
        "say(Term) :- json_write_dict(current_output, Term, [width(0)]), nl.\n" + rules,
        encoding="utf-8",
    )
    command = [SWIPL, "-q", "-f", "none", "--on-error=status", "-g", goal, "-t", "halt", "rules.pl", "facts.pl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def test_the_layout_of_the_reference(store, issuer, evidence):
    described = make_road_signs(issuer, evidence)
    lines = facts(store)
    system = described.system["credentialSubject"]

    def link(name, target):
        return f'{name}("{target["hash"].removeprefix("sha256:")}", "{target["id"]}")'

    assert (
        f'ai_system("{described.id}", {link("code", system["code"])}, {link("data", system["data"])}, '
        '"Inferencing", "road signs").'
    ) in lines
    config = described.trained.config
    subject = config["credentialSubject"]
    assert (
        f'trained_system_configs("{config["id"]}", {link("aiSystem", subject["aiSystem"])}, '
        f'{link("data", subject["data"])}, "road signs").'
    ) in lines
    data = described.data[0]["credentialSubject"]
    assert (
        f'taibom_data("{described.data[0]["id"]}", "{data["hash"].removeprefix("sha256:")}", _, "Training", '
        f'"{data["lastAccessed"]}", location("20mph", "local"), "20mph").'
    ) in lines
    [pack] = of("taibom_datapack", lines)
    links = ", ".join(link("dataset", link_to(item)) for item in described.data)
    assert pack == f'taibom_datapack("{described.trained.data_pack["id"]}", [{links}], "road signs: training data").'
    [claim] = of("poisoning_attestation", lines)
    component = link("component", link_to(described.data[4]))
    assert (
        re.fullmatch(
            r'poisoning_attestation\("[^"]+", attestation\(poisoning\("\d{4}-\d\d-\d\d", "a patch", "high", '
            r'"data injection"\), "poisoning"\), (.*)\)\.',
            claim,
        ).group(1)
        == component
    )
    [code] = [line for line in of("code", lines) if '"serve.py", _, "unknown")' in line]
    assert code.endswith('location("serve.py", "local"), "serve.py", _, "unknown").')
    assert "% Left out: 1 credentials of a kind that TAIBOM does not have." in lines


def test_what_does_not_hold_is_no_fact(store, issuer, key):
    described = broken(store, issuer, key)
    claim = poison(issuer, described.data[0])
    assert len(of("poisoning_attestation", facts(store))) == 2  # the forged one is not among them
    store.add([issue("retraction", {"retracts": link_to(claim), "reason": "wrong"}, key)])
    lines = facts(store)
    assert len(of("poisoning_attestation", lines)) == 1
    assert "% Left out: 1 credentials that are retracted." in lines
    assert "% Left out: 1 credentials that do not hold." in lines


def foreign(kind, subject, id):
    stems = {"data": "10-data", "functional-performance-attestation": "69-functional-performance-attestation"}
    stem = stems.get(kind, "65-poisoning-attestation")
    url = f"https://github.com/nqminds/Trusted-AI-BOM/blob/main/packages/schemas/src/taibom-schemas/{stem}.v1.0.0.schema.yaml"
    return {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "id": id,
        "type": "VerifiableCredential",
        "issuer": "urn:uuid:somebody",
        "validFrom": "2025-01-01T00:00:00Z",
        "credentialSubject": subject,
        "credentialSchema": {"id": url, "type": "JsonSchema"},
    }


def test_values_of_every_type(store):
    subject = FOREIGN["functional-performance-attestation"]
    store.add([foreign("functional-performance-attestation", subject, "urn:uuid:p")], accepted=Accepted(unsigned=True))
    [fact] = of("functional_performance_attestation", facts(store))
    assert PERFORMANCE["calibration"]["ECE"] == 0.01
    assert 'calibration(0.01, true, "temperature", "")' in fact
    assert "regression_metrics(null, null, null)" in fact
    assert "groups" not in fact
    assert '[group(0.8, 0.8, "rain")]' in fact
    assert 'primary_metric("\\xb1\\0.1", "F1", 0.9)' in fact


def hostile_data(store):
    """Credentials of TAIBOM's whose texts, property names and ids try to be code."""
    texts = [*HOSTILE, "\n:- halt.\n", "\1\r\t\x7f\u2028", '"""', "''", "~w ~a", "\\", "0'a", "`x`"]
    documents = []
    for number, text in enumerate(texts):
        poisoning = {"date": text, text: {text: text, "n": 1e-7}, "z": [], "y": {}, "x": {"mod": {}}}
        claim = {"type": "poisoning", "poisoning": poisoning}
        component = {"id": f"urn:x:{number}", "hash": text}
        documents.append(
            foreign("poisoning", {"component": component, "attestation": claim}, f"urn:h:{number}:{text}"[:400])
        )
    assert store.add(documents, accepted=Accepted(unsigned=True)).new == len(texts)
    return texts


def test_no_text_leaves_its_quotes(store):
    hostile_data(store)
    for line in (line for line in facts(store) if not line.startswith("%")):
        assert line.isascii()
        assert line.isprintable()
        bare = re.sub(r'"(?:[^"\\]|\\x[0-9a-f]+\\)*"', "S", line)
        bare = re.sub(r"'(?:[^'\\]|\\x[0-9a-f]+\\)*'", "q", bare)
        assert "halt" not in bare
        assert not set(bare) & set("\"'\\`")


@needs_prolog
def test_a_real_prolog_reads_hostile_texts_back(store, tmp_path):
    texts = hostile_data(store)
    goal = "forall(poisoning_attestation(_, attestation(_, _), component(H, _)), say(H))"
    read = ask_prolog(tmp_path, facts(store), goal)
    assert read == texts


@needs_prolog
def test_rules_find_the_poison(store, issuer, evidence, tmp_path):
    described = make_road_signs(issuer, evidence)
    lines = facts(store)
    goal = f'forall(training_data("{described.id}", D), say(D))'
    assert ask_prolog(tmp_path, lines, goal) == [document["id"] for document in described.data]
    goal = f'forall(poisoned("{described.id}", D, poisoning(_, W, S, T)), say([D, W, S, T]))'
    expected = [described.data[4]["id"], "a patch", "high", "data injection"]
    assert ask_prolog(tmp_path, lines, goal) == [expected]


@needs_prolog
def test_a_real_prolog_reads_a_hostile_system(store, issuer, tmp_path):
    described = hostile(issuer)
    read = ask_prolog(tmp_path, facts(store), 'forall(taibom_data(_, _, _, "Training", _, _, N), say(N))')
    assert read == [document["credentialSubject"]["name"] for document in described.data]


@needs_prolog
def test_rules_find_the_poison_in_taiboms_own_sample(store, test_files, tmp_path):
    if not add_taibom_sample(store, test_files):
        pytest.skip("no sample of TAIBOM here")
    goal = f'forall(poisoned("{SAMPLE}", D, poisoning(A, B, S, T)), say([D, A, B, S, T]))'
    assert ask_prolog(tmp_path, facts(store), goal) == [
        [POISONED, "31-03-2025", "injection of malicious data", "high", "data injection"]
    ]
