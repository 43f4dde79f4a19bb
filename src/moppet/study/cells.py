"""A study's cells: each one training and its predictions, one line of JSON, never made twice."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import lightning
import numpy as np
import torch
from numpy.typing import NDArray

from moppet.config import old_names
from moppet.datasets.faces import Faces
from moppet.datasets.manifest import Manifest
from moppet.datasets.splits import holdout
from moppet.study.plan import Cell, Regime
from moppet.study.synthetic_faces import located, with_made
from moppet.synthesis.settings import SynthesisSettings
from moppet.train.callbacks import kept_weights
from moppet.train.checkpoints import read_log
from moppet.train.data_module import (
    TrainingData,
    evaluation_crops,
    network_input,
    normalize,
    select_training_data,
)
from moppet.train.module import predict_logits
from moppet.train.networks import Network, cost
from moppet.train.recipe import Recipe, chosen_settings
from moppet.train.starting_weights import make_network, start_network
from moppet.train.trainer import Machine, train
from moppet.train.training_run import sample_input
from moppet.values import MoppetError, UsageError

Json = dict[str, Any]
Executor = Callable[[Callable[[Any], Json], Iterable[Any]], Iterator[Json]]
"""Runs a function over cells, in any order, on one machine or many."""

_ROUNDS: Final = 12


def run_here(make: Callable[[Any], Json], cells: Iterable[Any]) -> Iterator[Json]:
    """The executor of one machine: one cell after another."""
    return map(make, cells)


def run_alone(make: Callable[[Any], Json], cell: Any, threads: int) -> Json:
    """Make one cell in a process of its own, with so many threads."""
    torch.set_num_threads(threads)
    return make(cell)


@dataclass(frozen=True)
class Bench:
    """What every cell of a study works with.

    manifest, faces: all images. base: what the recipes' paths start from.
    work: a folder for runs that are under way; a stopped one goes on from there.
    generators: of the plan.
    """

    manifest: Manifest
    faces: Faces
    base: Path
    work: Path
    generators: Mapping[str, SynthesisSettings] = field(default_factory=dict)

    def make(self, cell: Cell) -> Json:
        """Train a cell, measure it on the test rows, and return its line."""
        data, made_seconds = self.with_made(cell, self.draw(cell))
        recipe = cell.recipe
        told = (*cell.key, recipe_hash(cell, self.generators))
        folder = self.work / "-".join(str(part).replace(" ", "_") for part in told)
        lightning.seed_everything(recipe.seed, verbose=False)
        network = self.network(cell, data)
        # Of the processors, not of the clock: what else runs does not count.
        before, started = len(read_log(folder)), time.process_time()
        train(recipe, folder, data, network, Machine(accelerator="cpu", quiet=True))
        seconds = time.process_time() - started
        network.load_state_dict(kept_weights(folder, recipe))
        log = read_log(folder)
        seconds *= len(log) / max(1, len(log) - before)  # a run that went on: as if it were whole
        rows = data.rows("test", labelled=True)
        pictures = network_input(evaluation_crops(data, rows, aligned=True), recipe)
        logits, _ = predict_logits(network, pictures, batch=32)
        z = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = z / z.sum(axis=1, keepdims=True)
        parameters, flops = cost(network, recipe.size)
        shutil.rmtree(folder)
        return {
            **key_of(cell),
            "recipe": recipe_hash(cell, self.generators),
            "network": recipe.network,
            "names": list(data.names),
            "rows": {part: _counts(data, part) for part in ("train", "val", "test")},
            "parameters": parameters,
            "flops": flops,
            "epochs": len(log),
            "seconds": round(seconds, 2),
            "made_seconds": round(made_seconds, 2),
            "log": [{k: round(v, 4) for k, v in row.items()} for row in log],
            "probabilities": [[round(float(p), 4) for p in row] for row in probabilities],
        }

    def draw(self, cell: Cell) -> TrainingData:
        """Return the cell's rows: the same for every experiment of a regime and draw."""
        recipe = cell.experiment.recipe
        data = select_training_data(self.manifest, self.faces, recipe)
        part = draw_part(data, cell.regime, np.random.default_rng((recipe.seed, cell.draw)))
        return TrainingData(data.manifest, data.faces, data.names, data.soft, data.label, part)

    def with_made(self, cell: Cell, data: TrainingData) -> tuple[TrainingData, float]:
        """Return the data with what the regime puts beside it, and the seconds that took."""
        regime = cell.regime
        if not regime.made:
            return data, 0.0
        settings = {
            name: located(replace(each, seed=cell.recipe.seed), self.base)
            for name, each in self.generators.items()
        }
        return with_made(data, regime.made, regime.ratio, settings, self.work)

    def network(self, cell: Cell, data: TrainingData) -> Network:
        """Return the cell's network with what it starts from."""
        recipe = cell.experiment.recipe
        network = make_network(recipe, len(data.names))
        if recipe.start:
            path = self.base / recipe.start
            start = path if path.exists() else recipe.start
            start_network(network, data.names, start, sample_input(data, recipe))
        return network


def draw_part(data: TrainingData, regime: Regime, rng: np.random.Generator) -> NDArray[np.str_]:
    """Return each row's part in a regime: so many images of each class, some set aside.

    Only training and validation rows are drawn from; test rows stay as they are.
    Raises MoppetError where a class has too few.
    """
    learn = np.isin(data.part, ("train", "val")) & (data.label >= 0)
    if not regime.counts and not regime.val:
        return data.part
    odd = sorted(set(regime.counts) - set(data.names))
    if odd:
        raise UsageError(
            f"regime {regime.name!r} asks for images of {odd[0]!r}, but there are "
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
    label = data.label[data.rows(part, labelled=True)]
    return {name: int((label == i).sum()) for i, name in enumerate(data.names)}


@torch.no_grad()
def ms_per_face(recipes: Mapping[Any, Recipe], classes: int) -> dict[Any, float]:
    """Return the CPU milliseconds that each recipe's network takes for a face, in batches of 32.

    The least of some rounds, in each of which all have their turn: what else runs only adds.
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


def recipe_hash(cell: Cell, generators: Mapping[str, SynthesisSettings]) -> str:
    """Tells the cell's recipe and regime from any others, whatever they are called."""
    recipe = chosen_settings(cell.experiment.recipe) | {"name": ""}
    ratio = cell.regime.ratio
    # 3 and 3.0 are one ratio.
    regime = asdict(cell.regime) | {"draws": 0, "ratio": int(ratio) if ratio % 1 == 0 else ratio}
    regime["choose"] = regime.pop("val")  # the name that the hashes of saved cells were made with
    told: list[Any] = [recipe, regime]
    if not cell.regime.made:
        del regime["made"], regime["ratio"]
    elif cell.regime.made in generators:
        told.append(old_names(generators[cell.regime.made]))
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def key_of(cell: Cell) -> Json:
    """Return what tells the cell from every other of its study, by name."""
    names = ("table", "experiment", "regime", "draw")
    return dict(zip(names, cell.key, strict=True))


def cells_by_key(path: Path, names: Sequence[str]) -> dict[Any, Json]:
    """Return finished cells by what they hold under these names; a broken line is left out."""
    cells = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                cell = json.loads(line)
                cells[tuple(cell[name] for name in names)] = cell
            except (ValueError, KeyError):
                continue
    return cells


def until(minutes: float | None) -> Callable[[Any], bool]:
    """Return a function that says, of anything, whether it may still begin."""
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    return lambda _: time.monotonic() < end


def write_cell(path: Path, cell: Json) -> None:
    """Add a finished cell's line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if whole else "") + json.dumps(cell, separators=(",", ":")) + "\n")
