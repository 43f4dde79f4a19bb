"""A few rendered faces, many times over in other light: what the generators are tested on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import rendered
from moppet.datasets.faces import Faces
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.synthesis.generators import SyntheticImage, find_generator
from moppet.synthesis.sampling_plan import make_plan
from moppet.synthesis.settings import SynthesisSettings
from moppet.synthesis.training_images import StartingFaces, training_rows
from moppet.values import Image

COUNTS = {"happiness": 9, "sadness": 5}
SIDE = 48


@cache
def faces() -> list[Image]:
    """The rendered faces, cut out roughly, (48, 48, 3) RGB."""
    found = []
    for still in rendered.read_stills().values():
        for truth in still.faces:
            x, y, w, h = (int(v) for v in truth.box_px)
            cut = still.image[max(0, y) : y + h, max(0, x) : x + w]
            found.append(np.asarray(cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA)))
    return found


def face(rng: np.random.Generator) -> Image:
    """One of them in light of its own."""
    known = faces()
    light = cv2.resize(rng.uniform(0.4, 1, (4, 4)), (SIDE, SIDE))
    return (known[int(rng.integers(len(known)))] * light[:, :, None]).astype(np.uint8)


def write_folder(
    folder: Path, counts: Mapping[str, int], *, parts: tuple[str, ...] = (), seed: int = 0
) -> Path:
    """Write <class>/000.png, below train/, val/ or test/ for each of `parts`."""
    rng = np.random.default_rng(seed)
    for part in parts or ("",):
        for name, count in counts.items():
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count):
                image = cv2.cvtColor(face(rng), cv2.COLOR_RGB2BGR)
                assert cv2.imwrite(str(place / f"{number:03d}.png"), image)
    return folder


def sample(
    folder: Path, counts: Mapping[str, int] = COUNTS, seed: int = 0
) -> tuple[Manifest, Faces]:
    """A manifest whose rows are train, val and test in turn, as many of each; and its faces."""
    write_folder(folder, counts, parts=("train", "val", "test"), seed=seed)
    paths = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    parts = {"train": "train", "val": "val", "test": "test"}
    manifest = build_manifest(
        {
            "path": paths,
            "label": [path.split("/")[1] for path in paths],
            "split": [parts[path.split("/")[0]] for path in paths],
        },
        root=folder,
    )
    return manifest, whole_faces(manifest)


def whole_faces(manifest: Manifest, **_: Any) -> Faces:
    """The images as they are, as if a face had been found in each, upright."""
    n = len(manifest)
    cuts = [manifest.image(i) for i in range(n)]
    points = [[0.31, 0.38], [0.68, 0.38], [0.5, 0.6], [0.34, 0.77], [0.65, 0.77]]
    marks = np.stack([np.array(points, np.float32) * cut.shape[0] for cut in cuts])
    some = np.zeros(n, np.int8)
    return Faces(cuts, marks, np.ones(n, bool), some, np.ones(n, np.int64))


def check_contract(settings: SynthesisSettings, manifest: Manifest) -> list[SyntheticImage]:
    """Assert what holds for every generator that is ready to use; return two images of it."""
    generator = find_generator(settings.method).load()(settings, StartingFaces(manifest, settings))
    assert generator.model and isinstance(generator.model, str)
    requests = make_plan(settings, {"sadness": 2}).requests
    assert len({request.seed for request in requests}) == 2
    images = [generator(request) for request in requests]
    again = [generator(request) for request in requests[::-1]][::-1]
    shape = (settings.size, settings.size) + (3,) * (settings.color == "rgb")
    real = {content_hash(manifest.image(int(row))) for row in training_rows(manifest, settings)}
    for one, other in zip(images, again, strict=True):
        assert one.image.dtype == np.uint8 and one.image.shape == shape
        assert np.array_equal(one.image, other.image) and one.sources == other.sources
        assert set(one.sources) <= real
    assert not np.array_equal(images[0].image, images[1].image)
    return images
