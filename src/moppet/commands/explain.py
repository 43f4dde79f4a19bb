"""`moppet explain`: saliency overlays, mean maps, numbers and a page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from moppet.commands.console import Show, extra, say, watched, wide_console
from moppet.commands.options import (
    DatasetOptions,
    ModelArgument,
    SeedOption,
    SplitOption,
    choice,
    file_name,
    flag,
    output_option,
    run_facts,
)
from moppet.files import result_folder, write_bytes, write_text
from moppet.values import Floats, Image, ModelError, MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.datasets.faces import Faces
    from moppet.datasets.manifest import Manifest
    from moppet.evaluate.saliency import SaliencySummary
    from moppet.infer.expression_model import ExpressionModel

_METHODS: Final = ("grad-cam", "occlusion")
_PREDICTED: Final = "predicted"
_LABEL: Final = "label"
Json = Mapping[str, Any]
_JsonDict = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """What `moppet explain` is asked for."""

    model: ModelArgument
    data: Annotated[
        Path, typer.Argument(help="An image, a folder of images, a dataset, or a manifest.")
    ]
    output: Annotated[Path, output_option("A new output folder.")] = Path("moppet_explanation")
    dataset: DatasetOptions
    method: Annotated[
        str,
        choice(
            "grad-cam (models from `moppet train`) or occlusion (any model, slower).", *_METHODS
        ),
    ] = _METHODS[0]
    of: Annotated[
        str, typer.Option(help="Explain the predicted class, the label, or this class.")
    ] = _PREDICTED
    split: SplitOption = None
    limit: Annotated[
        int, typer.Option(help="Explain a random sample this large; 0 for all.", min=0)
    ] = 200
    mean_only: Annotated[bool, flag("--mean-only", "Write no image that shows a face.")] = False
    seed: SeedOption = 0


@dataclass(frozen=True)
class _Explained:
    """The images that were explained, and what was found. rows: their numbers in the data."""

    manifest: Manifest
    rows: NDArray[np.int64]
    faces: Faces
    crops: Image
    classes: NDArray[np.int64]
    probabilities: Floats
    maps: Floats
    how: _JsonDict


def explain(options: ExplainOptions) -> None:
    """Show which parts of the face a model uses."""
    from moppet.infer.expression_model import load_model

    if options.method not in _METHODS:
        raise UsageError(f"--method takes one of {', '.join(_METHODS)}, got {options.method!r}.")
    model = load_model(options.model)
    if options.of not in (_PREDICTED, _LABEL, *model.names):
        raise UsageError(
            f"--of takes {_PREDICTED}, {_LABEL} or a class of the model "
            f"({', '.join(model.names)}), got {options.of!r}."
        )
    grad_cam: Callable[..., Any] | None = None
    if options.method == "grad-cam":
        with extra("train", "Without --method occlusion, moppet explain"):
            from moppet.evaluate.grad_cam import explain_crops
        grad_cam = explain_crops
    if options.output.is_dir() and any(options.output.iterdir()):  # overlays of two runs would mix
        raise UsageError(
            f"{options.output} holds files already. Name another folder with -o, or empty it."
        )
    whole = read_images(options.data, options.dataset)
    split, rows = _draw_rows(options, whole, model.names)
    with result_folder(options.output), watched() as show:
        explained = _explain(options, model, whole, rows, grad_cam, show)
        result = _result(options, model, whole, split, explained)
        _write(options, model, whole, explained, result, show)
    print_explanation(result, options.output)


def _write(
    options: ExplainOptions,
    model: ExpressionModel,
    whole: Manifest,
    explained: _Explained,
    result: _JsonDict,
    show: Show,
) -> None:
    """Write the maps, the numbers and the page, and complete the result."""
    from moppet.evaluate.saliency import measure_saliency
    from moppet.pages.explain import build_page

    found, folder = explained.faces.found, options.output
    parts = measure_saliency(
        explained.maps[found],
        [model.names[k] for k in explained.classes[found]],
        model.names,
        explained.manifest.column("age_band")[found],
        _groups(whole, explained.rows)[found],
        seed=options.seed,
    )
    _write_means(folder, parts, result)
    if not options.mean_only:
        _write_overlays(folder, explained, model, result, show)
    text = json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False)
    write_text(folder / "explanation.json", text + "\n")
    page = build_page(result, {one["map"]: folder / one["map"] for one in result["parts"]})
    write_text(folder / "explanation.html", page)


def read_images(path: Path, dataset: DatasetOptions) -> Manifest:
    """Return the manifest of a dataset, an image, or a plain folder of images."""
    from moppet.datasets.manifest import build_manifest
    from moppet.media.images import images_of

    plain = dataset.kind is None and path.is_dir() and not any(p.is_dir() for p in path.iterdir())
    if plain or (path.is_file() and path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")):
        try:
            images = images_of(path) or []
        except MoppetError:
            images = []
        if images:
            root = path if path.is_dir() else path.parent
            names = [image.name for image in images]
            columns = {"path": names, "source": ["images"] * len(names)}
            return build_manifest(columns, root=root, names=())
    return dataset.read(path)


def _draw_rows(
    options: ExplainOptions, whole: Manifest, names: Sequence[str]
) -> tuple[str, NDArray[np.int64]]:
    """Return the split and its rows to explain, in order: at most `limit` of them, 0 for all.

    names: the classes of the model; labels are only explained where they are one of these.
    Raises MoppetError where no row is left.
    """
    from moppet.evaluate.selection import ALL, choose_split

    split, inside = choose_split(whole, options.split)
    of = ""
    if options.of == _LABEL:
        of = f" with a label that is a class of the model ({', '.join(names)})"
        inside &= np.isin(whole.column("label").astype(str), names)
    rows = np.flatnonzero(inside)
    if not len(rows):
        where = options.data if split == ALL else f"split {split!r} of {options.data}"
        raise MoppetError(f"there is no image in {where}{of}.")
    if options.limit and len(rows) > options.limit:
        rng = np.random.default_rng(options.seed)
        rows = np.sort(rng.choice(rows, options.limit, replace=False))
    return split, rows


def _groups(whole: Manifest, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows' groups; duplicates are searched for if the data has no duplicate groups."""
    from moppet.datasets.duplicates import has_duplicate_groups, with_duplicate_groups
    from moppet.datasets.manifest import connect

    groups = whole.groups[rows]
    if has_duplicate_groups(whole):
        return groups
    looked = with_duplicate_groups(whole.select(rows))
    return connect(len(rows), [groups.tolist(), looked.groups.tolist()])


def _explain(
    options: ExplainOptions,
    model: ExpressionModel,
    whole: Manifest,
    rows: NDArray[np.int64],
    grad_cam: Callable[..., Any] | None,
    show: Show,
) -> _Explained:
    from moppet.datasets.faces import find_manifest_faces
    from moppet.evaluate.saliency import PATCH_PX, STRIDE_PX, occlusion_maps
    from moppet.infer.expression_model import find_model

    manifest = whole.select(rows)
    faces = find_manifest_faces(manifest, progress=partial(show, "faces"))
    crops = faces.aligned()
    probabilities = model.predict(crops).probabilities
    classes = _classes(options, model, manifest, probabilities)

    progress = partial(show, options.method)
    if grad_cam is None:
        maps = occlusion_maps(model, crops, classes, progress=progress)
        how: _JsonDict = {"patch_px": PATCH_PX, "stride_px": STRIDE_PX}
    else:
        try:
            made = grad_cam(find_model(options.model), model, crops, classes, progress)
        except ModelError as error:
            raise ModelError(f"{error} --method occlusion explains any model.") from None
        maps = made.maps
        how = {"layer": made.layer, "grid": list(made.grid), "mirrored": made.mirrored}
    return _Explained(manifest, rows, faces, crops, classes, probabilities, maps, how)


def _classes(
    options: ExplainOptions, model: ExpressionModel, manifest: Manifest, probabilities: Floats
) -> NDArray[np.int64]:
    if options.of == _PREDICTED:
        return np.asarray(probabilities.argmax(axis=1), np.int64)
    if options.of == _LABEL:
        return np.array([model.names.index(x) for x in manifest.column("label")], np.int64)
    return np.full(len(manifest), model.names.index(options.of), np.int64)


def _result(
    options: ExplainOptions,
    model: ExpressionModel,
    whole: Manifest,
    split: str,
    explained: _Explained,
) -> _JsonDict:
    """What explanation.json says before the parts and the images."""
    from moppet.evaluate.saliency import region_areas
    from moppet.infer.alignment import CROP_PX, TEMPLATE_PX

    return {
        **run_facts("explain", options),
        "moppet_version": version("moppet"),
        "model": {"name": model.name, "sha256": model.sha256, "classes": list(model.names)},
        "data": {
            "name": options.data.name,
            "path": str(options.data),
            "images": len(whole),
            "split": split,
            "explained": len(explained.rows),
            "faces_found": int(explained.faces.found.sum()),
        },
        "method": {"name": options.method, **explained.how},
        "of": options.of,
        "template": {
            "size_px": CROP_PX,
            "landmarks_px": TEMPLATE_PX.astype(float).round(1).tolist(),
            "areas": region_areas(),
        },
        "parts": [],
        "brightest": None,
        "images": None,
    }


def _write_means(folder: Path, parts: list[SaliencySummary], result: _JsonDict) -> None:
    from moppet.pages.explain import as_png, brightest, draw_mean

    most = brightest([part.mean for part in parts])
    taken: set[str] = set()
    for part in parts:
        words = [word for word in (part.class_name, part.age_band) if word]
        name = _file_name("_".join(words) or "all", taken)
        write_bytes(folder / "mean" / name, as_png(draw_mean(part.mean, most)))
        result["parts"].append(part.as_json() | {"map": f"mean/{name}"})
    result["brightest"] = most


def _write_overlays(
    folder: Path, explained: _Explained, model: ExpressionModel, result: _JsonDict, show: Show
) -> None:
    from moppet.evaluate.saliency import region_shares
    from moppet.pages.explain import as_png, draw_overlay

    shares = region_shares(explained.maps)
    columns = {name: explained.manifest.column(name) for name in ("path", "label", "age_band")}
    read = explained.probabilities.argmax(axis=1)
    found = explained.faces.found
    taken: set[str] = set()
    result["images"] = []
    for i, row in enumerate(explained.rows.tolist()):
        of = model.names[explained.classes[i]]
        file = _file_name(f"{row:06d}_{Path(str(columns['path'][i])).stem}_{of}", taken)
        overlay = draw_overlay(explained.crops[i], explained.maps[i])
        write_bytes(folder / "images" / file, as_png(overlay))
        result["images"].append(
            {
                "row": row,
                **{name: column[i] for name, column in columns.items()},
                "file": f"images/{file}",
                "face_found": bool(found[i]),
                "explained": of,
                "probability": round(float(explained.probabilities[i, explained.classes[i]]), 4),
                "predicted": model.names[read[i]],
                "shares": {k: _plain(v[i]) for k, v in shares.items()} if found[i] else None,
            }
        )
        show("overlays", i + 1, len(explained.rows))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def _file_name(text: str, taken: set[str]) -> str:
    """Return a name for a .png that no other has, in letters that every system takes."""
    stem = file_name(text)[:100]
    name, number = f"{stem}.png", 2
    while name.casefold() in taken:
        name, number = f"{stem}_{number}.png", number + 1
    taken.add(name.casefold())
    return name


def print_explanation(result: Json, folder: Path) -> None:
    """Print the shares of all faces, each class and each age band, and what was written."""
    console = wide_console(110)
    data, parts, how = result["data"], result["parts"], result["method"]
    explained = f"{data['explained']:,} of {data['images']:,} images explained"
    grid = f" ({how['grid'][0]} x {how['grid'][1]} places)" if "grid" in how else ""
    say(
        console,
        f"{result['model']['name']} on {data['name']}: {explained} by {how['name']}{grid}, "
        f"a face found in {data['faces_found']:,}",
    )
    areas = result["template"]["areas"]
    table = Table(box=None, padding=(0, 2, 0, 0), title="share of saliency", title_justify="left")
    for title in ("", "n", *areas):
        table.add_column(title, justify="right" if title else "left")
    table.add_row("if spread evenly", "", *(f"{area:.2f}" for area in areas.values()))
    for one in parts:
        if one["class"] and one["age_band"]:
            continue  # they are many, and on the page
        name = one["class"] or one["age_band"] or "all"
        cells = (_cell(share) for share in one["shares"].values())
        table.add_row(escape(name), f"{one['n'] - one['undefined']:,}", *cells)
    console.print(table)
    if whole := parts[0]["undefined"]:
        say(
            console,
            f"note: {whole:,} of {parts[0]['n']:,} maps are undefined, because nothing in the "
            "face supports the class; they are left out of the shares and mean maps.",
        )
    if how.get("mirrored") is False:
        say(
            console,
            "note: this model reads a face and its mirror image differently, and so do its maps; "
            "which side is brighter says nothing about faces. Compare --method occlusion.",
        )
    say(console, f"{folder / 'mean'}: mean maps ({len(parts)}), which show no face")
    if result["images"] is not None:
        say(
            console,
            f"{folder / 'images'}: {len(result['images']):,} overlays, which show the faces",
        )
    for name in ("explanation.json", "explanation.html"):
        say(console, str(folder / name))


def _cell(share: Json) -> str:
    if share["value"] is None:
        return "–"
    if share["low"] is None:
        return f"{share['value']:.2f}"
    return f"{share['value']:.2f} [dim]{share['low']:.2f}-{share['high']:.2f}[/]"
