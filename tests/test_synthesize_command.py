"""`moppet synthesize`: a folder of faces in, images and a manifest with them out."""

from __future__ import annotations

import errno
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from moppet.commands import main as cli
from moppet.commands.console import extra
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, read_manifest
from moppet.datasets.provenance import real_rows
from moppet.datasets.readers import read_dataset
from moppet.synthesis import synthetic_folder as made
from moppet.synthesis import trained_generators as checkpoint
from moppet.synthesis.sampling_plan import make_plan, read_targets
from moppet.synthesis.settings import read_settings, settings_from
from moppet.synthesis.trained_generators import TrainedGenerator, load_generator
from moppet.train.training_run import with_split
from moppet.values import MoppetError, UsageError
from synthesize_sample import whole_faces, write_folder

TINY = ["--size", "16", "--steps", "2", "--device", "cpu"]
for each in ("width=4", "latent=4", "batch=4", "precision=32-true", "checkpoint_steps=1"):
    TINY += ["--set", each]
COUNTS = {"happiness": 7, "sadness": 4}


@pytest.fixture(scope="module", autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(
        tmp_path_factory.mktemp("own") / "faces", COUNTS, parts=("train", "val", "test")
    )


@pytest.fixture(autouse=True)
def _faces_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Finding faces is tested elsewhere, and takes longer than all the rest."""
    monkeypatch.setattr(
        "moppet.datasets.faces.find_manifest_faces", lambda manifest, **_: whole_faces(manifest)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*arguments: Any, fails: bool = False) -> Result:
    """Run the command as `moppet` does, its errors included."""
    done = CliRunner().invoke(cli.app, ["synthesize", *map(str, arguments)])
    if not fails and done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert fails or done.exit_code == 0, done.output
    return done


def refused(*arguments: Any, code: int = 2) -> str:
    done = run(*arguments, fails=True)
    error = done.exception
    assert isinstance(error, MoppetError), done.output
    assert error.exit_code == code
    return str(error)


def flat(output: str) -> str:
    return " ".join(output.split())


def contents(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def made_rows(manifest: Manifest) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = manifest.select(~real_rows(manifest)).table.to_pylist()
    return rows


# ------------------------------------------------------------------------------- what it makes


@pytest.mark.parametrize("method", ["gan", "vae", "cgan"])
def test_images_are_made_and_join_the_data_s_own_rows(
    method: str, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    done = run(folder, "-o", out, "--method", method, "--target", "sadness=3", *TINY)
    manifest = read_manifest(out / "manifest.parquet")
    rows = made_rows(manifest)
    assert len(manifest) == 3 * 11 + 3 and manifest.names == ("happiness", "sadness")
    assert [row["label"] for row in rows] == ["sadness"] * 3
    assert {row["split"] for row in rows} == {"train"}
    assert {row["generator"] for row in rows} == {method}
    assert len({row["synthetic_seed"] for row in rows}) == 3
    assert {row["synthetic_from"] for row in rows} == {None}
    generator = load_generator(out / "generator.safetensors")
    for number, row in enumerate(rows, len(manifest) - 3):
        image = manifest.image(number)
        assert content_hash(image) == row["content_hash"]
        again = generator.generate(row["label"], row["synthetic_seed"])
        assert np.array_equal(image[:, :, 0], again)
        assert cv2.imread(str(out / "images/sadness/00001.png"), -1).shape == (16, 16)
    assert "training on cpu: about" in flat(done.output)
    assert read_settings(out / "settings.toml").method == method
    real = manifest.select(real_rows(manifest))
    assert sorted(real.column("split")) == ["test"] * 11 + ["train"] * 11 + ["val"] * 11


def test_without_a_word_of_how_many_the_classes_are_evened_out(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    done = run(folder, "-o", out, "--method", "cgan", *TINY, "--json")
    found = json.loads(done.stdout)
    assert found["generated"] == {"sadness": 3} and found["trained_on"] == COUNTS
    assert found["images_used"] == COUNTS
    assert Path(found["manifest"]).is_file()


def test_the_command_made_twice_makes_the_same_and_more_begins_with_it(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        run(folder, "-o", tmp_path / name, "--method", "cgan", "--per-class", 2, *TINY)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if name.endswith((".png", ".safetensors")))
    run(folder, "-o", tmp_path / "one", "--method", "cgan", "--per-class", 3, *TINY)
    more = contents(tmp_path / "one")
    assert sum(name.endswith(".png") for name in more) == 6
    assert all(more[name] == data for name, data in one.items() if name.endswith(".png"))
    assert len(made_rows(read_manifest(tmp_path / "one" / "manifest.parquet"))) == 6


def test_its_own_settings_make_the_same_again(folder: Path, tmp_path: Path) -> None:
    run(folder, "-o", tmp_path / "one", "--method", "vae", "--per-class", 1, *TINY, "--seed", 3)
    settings = tmp_path / "one" / "settings.toml"
    assert tomllib.loads(settings.read_text())["seed"] == 3
    run(folder, "-o", tmp_path / "two", "--settings", settings, "--per-class", 1)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one["generator.safetensors"] == two["generator.safetensors"]


def test_a_plan_alone_writes_nothing_and_says_what_it_costs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    done = run(folder, "-o", out, "--method", "gan", "--per-class", 5, "--plan-only", *TINY)
    text = flat(done.output)
    assert "synthetic faces to generate" in text and "training on cpu: about" in text
    assert not out.exists()
    plan = json.loads(
        run(folder, "-o", out, "--method", "diffusion", "--plan-only", "--json").stdout
    )
    assert plan["counts"] == {"sadness": 3} and "fully clothed" in plan["plan"][0]["prompt"]
    shown = flat(run(folder, "-o", out, "--method", "diffusion", "--plan-only").output)
    assert "by occlusion" in shown and "prompt: a photograph" in shown and not out.exists()


def test_images_without_a_split_get_the_one_that_training_draws(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "faces", {"happy": 16, "sad": 12})
    out = tmp_path / "made"
    done = run(folder, "-o", out, "--method", "cgan", "--per-class", 1, *TINY)
    manifest = read_manifest(out / "manifest.parquet")
    split = manifest.column("split")
    assert {"train", "val", "test"} == set(split)
    train = int((split == "train").sum()) - 2
    assert f"the images have no split: {train} are drawn for training" in flat(done.output)


@pytest.mark.parametrize(("parts", "lacks"), [(("train", "test"), "val"), (("train",), "")])
def test_what_is_made_can_be_trained_on_whatever_parts_the_data_came_with(
    parts: tuple[str, ...], lacks: str, tmp_path: Path
) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "faces"
    for place in (folder / part / name for part in parts for name in ("happy", "sad")):
        place.mkdir(parents=True)
        for number in range(12):  # of images of faces some would be near copies of others
            blocks = rng.integers(0, 256, (6, 6), np.uint8)
            image = cv2.resize(blocks, (48, 48), interpolation=cv2.INTER_NEAREST)
            assert cv2.imwrite(str(place / f"{number}.png"), image)
    out = tmp_path / "made"
    done = run(folder, "-o", out, "--method", "cgan", "--per-class", 1, *TINY)
    manifest = read_manifest(out / "manifest.parquet")
    assert {"train", "val", "test"} == set(manifest.column("split"))
    assert with_split(manifest, 0).column("split").tolist() == manifest.column("split").tolist()
    assert f"the images have no {lacks} rows" in flat(done.output) or not lacks


def test_made_images_are_not_read_as_a_folder_of_real_ones(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    done = run(folder, "-o", out, "--method", "vae", "--per-class", 1, *TINY)
    assert f"moppet quality {out}" in flat(done.output)
    for place in (out, out / "images", out / "images" / "happiness"):
        with pytest.raises(UsageError, match=r"synthetic images, .* read .*made/manifest\.parquet"):
            read_dataset(place, "folder")


def test_a_sheet_is_written_only_where_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "made", tmp_path / "sheet.png"
    run(folder, "-o", out, "--method", "cgan", "--per-class", 2, *TINY)
    folders = {p.relative_to(out).parts[0] for p in out.rglob("*.png")}
    assert folders == {"images"}
    run(folder, "-o", out, "--method", "cgan", "--per-class", 2, *TINY, "--show-faces", sheet)
    assert cv2.imread(str(sheet)) is not None


# ------------------------------------------------------------------- stopped, full, used wrongly


def test_a_stopped_run_says_where_it_goes_on_and_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (folder, "--method", "cgan", "--per-class", 2, *TINY, "--steps", 4)
    run(*command, "-o", tmp_path / "whole")
    real = TrainedGenerator.update_average
    steps: list[int] = []

    def follow(self: TrainedGenerator, done: int) -> None:
        # The budget's steps come first, on networks that are thrown away.
        steps.append(done)
        if steps.count(3) == 2:
            raise KeyboardInterrupt
        real(self, done)

    out = tmp_path / "made"
    with monkeypatch.context() as patch:
        patch.setattr(TrainedGenerator, "update_average", follow)
        done = CliRunner().invoke(cli.app, ["synthesize", *map(str, command), "-o", str(out)])
    assert done.exit_code != 0 and "Rerun the same command to resume" in flat(done.output)
    assert not (out / "manifest.parquet").exists() and not (out / "images").exists()
    resumed = run(*command, "-o", out)
    assert "2 steps are done already" in flat(resumed.output)
    one, two = contents(tmp_path / "whole"), contents(out)
    assert all(one[name] == two[name] for name in one if name.endswith((".png", ".safetensors")))


@pytest.mark.parametrize("place", ["image", "checkpoint", "manifest"])
def test_a_full_disk_is_said_in_one_sentence_and_loses_nothing(
    place: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made"
    command = (folder, "-o", out, "--method", "cgan", *TINY)
    run(*command, "--per-class", 1)
    before = contents(out)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def full_too(*_: Any, **__: Any) -> None:
        raise checkpoint.SafetensorError("Error while serializing: No space left on device")

    with monkeypatch.context() as patch:
        if place == "image":
            patch.setattr(made, "_write_png", full)
            error = refused(*command, "--per-class", 2, code=1)
        elif place == "manifest":
            patch.setattr(made.Manifest, "write", full)
            error = refused(*command, "--per-class", 2, code=1)
        else:
            patch.setattr(checkpoint, "save_file", full_too)
            error = refused(*command, "--per-class", 2, "--steps", 3, code=1)
    assert ("make room" if place == "checkpoint" else "Make room") in error
    after = {k: v for k, v in contents(out).items() if not k.startswith(made.PART)}
    kept = {k: v for k, v in after.items() if k.startswith(("run/", "generator"))}
    assert kept == {k: v for k, v in before.items() if k.startswith(("run/", "generator"))}
    assert after == before
    assert {p.name for p in out.glob(".*")} <= {made.PART}
    run(*command, "--per-class", 2)
    assert len(made_rows(read_manifest(out / "manifest.parquet"))) == 4


def test_a_folder_with_other_files_is_left_alone(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "thesis"
    (other / "pictures").mkdir(parents=True)
    (other / "pictures" / "mine.png").write_bytes(b"mine")
    assert "contains other files" in refused(folder, "-o", other, "--method", "gan", *TINY)
    assert (other / "pictures" / "mine.png").read_bytes() == b"mine"
    inside = refused(folder, "-o", folder / "made", "--method", "gan", *TINY)
    assert "is inside the dataset" in inside
    file = tmp_path / "file"
    file.write_text("x")
    assert "is a file" in refused(folder, "-o", file, "--method", "gan", *TINY)


def make_by_hand(folder: Path, out: Path, count: int = 1, make: Any = None) -> Manifest:
    """What the method cgan leaves in a folder, without learning."""
    settings = settings_from({"method": "cgan", "size": 16}, "test")
    plan = make_plan(settings, {"sadness": count})
    image = made.SyntheticImage(np.zeros((16, 16), np.uint8))
    make = make or (lambda _: image)
    return made.write_synthetic(out, plan, make, read_dataset(folder), settings)


def test_a_disk_that_is_full_at_the_end_costs_no_image(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made"
    make_by_hand(folder, out)
    before = contents(out)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("write_text", "Manifest.write"):
        with monkeypatch.context() as patch:
            patch.setattr(f"moppet.synthesis.synthetic_folder.{place}", full)
            with pytest.raises(MoppetError, match="Make room"):
                make_by_hand(folder, out, 2)
        after = contents(out)
        assert {k: v for k, v in after.items() if not k.startswith(made.PART)} == before
        assert sum(name.startswith(made.PART) for name in after) == 2 + 1
    make_by_hand(folder, out, 2, lambda _: pytest.fail("it was made again"))
    assert len(made_rows(read_manifest(out / "manifest.parquet"))) == 2
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("method", ["gan", "vae", "diffusion", "inpaint"])
def test_another_method_s_folder_is_refused(method: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    make_by_hand(folder, out)
    before = contents(out)
    said = refused(folder, "-o", out, "--method", method, "--per-class", 1)
    assert "contains images generated by 'cgan'" in said and f"for {method!r}" in said
    assert contents(out) == before


def test_a_run_that_has_just_begun_belongs_to_its_method(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    made.start_folder(out, settings_from({"method": "cgan", "size": 16}, "test"))
    assert "contains images generated by 'cgan'" in refused(
        folder, "-o", out, "--method", "diffusion"
    )
    text = (out / "settings.toml").read_text()
    made.start_folder(out, settings_from({"method": "cgan", "size": 32}, "test"))
    assert (out / "settings.toml").read_text() == text


@pytest.mark.parametrize("name", ["settings.toml", "run/card.toml"])
def test_a_folder_of_another_command_is_left_alone(name: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("epochs = 3\n")
    assert "contains other files" in refused(folder, "-o", out, "--method", "cgan", *TINY)


def test_the_data_s_own_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    elsewhere = make_by_hand(folder, out).write(tmp_path / "all.parquet")
    before = contents(out)
    for data, said in (
        (out / "manifest.parquet", "is inside"),
        (out / "images", "is inside"),
        (elsewhere, "holds source images"),
    ):
        assert said in refused(data, "-o", out, "--method", "cgan", "--per-class", 1, *TINY)
    assert contents(out) == before


def test_another_run_s_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    command = (folder, "-o", out, "--method", "cgan", "--per-class", 1, *TINY)
    run(*command)
    before = contents(out)
    assert "with other settings" in refused(*command, "--seed", 5)
    assert contents(out) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "cgann"], "Did you mean 'cgan'?"),
        ([], "--method is needed: one of gan, vae, cgan"),
        (["--method", "cgan", "--target", "sadnes=3"], "Did you mean 'sadness'?"),
        (["--method", "cgan", "--target", "sadness"], "--target takes class=N"),
        (["--method", "cgan", "--target", "sadness=0"], "--target takes class=N"),
        (["--method", "cgan", "--classes", "anger"], "the data has no class 'anger'"),
        (["--method", "cgan", "--ages", "infant"], "no image has the age band 'infant'"),
        (["--method", "cgan", "--set", "stepz=3"], "Did you mean 'steps'?"),
        (["--method", "cgan", "--set", "steps"], "--set takes name=value"),
        (["--method", "cgan", "--size", "50"], "size must be a multiple of 16"),
        (["--method", "cgan", "--steps", "2", "--epochs", "2"], "not both"),
        (["--method", "cgan", "--device", "tpu"], "--device must be auto, cpu or cuda"),
        (["--method", "cgan", "--show-faces", "sheet.jpg"], "--show-faces takes a .png file"),
        (["--method", "diffusion", "--set", "guidance=1"], "guidance must be above 1, got 1:"),
        (["--method", "inpaint", "--set", "guidance=0.5"], "guidance must be above 1, got 0.5:"),
        (["--method", "diffusion"], "give its folder in the setting model"),
    ],
)
def test_wrong_use_is_said_in_one_sentence(
    arguments: list[str], said: str, folder: Path, tmp_path: Path
) -> None:
    error = refused(folder, "-o", tmp_path / "made", *arguments)
    assert said in error
    assert not (tmp_path / "made").exists()


def test_data_that_cannot_be_learned_from_is_said_in_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "made"
    command = ("-o", out, "--method", "cgan", *TINY)
    parts = ("train", "val", "test")
    one = write_folder(tmp_path / "one", {"happiness": 3, "sadness": 1}, parts=parts)
    assert "'sadness' has only one image" in refused(one, *command, code=1)
    assert "'sadness' has only one" in refused(one, *command, "--target", "sadness=2", code=1)
    for part in parts:
        shutil.rmtree(one / part / "sadness")
    assert "the same number" in refused(one, *command)
    cv2.imwrite(str(one / "train" / "happiness" / "000.png"), np.zeros((1, 1, 3), np.uint8))
    assert "1 × 1" in refused(one, *command, "--per-class", 1, code=1)
    assert "does not exist" in refused(tmp_path / "none", *command, code=1)
    test_only = write_folder(tmp_path / "only", {"happiness": 3, "sadness": 2}, parts=("test",))
    assert "no image to train on" in refused(test_only, *command, code=1)


def test_no_face_is_found_in_a_image_that_is_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    counts, parts = {"happiness": 2, "sadness": 2}, ("train", "val", "test")
    folder = write_folder(tmp_path / "faces", counts, parts=parts)
    (folder / "train" / "sadness" / "001.png").write_bytes(b"no image")
    error = refused(
        folder, "-o", tmp_path / "made", "--method", "cgan", "--per-class", 1, *TINY, code=1
    )
    assert "001.png cannot be read as an image" in error


def test_targets_even_out_what_can_be_learned() -> None:
    counts = {"a": 5, "b": 2, "c": 0}
    assert read_targets(list(counts), counts, None, ()) == {"b": 3}
    assert read_targets(["a", "b"], counts, 4, ["b=9"]) == {"a": 4, "b": 9}
    assert read_targets(["x=y"], {"x=y": 3}, None, ["x=y=2"]) == {"x=y": 2}
    with pytest.raises(UsageError, match="the same number"):
        read_targets(["a"], {"a": 3}, None, ())


def test_few_images_are_warned_of(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "-o", tmp_path / "made", "--method", "cgan", "--per-class", 1, *TINY)
    assert "few training images: happiness (7), sadness (4)" in flat(done.output)


def test_a_missing_library_is_named_with_what_to_install() -> None:
    wanted = r"needs torch.*pip install 'moppet\[synthesize\]'"
    with pytest.raises(MoppetError, match=wanted), extra("synthesize", "Synthesis"):
        raise ModuleNotFoundError("no", name="torch")


def test_an_interrupted_run_of_version_0_1_is_resumed(folder: Path, tmp_path: Path) -> None:
    """Its images were in folders with other names, and its finished ones are replaced."""
    out = tmp_path / "made"
    make_by_hand(folder, out)
    (out / "images").rename(out / "pictures")

    def stop(request: Any) -> Any:
        if request.number == 2:
            raise KeyboardInterrupt
        return made.SyntheticImage(np.zeros((16, 16), np.uint8))

    with pytest.raises(KeyboardInterrupt):
        make_by_hand(folder, out, 2, stop)
    (out / made.PART).rename(out / ".pictures.part")
    asked: list[int] = []

    def count(request: Any) -> Any:
        asked.append(request.number)
        return made.SyntheticImage(np.zeros((16, 16), np.uint8))

    make_by_hand(folder, out, 2, count)
    assert asked == [2]
    assert {p.name for p in out.iterdir()} == {
        "images", "manifest.parquet", "plan.csv", "settings.toml",
    }  # fmt: skip
