"""Cells that train a network and evaluate it on the test rows, with or without synthetic rows."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import lightning
import numpy as np
import torch
from annotated_types import Ge
from filelock import FileLock
from numpy.typing import NDArray
from scipy.special import softmax

from moppet.config import check_stored, old_names
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, build_manifest, read_manifest
from moppet.datasets.provenance import join_synthetic, real_rows, synthetic_columns
from moppet.datasets.splits import holdout
from moppet.files import read_json, write_text
from moppet.study.engine import StudyContext, find_study_faces
from moppet.study.executors import Json
from moppet.study.ledger import read_results
from moppet.study.plan import COPIES, NetworkCell, NetworkPlan, Regime
from moppet.synthesis.generators import find_generator
from moppet.synthesis.sampling_plan import make_plan
from moppet.synthesis.settings import SynthesisSettings
from moppet.synthesis.synthetic_folder import MANIFEST, write_synthetic
from moppet.synthesis.trained_generators import FaceGenerator, load_generator
from moppet.synthesis.training import plan_tasks, train_generator
from moppet.synthesis.training_images import StartingFaces, TrainingImages
from moppet.train.callbacks import kept_weights
from moppet.train.checkpoints import read_log
from moppet.train.data_module import (
    PARTS,
    TrainingData,
    evaluation_crops,
    network_input,
    normalize,
    select_training_data,
)
from moppet.train.module import predict_logits
from moppet.train.networks import Network, cost
from moppet.train.recipe import Recipe, read_data
from moppet.train.starting_weights import make_network, start_network
from moppet.train.trainer import Machine, train
from moppet.train.training_run import sample_input, with_split
from moppet.values import Image, MoppetError, UsageError

_TRIAL_STEPS: Final = 2
_ROUNDS: Final = 12


@dataclass(frozen=True)
class NetworkContext(StudyContext):
    """The images of a study of networks and their faces."""

    plan: NetworkPlan
    manifest: Manifest
    faces: Faces

    @classmethod
    def open(cls, plan: NetworkPlan) -> NetworkContext:
        """Read the study's images and find their faces."""
        recipe = plan.experiments[0].recipe
        manifest = read_data(recipe, (plan.base / recipe.data).resolve())
        bands = [band for e in plan.experiments for band in e.recipe.only_ages]
        if bands:
            manifest = manifest.select(np.isin(manifest.column("age_band").astype(str), bands))
        manifest, faces = find_study_faces(manifest, plan.work)
        return cls(plan, with_split(manifest, recipe.seed), faces)

    def run(self, cell: NetworkCell) -> Json:
        """Train a cell's network, evaluate it on the test rows, and return its line."""
        data, synthesis_seconds = self.add_synthetic_rows(cell, self.draw(cell))
        recipe = cell.recipe
        folder = self.folder_of(cell)
        lightning.seed_everything(recipe.seed, verbose=False)
        network = self.make_network(cell, data)
        # Of the processors, not of the clock: what else runs does not count.
        before, started = len(read_log(folder)), time.process_time()
        train(recipe, folder, data, network, Machine(accelerator="cpu", quiet=True))
        seconds = time.process_time() - started
        network.load_state_dict(kept_weights(folder, recipe))
        log = read_log(folder)
        seconds *= len(log) / max(1, len(log) - before)  # of a resumed run: as if it were whole
        crops = evaluation_crops(data, data.rows("test", labeled=True), aligned=True)
        logits, _ = predict_logits(network, network_input(crops, recipe), batch=32)
        parameters, flops = cost(network, recipe.size)
        shutil.rmtree(folder)
        return {
            **self.line(cell),
            "network": recipe.network,
            "names": list(data.names),
            "rows": {part: _counts(data, part) for part in PARTS},
            "parameters": parameters,
            "flops": flops,
            "epochs": len(log),
            "seconds": round(seconds, 2),
            "synthesis_seconds": round(synthesis_seconds, 2),
            "log": [{k: round(v, 4) for k, v in row.items()} for row in log],
            "probabilities": [[round(float(p), 4) for p in row] for row in softmax(logits, axis=1)],
        }

    def runnable(
        self, cells: list[NetworkCell], report: Callable[[str], None]
    ) -> list[NetworkCell]:
        """Return the cells without those whose diffusion model is not here."""
        missing = {n: _missing_model(s, self.plan.base) for n, s in self.plan.synthesis.items()}
        kept = [cell for cell in cells if not missing.get(cell.regime.synthetic)]
        if len(kept) < len(cells):
            place = min(place for place in missing.values() if place)
            report(f"{len(cells) - len(kept)} cells are left out: there is no model at {place}")
        return kept

    def estimate(self, todo: Sequence[NetworkCell], finished: Mapping[Any, Json]) -> str:
        """Return how long the cells will take, from a few timed steps of each recipe."""
        seconds: dict[tuple[str, str], float] = {}
        total = 0.0
        for cell in todo:
            recipe = cell.experiment.recipe
            data = self.draw(cell)
            rows = len(data.training_rows(recipe))
            batch = min(recipe.batch, rows)
            key = (cell.experiment.table, cell.experiment.name)
            if key not in seconds:
                network = self.make_network(cell, data)
                x = sample_input(data, recipe)[:batch]
                started = time.perf_counter()
                for _ in range(_TRIAL_STEPS):
                    network(x)[0].sum().backward()
                seconds[key] = (time.perf_counter() - started) / _TRIAL_STEPS
            total += seconds[key] * recipe.epochs * (rows * (1 + cell.regime.ratio) // batch)
        generators = {cell.regime.synthetic for cell in todo} - {"", COPIES}
        more = f"; training of generators ({', '.join(sorted(generators))}) comes on top"
        return (
            f"about {total / 60:.0f} minutes for forward and backward passes, and half as long "
            f"again for augmentation{more if generators else ''}"
        )

    def progress(self, line: Json) -> str:
        label, _ = self.truth
        accuracy = np.mean(np.argmax(line["probabilities"], axis=1) == label)
        name = f"{line['table']}, {line['experiment']}, {line['regime']}, draw {line['draw']}"
        return f"{name}: accuracy {accuracy:.3f}, {line['seconds']:.0f} CPU seconds"

    def summarize(self, finished: Mapping[Any, Json]) -> list[Json]:
        from moppet.study.results import summarize_networks

        rows = summarize_networks(self.plan, list(finished.values()), *self.truth)
        if rows:
            self._add_speeds(rows)
        return rows

    def _add_speeds(self, rows: list[Json]) -> None:
        """Add each network's time per face, all measured in one go.

        Earlier measurements of the same networks are kept, so that the results of a finished study
        stay as they are.
        """

        def network_of(row: Json) -> tuple[Any, ...]:
            return tuple(row.get(k) for k in (*names, "network", "parameters", "flops"))

        names = ("table", "experiment")
        known: dict[Any, float] = {}
        with suppress(MoppetError):  # then they are measured anew
            known = {network_of(row): row["ms_per_face"] for row in read_results(self.plan)}
        if any(known.get(network_of(row)) is None for row in rows):
            recipes = {(e.table, e.name): e.recipe for e in self.plan.experiments}
            speeds = ms_per_face(recipes, len(rows[0]["recall"]))
            known = {network_of(row): round(speeds[network_of(row)[:2]], 3) for row in rows}
        for row in rows:
            row["ms_per_face"] = known[network_of(row)]

    @cached_property
    def truth(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the test rows' labels and groups, in the order of a cell's probabilities."""
        data = self.draw(self.plan.cells()[0])
        rows = data.rows("test", labeled=True)
        return data.label[rows], data.manifest.groups[rows]

    def draw(self, cell: NetworkCell) -> TrainingData:
        """Return a cell's rows: the same for every experiment of a regime and draw."""
        recipe = cell.experiment.recipe
        data = select_training_data(self.manifest, self.faces, recipe)
        rng = np.random.default_rng((recipe.seed, cell.draw))
        return replace(data, part=draw_parts(data, cell.regime, rng))

    def make_network(self, cell: NetworkCell, data: TrainingData) -> Network:
        """Return a cell's network with its initial weights."""
        recipe = cell.experiment.recipe
        network = make_network(recipe, len(data.names))
        if recipe.start:
            path = self.plan.base / recipe.start
            start = path if path.exists() else recipe.start
            start_network(network, data.names, start, sample_input(data, recipe))
        return network

    def add_synthetic_rows(
        self, cell: NetworkCell, data: TrainingData
    ) -> tuple[TrainingData, float]:
        """Return the data with the regime's synthetic training rows after its own.

        Also returns the CPU seconds that they took. A generator sees the cell's training rows
        only. A finished generator is kept in the work folder, so that other ratios of the same
        rows need not train it again (its seconds count for each of them); a stopped one is
        resumed, and a process that needs the same one at the same time waits for it.
        """
        regime, rows = cell.regime, data.rows("train", labeled=True)
        if not regime.synthetic:
            return data, 0.0
        if regime.synthetic == COPIES:
            return _repeated(data, np.tile(rows, int(regime.ratio))), 0.0
        settings = replace(self.plan.synthesis[regime.synthetic], seed=cell.recipe.seed)
        wanted = {
            name: round(regime.ratio * int((data.label[rows] == i).sum()))
            for i, name in enumerate(data.names)
        }
        if settings.trained:
            return _add_generated(data, rows, regime.synthetic, wanted, settings, self.plan.work)
        places: dict[str, Any] = {
            key: str(self.plan.base / name) for key, name in _models_of(settings).items()
        }
        settings = replace(settings, **places)
        return _add_painted(data, rows, regime.synthetic, wanted, settings, self.plan.work)


def draw_parts(data: TrainingData, regime: Regime, rng: np.random.Generator) -> NDArray[np.str_]:
    """Return (n,) each row's split in a regime: a number of images per class, some for validation.

    Only training and validation rows are drawn from; test rows stay as they are.
    Raises UsageError for an unknown class, and MoppetError where a class has too few images.
    """
    learn = np.isin(data.part, ("train", "val")) & (data.label >= 0)
    if not regime.counts and not regime.val:
        return data.part
    unknown = sorted(set(regime.counts) - set(data.names))
    if unknown:
        raise UsageError(
            f"regime {regime.name!r} asks for images of {unknown[0]!r}, but the classes are "
            f"{', '.join(data.names)}."
        )
    part = np.where(data.part == "test", "test", "").astype("<U6")
    drawn = []
    for number, name in enumerate(data.names):
        rows = np.flatnonzero(learn & (data.label == number))
        wanted = regime.counts.get(name, len(rows))
        if wanted > len(rows):
            raise MoppetError(
                f"regime {regime.name!r} asks for {wanted} images of {name}, but there are "
                f"{len(rows)}."
            )
        drawn.append(rng.choice(rows, wanted, replace=False))
    rows = np.sort(np.concatenate(drawn))
    part[rows] = "train"
    if regime.val:
        part[rows[holdout(data.manifest.select(rows), regime.val, rng)]] = "val"
    return part


def _counts(data: TrainingData, part: str) -> dict[str, int]:
    label = data.label[data.rows(part, labeled=True)]
    return {name: int((label == i).sum()) for i, name in enumerate(data.names)}


@torch.no_grad()
def ms_per_face(recipes: Mapping[Any, Recipe], classes: int) -> dict[Any, float]:
    """Return the CPU milliseconds that each recipe's network takes for a face, in batches of 32.

    The minimum over several rounds in which all networks take turns, because other programs can
    only add time.
    """
    networks = {key: make_network(recipe, classes).eval() for key, recipe in recipes.items()}
    least = dict.fromkeys(recipes, math.inf)
    for _ in range(_ROUNDS):
        for key, network in networks.items():
            side = recipes[key].size
            x = normalize(torch.zeros((32, network.channels, side, side), dtype=torch.uint8))
            started = time.process_time()
            network(x)
            least[key] = min(least[key], 1000 * (time.process_time() - started) / len(x))
    return least


# -------------------------------------------------------------------------- synthetic rows


def _models_of(settings: SynthesisSettings) -> dict[str, str]:
    """Return the settings that name a pretrained model; none for a generator that is trained."""
    if not settings.prompted:
        return {}
    keys = ["model", *["detector_model", "segmenter_model"] * (settings.method == "inpaint")]
    return {key: getattr(settings, key) for key in keys}


def _missing_model(settings: SynthesisSettings, base: Path) -> str | None:
    places = [base / name for name in _models_of(settings).values()]
    return next((os.path.normpath(place) for place in places if not place.exists()), None)


@dataclass(frozen=True)
class _Took:
    seconds: Annotated[float, Ge(0)]


def _cached(
    work: Path,
    name: str,
    settings: SynthesisSettings,
    about: Sequence[Any],
    make: Callable[[Path], Any],
) -> tuple[Path, float]:
    """Return the folder that `make` filled for these settings, and the CPU seconds it took."""
    text = json.dumps([old_names(settings), *about], sort_keys=True)
    folder = work / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    seconds = folder / "seconds.json"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not seconds.is_file():  # written last
            started = time.process_time()
            make(folder)
            write_text(seconds, json.dumps(time.process_time() - started))
        took_s = {"seconds": read_json(seconds, "file of seconds")}
        remedy = f"Remove {folder}, and rerun the command."
        return folder, check_stored(_Took, took_s, str(seconds), remedy).seconds


def _add_generated(
    data: TrainingData,
    rows: NDArray[np.intp],
    name: str,
    wanted: dict[str, int],
    settings: SynthesisSettings,
    work: Path,
) -> tuple[TrainingData, float]:
    """Add faces of a generator that is trained on these training rows."""
    crops = data.faces.aligned([int(i) for i in rows], settings.size)
    gray = [np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8) for crop in crops]
    images = TrainingImages(np.stack(gray), data.label[rows], data.names, rows)

    def make(folder: Path) -> None:
        trained = train_generator(settings, plan_tasks(settings, images, images.names), folder)
        trained.save(folder / "generator.safetensors")

    folder, before = _cached(work, name, settings, [images.fingerprint], make)
    started = time.process_time()
    generator: FaceGenerator = load_generator(folder / "generator.safetensors")
    numbered = [(label, number) for label, n in wanted.items() for number in range(n)]
    faces = [generator.generate(label, settings.seed + number) for label, number in numbered]
    labels = [label for label, _ in numbered]
    added = _rows_of(data, name, settings.seed, faces, labels)
    return _joined(data, *added), before + time.process_time() - started


def _add_painted(
    data: TrainingData,
    rows: NDArray[np.intp],
    name: str,
    wanted: dict[str, int],
    settings: SynthesisSettings,
    work: Path,
) -> tuple[TrainingData, float]:
    """Add faces of a pretrained diffusion model, which starts from these rows' faces or a text."""
    real = data.manifest.select(rows).replace(split=["train"] * len(rows))
    sources = StartingFaces(real, settings)

    def make(folder: Path) -> None:
        painter = find_generator(settings.method).load()(settings, sources)
        plan = make_plan(settings, wanted)
        write_synthetic(folder, plan, painter, real, settings, model=painter.model)

    folder, seconds = _cached(work, name, settings, [wanted, sources.fingerprint()], make)
    joined = read_manifest(folder / MANIFEST)
    added = joined.select(np.flatnonzero(~real_rows(joined)))
    return _joined(data, added, find_manifest_faces(added, cache=folder / "faces.npz")), seconds


def _rows_of(
    data: TrainingData, generator: str, seed: int, images: list[Image], labels: list[str]
) -> tuple[Manifest, Faces]:
    """Return a generator's aligned faces as rows of a manifest, and as found faces."""
    n = len(images)
    if not n:
        raise MoppetError("the regime's ratio is so small that it adds no face.")
    columns = {
        # No such files exist. The paths are part of the data's fingerprint in checkpoints.
        "path": [f"made/{generator}/{number}.png" for number in range(n)],
        "label": labels,
        "source": ["synthetic"] * n,
        "split": ["train"] * n,
        "weight": [1.0] * n,
        "content_hash": [content_hash(image) for image in images],
    }
    columns |= synthetic_columns(n, generator=generator, synthetic_seed=seed)
    added = build_manifest(columns, root=data.manifest.root, names=data.manifest.names)
    none = np.zeros(n, np.int64)
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    return added, Faces(images, landmarks, np.ones(n, bool), none.astype(np.int8) - 1, none)


def _joined(data: TrainingData, added: Manifest, faces: Faces) -> TrainingData:
    labels = [data.names.index(name) for name in added.column("label").tolist()]
    joined = Faces(
        [*data.faces.cuts, *faces.cuts],
        *(
            np.concatenate([getattr(data.faces, name), getattr(faces, name)])
            for name in ("landmarks_px", "tight", "attempt", "several")
        ),
    )
    soft = np.eye(len(data.names), dtype=np.float32)[labels]
    return replace(
        data,
        manifest=join_synthetic(data.manifest, added),
        faces=joined,
        soft=np.concatenate([data.soft, soft]),
        label=np.concatenate([data.label, np.array(labels, np.int64)]),
        part=np.concatenate([data.part, np.full(len(added), "train")]),
    )


def _repeated(data: TrainingData, again: NDArray[np.intp]) -> TrainingData:
    rows = np.concatenate([np.arange(len(data.label)), again])
    return replace(
        data,
        manifest=data.manifest.select(rows),
        faces=data.faces.select(rows),
        soft=data.soft[rows],
        label=data.label[rows],
        part=data.part[rows],
    )
