"""Every generator, by one contract; and that nothing but real training rows reaches any."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from moppet.datasets.faces import Faces
from moppet.datasets.manifest import Manifest
from moppet.synthesis import training as loop
from moppet.synthesis.generators import GENERATORS
from moppet.synthesis.networks import (
    AUGMENTATIONS,
    Encoder,
    Generator,
    ProjectionDiscriminator,
    augment,
    channels_at,
    halvings,
    mirror,
)
from moppet.synthesis.settings import (
    SIZES,
    SynthesisSettings,
    changed_settings,
    override_settings,
    read_settings,
    settings_from,
    settings_key,
    settings_text,
)
from moppet.synthesis.synthetic_folder import write_sheet
from moppet.synthesis.trained_generators import (
    FaceGenerator,
    TrainedGenerator,
    load_generator,
    load_tensors,
    random_source,
    save_tensors,
    to_image,
    to_tensor,
)
from moppet.synthesis.training import (
    TrainingTask,
    draw_batch,
    measure_budget,
    plan_tasks,
    read_done,
    train_generator,
)
from moppet.synthesis.training_images import (
    TrainingImages,
    cut_images,
    safe_name,
    training_rows,
)
from moppet.values import ModelError, MoppetError, UsageError
from synthesize_sample import COUNTS, sample, whole_faces

TRAINED = [name for name, each in GENERATORS.items() if each.trained]
TINY = SynthesisSettings(
    "cgan", size=16, width=4, latent=4, batch=4, steps=5, checkpoint_steps=2, ema_decay=0.9,
    rate=0.05, generator_rate=0.05, precision="32-true",
)  # fmt: skip
NAMES = tuple(COUNTS)


@pytest.fixture(scope="module", autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Faces]:
    return sample(tmp_path_factory.mktemp("faces"))


def tiny(method: str, **more: Any) -> SynthesisSettings:
    return replace(TINY, method=method, **more)


def images_of(data: tuple[Manifest, Faces], settings: SynthesisSettings) -> TrainingImages:
    manifest, faces = data
    rows = training_rows(manifest, settings)
    return cut_images(manifest, rows, faces.select(rows), settings)


def trained(
    settings: SynthesisSettings,
    images: TrainingImages,
    folder: Path,
    names: tuple[str, ...] = NAMES,
    **more: Any,
) -> FaceGenerator:
    return train_generator(settings, plan_tasks(settings, images, names), folder, **more)


class Stop(Exception):
    """What ends a run from outside, as a kill would."""


@pytest.fixture(params=TRAINED)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def unbroken(
    data: tuple[Manifest, Faces], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[FaceGenerator, Path]]:
    """method → what it learned in one go, and the run's folder."""
    known: dict[str, tuple[FaceGenerator, Path]] = {}

    def run(method: str) -> tuple[FaceGenerator, Path]:
        if method not in known:
            folder = tmp_path_factory.mktemp(method)
            settings = tiny(method)
            known[method] = trained(settings, images_of(data, settings), folder), folder
        return known[method]

    return run


def tensors_of(generator: FaceGenerator) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value
        for name, (network, _) in generator.parts.items()
        for key, value in network.state_dict().items()
    }


def same(one: FaceGenerator, other: FaceGenerator) -> bool:
    a, b = tensors_of(one), tensors_of(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --------------------------------------------------------------- the contract, for every method


def test_every_method_is_in_the_registry_under_its_name() -> None:
    assert TRAINED == ["gan", "vae", "cgan"]
    for each in GENERATORS.values():
        assert each.title
        if each.trained:
            assert issubclass(each.load(), TrainedGenerator)


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_made_image_is_uint8_of_the_size_and_color_asked(
    method: str, color: str, data: tuple[Manifest, Faces], tmp_path: Path
) -> None:
    settings = tiny(method, color=color, steps=1, size=32)
    generator = trained(settings, images_of(data, settings), tmp_path)
    for name in NAMES:
        image = generator.generate(name, 7)
        assert image.dtype == np.uint8
        assert image.shape == ((32, 32) if color == "gray" else (32, 32, 3))


def test_the_seed_alone_decides_the_image(
    method: str, unbroken: Callable[[str], tuple[FaceGenerator, Path]]
) -> None:
    generator, _ = unbroken(method)
    first = generator.generate("sadness", 1)
    generator.generate("happiness", 5)  # what else is made does not matter
    torch.rand(3)
    assert np.array_equal(generator.generate("sadness", 1), first)
    assert not np.array_equal(generator.generate("sadness", 2), first)


def test_each_class_is_made_by_its_own_part(
    method: str, unbroken: Callable[[str], tuple[FaceGenerator, Path]]
) -> None:
    generator, _ = unbroken(method)
    assert generator.names == NAMES
    assert not np.array_equal(generator.generate("happiness", 3), generator.generate("sadness", 3))
    with pytest.raises(UsageError, match=r"not trained on 'anger'\. Known: happiness, sadness"):
        generator.generate("anger", 3)


def test_a_class_learns_to_look_like_its_own_images(method: str, tmp_path: Path) -> None:
    """Black images of one class and white ones of another: a made one is where it belongs."""
    shades = np.array([10] * 8 + [245] * 8, np.uint8)
    squares = np.broadcast_to(shades[:, None, None], (16, 16, 16)).copy()
    label = np.repeat([0, 1], 8)
    own = TrainingImages(squares, label, ("dark", "light"), np.arange(16))
    rate = 0.02 if method == "cgan" else 2e-3  # a bounded judge has small gradients
    settings = tiny(
        method, steps=80, batch=8, rate=rate, generator_rate=rate, augment=(), checkpoint_steps=80
    )
    generator = trained(settings, own, tmp_path, ("dark", "light"))
    means = {n: np.mean([generator.generate(n, s).mean() for s in range(4)]) for n in own.names}
    assert means["dark"] < 100 and means["light"] > 155


def test_the_same_run_gives_the_same_weights_and_another_seed_others(
    method: str,
    data: tuple[Manifest, Faces],
    unbroken: Callable[[str], tuple[FaceGenerator, Path]],
    tmp_path: Path,
) -> None:
    first, _ = unbroken(method)
    again = trained(tiny(method), images_of(data, tiny(method)), tmp_path / "again")
    assert same(first, again)
    settings = tiny(method, seed=1)
    other = trained(settings, images_of(data, settings), tmp_path / "other")
    assert not same(first, other)


@pytest.mark.parametrize("killed_at", [1, 3, 5, 8])
def test_a_killed_run_goes_on_to_the_very_same_weights(
    method: str,
    killed_at: int,
    data: tuple[Manifest, Faces],
    unbroken: Callable[[str], tuple[FaceGenerator, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny(method)
    images = images_of(data, settings)
    whole, _ = unbroken(method)
    calls = 0
    real = TrainedGenerator.update_average

    def follow(self: TrainedGenerator, done: int) -> None:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise Stop
        real(self, done)

    with monkeypatch.context() as patch:
        patch.setattr(TrainedGenerator, "update_average", follow)
        try:
            trained(settings, images, tmp_path)
        except Stop:
            pass
    torch.rand(17)  # whatever happens in between
    assert same(trained(settings, images, tmp_path), whole)
    assert calls <= 10


def test_the_running_average_makes_the_images(
    method: str, data: tuple[Manifest, Faces], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny(method, steps=1, checkpoint_steps=1)
    images = images_of(data, settings)
    seen: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
    real = TrainedGenerator.update_average

    def follow(self: TrainedGenerator, done: int) -> None:
        before = {k: v.clone() for k, v in self.average.state_dict().items()}
        real(self, done)
        seen.append((before, {k: v.clone() for k, v in self.generator.state_dict().items()}))

    monkeypatch.setattr(TrainedGenerator, "update_average", follow)
    generator = trained(settings, images, tmp_path)
    network, _ = generator.parts[NAMES[-1]]
    before, maker = seen[-1]
    decay = 2 / 11  # of the first step
    for key, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            assert torch.allclose(value, decay * before[key] + (1 - decay) * maker[key], atol=1e-6)
    assert any(not torch.equal(maker[key], v) for key, v in network.state_dict().items())


def test_a_finished_run_learns_nothing_more_and_a_longer_one_goes_on(
    method: str,
    data: tuple[Manifest, Faces],
    unbroken: Callable[[str], tuple[FaceGenerator, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, folder = unbroken(method)
    kept = shutil.copytree(folder, tmp_path / "run")
    images = images_of(data, tiny(method))
    steps: list[int] = []
    real = TrainedGenerator.update_average
    monkeypatch.setattr(
        TrainedGenerator,
        "update_average",
        lambda self, done: (steps.append(done), real(self, done))[1],
    )
    assert same(trained(tiny(method), images, kept), whole)
    assert not steps
    trained(tiny(method, steps=6), images, kept)
    assert set(steps) == {6}
    with pytest.raises(UsageError, match=r"a run of 6 steps, but only 5 were requested"):
        trained(tiny(method), images, kept)


def test_a_run_of_other_settings_or_images_is_refused_and_left_alone(
    method: str,
    data: tuple[Manifest, Faces],
    unbroken: Callable[[str], tuple[FaceGenerator, Path]],
) -> None:
    _, folder = unbroken(method)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    images = images_of(data, tiny(method))
    with pytest.raises(UsageError, match="contains a run with other settings"):
        trained(tiny(method, rate=0.1), images, folder)
    swapped = replace(images, images=255 - images.images)
    with pytest.raises(UsageError, match="contains a run on other images or labels"):
        trained(tiny(method), swapped, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_damaged_checkpoint_is_named(
    method: str,
    data: tuple[Manifest, Faces],
    unbroken: Callable[[str], tuple[FaceGenerator, Path]],
    tmp_path: Path,
) -> None:
    _, folder = unbroken(method)
    kept = shutil.copytree(folder, tmp_path / "run")
    file = next(kept.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(MoppetError, match=r"is damaged\. Remove it"):
        trained(tiny(method), images_of(data, tiny(method)), kept)


def test_a_saved_generator_makes_the_same_images(
    method: str, unbroken: Callable[[str], tuple[FaceGenerator, Path]], tmp_path: Path
) -> None:
    generator, _ = unbroken(method)
    generator.save(tmp_path / "generator.safetensors")
    loaded = load_generator(tmp_path / "generator.safetensors")
    assert loaded.names == generator.names and loaded.settings == generator.settings
    for name in NAMES:
        assert np.array_equal(loaded.generate(name, 4), generator.generate(name, 4))


def test_what_is_no_generator_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    path.write_bytes(b"not a generator")
    with pytest.raises(ModelError, match="is not a generator"):
        load_generator(path)


def test_a_class_of_one_image_or_none_is_refused_in_one_sentence(
    method: str, tmp_path: Path
) -> None:
    manifest, faces = sample(tmp_path / "faces", {"happiness": 3, "sadness": 1})
    images = images_of((manifest, faces), tiny(method))
    with pytest.raises(MoppetError, match=r"^class 'sadness' has only one image.*\.$"):
        trained(tiny(method), images, tmp_path / "run")
    with pytest.raises(MoppetError, match=r"^class 'anger' has no image.*\.$"):
        trained(tiny(method), images, tmp_path / "run", ("anger",))
    generator = trained(tiny(method, steps=1), images, tmp_path / "run", ("happiness",))
    assert generator.names == ("happiness",)


def test_images_of_a_few_pixels_are_refused_in_one_sentence(method: str, tmp_path: Path) -> None:
    manifest, _ = sample(tmp_path, {"happiness": 3, "sadness": 2})
    name = str(manifest.column("path")[manifest.column("split") == "train"][0])
    cv2.imwrite(str(tmp_path / name), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(
        MoppetError, match=rf"^the image {name} is too small: it has 1 × 1 pixels, .*\.$"
    ):
        images_of((manifest, whole_faces(manifest)), tiny(method))
    faces = whole_faces(manifest)
    faces.landmarks_px[manifest.column("path") == name] = np.nan
    kept = images_of((manifest, faces), tiny(method))  # what is left out anyway may be small
    assert name not in manifest.column("path")[kept.rows]


def test_a_loss_that_is_no_number_keeps_the_checkpoint(
    method: str, data: tuple[Manifest, Faces], tmp_path: Path
) -> None:
    images = images_of(data, tiny(method))
    trained(tiny(method, steps=2), images, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    lessons = plan_tasks(tiny(method), images, NAMES)
    runner = loop._TaskRun(tiny(method), lessons[0], "cpu")
    with torch.no_grad():
        next(runner.networks.generator.parameters()).fill_(float("nan"))
    with pytest.raises(MoppetError, match="not a number"):
        runner.step(2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_bfloat16_learns_too(method: str, data: tuple[Manifest, Faces], tmp_path: Path) -> None:
    settings = tiny(method, precision="bf16-mixed", steps=2)
    generator = trained(settings, images_of(data, settings), tmp_path)
    assert all(torch.isfinite(v).all() for v in tensors_of(generator).values())


def test_the_budget_is_measured_and_learns_nothing(
    method: str, data: tuple[Manifest, Faces]
) -> None:
    settings = tiny(method)
    lessons = plan_tasks(settings, images_of(data, settings), NAMES)
    budget = measure_budget(settings, lessons, done=2)
    assert budget.steps == sum(lesson.steps for lesson in lessons) - 2
    assert 0 < budget.seconds_per_step < 5
    assert f"({budget.steps} steps of" in str(budget)
    assert measure_budget(settings, lessons, done=1000).minutes == 0


def test_sheets_are_shown_at_every_checkpoint(
    method: str, data: tuple[Manifest, Faces], tmp_path: Path
) -> None:
    shown: list[tuple[str, ...]] = []
    settings = tiny(method, steps=4)
    images = images_of(data, settings)
    trained(settings, images, tmp_path, preview=lambda g: shown.append(g.names))
    one_each = GENERATORS[method].load().one_per_class
    assert shown == ([NAMES[:1]] * 2 + [NAMES] * 2 if one_each else [NAMES] * 2)


# ------------------------------------------------------------------ only real training rows


def test_validation_and_test_rows_change_nothing(
    method: str, unbroken: Callable[[str], tuple[FaceGenerator, Path]], tmp_path: Path
) -> None:
    """Other pixels, other labels, damaged files: the weights are the same, bit for bit."""
    manifest, _ = sample(tmp_path / "faces")
    kept = manifest.column("split") == "train"
    rng = np.random.default_rng(5)
    for row in np.flatnonzero(~kept):
        path = tmp_path / "faces" / str(manifest.column("path")[row])
        cv2.imwrite(str(path), rng.integers(0, 256, (48, 48, 3), np.uint8))
    label = manifest.column("label").copy()
    label[~kept] = rng.permutation(label[~kept])[::-1]
    poisoned = manifest.replace(label=label)
    rows = training_rows(poisoned, tiny(method))
    assert kept[rows].all() and len(rows) == kept.sum()
    images = cut_images(poisoned, rows, whole_faces(poisoned.select(rows)), tiny(method))
    whole, _ = unbroken(method)
    assert same(trained(tiny(method), images, tmp_path / "run"), whole)


def test_made_rows_are_learned_from_only_where_that_is_asked(tmp_path: Path) -> None:
    manifest, _ = sample(tmp_path)
    train = np.flatnonzero(manifest.column("split") == "train")
    generator = [None] * len(manifest)
    generator[train[0]] = "smote"
    mixed = manifest.replace(generator=generator, synthetic_seed=[None] * len(manifest))
    assert training_rows(mixed, TINY).tolist() == train[1:].tolist()
    with_made = replace(TINY, learn_from_synthetic=True)
    assert training_rows(mixed, with_made).tolist() == train.tolist()


def test_rows_without_a_split_a_label_or_the_age_asked_for_are_left_out(tmp_path: Path) -> None:
    manifest, _ = sample(tmp_path)
    train = np.flatnonzero(manifest.column("split") == "train")
    split, label = manifest.column("split").copy(), manifest.column("label").copy()
    bands = np.full(len(manifest), "adult", object)
    split[train[0]], label[train[1]] = None, None
    bands[train[2:5]], bands[train[5]] = "infant", None
    changed = manifest.replace(split=split, label=label, age_band=bands)
    assert training_rows(changed, TINY).tolist() == train[2:].tolist()
    infants = replace(TINY, only_ages=("infant",))
    assert training_rows(changed, infants).tolist() == train[2:5].tolist()
    with pytest.raises(
        UsageError, match=r"no image has the age band 'child'. Known: adult, infant"
    ):
        training_rows(changed, replace(TINY, only_ages=("child",)))
    with pytest.raises(UsageError, match="the data has no class 'anger'"):
        training_rows(changed, replace(TINY, classes=("anger",)))
    only_test = changed.replace(split=["test"] * len(manifest))
    with pytest.raises(MoppetError, match="no image to train on"):
        training_rows(only_test, TINY)


def test_images_without_a_face_are_left_out_unless_asked_for(
    data: tuple[Manifest, Faces],
) -> None:
    manifest, faces = data
    rows = training_rows(manifest, TINY)
    marks = faces.landmarks_px[rows].copy()
    marks[0] = np.nan
    own = replace(faces.select(rows), landmarks_px=marks)
    assert cut_images(manifest, rows, own, TINY).rows.tolist() == rows[1:].tolist()
    assert len(cut_images(manifest, rows, own, replace(TINY, only_found=False))) == len(rows)
    marks[:] = np.nan
    with pytest.raises(MoppetError, match="no face was found in any of the 14"):
        cut_images(manifest, rows, replace(own, landmarks_px=marks), TINY)


# ------------------------------------------------------------------------------ its parts


@pytest.mark.parametrize("size", SIZES)
def test_networks_fit_every_size(size: int) -> None:
    network = Generator(size, 1, 4, 3, 2).eval()
    if size <= 128:
        with torch.no_grad():
            assert network(torch.zeros(2, 3), torch.tensor([0, 1])).shape == (2, 1, size, size)
    assert network.side * 2 ** halvings(size) == size
    assert 5 <= network.side <= 15
    assert max(channels_at(4, size)) <= 32


def test_the_discriminator_is_bounded_by_its_spectral_norms() -> None:
    torch.manual_seed(0)
    judge = ProjectionDiscriminator(16, 1, 4, 2)
    for _ in range(30):
        judge(torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 0, 1]))
    weights = [m.weight.detach() for m in judge.modules() if isinstance(m, torch.nn.Conv2d)]
    weights += [m.weight.detach() for m in (judge.dense, judge.score, judge.of_class)]
    largest = [float(torch.linalg.matrix_norm(w.flatten(1), 2)) for w in weights]
    assert largest == pytest.approx([1] * len(largest), abs=0.05)


def test_the_projection_adds_what_the_class_says() -> None:
    judge = ProjectionDiscriminator(16, 1, 4, 2).eval()
    x = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        features = judge.features(x)
        one, zero = (judge(x, torch.full((3,), label))[0] for label in (1, 0))
        apart = one - zero
        expected = features @ (judge.of_class.weight[1] - judge.of_class.weight[0])
    assert torch.allclose(apart, expected, atol=1e-5)


def test_an_encoder_gives_a_mean_and_a_variance_for_each_number() -> None:
    mean, log_variance = Encoder(48, 3, 4, 5)(torch.zeros(2, 3, 48, 48))
    assert mean.shape == log_variance.shape == (2, 5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_pass_an_augmentation_which_its_seed_decides(name: str) -> None:
    x = torch.rand(6, 3, 16, 16, requires_grad=True)
    changed = augment(x, [name], random_source(0))
    assert changed.shape == x.shape
    changed.sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    assert torch.equal(augment(x, [name], random_source(0)), changed)
    assert not torch.equal(augment(x, [name], random_source(1)), changed)


def test_a_translation_moves_every_pixel_alike() -> None:
    x = torch.zeros(40, 1, 16, 16)
    x[:, 0, 8, 8] = 1
    places = augment(x, ["translation"], random_source(0)).nonzero()
    assert len(places) == 40
    shifts = (places[:, 2:] - 8).tolist()
    assert min(map(min, shifts)) == -2 and max(map(max, shifts)) == 2


def test_a_cutout_blackens_a_quarter_at_most() -> None:
    changed = augment(torch.ones(40, 1, 16, 16), ["cutout"], random_source(0))
    share = 1 - changed.mean(dim=(1, 2, 3))
    assert float(share.max()) == 0.25 and 0 < float(share.min()) < 0.25


def test_half_of_the_images_are_mirrored() -> None:
    x = torch.arange(4.0).expand(400, 1, 1, 4)
    turned = (mirror(x, random_source(0))[:, 0, 0, 0] == 3).float().mean()
    assert 0.4 < float(turned) < 0.6


@given(st.integers(0, 2**31), st.booleans())
@hypothesis_settings(max_examples=20, deadline=None)
def test_images_become_tensors_and_images_again(seed: int, gray: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 16, 16) if gray else (2, 16, 16, 3)
    images = rng.integers(0, 256, shape, np.uint8)
    x = to_tensor(images)
    assert x.shape == (2, 1 if gray else 3, 16, 16)
    assert float(x.min()) >= -1 and float(x.max()) <= 1
    assert np.array_equal(np.stack([to_image(one) for one in x]), images)


@given(
    counts=st.lists(st.integers(2, 9), min_size=1, max_size=4),
    batch=st.integers(2, 12),
    balanced=st.booleans(),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_batches_show_every_image_of_a_class_equally_often(
    counts: list[int], batch: int, balanced: bool
) -> None:
    label = np.repeat(np.arange(len(counts)), counts)
    names = tuple(f"class{i}" for i in range(len(counts)))
    images = TrainingImages(
        np.zeros((len(label), 16, 16), np.uint8), label, names, np.arange(len(label))
    )
    settings = replace(TINY, sampling="balanced" if balanced else "plain")
    lesson = TrainingTask(names, images, batch, 100, "all.safetensors")
    steps = [draw_batch(lesson, settings, step) for step in range(12)]
    assert np.array_equal(draw_batch(lesson, settings, 11), steps[11])
    seen = np.bincount(np.concatenate(steps), minlength=len(label))
    for number in range(len(counts)):
        own = seen[label == number]
        assert own.max() - own.min() <= 1
    if balanced:
        drawn = np.bincount(label[np.concatenate(steps)], minlength=len(counts))
        assert drawn.max() - drawn.min() <= 1
    else:
        assert seen.max() - seen.min() <= 1


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
@hypothesis_settings(max_examples=80, deadline=None)
def test_a_class_may_have_any_name_and_its_folder_is_its_own(one: str, other: str) -> None:
    word = safe_name(one)
    assert word and not set(word) & set("/\\:. \0") and len(word) < 60
    assert (word == safe_name(other)) == (one == other)


def test_a_sheet_has_a_band_for_each_class(tmp_path: Path) -> None:
    gray = np.full((16, 16), 200, np.uint8)
    colour = np.zeros((16, 16, 3), np.uint8)
    path = tmp_path / "deep" / "sheet.png"
    write_sheet({"happiness": [gray] * 13, "sadness": [colour]}, path)
    sheet = cv2.imread(str(path))
    assert sheet.shape == (2 * 18 + 3 * 98, 12 * 98, 3)
    assert (sheet[18:114, :96] == 200).all() and (sheet[18 + 2 * 98 + 18 :, :96][:96] == 0).all()
    with pytest.raises(UsageError, match="at least one image"):
        write_sheet({"happiness": []}, path)
    with pytest.raises(UsageError, match=r"must be a \.png"):
        write_sheet({"happiness": [gray]}, tmp_path / "sheet.gif")


def test_a_checkpoint_says_how_many_steps_it_has_done(
    unbroken: Callable[[str], tuple[FaceGenerator, Path]], tmp_path: Path
) -> None:
    _, folder = unbroken("cgan")
    assert read_done(folder / "cgan-all.safetensors") == TINY.steps
    assert read_done(tmp_path / "none.safetensors") == 0
    assert not list(folder.glob(".*"))


# ------------------------------------------------------------------------------ its settings


def test_settings_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    settings = replace(
        TINY, classes=("happiness", 'an "odd" \\ name'), rate=1e-5, mirror=False, model="a\tb\x7f"
    )
    path = tmp_path / "settings.toml"
    path.write_text(settings_text(settings), encoding="utf-8")
    assert read_settings(path) == settings


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"method": "cgan", "stepz": 3}, r"unknown key 'stepz'. Did you mean 'steps'\?"),
        ({"method": "cgann"}, r"there is no method 'cgann'. Did you mean 'cgan'\?"),
        ({}, "the key 'method' is needed"),
        ({"method": "cgan", "steps": "3"}, "steps must be a whole number of at least 1, got '3'"),
        ({"method": "cgan", "mirror": 1}, "mirror must be true or false, got 1"),
        ({"method": "cgan", "steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"method": "cgan", "size": 50}, "size must be a multiple of 16 from 16 to 256, got 50"),
        (
            {"method": "cgan", "augment": ["colr"]},
            r"augment must be .*'colr'. Did you mean 'color'",
        ),
        ({"method": "cgan", "augment": "color"}, "augment must be a list of"),
        ({"method": "cgan", "rate": 0.0}, "rate must be a number above 0"),
        ({"method": "cgan", "rate": float("nan")}, "rate must be a number above 0"),
        (
            {"method": "cgan", "ema_decay": 1},
            "ema_decay must be a number of at least 0 and below 1",
        ),
        ({"method": "inpaint", "strength": 1.5}, "strength must be a number .*at most 1"),
        ({"method": "inpaint", "detector_threshold": 1.5}, "must be a number from 0 to 1, got 1.5"),
        ({"method": "diffusion", "size": 500}, "size must be a multiple of 8"),
        ({"method": "diffusion", "guidance": 1}, "guidance must be above 1, got 1"),
        (
            {"method": "gan", "stepz": 3, "latent": 0, "color": "red"},
            "(?s)3 mistakes.*color.*latent.*stepz",
        ),
    ],
)
def test_wrong_settings_are_refused_in_words(table: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings_from(table, "here")


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("method = ", encoding="utf-8")
    with pytest.raises(UsageError, match="not valid TOML"):
        read_settings(tmp_path / "bad.toml")


def test_epochs_are_counted_in_each_network_s_own_images(data: tuple[Manifest, Faces]) -> None:
    for name in GENERATORS:
        settings_from({"method": name}, "defaults")
    settings = tiny("gan", epochs=3)
    lessons = plan_tasks(settings, images_of(data, settings), NAMES)
    assert [lesson.steps for lesson in lessons] == [3 * 3, 3 * 2]  # of 9 and 5, four at a time
    assert SynthesisSettings("gan", batch=32).batch_of(3) == 6


def test_settings_of_version_0_1_are_still_read_and_keep_their_hash() -> None:
    old = {
        "method": "cgan",
        "colour": "grey",
        "augment": ["colour", "cutout"],
        "decay": 0.9,
        "learn_from_made": True,
        "sure": 0.5,
    }
    settings = settings_from(old, "old.toml")
    assert (settings.color, settings.augment) == ("gray", ("color", "cutout"))
    assert (settings.ema_decay, settings.learn_from_synthetic) == (0.9, True)
    assert settings.detector_threshold == 0.5
    assert settings_key(settings).splitlines()[6] == 'colour = "grey"'
    assert changed_settings(settings) == {k: v for k, v in old.items() if k != "colour"} | {
        "augment": ("colour", "cutout")
    } | {"sure": 0.5}
    with pytest.raises(UsageError, match="give color or its old name colour, not both"):
        settings_from(old | {"color": "gray"}, "old.toml")
    assert settings_from({"method": "diffusion", "colour": "grey"}, "old.toml").color == "gray"
    changed = override_settings(settings, {"colour": "rgb"}, "here")
    assert changed == replace(settings, color="rgb")


def test_a_checkpoint_of_version_0_1_is_resumed(
    method: str,
    data: tuple[Manifest, Faces],
    unbroken: Callable[[str], tuple[FaceGenerator, Path]],
    tmp_path: Path,
) -> None:
    """Its networks were called maker and judge."""
    whole, _ = unbroken(method)
    images = images_of(data, tiny(method))
    trained(tiny(method, steps=3), images, tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        tensors, metadata = load_tensors(file)
        old = {
            ".".join(
                {"generator": "maker", "discriminator": "judge"}.get(x, x) for x in k.split(".")
            ): v
            for k, v in tensors.items()
        }
        assert old.keys() != tensors.keys()
        save_tensors(file, old, metadata)
    assert same(trained(tiny(method), images, tmp_path), whole)
