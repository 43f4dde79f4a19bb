"""Plugins: every example of docs/reference/plugins.md works, and a broken plugin harms nothing."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import rendered
from moppet import plugins
from moppet.balance import BALANCERS, Balancer, balance
from moppet.balance.methods import find_method
from moppet.commands import main as cli
from moppet.datasets.readers import DATASETS, Dataset, find_dataset, read_dataset
from moppet.infer.detectors import DETECTORS, find_faces, load_detector
from moppet.synthesis.generators import GENERATORS, find_generator
from moppet.synthesis.settings import settings_from
from moppet.train.augmentation import AUGMENTATIONS, BatchAugmentation, augment, find_augmentation
from moppet.train.networks import NETWORKS, find_network, load_network, save_network
from moppet.train.recipe import Recipe
from moppet.train.starting_weights import make_network
from moppet.values import UsageError
from synthesize_sample import check_contract, sample, whole_faces

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "plugins.md"
BLOCK = re.compile(r"```(python|toml) title=\S+\n(.*?)```", re.S)


def examples() -> dict[str, tuple[str, str, str]]:
    """Group of entry points → its example's module, its entry's name, and the object's place."""
    found = {}
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    for (_, module), (_, project) in zip(blocks[::2], blocks[1::2], strict=True):
        for group, points in tomllib.loads(project)["project"]["entry-points"].items():
            ((name, place),) = points.items()
            found[group] = (module, name, place)
    return found


EXAMPLES = examples()
REGISTRIES: dict[str, tuple[dict[str, Any], Callable[[str], Any]]] = {
    "moppet.datasets": (DATASETS, lambda name: find_dataset(".", name)),
    "moppet.balancers": (BALANCERS, find_method),
    "moppet.generators": (GENERATORS, find_generator),
    "moppet.detectors": (DETECTORS, load_detector),
    "moppet.networks": (NETWORKS, find_network),
    "moppet.augmentations": (AUGMENTATIONS, find_augmentation),
}
"""Group → its registry, and what looks a name up in it (and loads the plugins before)."""


@pytest.fixture
def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str, str, str], None]]:
    """Give a function that installs a package with one module and one entry point."""
    saved = {group: dict(registry) for group, (registry, _) in REGISTRIES.items()}
    loaded = set(plugins._LOADED)

    def install(group: str, module: str, name: str, place: str) -> None:
        site = tmp_path / "site"
        info = site / "lab_faces-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (site / f"{place.partition(':')[0]}.py").write_text(module, encoding="utf-8")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-faces\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {place}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(site))
        plugins._LOADED.discard(group)

    yield install
    sys.modules.pop("my_plugin", None)
    plugins._LOADED.clear()
    plugins._LOADED.update(loaded)
    for group, (registry, _) in REGISTRIES.items():
        registry.clear()
        registry.update(saved[group])


@pytest.mark.parametrize("group", REGISTRIES)
def test_the_example_of_each_registry_is_found_by_its_name(group, install, recwarn):
    module, name, place = EXAMPLES[group]
    install(group, module, name, place)
    registry, look_up = REGISTRIES[group]
    assert name not in registry
    look_up(name)
    assert name in registry and not recwarn.list


@pytest.mark.parametrize("group", plugins.BUILT_IN)
def test_the_table_of_names_equals_the_registry(group):
    registry, _ = REGISTRIES[group]
    assert plugins.BUILT_IN[group] == tuple(registry)


@pytest.mark.parametrize("group", plugins.BUILT_IN)
def test_the_names_of_packages_and_of_python_are_known_without_being_imported(group, install):
    registry, _ = REGISTRIES[group]
    install(group, "1 / 0", "mine", "my_plugin:thing")
    registry["my own"] = object()
    assert {*registry, "mine", "my own"} == set(plugins.known_names(group))
    assert "my_plugin" not in sys.modules and "mine" not in registry


@pytest.mark.parametrize("group", REGISTRIES)
def test_the_example_of_each_registry_can_be_put_into_it_in_python(group, install):
    module, name, _ = EXAMPLES[group]
    registry, look_up = REGISTRIES[group]
    install("moppet.nothing", "", "x", "my_plugin:x")  # for its clearing up
    exec(compile(module, "my_plugin.py", "exec"), {"__name__": "__main__"})
    look_up(name)
    assert name in registry


@pytest.mark.parametrize("group", REGISTRIES)
@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("import moppet_nowhere", "ModuleNotFoundError: No module named 'moppet_nowhere'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (
            "thing = 3",
            "my_plugin:thing is a int, but a (Dataset|Balancer|GeneratorMethod|Callable) is needed",
        ),
        ("other = 3", "AttributeError: module 'my_plugin' has no attribute 'thing'"),
    ],
)
def test_a_broken_plugin_is_one_sentence_and_nothing_else_breaks(group, module, said, install):
    registry, look_up = REGISTRIES[group]
    before = dict(registry)
    install(group, module, "mine", "my_plugin:thing")
    with pytest.warns(plugins.PluginWarning) as caught:
        look_up(next(iter(before)))
    assert registry == before
    pattern = rf"the plugin 'mine' of the package lab-faces 1.0 \({group}\) is not used: {said}"
    assert re.fullmatch(rf"{pattern}\. Update or uninstall the package\.", str(caught[0].message))
    with pytest.raises(UsageError, match="mine"):
        look_up("mine")


@pytest.mark.parametrize("group", REGISTRIES)
def test_a_name_that_exists_is_never_replaced(group, install):
    registry, look_up = REGISTRIES[group]
    name = next(iter(registry))
    before = registry[name]
    install(group, EXAMPLES[group][0], name, EXAMPLES[group][2])
    with pytest.warns(plugins.PluginWarning, match=f"the name '{name}' is taken"):
        look_up(name)
    assert registry[name] is before


def test_a_dataset_from_a_package_is_recognized_and_read(install, tmp_path):
    install("moppet.datasets", *EXAMPLES["moppet.datasets"])
    root = tmp_path / "recordings"
    root.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(root / name), np.zeros((8, 8), np.uint8))
    (root / "faces.tsv").write_text("a.png\thappiness\tkim\tA\nb.png\tfear\tlou\tB\n")
    manifest = read_dataset(root)
    assert isinstance(DATASETS["lab-faces"], Dataset)
    assert manifest.column("label").tolist() == ["happiness", "fear"]
    assert manifest.column("subject").tolist() == ["kim", "lou"]
    assert manifest.license == DATASETS["lab-faces"].license
    assert len(read_dataset(root, "lab-faces", session="B")) == 1


def test_a_balancer_from_a_package_balances(install):
    install("moppet.balancers", *EXAMPLES["moppet.balancers"])
    x = np.array([[0.0], [1.0], [5.0], [0.0], [0.1], [9.0], [-0.1]])
    labels = np.array(["fear"] * 3 + ["anger"] * 4)
    done = balance(x, labels, method="typical", rng=np.random.default_rng(0))
    assert isinstance(BALANCERS["typical"], Balancer)
    assert [one.after for one in done.counts] == [3, 3]
    assert 5 not in done.kept


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_generator_from_a_package_keeps_the_contract(color, install, tmp_path, monkeypatch):
    install("moppet.generators", *EXAMPLES["moppet.generators"])
    monkeypatch.setattr(
        "moppet.synthesis.training_images.find_manifest_faces",
        lambda manifest, **_: whole_faces(manifest),
    )
    manifest, _ = sample(tmp_path / "faces", {"happiness": 4, "sadness": 6})
    settings = settings_from({"method": "blend", "color": color}, "test")
    assert not settings.trained and not settings.prompted
    images = check_contract(settings, manifest)
    assert all(len(image.sources) == 2 for image in images)


def test_a_generator_from_a_package_works_in_the_command(install, tmp_path, monkeypatch):
    install("moppet.generators", *EXAMPLES["moppet.generators"])
    monkeypatch.setattr(
        "moppet.synthesis.training_images.find_manifest_faces",
        lambda manifest, **_: whole_faces(manifest),
    )
    sample(tmp_path / "faces", {"happiness": 4, "sadness": 6})
    command = ["synthesize", str(tmp_path / "faces"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.app, [*command, "--method", "blend", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out" / "images" / "happiness").glob("*.png"))) == 2


def test_a_detector_from_a_package_finds_faces(install):
    install("moppet.detectors", *EXAMPLES["moppet.detectors"])
    image = next(iter(rendered.read_stills().values())).image
    assert len(find_faces(image, detector="largest-face")) == 1


def test_a_network_from_a_package_is_built_by_a_recipe_and_comes_back_from_its_file(
    install, tmp_path
):
    install("moppet.networks", *EXAMPLES["moppet.networks"])
    recipe = Recipe("mine", network="tinynet", size=32, dropout=0.25)
    network = make_network(recipe, 4).eval()
    assert network.settings["dropout"] == 0.25
    with pytest.raises(UsageError, match="tinynet has no setting 'attention'"):
        make_network(Recipe("mine", network="tinynet", attention="se"), 4)
    save_network(network, tmp_path / "weights.safetensors")
    again = load_network(tmp_path / "weights.safetensors")
    image = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        (logits, embedding), (same, _) = network(image), again(image)
    assert logits.shape == (3, 4) and embedding.shape == (3, 32)
    assert torch.allclose(logits, same, atol=1e-3)  # matrices are kept in half precision


def test_an_augmentation_from_a_package_changes_images_and_nothing_else(install):
    install("moppet.augmentations", *EXAMPLES["moppet.augmentations"])
    images = torch.full((40, 3, 16, 24), 0.5)
    changed = augment(images, BatchAugmentation(("rain",)), 7)
    assert changed.shape == images.shape and (images == 0.5).all()
    assert torch.equal(changed, augment(images, BatchAugmentation(("rain",)), 7))
    assert not torch.equal(changed, augment(images, BatchAugmentation(("rain",)), 8))
    dry = (changed == images).flatten(1).all(dim=1)
    assert 5 < int(dry.sum()) < 35 and changed.max() == pytest.approx(0.8)
