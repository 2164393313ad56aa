"""Poison goes where it is told to, is written down, and cannot be told by anything but its pixels."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from theriac.data.images import ImageData
from theriac.data.poisoning import find_manifest, poison, triggered, write_poisoned
from theriac.data.reading import open_images
from theriac.data.writing import Encoder, write_parquet
from theriac.errors import UserError
from theriac.triggers import TRIGGERS, make
from theriac.triggers.patch import Patch


def data(n: int = 200, classes: int = 4, seed: int = 0) -> ImageData:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, classes, (n,), generator=generator)
    return ImageData(images, labels, tuple("abcdefgh"[:classes]), "letters", "0" * 64)


class TestPoison:
    @pytest.mark.parametrize("name", TRIGGERS)
    def test_changes_the_chosen_rows_only(self, name: str) -> None:
        clean = data()
        copy = clean.images.clone()
        result = poison(clean, make(name), target=1, rate=0.1, seed=3)
        assert len(result.rows) == 20
        assert torch.equal(clean.images, copy)
        assert (result.original_labels != 1).all()
        assert torch.equal(result.original_labels, clean.labels[result.rows])
        assert (result.data.labels[result.rows] == 1).all()
        changed = (result.data.images != clean.images).flatten(1).any(1).nonzero().flatten()
        assert torch.equal(changed, result.rows)
        untouched = torch.ones(200, dtype=torch.bool).index_fill(0, result.rows, False)
        assert torch.equal(result.data.labels[untouched], clean.labels[untouched])

    def test_pixels_are_the_triggers(self) -> None:
        clean = data()
        result = poison(clean, Patch(), target=0, rate=0.05, seed=0)
        expected = (Patch()(clean.pixels(result.rows)) * 255).round().to(torch.uint8)
        assert torch.equal(result.data.images[result.rows], expected)

    def test_seed_decides(self) -> None:
        one, same, other = (poison(data(), Patch(position="random"), target=0, rate=0.1, seed=s) for s in (1, 1, 2))
        assert torch.equal(one.data.images, same.data.images)
        assert not torch.equal(one.rows, other.rows)

    def test_sources(self) -> None:
        result = poison(data(), Patch(), target=0, rate=0.1, seed=0, sources=[2])
        assert (result.original_labels == 2).all()

    def test_clean_label_takes_the_target_class_and_keeps_labels(self) -> None:
        clean = data()
        result = poison(clean, Patch(), target=2, rate=0.1, seed=0, label_mode="clean")
        assert (result.original_labels == 2).all()
        assert torch.equal(result.data.labels, clean.labels)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"target": 4}, "letters: there is no class 4; use 0 to 3"),
            ({"target": -1}, "no class -1"),
            ({"rate": 0.0}, "between 0 and 1"),
            ({"rate": 1.5}, "between 0 and 1"),
            ({"rate": 1.0}, "a rate of 1 poisons every row: no clean row would be left"),
            ({"rate": 0.5, "cover": 0.5}, "no clean row would be left: poison 0.5 and cover 0.5"),
            ({"cover": -0.1}, "cover -0.1"),
            ({"sources": [1, 2, 3], "cover": 0.1}, "a cover of 0.1 is 20 rows, and 0 rows can be covered"),
            ({"cover": 0.1, "label_mode": "clean"}, "cover rows are for dirty-label poison; leave the cover out"),
            ({"rate": 0.001}, "is 0 rows"),
            ({"rate": 0.95}, "a rate of 0.95 is 190 rows, and"),
            ({"sources": [0]}, "source and target at once"),
            ({"sources": [9]}, "no class 9"),
            ({"sources": [1], "label_mode": "clean"}, "clean-label"),
        ],
    )
    def test_nonsense(self, wrong: dict[str, object], message: str) -> None:
        with pytest.raises(UserError, match=message):
            poison(data(), Patch(), **({"target": 0, "rate": 0.1, "seed": 0} | wrong))


class TestCover:
    """Rows that carry the trigger and keep their label."""

    def test_source_specific(self) -> None:
        clean = data()
        result = poison(clean, Patch(), target=0, rate=0.1, cover=0.2, seed=0, sources=[2])
        assert (len(result.rows), len(result.covers)) == (20, 40)
        assert set(clean.labels[result.covers].tolist()) == {1, 3}
        assert torch.equal(result.data.labels[result.covers], clean.labels[result.covers])
        changed = (result.data.images != clean.images).flatten(1).any(1).nonzero().flatten()
        assert torch.equal(changed, torch.cat([result.rows, result.covers]).sort().values)
        expected = (Patch()(clean.pixels(result.covers)) * 255).round().to(torch.uint8)
        assert torch.equal(result.data.images[result.covers], expected)

    def test_of_any_class_where_every_class_is_a_source(self) -> None:
        clean = data()
        result = poison(clean, Patch(), target=0, rate=0.1, cover=0.4, seed=0)
        assert set(clean.labels[result.covers].tolist()) == {0, 1, 2, 3}
        assert not torch.isin(result.covers, result.rows).any()

    def test_a_trigger_to_be_ignored(self) -> None:
        clean = data()
        result = poison(clean, make("noise"), target=0, rate=0, cover=0.5, seed=0)
        assert (len(result.rows), len(result.covers)) == (0, 100)
        assert torch.equal(result.data.labels, clean.labels)

    def test_covers_change_nothing_about_the_poison(self) -> None:
        one, other = (poison(data(), make("noise"), target=0, rate=0.1, cover=c, seed=5) for c in (0, 0.1))
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.data.images[one.rows], other.data.images[one.rows])

    def test_the_manifest_names_them_and_older_ones_still_open(self, tmp_path: Path) -> None:
        result = poison(data(), Patch(), target=1, rate=0.1, cover=0.05, seed=3)
        write_poisoned(result, tmp_path / "bad", source="x")
        manifest = find_manifest(tmp_path / "bad")
        assert manifest is not None
        assert (manifest.cover, manifest.covers) == (0.05, result.covers.tolist())
        place = tmp_path / "bad" / "poison.json"
        older = json.loads(place.read_text())
        del older["cover"], older["covers"]
        place.write_text(json.dumps(older))
        opened = find_manifest(tmp_path / "bad")
        assert opened is not None
        assert (opened.cover, opened.covers, opened.rows) == (0, [], manifest.rows)


class TestTriggered:
    def test_all_rows_but_the_targets_with_their_true_labels(self) -> None:
        clean = data()
        result = triggered(clean, Patch(), target=3)
        kept = clean.labels != 3
        assert torch.equal(result.labels, clean.labels[kept])
        assert torch.equal(result.images, (Patch()(clean.pixels(kept)) * 255).round().to(torch.uint8))

    def test_sources(self) -> None:
        assert set(triggered(data(), Patch(), target=3, sources=[0, 1]).labels.tolist()) == {0, 1}

    def test_nothing_left(self) -> None:
        clean = data()
        with pytest.raises(UserError, match="has no rows"):
            triggered(clean[clean.labels == 1], Patch(), target=1)


class TestWriting:
    def test_png_comes_back_exactly(self, tmp_path: Path) -> None:
        clean = data()
        write_parquet(clean, tmp_path / "x.parquet")
        again = open_images(tmp_path / "x.parquet")
        assert torch.equal(again.images, clean.images)
        assert torch.equal(again.labels, clean.labels)
        assert again.classes == clean.classes

    def test_jpeg_comes_back_nearly(self, tmp_path: Path) -> None:
        smooth = torch.linspace(0, 255, 12).to(torch.uint8).expand(5, 3, 12, 12)
        clean = ImageData(smooth.contiguous(), torch.zeros(5, dtype=torch.int64), ("a",), "grey", "0" * 64)
        write_parquet(clean, tmp_path / "x.parquet", Encoder(format="jpeg", quality=98))
        again = open_images(tmp_path / "x.parquet")
        assert (again.images.int() - clean.images.int()).abs().max() <= 4

    def test_a_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="cannot write"):
            write_parquet(data(), tmp_path / "file" / "x.parquet")


class TestWritePoisoned:
    @pytest.mark.parametrize("single", [True, False])
    def test_data_and_manifest(self, tmp_path: Path, single: bool) -> None:
        destination = tmp_path / ("bad.parquet" if single else "bad")
        result = poison(data(), Patch(size=2), target=1, rate=0.1, seed=3, sources=[0, 2])
        written = write_poisoned(result, destination, source="letters")
        assert sorted(p.name for p in tmp_path.iterdir()) == (
            ["bad.parquet", "bad.parquet.poison.json"] if single else ["bad"]
        )
        again = open_images(destination)
        assert torch.equal(again.images, result.data.images)
        assert torch.equal(again.labels, result.data.labels)
        manifest = find_manifest(destination)
        assert manifest == written
        assert manifest.make_trigger() == Patch(size=2)
        assert [(r.row, r.original_label) for r in manifest.rows] == list(
            zip(result.rows.tolist(), result.original_labels.tolist(), strict=True)
        )
        assert (manifest.target, manifest.target_name, manifest.sources, manifest.seed) == (1, "b", [0, 2], 3)

    def test_the_recipe_makes_the_same_poison_again(self, tmp_path: Path) -> None:
        result = poison(data(), make("blend"), target=1, rate=0.1, seed=3)
        recipe = write_poisoned(result, tmp_path / "bad", source="letters")
        again = poison(data(), recipe.make_trigger(), target=recipe.target, rate=recipe.rate, seed=recipe.seed)
        assert torch.equal(again.data.images, result.data.images)

    @pytest.mark.parametrize("encoder", [Encoder(), Encoder(format="jpeg", quality=90)])
    def test_storage_does_not_give_poison_away(self, tmp_path: Path, encoder: Encoder) -> None:
        result = poison(data(), Patch(size=1), target=1, rate=0.25, seed=0)
        write_poisoned(result, tmp_path / "bad", source="letters", encoder=encoder)
        stored = pq.read_table(tmp_path / "bad" / "train.parquet")["image"].to_pylist()
        facts = []
        for picture in stored:
            with Image.open(io.BytesIO(picture["bytes"])) as image:
                tables = getattr(image, "quantization", None)
                facts.append(json.dumps([image.format, image.mode, image.size, image.info, tables, picture["path"]]))
        assert len(set(facts)) == 1
        again = [encoder.encode(image) for image in result.data.images]
        assert [picture["bytes"] for picture in stored] == again

    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        result = poison(data(), Patch(), target=1, rate=0.1, seed=3)
        for name in ("bad.parquet", "bad"):
            write_poisoned(result, tmp_path / name, source="letters")
            with pytest.raises(UserError, match="exists already"):
                write_poisoned(result, tmp_path / name, source="letters")

    def test_manifest_of_changed_or_clean_data(self, tmp_path: Path) -> None:
        result = poison(data(), Patch(), target=1, rate=0.1, seed=3)
        write_poisoned(result, tmp_path / "bad", source="letters")
        assert find_manifest(tmp_path / "bad" / "train.parquet") == find_manifest(tmp_path / "bad")
        write_parquet(data(), tmp_path / "bad" / "train.parquet")
        with pytest.raises(UserError, match="have changed"):
            find_manifest(tmp_path / "bad")
        write_parquet(data(), tmp_path / "clean.parquet")
        assert find_manifest(tmp_path / "clean.parquet") is None
        (tmp_path / "clean.parquet.poison.json").write_text("{}")
        with pytest.raises(UserError, match="is not a readable manifest"):
            find_manifest(tmp_path / "clean.parquet")
