"""`moppet explain`: a model and faces in; overlays, mean maps, numbers and a page out."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.app.data.source import watched
from moppet.app.explanation.drawing import as_png, brightest, draw_mean, draw_overlay
from moppet.app.explanation.page import build_page
from moppet.app.explanation.printed import print_explanation
from moppet.app.explanation.rows import draw_rows, find_split, read_pictures
from moppet.data.copies import group_copies, tells_copies
from moppet.data.faces import Faces, find_manifest_faces
from moppet.data.manifest import Manifest, connect
from moppet.infer.align import CROP_PX, TEMPLATE_PX
from moppet.infer.catalogue import find_model, load_model
from moppet.infer.expressions import ExpressionModel
from moppet.study.occlusion import PATCH_PX, STRIDE_PX, occlusion_maps
from moppet.study.saliency import Part, measure_parts, region_areas, region_shares
from moppet.values import Floats, Image, ModelError, MoppetError, UsageError

METHODS: Final = ("grad-cam", "occlusion")
PREDICTED: Final = "predicted"
LABEL: Final = "label"
LIMIT: Final = 200
Json = dict[str, Any]
Show = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """What `moppet explain` was asked for. See its help for the options."""

    model: str
    data: Path
    output: Path
    kind: str | None = None
    method: str = METHODS[0]
    of: str = PREDICTED
    split: str | None = None
    limit: int = LIMIT
    mean_only: bool = False
    seed: int = 0

    @property
    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["moppet", "explain", self.model, str(self.data), "-o", str(self.output)]
        words += [] if self.kind is None else ["--kind", self.kind]
        words += ["--method", self.method, "--of", self.of]
        words += [] if self.split is None else ["--split", self.split]
        words += ["--limit", str(self.limit), "--seed", str(self.seed)]
        return shlex.join([*words, *(["--mean-only"] if self.mean_only else [])])


@dataclass(frozen=True)
class _Explained:
    """The pictures that were explained, and what was found. rows: their numbers in the data."""

    manifest: Manifest
    rows: NDArray[np.int64]
    faces: Faces
    crops: Image
    classes: NDArray[np.int64]
    probabilities: Floats
    maps: Floats
    how: Json


def explain_model(job: Job) -> Path:
    """Write the explanation of a model's readings into a new folder, say what is in it."""
    if job.method not in METHODS:
        raise UsageError(f"--method is one of {', '.join(METHODS)}, got {job.method!r}.")
    model = load_model(job.model)
    if job.of not in (PREDICTED, LABEL, *model.names):
        raise UsageError(
            f"--of is {PREDICTED}, {LABEL} or a class of the model "
            f"({', '.join(model.names)}), got {job.of!r}."
        )
    grad_cam = _grad_cam() if job.method == "grad-cam" else None
    whole = read_pictures(job.data, job.kind)
    split = find_split(whole, job.split)
    rows = draw_rows(
        whole,
        job.data,
        split=split,
        labelled=model.names if job.of == LABEL else None,
        limit=job.limit,
        rng=np.random.default_rng(job.seed),
    )
    with _new_folder(job.output) as folder, watched() as show:
        explained = _explain(job, model, whole, rows, grad_cam, show)
        found = explained.faces.found
        parts = measure_parts(
            explained.maps[found],
            [model.names[k] for k in explained.classes[found]],
            model.names,
            explained.manifest.column("age_band")[found],
            _groups(whole, rows)[found],
            seed=job.seed,
        )
        result = _result(job, model, whole, split, explained)
        _write_means(folder, parts, result)
        if not job.mean_only:
            _write_overlays(folder, explained, model, result, show)
        text = json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / "explanation.json").write_text(text + "\n", encoding="utf-8")
        page = build_page(result, {one["map"]: folder / one["map"] for one in result["parts"]})
        (folder / "explanation.html").write_text(page, encoding="utf-8", newline="\n")
    print_explanation(result, job.output)
    return job.output


def _groups(whole: Manifest, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows' groups; copies are searched for where the data does not tell of them."""
    groups = whole.groups[rows]
    if tells_copies(whole):
        return groups
    looked = group_copies(whole.select(rows))
    return connect(len(rows), [groups.tolist(), looked.groups.tolist()])


def _grad_cam() -> Callable[..., Any]:
    try:
        from moppet.train.explain import explain_crops
    except ModuleNotFoundError as error:
        raise MoppetError(
            f"Grad-CAM needs {error.name}. Install it with: pip install 'moppet[train]', or use "
            "--method occlusion, which needs no more than is here."
        ) from None
    return explain_crops


def _explain(
    job: Job,
    model: ExpressionModel,
    whole: Manifest,
    rows: NDArray[np.int64],
    grad_cam: Callable[..., Any] | None,
    show: Show,
) -> _Explained:
    manifest = whole.select(rows)
    faces = find_manifest_faces(manifest, progress=lambda n, of: show("faces", n, of))
    crops = faces.aligned()
    probabilities = model.predict(crops).probabilities
    classes = _classes(job, model, manifest, probabilities)

    def progress(done: int, total: int) -> None:
        show(job.method, done, total)

    if grad_cam is None:
        maps = occlusion_maps(model, crops, classes, progress=progress)
        how: Json = {"patch_px": PATCH_PX, "stride_px": STRIDE_PX}
    else:
        try:
            made = grad_cam(find_model(job.model), model, crops, classes, progress)
        except ModelError as error:
            raise ModelError(f"{error} --method occlusion explains any model.") from None
        maps = made.maps
        how = {"layer": made.layer, "grid": list(made.grid), "mirrored": made.mirrored}
    return _Explained(manifest, rows, faces, crops, classes, probabilities, maps, how)


def _classes(
    job: Job, model: ExpressionModel, manifest: Manifest, probabilities: Floats
) -> NDArray[np.int64]:
    if job.of == PREDICTED:
        return np.asarray(probabilities.argmax(axis=1), np.int64)
    if job.of == LABEL:
        return np.array([model.names.index(x) for x in manifest.column("label")], np.int64)
    return np.full(len(manifest), model.names.index(job.of), np.int64)


def _result(
    job: Job, model: ExpressionModel, whole: Manifest, split: str, explained: _Explained
) -> Json:
    """What explanation.json says before the parts and the pictures."""
    return {
        "command": job.command,
        "made_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "moppet_version": version("moppet"),
        "model": {"name": model.name, "sha256": model.sha256, "classes": list(model.names)},
        "data": {
            "name": job.data.name,
            "path": str(job.data),
            "pictures": len(whole),
            "split": split,
            "explained": len(explained.rows),
            "faces_found": int(explained.faces.found.sum()),
        },
        "method": {"name": job.method, **explained.how},
        "of": job.of,
        "template": {
            "size_px": CROP_PX,
            "landmarks_px": TEMPLATE_PX.astype(float).round(1).tolist(),
            "areas": region_areas(),
        },
        "parts": [],
        "brightest": None,
        "pictures": None,
    }


def _write_means(folder: Path, parts: list[Part], result: Json) -> None:
    (folder / "mean").mkdir()
    most = brightest([part.mean for part in parts])
    taken: set[str] = set()
    for part in parts:
        words = [word for word in (part.class_name, part.age_band) if word]
        name = _file_name("_".join(words) or "all", taken)
        (folder / "mean" / name).write_bytes(as_png(draw_mean(part.mean, most)))
        result["parts"].append(part.as_json() | {"map": f"mean/{name}"})
    result["brightest"] = most


def _write_overlays(
    folder: Path, explained: _Explained, model: ExpressionModel, result: Json, show: Show
) -> None:
    (folder / "pictures").mkdir()
    shares = region_shares(explained.maps)
    columns = {name: explained.manifest.column(name) for name in ("path", "label", "age_band")}
    read = explained.probabilities.argmax(axis=1)
    found = explained.faces.found
    taken: set[str] = set()
    result["pictures"] = []
    for i, row in enumerate(explained.rows.tolist()):
        of = model.names[explained.classes[i]]
        file = _file_name(f"{row:06d}_{Path(str(columns['path'][i])).stem}_{of}", taken)
        overlay = draw_overlay(explained.crops[i], explained.maps[i])
        (folder / "pictures" / file).write_bytes(as_png(overlay))
        result["pictures"].append(
            {
                "row": row,
                **{name: column[i] for name, column in columns.items()},
                "file": f"pictures/{file}",
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
    stem = re.sub(r"[^\w.-]+", "_", text)[:100]
    name, number = f"{stem}.png", 2
    while name.casefold() in taken:
        name, number = f"{stem}_{number}.png", number + 1
    taken.add(name.casefold())
    return name


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Make the folder, which must be empty: overlays of two runs would be taken for one."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds files already. Name another folder with -o, or empty it.")
    fresh = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise MoppetError(f"{folder} cannot be written: {error.strerror or error}.") from None
    finally:
        if fresh and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
