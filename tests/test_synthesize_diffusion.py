"""Diffusion and in-painting, end to end, with tiny pipelines that are built and saved here."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from moppet.commands import main as cli
from moppet.config import old_names, read_settings
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, read_manifest
from moppet.datasets.provenance import real_rows
from moppet.synthesis import diffusion
from moppet.synthesis import pretrained as models
from moppet.synthesis.diffusion import Diffusion, Inpainting, PartSegmenter, load_pipeline
from moppet.synthesis.pretrained import (
    Pin,
    check_files,
    find_pretrained,
    license_of,
    print_conditions,
)
from moppet.synthesis.sampling_plan import NEGATIVE_PROMPT, OCCLUSIONS, ImageRequest, make_plan
from moppet.synthesis.settings import SynthesisSettings, settings_from
from moppet.synthesis.synthetic_folder import PART, SyntheticImage, check_output, write_synthetic
from moppet.synthesis.training_images import StartingFaces
from moppet.values import ModelError, MoppetError, UsageError
from synthesize_sample import check_contract, sample, whole_faces

pytest.importorskip("diffusers")
import tiny_models

SIZE = 32


@pytest.fixture(scope="module", autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own, and no wait for the search for faces."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "moppet.synthesis.training_images.find_manifest_faces",
        lambda manifest, **_: whole_faces(manifest),
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "text": tiny_models.write_diffusion(root / "text"),
        "strict": tiny_models.write_diffusion(root / "strict", checker="strict"),
        "none": tiny_models.write_diffusion(root / "none", checker=None),
        "inpaint": tiny_models.write_diffusion(root / "inpaint", inpaint=True),
        "detector": tiny_models.write_detector(root / "detector"),
        "segmenter": tiny_models.write_segmenter(root / "segmenter"),
    }


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    found, _ = sample(tmp_path_factory.mktemp("faces"), {"happiness": 4, "sadness": 3})
    return found.replace(age_band=["infant"] * len(found))


def settings_of(
    folders: dict[str, Path], method: str = "diffusion", **more: Any
) -> SynthesisSettings:
    own = {"model": str(folders["inpaint" if method == "inpaint" else "text"])}
    if method == "inpaint":
        own |= {name: str(folders[name.split("_")[0]]) for name in
                ("detector_model", "segmenter_model")}  # fmt: skip
        own |= {"detector_threshold": 0.0}  # type: ignore[dict-item]
    table = {"method": method, "size": SIZE, "model_steps": 3, **own, **more}
    return settings_from(table, "test")


def request_of(
    settings: SynthesisSettings, label: str = "sadness", number: int = 1
) -> ImageRequest:
    return make_plan(settings, {label: number}).requests[-1]


# ----------------------------------------------------------------------------------- diffusion


@pytest.mark.parametrize("start", ["text", "image"])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_stable_diffusion_makes_what_its_seed_decides(
    start: str, color: str, folders: dict[str, Path], manifest: Manifest
) -> None:
    first, _ = check_contract(settings_of(folders, start=start, color=color), manifest)
    assert len(first.sources) == (start == "image")
    assert first.age_band == ("infant" if start == "image" else None)


def test_every_call_sends_the_plan_s_prompt_and_the_fixed_negative_prompt(
    folders: dict[str, Path], manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(folders)
    make = Diffusion(settings, StartingFaces(manifest, settings))
    sent: list[dict[str, Any]] = []
    real = type(make.pipeline).__call__

    def call(self: Any, **given: Any) -> Any:
        sent.append(given)
        return real(self, **given)

    call.__signature__ = inspect.signature(real)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(make.pipeline), "__call__", call)
    asked = request_of(settings)
    make(asked)
    assert sent[0]["prompt"] == asked.prompt and sent[0]["negative_prompt"] == NEGATIVE_PROMPT
    assert sent[0]["num_inference_steps"] == 3 and sent[0]["height"] == SIZE


def test_an_image_to_image_image_comes_from_a_training_face_of_its_class(
    folders: dict[str, Path], manifest: Manifest
) -> None:
    settings = settings_of(folders, start="image", strength=0.4)
    make = Diffusion(settings, StartingFaces(manifest, settings))
    there = {
        content_hash(manifest.image(row))
        for row in np.flatnonzero(
            (manifest.column("split") == "train") & (manifest.column("label") == "sadness")
        )
    }
    for number in range(1, 5):
        image = make(request_of(settings, number=number))
        assert image is not None and set(image.sources) <= there


def faceless(rows: set[int], hashes: list[str]) -> Any:
    """Stands for the search: no face in the images of these rows."""
    lost = {hashes[row] for row in rows}

    def find(manifest: Manifest, **_: Any) -> Any:
        faces = whole_faces(manifest)
        faces.landmarks_px[[content_hash(manifest.image(0)) in lost]] = np.nan
        return faces

    return find


@pytest.mark.parametrize("method", ["diffusion", "inpaint"])
def test_a_image_without_a_face_is_not_begun_with(
    method: str, folders: dict[str, Path], manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "moppet.synthesis.training_images.find_manifest_faces"
    settings = settings_of(folders, method, start="image")
    plan = make_plan(settings, {"happiness": 2, "sadness": 2})
    hashes = [content_hash(manifest.image(row)) for row in range(len(manifest))]
    first = plan.requests[-1]
    rows = StartingFaces(manifest, settings).candidates(first).tolist()
    drawn = {hashes.index(StartingFaces(manifest, settings).draw(first).sha256)}
    monkeypatch.setattr(place, faceless(drawn, hashes))
    sources = StartingFaces(manifest, settings)
    sources.check(plan.requests)
    others = {hashes.index(sources.draw(first, attempt).sha256) for attempt in range(9)}
    assert others == {hashes.index(StartingFaces(manifest, settings).draw(first, a).sha256)
                      for a in range(9)} and not others & drawn  # fmt: skip
    monkeypatch.setattr(place, faceless(set(rows), hashes))
    with pytest.raises(MoppetError, match=rf"no face was found in any of the {len(rows)} training"):
        StartingFaces(manifest, settings).check(plan.requests)
    kept = settings_of(folders, method, start="image", only_found=False)
    StartingFaces(manifest, kept).check(plan.requests)


def test_the_command_paints_nothing_where_a_class_has_no_face(
    folders: dict[str, Path], manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = [content_hash(manifest.image(row)) for row in range(len(manifest))]
    sad = set(np.flatnonzero(manifest.column("label") == "sadness").tolist())
    monkeypatch.setattr(
        "moppet.synthesis.training_images.find_manifest_faces", faceless(sad, hashes)
    )
    data, out = manifest.write(tmp_path / "faces.parquet"), tmp_path / "made"
    monkeypatch.setattr(Diffusion, "__call__", lambda *_: pytest.fail("it was begun"))
    done = CliRunner().invoke(
        cli.app,
        ["synthesize", str(data), "-o", str(out), "--method", "diffusion", "--size", str(SIZE),
         "--model-folder", str(folders["text"]), "--per-class", "2", "--device", "cpu",
         "--set", "start=image"],
    )  # fmt: skip
    assert "no face was found in any of the 3 training images" in str(done.exception)
    assert not out.exists()


def test_the_safety_checker_stays_on_and_what_it_refuses_is_not_kept(
    folders: dict[str, Path], manifest: Manifest, tmp_path: Path
) -> None:
    settings = settings_of(folders, model=str(folders["strict"]))
    make = Diffusion(settings, StartingFaces(manifest, settings))
    assert make(request_of(settings)) is None
    plan = make_plan(settings, {"sadness": 2})
    with pytest.raises(MoppetError, match="safety checker rejected every image"):
        write_synthetic(tmp_path / "made", plan, make, manifest, settings)
    assert not list((tmp_path / "made").glob("*"))
    turns = iter([True, False])
    lenient = Diffusion(settings_of(folders), StartingFaces(manifest, settings))
    joined = write_synthetic(
        tmp_path, plan, lambda r: lenient(r) if next(turns) else None, manifest, settings
    )
    assert len(joined) == len(manifest) + 1


def test_license_and_conditions_are_said_at_the_first_use(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    load_pipeline("StableDiffusionPipeline", folders["none"], "cpu")
    said = capsys.readouterr().err
    assert tiny_models.LICENSE in said and "has no safety checker" in said
    assert "may only be used to train expression recognition" in said
    load_pipeline("StableDiffusionPipeline", folders["none"], "cpu")
    assert capsys.readouterr().err == ""
    load_pipeline("StableDiffusionPipeline", folders["text"], "cpu")
    assert "has no safety checker" not in capsys.readouterr().err
    assert license_of(folders["detector"]).startswith("its folder names no license")
    assert not print_conditions(folders["text"], "Stable Diffusion", checked=True)


# ---------------------------------------------------------------------------------- in-painting


def test_in_painting_keeps_the_contract_of_generators(
    folders: dict[str, Path], manifest: Manifest
) -> None:
    check_contract(settings_of(folders, "inpaint"), manifest)


def test_in_painting_keeps_every_pixel_outside_the_part_that_was_outlined(
    folders: dict[str, Path], manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(folders, "inpaint")
    sources = StartingFaces(manifest, settings)
    make = Inpainting(settings, sources)
    parts: list[Any] = []
    real = PartSegmenter.find_part

    def part(self: PartSegmenter, image: Any, words: str) -> Any:
        parts.append((image, real(self, image, words), words))
        return parts[-1][1]

    monkeypatch.setattr(PartSegmenter, "find_part", part)
    asked = request_of(settings)
    made, again = make(asked), make(asked)
    assert made is not None and again is not None
    image, outlined, words = next(p for p in parts if p[1] is not None)
    assert 0 < outlined.mean() < 0.9 and words == diffusion.EXPRESSIVE_PARTS
    assert np.array_equal(made.image[~outlined], image[~outlined])
    assert not np.array_equal(made.image[outlined], image[outlined])
    assert np.array_equal(made.image, again.image)
    assert made.age_band == "infant" and len(made.sources) == 1


def test_an_expression_is_changed_on_faces_of_other_classes_and_hidden_on_its_own(
    folders: dict[str, Path], manifest: Manifest
) -> None:
    label = manifest.column("label")
    changed = settings_of(folders, "inpaint")
    rows = StartingFaces(manifest, changed).candidates(request_of(changed))
    assert set(label[rows]) == {"happiness"}
    hidden = settings_of(folders, "inpaint", change="occlusion", occlusions=["pacifier"])
    request = request_of(hidden)
    assert request.occlusion == "pacifier" and request.prompt is not None
    assert OCCLUSIONS["pacifier"] in request.prompt
    rows = StartingFaces(manifest, hidden).candidates(request)
    assert set(label[rows]) == {"sadness"}
    assert set(manifest.column("split")[rows]) == {"train"}
    grown = manifest.replace(age_band=["adult"] * len(manifest))
    with pytest.raises(
        MoppetError, match="no training face to start from for 'sadness' with a pacifier"
    ):
        StartingFaces(grown, hidden).draw(request)
    assert set(diffusion.OCCLUDED_PARTS) == set(OCCLUSIONS) - {"none"}


def test_a_part_that_is_not_found_is_looked_for_in_other_faces_and_then_said(
    folders: dict[str, Path], manifest: Manifest
) -> None:
    settings = settings_of(folders, "inpaint", detector_threshold=1.0)
    make = Inpainting(settings, StartingFaces(manifest, settings))
    drawn = [make.sources.draw(request_of(settings), i).sha256 for i in range(diffusion.ATTEMPTS)]
    assert len(set(drawn)) > 1
    with pytest.raises(
        MoppetError, match=r"found nothing .* in 5 .*Set detector_threshold below 1"
    ):
        make(request_of(settings))


def test_boxes_and_outlines_lie_within_the_image(folders: dict[str, Path]) -> None:
    finder = PartSegmenter(settings_of(folders, "inpaint"))
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    boxes = finder.find_boxes(image, diffusion.EXPRESSIVE_PARTS)
    assert boxes.shape[1] == 4 and len(boxes) and boxes.min() >= 0 and boxes.max() <= SIZE
    box = np.array([[3.0, 5.0, 20.0, 28.0]], np.float32)
    outlined = finder.segment(image, box)
    assert outlined.shape == (SIZE, SIZE) and outlined.any()
    outlined[5:28, 3:20] = False
    assert not outlined.any()


# -------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("method", ["diffusion", "inpaint"])
def test_the_command_writes_how_every_image_was_made(
    method: str, folders: dict[str, Path], manifest: Manifest, tmp_path: Path
) -> None:
    data, out = manifest.write(tmp_path / "faces.parquet"), tmp_path / "made"
    settings = settings_of(folders, method)
    options = [f"{name}={old_names(settings)[name]}" for name in
               ("detector_model", "segmenter_model", "model_steps", "sure")]  # fmt: skip
    sets = [part for option in options if not option.endswith("=") for part in ("--set", option)]
    done = CliRunner().invoke(
        cli.app,
        ["synthesize", str(data), "-o", str(out), "--method", method, "--size", str(SIZE),
         "--model-folder", settings.model, "--per-class", "2", "--device", "cpu", *sets,
         "--show-faces", str(tmp_path / "sheet.png")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    joined = read_manifest(out / "manifest.parquet")
    rows = joined.select(~real_rows(joined)).table.to_pylist()
    assert [row["label"] for row in rows] == ["happiness"] * 2 + ["sadness"] * 2
    assert {row["split"] for row in rows} == {"train"}
    assert {row["generator"] for row in rows} == {method}
    assert all("photograph" in row["synthetic_prompt"] and row["synthetic_seed"] for row in rows)
    assert all((row["synthetic_from"] is not None) == (method == "inpaint") for row in rows)
    told = models.model_fingerprint(Path(settings.model))
    assert all(told in row["synthetic_model"] for row in rows)
    if method == "diffusion":
        assert all(row["age_band"] and row["synthetic_ethnicity"] for row in rows)
    assert joined.image(len(joined) - 1).shape == (SIZE, SIZE, 3)
    assert (tmp_path / "sheet.png").is_file() and (out / "plan.csv").is_file()
    assert "generating on cpu: about" in " ".join(done.output.split())


# ------------------------------------------------------------------------------ model folders


def test_a_folder_that_is_no_model_is_said_in_one_sentence(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="give its folder in the setting model"):
        find_pretrained("", "a folder of Stable Diffusion", "model")
    with pytest.raises(UsageError, match="a hub model must be pinned"):
        find_pretrained("owner/name", "Stable Diffusion", "model")
    with pytest.raises(ModelError, match="does not exist"):
        find_pretrained(str(tmp_path / "none" / "deep"), "Stable Diffusion", "model")
    with pytest.raises(ModelError, match=r"model_index\.json is missing"):
        load_pipeline("StableDiffusionPipeline", tmp_path, "cpu")
    broken = shutil.copytree(folders["text"], tmp_path / "broken")
    (broken / "unet" / "config.json").unlink()
    with pytest.raises(ModelError, match="cannot be loaded as StableDiffusion"):
        load_pipeline("StableDiffusionPipeline", broken, "cpu")


def test_weights_that_could_run_code_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["text"], tmp_path / "pickled")
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match="other formats can execute code"):
        load_pipeline("StableDiffusionPipeline", folder, "cpu")
    one = shutil.copytree(folders["text"], tmp_path / "partly")
    path = next((one / "unet").glob("*.safetensors"))
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_pipeline("StableDiffusionPipeline", one, "cpu")


def pin_text(files: dict[str, str], repo: str = "owner/name", revision: str = "a" * 40) -> str:
    lines = [f"{json.dumps(name)} = {json.dumps(digest)}" for name, digest in files.items()]
    return "\n".join([f'repo = "{repo}"', f'revision = "{revision}"', "[files]", *lines]) + "\n"


def test_a_pinned_model_is_fetched_by_revision_and_every_file_is_checked(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folders["segmenter"]
    files = {
        path.relative_to(source).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in source.rglob("*")
        if path.is_file()
    }
    pin = tmp_path / "sam.toml"
    pin.write_text(pin_text(files))
    asked: list[tuple[str, str, list[str]]] = []

    def download(repo: str, *, revision: str, allow_patterns: list[str], local_dir: Path) -> None:
        asked.append((repo, revision, allow_patterns))
        shutil.copytree(source, local_dir, dirs_exist_ok=True)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    found = find_pretrained(str(pin), "SAM", "segmenter_model")
    assert found.is_relative_to(tmp_path / "cache")
    assert models.model_fingerprint(found).split()[1] == models.model_fingerprint(source).split()[1]
    assert find_pretrained(str(pin), "SAM", "segmenter_model") == found
    assert asked == [("owner/name", "a" * 40, sorted(files))]  # once: it is there now
    (found / "config.json").write_text("{}")
    assert find_pretrained(str(pin), "SAM", "segmenter_model") == found and len(asked) == 2
    pin.write_text(pin_text(files | {"config.json": "0" * 64}))
    with pytest.raises(ModelError, match=r"config\.json of owner/name is not the pinned file"):
        find_pretrained(str(pin), "SAM", "segmenter_model")
    with pytest.raises(ModelError, match=r"has no file more\.json"):
        check_files(source, Pin("owner/name", "a" * 40, {"more.json": "0" * 64}))

    def offline(*_: Any, **__: Any) -> str:
        raise OSError("no connection\nat all")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(ModelError, match=r"cannot be downloaded: no connection$"):
        find_pretrained(str(pin), "SAM", "segmenter_model")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("repo = ", "not valid TOML"),
        ('repo = "owner/name"\n', r"(?s)2 mistakes.*'revision' is needed.*'files' is needed"),
        (pin_text({"a.json": "0" * 64}, revision="main"), "revision must be the 40 hex digits"),
        (pin_text({"a.json": "0" * 64}, repo="name"), "owner/name"),
        (pin_text({"unet.bin": "0" * 64}), "only safetensors weights are loaded"),
        (pin_text({"a.json": "123"}), r"the SHA-256 of a\.json must have 64 hex digits"),
        (pin_text({}), r"\[files\] must list at least one file"),
    ],
)
def test_a_pin_that_does_not_pin_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "pin.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_settings(Pin, path, "pin")
    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(Pin, tmp_path / "none.toml", "pin")


def test_missing_libraries_are_named_with_what_to_install() -> None:
    error = models.missing_library(ModuleNotFoundError("x", name="diffusers"))
    assert str(error) == (
        "This method needs diffusers. Install it with: pip install 'moppet[synthesize]'"
    )


def test_images_that_a_stopped_run_had_made_are_not_made_again(
    folders: dict[str, Path], manifest: Manifest, tmp_path: Path
) -> None:
    settings = settings_of(folders, start="image")
    plan = make_plan(settings, {"sadness": 2, "happiness": 2})
    real = Diffusion(settings, StartingFaces(manifest, settings))
    asked: list[Any] = []

    def make(request: Any, *, stop: int = 99) -> SyntheticImage | None:
        if len(asked) == stop:
            raise KeyboardInterrupt
        asked.append(request)
        return None if request == plan.requests[1] else real(request)

    out = tmp_path / "made"
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(out, plan, partial(make, stop=3), manifest, settings, model="one")
    check_output(out, tmp_path / "elsewhere", "diffusion")
    with (out / PART / "done.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"name": "happ')  # killed within a line
    joined = write_synthetic(out, plan, make, manifest, settings, model="one")
    assert asked == list(plan.requests)
    assert not list(out.rglob("done.jsonl")) and not (out / PART).exists()
    whole = write_synthetic(tmp_path / "whole", plan, make, manifest, settings, model="one")
    for name in ("content_hash", "synthetic_prompt", "age_band", "label"):
        assert joined.column(name).tolist() == whole.column(name).tolist()
    assert len(joined) == len(manifest) + 3
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(out, plan, partial(make, stop=2), manifest, settings, model="one")
    asked.clear()
    write_synthetic(out, plan, make, manifest, settings, model="another")
    assert asked == list(plan.requests)


def test_images_of_other_sources_are_made_anew(
    folders: dict[str, Path], manifest: Manifest, tmp_path: Path
) -> None:
    settings = settings_of(folders, start="image")
    plan = make_plan(settings, {"sadness": 2})
    out, asked = tmp_path / "made", 0

    def make(request: Any, *, stop: int = 99) -> SyntheticImage:
        nonlocal asked
        if asked == stop:
            raise KeyboardInterrupt
        asked += 1
        return SyntheticImage(np.zeros((SIZE, SIZE), np.uint8))

    first = int(np.flatnonzero(manifest.column("split") == "train")[0])
    fewer = manifest.select(np.delete(np.arange(len(manifest)), first))
    whole, less = (StartingFaces(each, settings).fingerprint() for each in (manifest, fewer))
    assert whole != less
    assert (
        whole
        == StartingFaces(manifest.select(np.arange(len(manifest))[::-1]), settings).fingerprint()
    )
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(out, plan, partial(make, stop=1), manifest, settings, sources=whole)
    asked = 0
    write_synthetic(out, plan, make, fewer, settings, sources=less)
    assert asked == 2


def test_a_kill_while_images_take_their_place_costs_none(
    folders: dict[str, Path], manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(folders)
    plan = make_plan(settings, {"sadness": 2})
    out, asked, plain = tmp_path / "made", [], Path.replace

    def make(request: Any) -> SyntheticImage:
        asked.append(request)
        return SyntheticImage(np.zeros((SIZE, SIZE), np.uint8))

    def killed(path: Path, target: Path) -> Path:
        done = plain(path, target)
        if target.name == "images":
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(out, plan, make, manifest, settings)
    monkeypatch.setattr(Path, "replace", plain)
    assert not (out / "manifest.parquet").exists()
    write_synthetic(out, plan, make, manifest, settings)
    assert len(asked) == 2 and len(read_manifest(out / "manifest.parquet")) == len(manifest) + 2
    assert not list(out.rglob("done.jsonl")) and not (out / PART).exists()


def test_what_a_pipeline_cannot_do_is_said_in_one_sentence(
    folders: dict[str, Path], manifest: Manifest
) -> None:
    with pytest.raises(UsageError, match="less than one step"):
        settings_of(folders, start="image", model_steps=1)
    with pytest.raises(UsageError, match="less than one step"):
        settings_of(folders, "inpaint", strength=0.3)
    settings = settings_of(folders, start="image", model_steps=2, strength=0.5)
    diffusion = Diffusion(settings, StartingFaces(manifest, settings))
    assert diffusion(request_of(settings)) is not None
    diffusion.pipeline.unet.config.addition_embed_type = "text_time"  # as SDXL has it
    with pytest.raises(ModelError, match="cannot generate: "):
        diffusion(request_of(settings))
