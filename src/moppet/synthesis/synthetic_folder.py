"""A folder of synthetic faces: images, and a manifest that says how each came about."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from moppet.config import read_toml
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.provenance import join_synthetic, synthetic_columns
from moppet.files import write_bytes, write_text
from moppet.synthesis.sampling_plan import Plan, Request
from moppet.synthesis.settings import METHODS, Settings, settings_text
from moppet.synthesis.training_images import file_word
from moppet.values import Image, MoppetError, UsageError

IMAGES: Final = "pictures"
MANIFEST: Final = "manifest.parquet"
SETTINGS: Final = "settings.toml"
RUN: Final = "run"
PLAN: Final = "plan.csv"
GENERATOR: Final = "generator.safetensors"
PART: Final = ".pictures.part"
_DONE: Final = "done.jsonl"


@dataclass(frozen=True)
class Made:
    """One made image.

    image: (h, w) gray or (h, w, 3) RGB uint8. sources: content hashes of the images that it was
    made from; empty where it is from none in particular. age_band: of who is in them, if known.
    """

    image: Image
    sources: tuple[str, ...] = ()
    age_band: str | None = None


Json = dict[str, Any]
Make = Callable[[Request], Made | None]
"""Makes what a request asks for; None where that must not be kept (a safety checker's word)."""
Progress = Callable[[str, int, int], None]


def check_output(folder: Path, data: Path, method: str) -> None:
    """Raise UsageError unless the folder is new, empty, or one that the method made before.

    data: what is made from; it may not lie in the folder, nor the folder in it.
    """
    if data.is_dir() and folder.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"{folder} lies within the images {data}, and would be read as one of their classes. "
            "Name a folder elsewhere with -o."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a new folder with -o.")
    if data.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{data} lies within {folder}, whose images would be replaced: name a new folder "
            "with -o."
        )
    if folder.is_dir() and any(folder.iterdir()):
        before = _method_of(folder)
        if before is None and not (folder / PART).is_dir():
            raise UsageError(
                f"{folder} holds other things, which are left alone: name a new folder with -o."
            )
        if before not in (None, method):
            raise UsageError(
                f"{folder} holds what {before!r} made, which is left alone: name a new folder with "
                f"-o for {method!r}."
            )


def begin(folder: Path, settings: Settings) -> None:
    """Make the folder; from now on its settings tell whose it is."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SETTINGS).exists():
        write_text(folder / SETTINGS, settings_text(settings))


def _method_of(folder: Path) -> str | None:
    """The method that made a folder; None if it is not of this command."""
    try:
        method = read_toml(folder / SETTINGS, "settings file").get("method")
    except UsageError:
        return None
    return str(method) if method in METHODS else None


def write_made(
    folder: Path,
    plan: Plan,
    make: Make,
    manifest: Manifest,
    settings: Settings,
    *,
    model: str = "",
    sources: str = "",
    progress: Progress | None = None,
) -> Manifest:
    """Make a plan's images into the folder; return the manifest with the made rows joined.

    The folder gets pictures/<class>/, plan.csv, settings.toml and, last, manifest.parquet. What
    an earlier run left there is replaced only when all the new images are written. A stopped
    run keeps the images that it had made; the same plan, settings, model and sources go on from
    there.
    model: tells what made them: the SHA-256 of the weights, or the models' names and hashes.
    sources: tells the images that may be begun with from any others; "" for none.
    """
    part = folder / PART
    told = hashlib.sha256(
        "\n".join([plan.as_csv(), settings_text(settings), model, sources]).encode()
    ).hexdigest()
    with no_space(folder):
        _take_up_again(folder)
        rows = list(_make_all(part, plan, make, told, progress))
        if not rows:
            shutil.rmtree(part)
            raise MoppetError("the safety checker kept none of the images: nothing is made.")
        joined = join_synthetic(manifest, _manifest(folder, rows, settings, model))
        _exchange(folder, plan, settings, joined)
    return joined


def _exchange(folder: Path, plan: Plan, settings: Settings, joined: Manifest) -> None:
    """Put what is made in the place of what was there, once there is room for all of it."""
    fresh = {name: folder / f".new.{name}" for name in (PLAN, SETTINGS, MANIFEST)}
    try:
        write_text(fresh[PLAN], plan.as_csv())
        write_text(fresh[SETTINGS], settings_text(settings))
        joined.write(fresh[MANIFEST])
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder / IMAGES, ignore_errors=True)
        (folder / PART).replace(folder / IMAGES)
        for name, path in fresh.items():
            path.replace(folder / name)
        (folder / IMAGES / _DONE).unlink()
    finally:
        for path in fresh.values():
            path.unlink(missing_ok=True)


def _take_up_again(folder: Path) -> None:
    """Where a run was killed while its images took their place, go back to before that."""
    if (folder / IMAGES / _DONE).is_file() and not (folder / PART).is_dir():
        (folder / MANIFEST).unlink(missing_ok=True)
        (folder / IMAGES).replace(folder / PART)


@contextmanager
def no_space(folder: Path) -> Iterator[None]:
    """Turn a full disk into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise MoppetError(
            f"there is no room left on the disk of {folder}: make room and run the same command "
            "again; what was learned and made is kept there."
        ) from None


def _make_all(
    part: Path, plan: Plan, make: Make, told: str, progress: Progress | None
) -> Iterator[tuple[Request, Made, str]]:
    known = _made_before(part, told)
    part.mkdir(parents=True, exist_ok=True)
    with (part / _DONE).open("a", encoding="utf-8") as log:
        if not known:
            log.write(json.dumps({"told": told}) + "\n")
        for done, request in enumerate(plan.requests, 1):
            name = f"{file_word(request.label)}/{request.number:05d}.png"
            if name in known:
                made = _read_made(part / name, known[name])
            else:
                made = make(request)
                line: Json = {"name": name, "kept": made is not None}
                if made is not None:
                    _write_png(part / name, made.image)
                    line |= {"sources": made.sources, "age_band": made.age_band}
                log.write(json.dumps(line) + "\n")
                log.flush()
            if made is not None:
                yield request, made, f"{IMAGES}/{name}"
            if progress is not None:
                progress("making", done, len(plan))


def _made_before(part: Path, told: str) -> dict[str, Json]:
    """Return what a stopped run of the same plan had made, by name; else clear what is there."""
    found: list[Json] = []
    with suppress(OSError):
        for line in (part / _DONE).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # the last line of a run that was killed
                found.append(json.loads(line))
    if not found or found[0] != {"told": told}:
        shutil.rmtree(part, ignore_errors=True)
        return {}
    return {line["name"]: line for line in found if "name" in line}


def _read_made(path: Path, line: Json) -> Made | None:
    if not line["kept"]:
        return None
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise MoppetError(f"{path} of a stopped run cannot be read: remove {path.parents[1]}.")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return Made(np.asarray(image, np.uint8), tuple(line["sources"]), line["age_band"])


def _write_png(path: Path, image: Image) -> None:
    done, data = cv2.imencode(
        ".png", image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    )
    if not done:
        raise MoppetError(f"{path} cannot be written as an image.")
    write_bytes(path, data.tobytes())


def _manifest(
    folder: Path, rows: Sequence[tuple[Request, Made, str]], settings: Settings, model: str
) -> Manifest:
    only_age = settings.only_ages[0] if len(settings.only_ages) == 1 else None
    requests = [request for request, _, _ in rows]
    columns: dict[str, Any] = {
        "path": [path for _, _, path in rows],
        "label": [request.label for request in requests],
        "age_band": [r.age_band or made.age_band or only_age for r, made, _ in rows],
        "source": [f"made by {settings.method}"] * len(rows),
        "split": ["train"] * len(rows),
        "content_hash": [content_hash(made.image) for _, made, _ in rows],
        **synthetic_columns(
            len(rows),
            generator=settings.method,
            synthetic_seed=[request.seed for request in requests],
            synthetic_from=[list(made.sources) or None for _, made, _ in rows],
            synthetic_prompt=[request.prompt for request in requests],
        ),
    }
    more = {
        "synthetic_model": [model or None] * len(rows),
        "synthetic_ethnicity": [request.ethnicity for request in requests],
        "synthetic_background": [request.background for request in requests],
        "synthetic_occlusion": [request.occlusion for request in requests],
    }
    columns |= {k: v for k, v in more.items() if any(value is not None for value in v)}
    return build_manifest(columns, root=folder)


COLUMNS: Final = 12
_TITLE_PX: Final = 18
_GAP_PX: Final = 2


def write_sheet(bands: Mapping[str, Sequence[Image]], path: Path, *, side: int = 0) -> None:
    """Write a .png: for each class its name and its faces below, twelve in a row.

    bands: title → (h, w) gray or (h, w, 3) RGB uint8. side: of each face; 0 for its own, or 96
        where that is smaller.
    Raises UsageError if there is nothing to show or the file cannot be written.
    """
    if not any(len(band) for band in bands.values()):
        raise UsageError("a sheet needs at least one image, got none.")
    if path.suffix.lower() != ".png":
        raise UsageError(f"a sheet is written as .png, but {path.name!r} is not.")
    side = side or max(96, *(band[0].shape[0] for band in bands.values() if len(band)))
    rows = [part for title, band in bands.items() for part in _band(title, band, side)]
    _, data = cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    write_bytes(path, data.tobytes(), UsageError)


def _band(title: str, band: Sequence[Image], side: int) -> list[Image]:
    step = side + _GAP_PX
    head = np.full((_TITLE_PX, COLUMNS * step, 3), 255, np.uint8)
    text = title.encode("ascii", "replace").decode()
    cv2.putText(head, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    parts = [head]
    for start in range(0, len(band), COLUMNS):
        row = np.full((step, COLUMNS * step, 3), 255, np.uint8)
        for at, image in enumerate(band[start : start + COLUMNS]):
            colour = np.repeat(image[:, :, None], 3, 2) if image.ndim == 2 else image
            shrinks = colour.shape[0] > side
            flags = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
            row[:side, at * step : at * step + side] = cv2.resize(
                colour, (side, side), interpolation=flags
            )
        parts.append(row)
    return parts
