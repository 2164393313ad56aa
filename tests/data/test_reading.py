"""Every format gives the same images; damaged data gives one clear line that names file and row."""

import csv
import io
import json
import os
import struct
import zlib
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from theriac.data.reading import open_images
from theriac.errors import UserError
from theriac.manifest import sha256_of

CLASSES = ["ant", "bee", "cat"]


def pixels(n: int = 7, h: int = 8, w: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, 3), dtype=np.uint8)


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


LABELS = [0, 2, 1, 1, 0, 2, 2]


def write_parquet(path: Path, contents: list[object], labels: object, hf: bool = True, column: str = "img") -> Path:
    table = pa.table({column: [{"bytes": c, "path": None} for c in contents], "label": labels})
    if hf:
        features = {column: {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "train.parquet", [png(a) for a in pixels()], LABELS)


def assert_same(data: object, size: int = 7) -> None:
    torch.testing.assert_close(data.images, torch.from_numpy(pixels()).permute(0, 3, 1, 2)[:size])
    assert data.labels.tolist() == LABELS[:size]
    assert data.classes == tuple(CLASSES)


class TestParquet:
    def test_rows_in_order_with_class_names_and_digest(self, parquet: Path) -> None:
        data = open_images(str(parquet))
        assert_same(data)
        assert data.sha256 == sha256_of(parquet)
        assert data.name == "train.parquet"

    def test_limit(self, parquet: Path) -> None:
        assert_same(open_images(parquet, limit=3), 3)
        assert_same(open_images(parquet, limit=99))

    def test_shards_are_read_in_the_order_of_their_names(self, tmp_path: Path) -> None:
        encoded = [png(a) for a in pixels()]
        write_parquet(tmp_path / "train-00001-of-00002.parquet", encoded[4:], LABELS[4:])
        write_parquet(tmp_path / "train-00000-of-00002.parquet", encoded[:4], LABELS[:4])
        assert_same(open_images(tmp_path))
        assert_same(open_images(tmp_path, limit=5), 5)

    def test_mixed_splits_are_refused(self, tmp_path: Path, parquet: Path) -> None:
        parquet.rename(tmp_path / "test.parquet")
        write_parquet(tmp_path / "train.parquet", [png(a) for a in pixels()], LABELS)
        with pytest.raises(UserError, match="several splits: test, train"):
            open_images(tmp_path)

    def test_raw_bytes_and_text_labels(self, tmp_path: Path) -> None:
        names = [CLASSES[k] for k in LABELS]
        table = pa.table({"id": range(7), "picture": [png(a) for a in pixels()], "species": names})
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(UserError, match="column holds the labels; choose the label column from: id, species"):
            open_images(tmp_path / "x.parquet")
        assert_same(open_images(tmp_path / "x.parquet", label="species"))

    def test_without_metadata_classes_are_numbers(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "x.parquet", [png(a) for a in pixels()], LABELS, hf=False)
        assert open_images(tmp_path / "x.parquet").classes == ("0", "1", "2")

    def test_from_a_url(self, parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        fsspec.filesystem("memory").pipe("/bucket/train.parquet", parquet.read_bytes())
        assert_same(open_images("memory://bucket/train.parquet"))

    @pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 3}', b'{"info": {"features": []}}', b"[" * 100_000])
    def test_odd_metadata_are_ignored(self, tmp_path: Path, metadata: bytes) -> None:
        table = pa.table({"image": [png(a) for a in pixels()], "label": LABELS})
        pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "x.parquet")
        assert len(open_images(tmp_path / "x.parquet")) == 7

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0.5] * 7, "'label' holds double, neither integers nor text"),
            ([0, 1, None, 1, 0, 1, 1], "row 2: the label is missing"),
            ([0, 1, 1, -1, 0, 1, 1], "row 3: label '-1' is not one of the 3 classes"),
            ([0, 1, 1, 3, 0, 1, 1], "row 3: label '3' is not one of the 3 classes"),
            ([0, 1, 1, 2**62, 0, 1, 1], "row 3: label"),
            (["ant", "dog"] + ["ant"] * 5, "row 0: label 'ant' is not one|row 1: label 'dog' is not one"),
        ],
    )
    def test_wrong_labels(self, tmp_path: Path, labels: list[object], message: str) -> None:
        path = write_parquet(tmp_path / "x.parquet", [png(a) for a in pixels()], labels)
        with pytest.raises(UserError, match=message):
            open_images(path)

    def test_wrong_columns(self, parquet: Path) -> None:
        with pytest.raises(UserError, match="no column 'y'; choose the label column from: label"):
            open_images(parquet, label="y")
        with pytest.raises(UserError, match="no column 'x'; choose the image column from: img, label"):
            open_images(parquet, image="x")
        with pytest.raises(UserError, match="'label' holds int64, not images"):
            open_images(parquet, image="label")
        with pytest.raises(UserError, match="no column 'img'"):
            open_images(parquet, label="img")

    @pytest.mark.parametrize("cut", [0, 3, 100, -1])
    def test_truncated_file(self, parquet: Path, cut: int) -> None:
        parquet.write_bytes(parquet.read_bytes()[:cut])
        with pytest.raises(UserError, match=r"train\.parquet: is not readable as Parquet"):
            open_images(parquet)

    def test_damaged_page(self, parquet: Path) -> None:
        content = bytearray(parquet.read_bytes())
        content[10:300] = b"\xff" * 290
        parquet.write_bytes(content)
        with pytest.raises(UserError, match=r"train\.parquet"):
            open_images(parquet)

    def test_empty(self, tmp_path: Path) -> None:
        table = pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())})
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(UserError, match="holds no images"):
            open_images(tmp_path / "x.parquet")


def bomb() -> bytes:
    """A PNG of a few bytes that claims 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


class TestPictures:
    @pytest.mark.parametrize(
        "damaged",
        [
            b"",
            b"text",
            png(pixels()[0])[:60],
            png(pixels()[0], "JPEG")[:-200],
            bomb(),
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
            None,
        ],
        ids=["empty", "text", "cut PNG", "cut JPEG", "bomb", "PostScript", "missing"],
    )
    def test_damaged(self, tmp_path: Path, damaged: bytes | None) -> None:
        contents: list[object] = [png(a) for a in pixels()]
        contents[5] = damaged
        path = write_parquet(tmp_path / "x.parquet", contents, LABELS)
        with pytest.raises(UserError, match=r"x\.parquet, row 5: ") as caught:
            open_images(path)
        assert "\n" not in str(caught.value)

    def test_grey_alpha_palette_and_16_bit(self, tmp_path: Path) -> None:
        grey = pixels()[0][:, :, 0]
        images = [Image.fromarray(grey), Image.fromarray(grey).convert("RGBA"), Image.fromarray(grey).convert("LA")]
        images.append(Image.fromarray(grey.astype(np.uint16) * 257))
        contents: list[object] = []
        for image in images:
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            contents.append(buffer.getvalue())
        path = write_parquet(tmp_path / "x.parquet", contents, [0] * 4)
        expected = torch.from_numpy(grey).expand(4, 3, 8, 8)
        assert torch.equal(open_images(path).images, expected)

    def test_different_sizes_become_the_most_common(self, tmp_path: Path) -> None:
        arrays = [*pixels(1, 20, 10), *pixels(3, 9, 12), *pixels(1, 9, 9)]
        path = write_parquet(tmp_path / "x.parquet", [png(a) for a in arrays], [0, 1, 2, 0, 1])
        data = open_images(path)
        assert data.images.shape == (5, 3, 9, 12)
        assert torch.equal(data.images[2], torch.from_numpy(arrays[2]).permute(2, 0, 1))

    def test_size(self, parquet: Path) -> None:
        data = open_images(parquet, size=4)
        assert data.images.shape == (7, 3, 4, 4)
        full = open_images(parquet).pixels().mean((2, 3))
        torch.testing.assert_close(data.pixels().mean((2, 3)), full, atol=0.05, rtol=0)

    @pytest.mark.parametrize("option", ["size", "limit"])
    def test_nonsense_options(self, parquet: Path, option: str) -> None:
        with pytest.raises(UserError, match=f"{option}: must be at least 1, got 0"):
            open_images(parquet, **{option: 0})

    def test_more_than_memory_is_refused_before_it_is_claimed(self, parquet: Path) -> None:
        with pytest.raises(UserError, match="GiB"):
            open_images(parquet, size=2_000_000)


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for i, (array, label) in enumerate(zip(pixels(), LABELS, strict=True)):
            file = tmp_path / "set" / CLASSES[label] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(array))
        return tmp_path / "set"

    def test_sorted_by_path(self, folder: Path) -> None:
        (folder / "ant" / "notes.txt").write_text("not a picture")
        data = open_images(folder)
        order = sorted(range(7), key=lambda i: (LABELS[i], i))
        assert torch.equal(data.images, torch.from_numpy(pixels()[order]).permute(0, 3, 1, 2))
        assert data.labels.tolist() == sorted(LABELS)
        assert data.classes == tuple(CLASSES)
        assert data.sha256 == sha256_of(folder)

    def test_numbered_classes_are_in_numerical_order(self, tmp_path: Path) -> None:
        for name in ("10", "9"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "x.png").write_bytes(png(pixels()[0]))
        data = open_images(tmp_path)
        assert data.classes == ("9", "10")
        assert data.labels.tolist() == [1, 0]

    def test_unlabelled(self, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_bytes(png(pixels()[0]))
        with pytest.raises(UserError, match=r"x\.png: lies outside the class folders"):
            open_images(tmp_path)
        data = open_images(tmp_path, unlabelled_ok=True)
        assert (data.classes, data.labels.tolist()) == (("unlabelled",), [0])

    def test_splits(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            (tmp_path / split / "ant").mkdir(parents=True)
            (tmp_path / split / "ant" / "x.png").write_bytes(png(pixels()[0]))
        with pytest.raises(UserError, match="several splits: test, train"):
            open_images(tmp_path)
        assert len(open_images(tmp_path / "train")) == 1

    def test_no_pictures(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="holds no pictures"):
            open_images(tmp_path)

    def test_damaged_picture_is_named(self, folder: Path) -> None:
        (folder / "bee" / "2.png").write_bytes(b"x")
        with pytest.raises(UserError, match=r"bee/2\.png, row 2: is not a picture"):
            open_images(folder)

    def test_metadata_table_wins(self, folder: Path) -> None:
        lines = [{"file_name": f"{CLASSES[k]}/{i}.png", "label": CLASSES[k]} for i, k in enumerate(LABELS)]
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
        assert_same(open_images(folder))


class TestTable:
    @pytest.fixture(params=[",", "\t", ";"])
    def table(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        (tmp_path / "files").mkdir()
        path = tmp_path / ("list.tsv" if request.param == "\t" else "list.csv")
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=request.param)
            writer.writerow(["path", "label", "note, with comma"])
            for i, (array, label) in enumerate(zip(pixels(), LABELS, strict=True)):
                (tmp_path / "files" / f"{i}.png").write_bytes(png(array))
                writer.writerow([f"files/{i}.png", CLASSES[label], ""])
        return path

    def test_rows_in_order(self, table: Path) -> None:
        assert_same(open_images(table))

    def test_digest_covers_the_pictures(self, table: Path) -> None:
        before = open_images(table).sha256
        (table.parent / "files" / "3.png").write_bytes(png(pixels(seed=9)[0]))
        assert open_images(table).sha256 != before

    def test_errors(self, table: Path) -> None:
        with pytest.raises(UserError, match="no column 'y'; choose the label column from: path, label"):
            open_images(table, label="y")
        os.remove(table.parent / "files" / "4.png")
        with pytest.raises(UserError, match=r"row 4: no such picture: files/4\.png"):
            open_images(table)

    @pytest.mark.parametrize("content", [b"", b"path,label\n", b"\xff\xfe\x00", b'path,label\n"' + b"x" * 200_000])
    def test_damaged(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.csv") as caught:
            open_images(tmp_path / "x.csv")
        assert len(str(caught.value)) < 1000


class TestArrays:
    @pytest.mark.parametrize(
        ("name", "array"),
        [
            ("images", pixels()),
            ("x", pixels().transpose(0, 3, 1, 2)),
            ("image", pixels().astype(np.float32) / 255),
        ],
    )
    def test_layouts(self, tmp_path: Path, name: str, array: np.ndarray) -> None:
        np.savez_compressed(tmp_path / "x.npz", **{name: array, "labels": np.array([CLASSES[k] for k in LABELS])})
        assert_same(open_images(tmp_path / "x.npz"))
        assert len(open_images(tmp_path / "x.npz", limit=2)) == 2

    def test_grey_and_resized(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", x=np.full((2, 8, 8), 77, np.uint8), y=[0, 1])
        images = open_images(tmp_path / "x.npz", size=5).images
        assert torch.equal(images, torch.full((2, 3, 5, 5), 77, dtype=torch.uint8))

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": np.zeros(3)}, "column holds the images; choose the image column from: a"),
            ({"x": pixels()}, "column holds the labels; choose the label column from: x"),
            ({"x": pixels(), "y": np.zeros(3, int)}, "labels are int64"),
            ({"x": pixels(), "y": np.zeros(7)}, "labels are float64"),
            ({"x": pixels(), "y": np.array([object()] * 7)}, "is not a readable NumPy archive"),
            ({"x": np.zeros((7, 8, 8, 5), np.uint8), "y": LABELS}, "images have shape"),
            ({"x": np.full((7, 8, 8, 3), np.nan), "y": LABELS}, r"must lie in \[0, 1\]"),
            ({"x": np.zeros((7, 8, 8, 3), np.int64), "y": LABELS}, "images are int64"),
            ({"x": np.zeros(7), "y": LABELS}, "images have shape"),
        ],
    )
    def test_errors(self, tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(UserError, match=message):
            open_images(tmp_path / "x.npz")

    def test_pickles_do_not_run(self, tmp_path: Path) -> None:
        marker = tmp_path / "marker"

        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(marker),)

        np.savez(tmp_path / "x.npz", x=pixels(), y=np.array([Evil()] * 7))
        with pytest.raises(UserError, match="is not a readable NumPy archive"):
            open_images(tmp_path / "x.npz")
        assert not marker.exists()

    def test_not_an_archive(self, tmp_path: Path) -> None:
        (tmp_path / "x.npz").write_bytes(b"PK\3\4 no")
        with pytest.raises(UserError, match="is not a readable NumPy archive"):
            open_images(tmp_path / "x.npz")


def test_unknown_form(tmp_path: Path) -> None:
    (tmp_path / "x.doc").touch()
    with pytest.raises(UserError, match=r"x\.doc: is no form of image data"):
        open_images(tmp_path / "x.doc")


@pytest.fixture(scope="session")
def real_data(test_files: Path) -> Path:
    folder = test_files / "data"
    if not (folder / "cifar10" / "test.parquet").is_file():
        pytest.skip("no real images; set THERIAC_TEST_FILES to the folder of data/cifar10 and data/mnist")
    return folder


def test_cifar10(real_data: Path) -> None:
    data = open_images(real_data / "cifar10" / "test.parquet")
    assert data.images.shape == (10_000, 3, 32, 32)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert data.labels.bincount().tolist() == [1000] * 10


def test_mnist_is_grey(real_data: Path) -> None:
    data = open_images(real_data / "mnist" / "test.parquet", limit=500, size=32)
    assert data.images.shape == (500, 3, 32, 32)
    assert torch.equal(data.images[:, 0], data.images[:, 2])


def test_tiny_imagenet_shard(real_data: Path) -> None:
    data = open_images(real_data / "tiny-imagenet" / "valid.parquet", limit=300)
    assert len(data.classes) == 200
    assert data.images.shape == (300, 3, 64, 64)
