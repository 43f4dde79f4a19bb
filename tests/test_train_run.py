"""A whole small training run: stopped, gone on with, exported, measured, written as a model."""

from __future__ import annotations

import functools
import json
import re
import shutil
import signal
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import onnxruntime as ort
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ferplus_sample import REPORT_ROWS, TRAIN_ROWS, training_data, write_ferplus
from moppet.infer.expression_model import load_model
from moppet.train import callbacks
from moppet.train import measurement as figures_module
from moppet.train import module as modules
from moppet.train import trainer as loop
from moppet.train import training_run as run
from moppet.train.callbacks import kept_weights
from moppet.train.checkpoints import read_log
from moppet.train.data_module import (
    TrainingData,
    evaluation_crops,
    network_input,
    normalize,
    select_training_data,
)
from moppet.train.model_folder import check_parity, draw_course, onnx_logits
from moppet.train.networks import Network
from moppet.train.recipe import Recipe
from moppet.train.starting_weights import load_model_network, make_network
from moppet.values import EXPRESSIONS, GROUPS, ModelError, MoppetError, UsageError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

RECIPE = Recipe(
    "tiny", "ferplus.npz", epochs=2, size=32, batch=16, precision="32-true", ema_decay=0.5,
    limits="None: it is made up.",
)  # fmt: skip
NOT_A_NUMBER = float("nan")


@pytest.fixture(scope="module")
def ferplus(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    path = write_ferplus(tmp_path_factory.mktemp("data") / "ferplus.npz")
    return training_data(path, RECIPE)


def fit(folder: Path, data: TrainingData, recipe: Recipe = RECIPE) -> None:
    """Train as `run_training` does, from the same random weights every time."""
    torch.manual_seed(recipe.seed)
    loop.train(recipe, folder, data, make_network(recipe, 7), loop.Machine(accelerator="cpu"))


def averaged(folder: Path) -> Network:
    network = make_network(RECIPE, 7)
    network.load_state_dict(kept_weights(folder, RECIPE))
    return network.eval()


@pytest.fixture(scope="module")
def unbroken(ferplus: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs in one go."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    fit(folder, ferplus)
    return folder


class Stop(Exception):
    """What ends a run from outside, as a kill would."""


@pytest.fixture(scope="module")
def first_stop(ferplus: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    real = modules.TrainingModule.training_step

    def step(self: Any, batch: Any, batch_index: int) -> Any:
        if self.steps_done == 4:
            raise Stop
        return real(self, batch, batch_index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules.TrainingModule, "training_step", step)
        with pytest.raises(Stop):
            fit(folder, ferplus)
    return folder


@pytest.fixture
def stopped(first_stop: Path, tmp_path: Path) -> Path:
    """A copy of that run, to go on with."""
    return shutil.copytree(first_stop, tmp_path / "stopped")


def epochs_of(folder: Path) -> list[float]:
    return [row["epoch"] for row in read_log(folder)]


def kept_epoch(folder: Path) -> int:
    with safe_open(folder / "last.safetensors", "pt") as file:
        return int(file.metadata()["epoch"])


# ----------------------------------------------------------------------------------- training


def test_a_run_logs_each_epoch_and_keeps_the_last_and_the_best(unbroken: Path) -> None:
    log = read_log(unbroken)
    assert [row["epoch"] for row in log] == [1, 2]
    assert all(np.isfinite(list(row.values())).all() for row in log)
    assert kept_epoch(unbroken) == 2
    last, best = (load_file(unbroken / f"{name}.safetensors") for name in ("last", "best"))
    averages = {name: value for name, value in last.items() if name.startswith("average.")}
    assert best.keys() == averages.keys()
    steps = {int(v) for k, v in last.items() if k.startswith("optimizer.") and k.endswith(".step")}
    assert steps == {6}
    better = min(log, key=lambda row: row["val_loss"])["epoch"] == 2
    same = all(torch.equal(best[name], v) for name, v in averages.items())
    assert same == better


def test_a_stopped_run_goes_on_from_its_last_whole_epoch(
    stopped: Path, ferplus: TrainingData, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert epochs_of(stopped) == [1]
    assert kept_epoch(stopped) == 1
    begun: list[tuple[int, list[float], int]] = []
    real = modules.TrainingModule.training_step

    def step(self: Any, batch: Any, batch_index: int) -> Any:
        rates = [group["lr"] for group in self.trainer.optimizers[0].param_groups]
        begun.append((self.steps_done, rates, self.trainer.train_dataloader.dataset.epoch))
        return real(self, batch, batch_index)

    monkeypatch.setattr(modules.TrainingModule, "training_step", step)
    fit(stopped, ferplus)
    assert [done for done, _, _ in begun] == [3, 4, 5]
    for done, rates, _ in begun:
        factor = modules.rate_factor(RECIPE, done, 3)
        assert rates == pytest.approx([RECIPE.base_rate * factor, RECIPE.head_rate * factor])
    assert {epoch for _, _, epoch in begun} == {1}
    assert epochs_of(stopped) == epochs_of(unbroken)
    assert kept_epoch(stopped) == 2
    tensors = load_file(stopped / "last.safetensors")
    assert int(tensors["optimizer.0.step"]) == 6
    fit(stopped, ferplus)  # finished: nothing more is trained
    assert len(begun) == 3
    assert epochs_of(stopped) == [1, 2]


def test_a_resumed_run_ends_bit_for_bit_as_an_unbroken_one(
    ferplus: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, network="childcnn", dropout=0.5, epochs=3, keep="best")
    fit(tmp_path / "straight", ferplus, recipe)
    real = modules.TrainingModule.training_step

    def step(self: Any, batch: Any, batch_index: int) -> Any:
        if self.epoch == 1 and batch_index == 1:
            raise Stop
        return real(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(modules.TrainingModule, "training_step", step)
        with pytest.raises(Stop):
            fit(tmp_path / "broken", ferplus, recipe)
    fit(tmp_path / "broken", ferplus, recipe)
    for name in ("last", "best"):
        straight, broken = (
            load_file(tmp_path / run / f"{name}.safetensors") for run in ("straight", "broken")
        )
        assert straight.keys() == broken.keys()
        assert all(torch.equal(value, broken[key]) for key, value in straight.items())
    assert (tmp_path / "straight" / "log.csv").read_text() == (
        tmp_path / "broken" / "log.csv"
    ).read_text()


def test_training_stops_after_so_many_epochs_without_a_better_one_even_if_resumed(
    ferplus: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(
        RECIPE, network="childcnn", epochs=12, early_stop=2, head_rate=0.05, schedule="constant"
    )
    fit(tmp_path / "straight", ferplus, recipe)
    losses = [row["val_loss"] for row in read_log(tmp_path / "straight")]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 2 < 12
    real = modules.TrainingModule.training_step

    def step(self: Any, batch: Any, batch_index: int) -> Any:
        if self.epoch == best + 1:  # one epoch without a better one is over
            raise Stop
        return real(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(modules.TrainingModule, "training_step", step)
        with pytest.raises(Stop):
            fit(tmp_path / "broken", ferplus, recipe)
    for _ in range(2):  # the second time there is nothing to do
        fit(tmp_path / "broken", ferplus, recipe)
        assert [row["val_loss"] for row in read_log(tmp_path / "broken")] == losses


def test_the_log_is_also_written_for_tensorboard(ferplus: TrainingData, tmp_path: Path) -> None:
    machine = loop.Machine(accelerator="cpu", tensorboard=True)
    recipe = replace(RECIPE, network="childcnn", epochs=1)
    loop.train(recipe, tmp_path, ferplus, make_network(recipe, 7), machine)
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    assert all(name.encode() in events.read_bytes() for name in read_log(tmp_path)[0])


def test_the_first_epoch_of_a_stopped_run_is_that_of_an_unbroken_one(
    stopped: Path, unbroken: Path
) -> None:
    assert read_log(stopped)[0] == pytest.approx(read_log(unbroken)[0], rel=1e-4)


def test_a_stop_between_the_log_and_the_checkpoint_logs_no_epoch_twice(
    ferplus: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "unlucky"

    def killed(*_: Any) -> None:
        raise Stop

    recipe = replace(RECIPE, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "save_checkpoint", killed)
        with pytest.raises(Stop):
            fit(folder, ferplus, recipe)
    fit(folder, ferplus, recipe)
    assert epochs_of(folder) == [1]


def test_a_folder_of_another_recipe_is_refused_and_left_alone(
    unbroken: Path, ferplus: TrainingData
) -> None:
    before = (unbroken / "last.safetensors").read_bytes()
    with pytest.raises(UsageError, match="holds a run of another recipe"):
        fit(unbroken, ferplus, replace(RECIPE, head_rate=0.1))
    assert (unbroken / "last.safetensors").read_bytes() == before
    assert epochs_of(unbroken) == [1, 2]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(
    stopped: Path, ferplus: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (stopped / "last.safetensors").read_bytes()
    real = modules.TrainingModule.loss
    calls = 0

    def poisoned(self: Any, *tensors: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(self, *tensors) * (NOT_A_NUMBER if calls == 2 else 1.0)

    monkeypatch.setattr(modules.TrainingModule, "loss", poisoned)
    with pytest.raises(MoppetError, match=r"epoch 2, batch 1\b") as caught:
        fit(stopped, ferplus)
    assert "head_rate" in str(caught.value)
    assert (stopped / "last.safetensors").read_bytes() == before
    assert epochs_of(stopped) == [1]


def test_weights_that_are_no_numbers_are_never_kept(
    stopped: Path, ferplus: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (stopped / "last.safetensors").read_bytes()
    real = callbacks.MovingAverage.on_train_batch_end

    def broken(self: Any, trainer: Any, module: Any, *rest: Any) -> None:
        if module.steps_done == 6:  # the last step's gradient was infinite
            with torch.no_grad():
                module.network.classifier.bias.fill_(NOT_A_NUMBER)
        real(self, trainer, module, *rest)

    monkeypatch.setattr(callbacks.MovingAverage, "on_train_batch_end", broken)
    with pytest.raises(MoppetError, match="not a number"):
        fit(stopped, ferplus)
    assert (stopped / "last.safetensors").read_bytes() == before


def test_a_clipped_gradient_moves_the_weights_by_its_norm_at_most(
    ferplus: TrainingData, tmp_path: Path
) -> None:
    def moved(folder: str, clip: float) -> float:
        recipe = replace(
            RECIPE, epochs=1, batch=200, optimizer="sgd", momentum=0.0, schedule="constant",
            weight_decay=0.0, head_rate=0.1, base_rate=0.1, ema_decay=0.0, gradient_clip=clip,
        )  # fmt: skip
        torch.manual_seed(recipe.seed)
        network = make_network(recipe, 7)
        before = [p.detach().clone() for p in network.parameters()]
        loop.train(recipe, tmp_path / folder, ferplus, network, loop.Machine(accelerator="cpu"))
        after = list(network.parameters())
        squares = [float(((a.detach() - b) ** 2).sum()) for a, b in zip(after, before, strict=True)]
        return float(np.sqrt(sum(squares)))

    assert moved("free", 0.0) > 0.1 * 0.1
    assert moved("clipped", 0.01) == pytest.approx(0.1 * 0.01, rel=0.01)


def test_ctrl_c_reaches_the_command_line_as_such(
    stopped: Path, ferplus: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(modules.TrainingModule, "training_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(stopped, ferplus)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert epochs_of(stopped) == [1]


def test_a_batch_is_never_larger_than_the_training_rows(
    ferplus: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def step(self: Any, batch: Any, batch_index: int) -> Any:
        seen.append(len(batch[0]))
        raise Stop

    monkeypatch.setattr(modules.TrainingModule, "training_step", step)
    with pytest.raises(Stop):
        fit(tmp_path / "run", ferplus, replace(RECIPE, batch=6400))
    assert seen == [len(ferplus.training_rows(RECIPE))]


def test_a_batch_is_never_larger_than_the_rows_of_a_process(
    ferplus: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def fitted(self: Any, module: Any, loader: Any) -> None:
        sizes.append(loader.batch_size)
        raise Stop

    monkeypatch.setattr(lightning.Trainer, "fit", fitted)
    monkeypatch.setattr(lightning.Trainer, "num_devices", 4)
    rows = len(ferplus.training_rows(RECIPE))
    for batch in (6400, 5):
        with pytest.raises(Stop):
            fit(tmp_path / "run", ferplus, replace(RECIPE, batch=batch))
    assert sizes == [rows // 4, 5]
    monkeypatch.setattr(lightning.Trainer, "num_devices", rows - 1)
    with pytest.raises(UsageError, match=r"each process needs two or more images .* but has 1"):
        fit(tmp_path / "run", ferplus)


@pytest.mark.parametrize(
    "wrong",
    [
        {"accelerator": "cpuu"},
        {"accelerator": "gpu"},
        {"devices": "two"},
        {"devices": "0"},
        {"devices": "-3"},
        {"devices": "²"},
        {"strategy": "ddq"},
        {"strategy": "fsdp"},
        {"strategy": "deepspeed"},
    ],
    ids=lambda wrong: "-".join(*wrong.items()),
)
def test_a_machine_that_is_not_there_is_told_in_one_sentence(
    ferplus: TrainingData, tmp_path: Path, wrong: dict[str, str]
) -> None:
    machine = loop.Machine(**{"accelerator": "cpu", **wrong})
    with pytest.raises(UsageError) as caught:
        loop.train(RECIPE, tmp_path, ferplus, make_network(RECIPE, 7), machine)
    ((name, value),) = wrong.items()
    assert f"--{name} {value}" in str(caught.value) and "\n" not in str(caught.value)


def test_exchanged_images_in_the_same_folder_are_refused(
    unbroken: Path, ferplus: TrainingData
) -> None:
    same = replace(
        ferplus, faces=replace(ferplus.faces, cuts=[c.copy() for c in ferplus.faces.cuts])
    )
    assert same.fingerprint == ferplus.fingerprint
    cuts = [cut.copy() for cut in ferplus.faces.cuts]
    cuts[3][5, 5] ^= 1
    exchanged = replace(ferplus, faces=replace(ferplus.faces, cuts=cuts))
    assert exchanged.fingerprint[:64] == ferplus.fingerprint[:64]
    with pytest.raises(UsageError, match="holds a run on other images or labels"):
        fit(unbroken, exchanged)


def test_other_images_or_labels_in_the_same_folder_are_refused(
    unbroken: Path, ferplus: TrainingData
) -> None:
    label = ferplus.label.copy()
    label[0] = (label[0] + 1) % 7
    with pytest.raises(UsageError, match="holds a run on other images or labels"):
        fit(unbroken, replace(ferplus, label=label))
    assert epochs_of(unbroken) == [1, 2]


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('name = "tiny"\ndata = "none.npz"\n', encoding="utf-8")
    with pytest.raises(MoppetError, match=r"none\.npz"):
        run.run_recipe(tmp_path / "recipe.toml", tmp_path / "run")


# ------------------------------------------------------------- export and the finished folder


@pytest.fixture(scope="module")
def finished(unbroken: Path, ferplus: TrainingData) -> Path:
    """The run's folder with everything `finish` writes: the slowest step of this file."""
    with pytest.MonkeyPatch.context() as patch:
        # The intervals' width is tested with the metrics; here few draws do.
        quick = functools.partial(figures_module.summarize, draws=40)
        patch.setattr(figures_module, "summarize", lambda *a, **k: quick(*a, **{**k, "draws": 40}))
        patch.setattr(run, "CHOICES_NEED", 1)
        assert run.finish(RECIPE, unbroken, ferplus, averaged(unbroken)) == unbroken / "model"
    return unbroken


def report_crops(data: TrainingData, *, aligned: bool = True) -> tuple[Any, Any]:
    rows = data.rows("test", labeled=True)
    return evaluation_crops(data, rows, aligned=aligned), data.label[rows]


def test_onnx_answers_as_the_network_does(finished: Path, ferplus: TrainingData) -> None:
    pictures = network_input(report_crops(ferplus)[0], RECIPE)
    network = averaged(finished)
    with torch.no_grad():
        logits, embedding = network(normalize(torch.from_numpy(pictures)))
    got_logits, got_embedding = onnx_logits(finished / "float32.onnx", pictures)
    assert np.abs(got_logits - logits.numpy()).max() < 1e-4
    assert np.abs(got_embedding - embedding.numpy()).max() < 1e-4
    assert check_parity(network, finished / "float32.onnx", pictures) < 1e-4
    with torch.no_grad():
        network.classifier.bias[2] += 0.01
    with pytest.raises(ModelError, match=r"differs from its network by 0\.01"):
        check_parity(network, finished / "float32.onnx", pictures)


@pytest.mark.parametrize("name", ["float32.onnx", "int8.onnx", "model/model.onnx"])
@pytest.mark.parametrize("n", [1, 5])
def test_every_network_file_gives_logits_and_embedding_for_any_n(
    finished: Path, name: str, n: int
) -> None:
    session = ort.InferenceSession(str(finished / name), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits", "embedding"]
    image = np.zeros((n, 1, RECIPE.size, RECIPE.size), np.float32)
    logits, embedding = session.run(["logits", "embedding"], {"image": image})
    assert logits.shape == (n, 7) and embedding.shape == (n, 128)


def test_int8_is_small_and_answers_nearly_as_float32(finished: Path, ferplus: TrainingData) -> None:
    pictures = network_input(report_crops(ferplus)[0], RECIPE)
    whole, small = (
        onnx_logits(finished / name, pictures)[0] for name in ("float32.onnx", "int8.onnx")
    )
    assert (finished / "int8.onnx").stat().st_size < 3_500_000
    assert np.abs(small - whole).max() < 0.5 * max(1.0, float(np.abs(whole).max()))
    assert not np.array_equal(small, whole)


def test_the_card_says_what_the_run_made(finished: Path, ferplus: TrainingData) -> None:
    card = tomllib.loads((finished / "model" / "card.toml").read_text(encoding="utf-8"))
    assert card["name"] == "tiny"
    assert tuple(card["labels"]) == EXPRESSIONS
    assert card["groups"] == dict(GROUPS)
    assert card["preprocessing"]["size"] == 32 and card["preprocessing"]["color"] == "gray"
    assert card["preprocessing"]["detail_px"] in run.DETAILS_PX
    assert card["rows"] == {
        part: len(ferplus.rows(part, labeled=True)) for part in ("train", "val", "test")
    }
    assert card["rows"]["test"] == REPORT_ROWS
    assert "no license" in card["training_data"] and card["limits"]
    shown = {"accuracy", "balanced_accuracy", "macro_f1", "ece", "recall_fear", "accuracy_infant"}
    assert shown <= card["scores"].keys()


def test_load_model_accepts_the_folder_and_calibrates(
    finished: Path, ferplus: TrainingData
) -> None:
    model = load_model(finished / "model")
    crops, _ = report_crops(ferplus)
    scores = model.predict(crops)
    assert model.name == "tiny" and scores.names == EXPRESSIONS
    assert scores.embeddings.shape == (len(crops), 128)
    assert scores.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    card = model.card
    assert model.preprocessing.mean == model.preprocessing.scale == 128
    prepared = model.preprocessing.apply(crops)
    pictures = np.rint(prepared * 128 + 128).astype(np.uint8)
    logits, _ = onnx_logits(finished / "model" / "model.onnx", pictures)
    e = np.exp(logits / card["temperature"])
    assert scores.probabilities == pytest.approx(e / e.sum(axis=1, keepdims=True), abs=1e-4)


def estimates(figures: Any) -> Iterator[dict[str, Any]]:
    if isinstance(figures, dict) and "value" in figures:
        yield figures
    elif isinstance(figures, dict):
        for part in figures.values():
            yield from estimates(part)


def test_every_figure_has_its_n_and_interval(finished: Path, ferplus: TrainingData) -> None:
    figures = json.loads((finished / "model" / "figures.json").read_text(encoding="utf-8"))
    found = list(estimates(figures))
    assert len(found) > 100
    for estimate in found:
        assert estimate.keys() - {"p"} == {"value", "low", "high", "n"}
        assert estimate["n"] or estimate["value"] is None
        if estimate["low"] is not None:
            assert estimate["low"] <= estimate["high"]
    for view in ("raw", "aligned"):
        crops, label = report_crops(ferplus, aligned=view == "aligned")
        guess = load_model(finished / "model").predict(crops).probabilities.argmax(axis=1)
        accuracy = figures[view]["all"]["accuracy"]
        assert accuracy["n"] == len(label) == REPORT_ROWS
        assert accuracy["value"] == pytest.approx(np.mean(guess == label))
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        assert np.sum(figures[view]["all"]["confusion"], axis=1).tolist() == [3] * 7
        assert figures[view]["infant"]["n"] == figures[view]["child"]["n"] == 7
    missed_wrong = figures["aligned_missed_wrong"]["accuracy"]["value"]
    assert missed_wrong <= figures["aligned"]["all"]["accuracy"]["value"]
    assert figures["faces_found"] == sum(
        i % 2 == 0 for i in range(TRAIN_ROWS, TRAIN_ROWS + REPORT_ROWS)
    )
    assert 0.6 <= figures["human"]["all"]["value"] <= 0.9


def test_the_groups_figures_are_those_of_the_summed_probabilities(
    finished: Path, ferplus: TrainingData
) -> None:
    grouped = json.loads((finished / "model" / "figures.json").read_text())["grouped"]
    assert grouped["names"] == ["positive", "neutral", "negative"]
    crops, label = report_crops(ferplus, aligned=True)
    of_class = [grouped["names"].index(GROUPS[name]) for name in EXPRESSIONS]
    found = load_model(finished / "model").predict(crops).probabilities
    summed = np.stack([found[:, np.equal(of_class, g)].sum(axis=1) for g in range(3)], axis=1)
    guess, truth = summed.argmax(axis=1), np.array(of_class)[label]
    assert grouped["all"]["accuracy"]["value"] == pytest.approx(np.mean(guess == truth))
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (truth, guess), 1)
    assert grouped["all"]["confusion"] == confusion.tolist()
    page = (finished / "figures.md").read_text(encoding="utf-8")
    assert "Grouped into positive, neutral, negative" in page
    assert (finished / "figures" / "confusion_groups.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_and_the_confusion_matrix_are_written(finished: Path) -> None:
    page = (finished / "figures.md").read_text(encoding="utf-8")
    assert "# Model `tiny`" in page
    assert "| all | 21 |" in page
    fear = next(line for line in page.splitlines() if line.startswith("| fear |"))
    assert "n = 3" in fear
    pictures = re.findall(r"!\[.+\]\((.+)\)", page)
    assert pictures == [f"figures/{x}.png" for x in ("confusion", "confusion_groups", "training")]
    for image in pictures:
        assert (finished / image).read_bytes().startswith(b"\x89PNG")


def test_the_page_tells_the_course_of_the_training(finished: Path) -> None:
    log = read_log(finished)
    best = min(log, key=lambda row: row["val_loss"])
    page = (finished / "figures.md").read_text(encoding="utf-8")
    said = re.search(r"(\d+) epochs; .+ after epoch (\d+): ([\d.]+), accuracy ([\d.]+)\.", page)
    assert said is not None
    expected = (len(log), best["epoch"], best["val_loss"], best["val_accuracy"])
    assert [float(x) for x in said.groups()] == pytest.approx(expected, abs=5e-5)


def test_what_was_never_measured_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    drawn: list[str] = []
    real = Axes.plot

    def plot(self: Axes, *values: Any, **style: Any) -> Any:
        drawn.append(style["label"])
        return real(self, *values, **style)

    monkeypatch.setattr(Axes, "plot", plot)
    row = dict.fromkeys(("val_loss", "val_accuracy", "val_balanced"), NOT_A_NUMBER)
    draw_course([row | {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5}], tmp_path / "x.png")
    assert drawn == ["training, augmented"] * 2
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_network_comes_back_from_the_model_folder(
    finished: Path, ferplus: TrainingData
) -> None:
    pictures = network_input(report_crops(ferplus)[0], RECIPE)
    expected, _ = modules.predict_logits(averaged(finished), pictures)
    got, _ = modules.predict_logits(load_model_network(finished / "model"), pictures)
    assert got == pytest.approx(expected, abs=0.02)  # its filters are kept in half precision
    assert got.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()


def test_few_set_aside_rows_choose_nothing_but_the_temperature(
    unbroken: Path, ferplus: TrainingData, tmp_path: Path
) -> None:
    folder = shutil.copytree(unbroken, tmp_path / "run")
    (folder / "int8.onnx").unlink(missing_ok=True)
    choices = run._choose(RECIPE, folder, ferplus, averaged(folder))
    assert choices.file.name == "float32.onnx" and choices.detail_px == 0
    assert not (folder / "int8.onnx").exists()
    assert 0.1 < choices.temperature < 10


def test_a_prior_holds_the_temperature_of_a_few_rows_near_one() -> None:
    logits = np.array([[3.0, -3.0], [-3.0, 3.0]] * 5, np.float32)
    label = np.array([0, 1] * 5)  # all read right, and surely: no temperature is too low
    assert figures_module.fit_temperature(logits, label) < 0.2
    held = figures_module.fit_temperature(logits, label, spread=0.5)
    assert 0.5 < held < 1.1


# ------------------------------------------------------------------------------ before training


def test_a_run_says_once_what_of_its_start_stays_random(
    ferplus: TrainingData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = replace(
        RECIPE, start="default", network="mobilenet_v1", classes=("fear", "anger"), labels="hard"
    )
    data = select_training_data(ferplus.manifest, ferplus.faces, recipe)
    data = replace(data, names=("fear", "boredom"))
    monkeypatch.setattr(run, "train", lambda *_: (tmp_path / "last.safetensors").touch())
    monkeypatch.setattr(run, "kept_weights", lambda *_: make_network(recipe, 2).state_dict())
    monkeypatch.setattr(run, "finish", lambda *_: tmp_path)
    run.run_training(recipe, tmp_path, data, "default")
    assert capsys.readouterr().out == "starts from default; random: the class boredom\n"
    run.run_training(recipe, tmp_path, data, "default")  # goes on from its checkpoint
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_part_without_images_is_told_before_training(
    ferplus: TrainingData, tmp_path: Path, part: str
) -> None:
    other = "test" if part == "train" else "train"
    moved = np.where(ferplus.part == part, other, ferplus.part)
    with pytest.raises(MoppetError, match=f"there is no labeled image to .* are '{part}'"):
        run.run_training(RECIPE, tmp_path, replace(ferplus, part=moved))
    assert not list(tmp_path.iterdir())


def test_a_class_without_images_is_told_before_training(
    ferplus: TrainingData, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, labels="hard")
    fear = EXPRESSIONS.index("fear")
    part = np.where((ferplus.label == fear) & (ferplus.part == "train"), "", ferplus.part)
    with pytest.raises(MoppetError, match=r"no image to train on of: fear\."):
        run.run_training(recipe, tmp_path, replace(ferplus, part=part))
    with pytest.raises(MoppetError, match="two or more classes, but there is only fear"):
        run.run_training(recipe, tmp_path, replace(ferplus, names=("fear",)))
