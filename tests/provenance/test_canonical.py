import json

import pytest

from theriac.errors import UserError
from theriac.provenance.canonical import MAX_BYTES, MAX_DEPTH, Invalid, canonical, evenly_laid_out, parse, to_bytes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"b": [{"a": 1, "a": 2}]}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "2\\^53"),
        (b'{"a": -1e20}', "2\\^53"),
        (b'{"a": 9007199254740992}', "2\\^53"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "2\\^53"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": 1} x', "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b"", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH, "levels deep"),
        (b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}", "levels deep"),
        (b'{"a": "' + b"x" * MAX_BYTES + b'"}', "larger than"),
    ],
)
def test_files_that_readers_disagree_about(data, reason):
    with pytest.raises(Invalid, match=reason):
        parse(data)


def test_depth_limit_is_exact():
    deepest = b'{"a":' * (MAX_DEPTH - 1) + b"1" + b"}" * (MAX_DEPTH - 1)
    assert parse(deepest)["a"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", {1: 2}, object()])
def test_values_without_a_canonical_form(value):
    with pytest.raises(Invalid, match="not canonical JSON"):
        canonical({"a": value})


def test_canonical_form_follows_rfc_8785():
    value = {"\U0001f600": 1e21, "ﬀ": 1e-7, "b": [0.1, 100.0, -0.0], "a": "\u2028\x7f\x01/"}
    expected = '{"a":"\u2028\x7f\\u0001/","b":[0.1,100,0],"\U0001f600":1e+21,"ﬀ":1e-7}'
    assert canonical(value).decode() == expected  # keys in the order of UTF-16 code units


def test_layouts():
    document = {"é": [1, {"a": 0.5}], "b": "x\ny"}
    usual = [
        to_bytes(document),
        canonical(document),
        json.dumps(document).encode(),
        json.dumps(document, indent=4).encode() + b"\n",
        json.dumps(document, indent="\t", ensure_ascii=False).encode(),
    ]
    assert all(evenly_laid_out(data, parse(data)) for data in usual)
    for data in (to_bytes(document) + b"\n", b" " + usual[1], usual[2].replace(b"0.5", b"5e-1"), b'{"\\u0061": 1}'):
        assert not evenly_laid_out(data, parse(data))


def test_an_invalid_credential_is_bad_input_on_the_command_line():
    assert issubclass(Invalid, UserError)
