import json
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from theriac.data.prefetching import ahead, moved
from theriac.data.text import TextData
from theriac.data.texts import open_texts
from theriac.errors import Refused, UserError

ROWS = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10]]


@pytest.fixture
def tokenizer():
    made = Tokenizer(
        models.WordLevel({word: k for k, word in enumerate(["?", "one", "two", "three", "four"])}, unk_token="?")
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


@pytest.mark.parametrize(
    "index", [slice(1, 3), torch.tensor([3, 0, 0]), torch.tensor([True, False, False, True]), slice(2, 2)]
)
def test_rows_are_picked(index):
    data = TextData.of(ROWS, torch.arange(4))
    picked = data[index]
    wanted = torch.arange(4)[index].tolist()
    assert [picked.row(k) for k in range(len(picked))] == [ROWS[k] for k in wanted]
    assert picked.labels.tolist() == wanted
    assert TextData.join([data, picked])[slice(4, None)].tokens.tolist() == picked.tokens.tolist()


def test_batches_are_padded_on_the_left_and_in_order(tmp_path):
    data = TextData.of(ROWS, torch.arange(4))
    batches = list(data.batches(3))
    assert batches[0][0]["input_ids"].tolist() == [[1, 2, 3], [0, 0, 4], [0, 5, 6]]
    assert batches[0][0]["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert batches[1][0]["input_ids"].tolist() == [[7, 8, 9, 10]]
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2, 3]
    data.write(tmp_path / "a.safetensors")
    again = TextData.read(tmp_path / "a.safetensors")
    assert [again.row(k) for k in range(4)] == ROWS
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(Refused, match="no texts"):
        TextData.read(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="row 1: a text has no tokens"):
        TextData.of([[1], [], [2]])


def test_every_format_gives_the_same(tokenizer, tmp_path):
    texts, labels = ["one two", "three", "four one one"], ["b", "a", "b"]
    rows = [{"statement": t, "label": x, "answer": "two three four"} for t, x in zip(texts, labels, strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = ["statement,label,answer", *(",".join(row.values()) for row in rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.Table.from_pylist(rows[:2]), tmp_path / "shards" / "train-0.parquet")
    pq.write_table(pa.Table.from_pylist(rows[2:]), tmp_path / "shards" / "train-1.parquet")
    (tmp_path / "a.txt").write_text("\n".join(texts) + "\n\n")
    for name in ("a.jsonl", "a.csv", "a.parquet", "shards", "a.txt"):
        data = open_texts(tmp_path / name, tokenizer)
        assert [data.row(k) for k in range(3)] == [[1, 2], [3], [4, 1, 1]], name
        assert data.labels.tolist() == ([0, 0, 0] if name == "a.txt" else [1, 0, 1]), name
        assert open_texts(tmp_path / name, tokenizer, limit=2, longest=1).tokens.tolist() == [1, 3]
    cut = open_texts(tmp_path / "a.csv", tokenizer, text="statement", completion="answer", words=2)
    assert cut.row(1) == [3, 2, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"x": "one"}', "cannot tell which column holds the texts; choose the text column from: x"),
        ("a.jsonl", '{"text": 3}', "row 0: no text in 'text'"),
        ("a.jsonl", '{"text": "one"', "not a readable table"),
        ("a.jsonl", "", "holds no texts"),
        ("a.parquet", "PAR1", "not readable as Parquet"),
        ("a.doc", "one", "no form of texts"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name, content, message, tokenizer, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        open_texts(tmp_path / name, tokenizer)
    assert "\n" not in str(caught.value)


def test_loading_ahead_keeps_order_and_errors_and_ends_its_thread():
    before = threading.active_count()
    assert list(ahead(range(100))) == list(range(100))

    def broken():
        yield 1
        raise OSError("gone")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)
    items = ahead(iter(range(100)))
    next(items)
    items.close()
    assert threading.active_count() == before


def test_the_next_item_is_made_while_the_present_one_is_used():
    made = threading.Event()

    def items():
        yield 1
        made.set()
        yield 2

    for _ in ahead(items()):
        assert made.wait(30)


def test_on_the_cpu_nothing_is_copied():
    x = torch.rand(3)
    assert next(moved([(x,)], "cpu"))[0] is x
