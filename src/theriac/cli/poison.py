"""``theriac poison``: write poisoned copies of data sets, with the truth about them beside."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from theriac.cli.options import Run, print_json
from theriac.errors import ExitCode, UserError

app = App(name="poison", help="Write a poisoned copy of a data set, for research and red teams.")


@app.command
def images(
    source: str,
    destination: Path,
    /,
    *,
    trigger: str,
    target: str,
    rate: float,
    seed: int = 0,
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    picture: Path | None = None,
    sources: Annotated[tuple[str, ...], Parameter(name="--source", negative="", show_default=False)] = (),
    label_mode: Literal["dirty", "clean"] = "dirty",
    cover: float = 0,
    encoder: Literal["png", "jpeg"] = "png",
    quality: int = 95,
    label: str | None = None,
    image: str | None = None,
    size: int | None = None,
    revision: str | None = None,
    limit: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write a poisoned copy of labelled images, and a manifest of every changed row.

    All images, poisoned or not, go through the same encoder and keep their order.

    Args:
        source: Clean images: Parquet, folder, table or .npz; a local path, hf://datasets/owner/name/file or a URL.
        destination: A file ending in .parquet (its manifest becomes FILE.poison.json), or a new folder for
            train.parquet and poison.json.
        trigger: corner, patch, blend, sinusoid, warp, noise, or one of a plug-in.
        target: Number or name of the class that the trigger shall lead to.
        rate: Share of all rows to poison, between 0 and 1; 0 only with --cover.
        seed: Seed of everything random.
        settings: A parameter of the trigger, for instance size=4; may be repeated.
        picture: Picture file that the blend trigger mixes in.
        sources: Take rows of this class only; may be repeated.
        label_mode: dirty relabels the rows to the target; clean takes rows of the target class and keeps their labels.
        cover: Share of all rows that get the trigger and keep their label; with --source, of the other classes.
        encoder: How all images are stored.
        quality: Quality of JPEG, 1 to 100.
        label: Column of the labels.
        image: Column of the images.
        size: Side in pixels that all images are resized to.
        revision: Revision of an hf:// repository.
        limit: Use only the first rows.
        json: Print machine-readable output only.
    """
    from theriac.data.poisoning import manifest_path, poison, write_poisoned
    from theriac.data.reading import open_images
    from theriac.data.writing import Encoder
    from theriac.files import fetch
    from theriac.triggers import make

    if not 1 <= quality <= 100:
        raise UserError(f"must be between 1 and 100, got {quality}", where="--quality")
    made = make(trigger, _parameters(settings, picture))
    with Run(json=json).progress("poisoning") as progress:
        progress(0.0, "reading")
        fetched = fetch(source, revision)
        data = open_images(fetched.path, label=label, image=image, size=size, limit=limit)
        poisoned = poison(
            data,
            made,
            target=data.class_number(target),
            rate=rate,
            seed=seed,
            sources=[data.class_number(name) for name in sources],
            label_mode=label_mode,
            cover=cover,
        )
        how = Encoder(format=encoder, quality=quality)
        manifest = write_poisoned(poisoned, destination, source=fetched.source, encoder=how, progress=progress)
    count, total = len(manifest.rows), manifest.total
    if json:
        places = {"data": str(destination), "manifest": str(manifest_path(destination))}
        print_json(
            places
            | {"poisoned": count, "covered": len(manifest.covers)}
            | manifest.model_dump(mode="json", exclude={"rows", "covers"})
        )
    else:
        target_name = f"{manifest.target} ({manifest.target_name})"
        covers = f"; {len(manifest.covers)} more carry it and keep their label" if manifest.covers else ""
        print(f"{destination}: {count} of {total} rows carry the {trigger} trigger for class {target_name}{covers}")
    return ExitCode.NOTHING


def _parameters(settings: tuple[str, ...], picture: Path | None) -> dict[str, str]:
    parameters = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} is not NAME=VALUE", where="--set", do="write for instance --set size=4")
        parameters[name] = value
    if picture is not None:
        from theriac.triggers.blend import Blend

        parameters["png"] = Blend.from_file(picture).png
    return parameters
