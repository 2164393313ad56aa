import json
from collections import OrderedDict
from enum import IntEnum
from random import Random

import pytest
import rfc8785

from theriac.errors import UserError
from theriac.provenance import canonical as canonical_module
from theriac.provenance.canonical import MAX_BYTES, MAX_DEPTH, Invalid, canonical, evenly_laid_out, parse, to_bytes
from theriac.provenance.credentials import issue

from .subjects import SUBJECTS


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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", {"\ud800": 1}, {1: 2}, object()])
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


NASTY_TEXT = [
    "", "a", "A", "é", "e\u0301", "ß", "ﬀ", "\ue000", "\uffff", "\U00010000", "\U0001f600", "\U0010ffff", "\x00",
    "\x1f", "\x7f", "\x80", "\u2028", "\u2029", '"', "\\", "\\u0041", "/", "\b\f\n\r\t", "1e5", "-0", ":1.5,",
    "[1e16]", "NaN",
]  # fmt: skip
NASTY_NUMBERS = [0, -1, 1, 2**53 - 1, -(2**53) + 1, 10**15, True, False, None, 0.0, -0.0, 1.0, 0.1, 1e-7, 1e-6, 5e-324]
NASTY_NUMBERS += [1e15, 1e16, 1e21, -1e20, 123456789.125, 1.7976931348623157e308, 0.000001234]
HOPELESS = [
    2**53,
    -(2**53),
    10**30,
    float("nan"),
    float("inf"),
    "\ud800",
    "a\udfff",
    {1: 2},
    {None: 1},
    {True: 1},
    {1.5: 2},
]


def random_value(random, depth, hopeless):
    """Returns a JSON value out of nasty parts; one in many parts has no canonical form if ``hopeless``."""
    shape = random.random()
    if depth and shape < 0.3:
        return [random_value(random, depth - 1, hopeless) for _ in range(random.randrange(5))]
    if depth and shape < 0.7:
        return {random_text(random): random_value(random, depth - 1, hopeless) for _ in range(random.randrange(6))}
    if hopeless and shape < 0.72:
        return random.choice(HOPELESS)
    if shape < 0.85:
        return random_text(random)
    if shape < 0.95:
        return random.choice(NASTY_NUMBERS[:9])
    return random.choice([random.choice(NASTY_NUMBERS), random.uniform(-1, 1) * 10.0 ** random.randrange(-30, 30)])


def random_text(random):
    return "".join(random.choices(NASTY_TEXT, k=random.randrange(4)))


@pytest.mark.parametrize("hopeless", [False, True])
def test_the_fast_way_is_the_slow_way(hopeless):
    random = Random(7)
    fast = refused = 0
    for _ in range(20_000):
        value = random_value(random, 4, hopeless)
        try:
            expected = rfc8785.dumps(value)
        except (rfc8785.CanonicalizationError, UnicodeEncodeError):
            expected = None
        if expected is None:
            refused += 1
            with pytest.raises(Invalid):
                canonical(value)
        else:
            assert canonical(value) == expected
            fast += canonical_module._canonical_by_json(value) is not None
    assert fast > 3_000  # the test is about both ways
    assert (refused > 500) == hopeless


@pytest.mark.parametrize("value", [{"a": (1, 2)}, {"a": IntEnum("E", "x").x}, OrderedDict(b=1, a=2), 1, "a", None, []])
def test_other_types_give_the_same_bytes(value):
    assert canonical(value) == rfc8785.dumps(value)


def test_a_credential_goes_the_fast_way(key):
    document = issue("data", SUBJECTS["data"], key)
    assert canonical_module._canonical_by_json(document) == rfc8785.dumps(document)


def test_a_value_that_contains_itself_has_no_canonical_form():
    loop = {}
    loop["a"] = [loop]
    assert canonical_module._canonical_by_json(loop) is None
