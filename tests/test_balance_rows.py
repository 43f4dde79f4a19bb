"""Balancing images: only training rows are seen, made rows say so, a folder is whole or not."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import rendered
from model_folder import write_model
from moppet.balance import BALANCERS, balance_manifest, make_space
from moppet.balance.balanced_manifest import open_folder, write_balanced
from moppet.balance.spaces import Embedding
from moppet.datasets.faces import cut_face
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, build_manifest, read_manifest
from moppet.datasets.provenance import (
    REMOVED_BY,
    check_synthetic,
    join_synthetic,
    real_rows,
    synthetic_columns,
)
from moppet.datasets.readers import read_dataset
from moppet.datasets.splits import holdout, kfold, split_manifest
from moppet.evaluate.predictions import match_classes
from moppet.evaluate.selection import select_rows
from moppet.infer.expression_model import load_model
from moppet.train.training_run import with_split
from moppet.values import MoppetError, UsageError
from moppet.vocabulary import current_key

TRAIN = {"neutral": 4, "happiness": 12, "surprise": 7}
PARTS = ("val", "test")


def crops(n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cuts around rendered faces, (64, 64, 3), turned and lit at random."""
    people = [(s.image, f) for s in rendered.read_stills().values() for f in s.faces]
    made = []
    for _ in range(n):
        image, face = people[rng.integers(len(people))]
        nose = tuple(float(v) for v in face.landmarks_px[2])
        matrix = cv2.getRotationMatrix2D(nose, rng.uniform(-10, 10), 1)
        size = image.shape[1::-1]
        turned = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        marks = rendered.moved(face.landmarks_px, matrix).astype(np.float32)
        cut, _ = cut_face(np.clip(turned * rng.uniform(0.7, 1.2), 0, 255).astype(np.uint8), marks)
        made.append(cv2.resize(cut, (64, 64), interpolation=cv2.INTER_AREA))
    return made


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder of images with their manifest: 23 to train on, 2 to validate, 2 to test."""
    home = tmp_path_factory.mktemp("home")
    (home / "faces").mkdir()
    labels = [name for name, n in TRAIN.items() for _ in range(n)]
    labels += ["happiness", "neutral"] * 2 + [None]
    split = ["train"] * sum(TRAIN.values()) + ["val"] * 2 + ["test"] * 2 + ["train"]
    for number, crop in enumerate(crops(len(labels), np.random.default_rng(0))):
        cv2.imwrite(str(home / "faces" / f"{number:02d}.png"), crop)
    columns = {
        "path": [f"{number:02d}.png" for number in range(len(labels))],
        "label": labels,
        "split": split,
        "subject": [f"child {number}" for number in range(len(labels))],
        "age_band": ["infant" if number % 2 else "child" for number in range(len(labels))],
    }
    build_manifest(columns, root=home / "faces", license="None.").write(home / "faces.parquet")
    return home


@pytest.fixture
def own(home, tmp_path) -> Path:
    """A copy of it that a test may spoil; the manifest's path."""
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home" / "faces.parquet"


def balanced(manifest: Manifest, method: str = "smote", seed: int = 0, **more: Any):
    space = more.pop("space", None) or make_space("pixels")
    rng = np.random.default_rng(seed)
    return balance_manifest(manifest, method=method, space=space, rng=rng, **more)


@pytest.fixture(scope="module")
def cache(home, tmp_path_factory) -> Path:
    """Where the faces are, found once."""
    path = tmp_path_factory.mktemp("cache") / "faces.npz"
    balanced(read_manifest(home / "faces.parquet"), cache=path)
    return path


@pytest.fixture
def faces(home) -> Manifest:
    return read_manifest(home / "faces.parquet")


# ------------------------------------------------------------------------ only training rows


def poison(path: Path) -> Manifest:
    """Spoil every row that chooses or reports: its image, its label, its place."""
    manifest = read_manifest(path)
    split, label = manifest.column("split"), manifest.column("label").copy()
    for row in np.flatnonzero(np.isin(split.astype(str), PARTS)):
        (manifest.root / manifest.column("path")[row]).write_bytes(b"no image")
        label[row] = "surprise"
    return manifest.replace(label=label)


def test_a_manifest_of_no_rows_has_no_made_row_in_the_wrong_place() -> None:
    made = synthetic_columns(1, generator="smote")
    columns = {"path": ["x.png"], "label": ["a"], "split": ["train"], **made}
    one = build_manifest(columns, root=".")
    none = one.select(np.zeros(0, np.intp))
    assert len(none) == 0
    check_synthetic(none.table)


@pytest.mark.parametrize("method", ["smote_tomek", "random_over"])
def test_poisoned_validation_and_test_rows_change_nothing_that_is_made(own, method):
    clean = balanced(read_manifest(own), method, keep_wiped=True)
    spoilt = balanced(poison(own), method, keep_wiped=True)
    for name in ("kept", "removed", "features", "labels", "parents", "shares"):
        np.testing.assert_array_equal(
            getattr(clean.balanced, name), getattr(spoilt.balanced, name), err_msg=name
        )
    assert clean.balanced.counts == spoilt.balanced.counts
    np.testing.assert_array_equal(clean.images, spoilt.images)
    paths = [f"{i}.png" for i in range(len(clean.balanced.labels))]
    made = [one.whole(own.parent, paths) for one in (clean, spoilt)]
    first, second = (m.select(~real_rows(m)).table for m in made)
    assert len(first) and first == second


@pytest.mark.parametrize("method", BALANCERS)
def test_other_rows_pass_through_untouched(faces, cache, method):
    done = balanced(faces, method, cache=cache, keep_wiped=True)
    assert len(done.manifest) == len(faces)
    apart = np.isin(faces.column("split").astype(str), PARTS) | (faces.labels < 0)
    columns = faces.table.column_names
    assert done.manifest.select(apart).table.select(columns) == faces.select(apart).table
    assert set(done.rows) == set(np.flatnonzero(~apart))
    everything = done.whole(faces.root, [f"{i}.png" for i in range(len(done.balanced.labels))])
    split = everything.column("split")
    assert set(split[~real_rows(everything)]) <= {"train"}
    for part in PARTS:
        assert (split == part).sum() == 2


def test_removed_rows_lose_their_split_and_say_who_removed_them(faces, cache):
    done = balanced(faces, "random_under", cache=cache)
    removed = done.rows[done.balanced.removed]
    assert len(removed) == 3 + 8
    by = done.manifest.column(REMOVED_BY)
    assert set(by[removed]) == {"random_under"}
    assert all(s is None for s in done.manifest.column("split")[removed])
    assert sum(b is not None for b in by) == len(removed)


def test_made_images_are_mixtures_of_the_pixels_of_their_parents(faces, cache):
    done = balanced(faces, cache=cache)
    made, seen = done.balanced, done.space.images(done.features).astype(float)
    share = made.shares[:, None, None]
    mixed = share * seen[made.parents[:, 0]] + (1 - share) * seen[made.parents[:, 1]]
    assert done.images.shape == (13, 48, 48) and done.images.dtype == np.uint8
    assert np.abs(done.images - mixed).max() <= 0.51


def test_made_rows_say_how_they_were_made_and_are_nobodys(faces, cache):
    done = balanced(faces, cache=cache, seed=5)
    made = done.new_rows(Path("made"), [f"{i}.png" for i in range(13)])
    hashes = {content_hash(faces.image(int(row))) for row in done.rows}
    assert set(made.column("generator")) == {"smote"}
    assert set(made.column("synthetic_seed")) == {done.balanced.seed}
    for row, sources in enumerate(made.table["synthetic_from"].to_pylist()):
        parents = done.rows[done.balanced.parents[row]]
        expected = dict.fromkeys(content_hash(faces.image(int(p))) for p in parents)
        assert sources == list(expected) and set(sources) <= hashes
    assert set(made.column("subject")) == {None} and set(made.column("split")) == {"train"}
    bands = faces.column("age_band")[done.rows[done.balanced.parents]]
    agreed = [a if a == b else None for a, b in bands]
    assert made.column("age_band").tolist() == agreed and None in agreed
    assert made.column("content_hash").tolist() == [content_hash(p) for p in done.images]


def test_a_repeated_row_is_its_own_image_once_more(faces, cache):
    done = balanced(faces, "random_over", cache=cache)
    everything = done.whole(faces.root, [])
    made = everything.select(~real_rows(everything))
    assert done.images is None and len(made) == 13
    for row, parent in enumerate(done.rows[done.balanced.parents[:, 0]]):
        assert made.column("path")[row] == faces.column("path")[parent]
        assert made.column("subject")[row] == faces.column("subject")[parent]
        assert made.column("synthetic_from")[row].tolist() == [
            content_hash(faces.image(int(parent)))
        ]


def test_what_is_made_in_an_embedding_is_no_row_of_a_manifest(faces, cache, tmp_path):
    space = make_space("embedding", model=str(write_model(tmp_path / "tiny")))
    done = balanced(faces, space=space, cache=cache)
    assert done.images is None and done.balanced.features.shape == (13, 128)
    assert len(done.whole(faces.root, [])) == len(faces)
    with pytest.raises(UsageError, match="have no images"):
        done.new_rows(faces.root, [])
    written = write_balanced(done, open_folder(tmp_path / "out", tmp_path / "faces.parquet"))
    with np.load(written.parent / "embedding.npz", allow_pickle=False) as kept:
        assert kept["features"].shape == (36, 128) and kept["features"].dtype == np.float32
        labels = read_manifest(written).column("label")
        real = kept["row"] >= 0
        assert (labels[kept["row"][real]] == kept["label"][real]).all()
        assert (labels[kept["parents"][~real]] == kept["label"][~real, None]).all()
        assert (kept["parents"][real] == -1).all() and real.sum() == 23


def test_without_a_split_nothing_is_balanced_unless_all_of_it_is_to_train_on(faces, cache):
    whole = faces.replace(split=[None] * len(faces))
    with pytest.raises(MoppetError, match="not split yet, and only training images"):
        balanced(whole)
    with pytest.raises(UsageError, match="already have a split"):
        balanced(faces, all_train=True)
    done = balanced(whole.select(np.arange(23)), all_train=True)
    assert set(done.whole(faces.root, ["x.png"] * 13).column("split")) == {"train"}
    with pytest.raises(MoppetError, match="0 of 28 rows have the split 'train'"):
        balanced(faces.replace(split=["test"] * len(faces)))


def test_images_that_cannot_be_used_lose_their_split_and_are_named(own):
    folder = own.parent / "faces"
    (folder / "05.png").write_bytes(b"no image")
    cv2.imwrite(str(folder / "06.png"), np.zeros((1, 1, 3), np.uint8))
    done = balanced(read_manifest(own))
    assert not {5, 6} & set(done.rows.tolist())
    assert [done.manifest.column("split")[row] for row in (4, 5, 6)] == ["train", None, None]
    assert any(
        "cannot be read and lose their split (first: 05.png)" in n for n in done.balanced.notes
    )
    assert any(
        "smaller than 8 pixels and lose their split (first: 06" in n for n in done.balanced.notes
    )
    assert any("1 training rows have no label" in n for n in done.balanced.notes)


# --------------------------------------------------------------------------------- synthetic rows


def with_made(split: str | None = "train") -> Manifest:
    columns = {"path": ["a.png", "b.png"], "label": ["fear"] * 2, "split": ["test", split]}
    said = synthetic_columns(1, generator="gan", synthetic_seed=3, synthetic_prompt="a face")
    both = {k: [None, v[0].as_py()] for k, v in said.items()}
    return build_manifest(columns | both, root=".")


@pytest.mark.parametrize("split", ["val", "test", "choose", "report"])
def test_no_manifest_has_a_made_row_outside_its_training_rows(split, tmp_path):
    made = with_made()
    check_synthetic(made.table)
    named = current_key(split)
    with pytest.raises(UsageError, match=f"row 1, generated by 'gan', has the split {named!r}"):
        made.replace(split=["test", split])
    with pytest.raises(UsageError, match="only used for training, but 1 are in another split"):
        at = made.table.column_names.index("split")
        check_synthetic(made.table.set_column(at, "split", [["train", split]]))
    assert real_rows(with_made(None)).tolist() == [True, False]
    read = read_manifest(made.write(tmp_path / "made.parquet"))
    assert real_rows(read).tolist() == [True, False]
    assert read.table.select(["synthetic_seed", "synthetic_prompt"]).to_pylist()[1] == {
        "synthetic_seed": 3,
        "synthetic_prompt": "a face",
    }


@pytest.mark.parametrize(
    "split",
    [
        lambda m, rng: holdout(m, 0.5, rng),
        lambda m, rng: kfold(m, 2, rng),
        lambda m, rng: split_manifest(m, test=0.4, val=0.1, rng=rng),
    ],
)
def test_no_split_is_drawn_through_made_rows(split):
    with pytest.raises(UsageError, match=r"1 of these 2 rows are synthetic, .* the real images"):
        split(with_made(), np.random.default_rng(0))


def test_a_made_row_reports_on_nothing_even_where_all_rows_do():
    made = with_made(None).replace(split=[None, None], label=[None, None])
    made = replace(made, names=("happiness", "fear")).replace(label=["happiness", "fear"])
    match = match_classes(made.names, made.names)
    assert select_rows(made, "all", match).rows.tolist() == [0]


def test_made_rows_join_from_another_folder_and_only_as_training_rows(tmp_path):
    for folder in ("faces", "made"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), np.full((4, 4), len(folder), np.uint8))
    real = build_manifest({"path": ["a.png"], "label": ["fear"]}, root=tmp_path / "faces")
    said = synthetic_columns(1, generator="vae")
    columns = {"path": ["a.png"], "label": ["fear"]}
    made = build_manifest(columns | said, root=tmp_path / "made")
    joined = join_synthetic(real, made)
    assert joined.column("path").tolist() == ["faces/a.png", "made/a.png"]
    assert joined.column("split").tolist() == [None, "train"]
    assert [int(joined.image(row).max()) for row in (0, 1)] == [5, 4]
    again = join_synthetic(joined, made)
    assert real_rows(again).tolist() == [True, False, False]
    with pytest.raises(UsageError, match="some have none"):
        join_synthetic(real, real)
    other = build_manifest({"path": ["a.png"], "label": ["anger"]} | said, root=tmp_path)
    with pytest.raises(UsageError, match="the classes anger, but these images have only fear"):
        join_synthetic(real, other)
    with pytest.raises(UsageError, match="synthetic_seed needs 2 values, one for each row, not 1"):
        synthetic_columns(2, generator="vae", synthetic_seed=[1])
    with pytest.raises(UsageError, match="the name of their generator"):
        synthetic_columns(1, generator="")


# ------------------------------------------------------------------------------ the command


def test_the_command_writes_a_manifest_and_the_made_images(moppet, own, tmp_path):
    out = tmp_path / "out"
    done = moppet("balance", own, "-o", out, "--method", "smote", "--target", "neutral=9")
    assert done.code == 0, done.err
    assert "neutral" in done.out and "+5" in done.out and "largest to smallest class" in done.out
    assert f"manifest: {out / 'manifest.parquet'}" in done.out
    written = read_manifest(out / "manifest.parquet")
    made = written.select(~real_rows(written))
    assert len(made) == 5 and set(made.column("label")) == {"neutral"}
    assert sorted(p.name for p in out.iterdir()) == [
        *("balance.json", "faces.npz", "images", "manifest.parquet")
    ]
    for row in range(5):
        assert content_hash(made.image(row)) == made.column("content_hash")[row]
        assert made.image(row).shape[:2] == (48, 48)
    shutil.move(tmp_path, tmp_path.with_name("moved"))
    assert read_manifest(tmp_path.with_name("moved") / "out/manifest.parquet").image(-1) is not None


def test_pixels_are_mixed_and_their_neighbors_are_found_in_the_embedding(faces, cache, tmp_path):
    seen = []

    class Counted(Embedding):
        """Counts what it describes."""

        def features(self, crops):
            seen.append(len(crops))
            return super().features(crops)

    space = Counted(load_model(str(write_model(tmp_path / "tiny"))))
    pixels = make_space("pixels")
    done = balanced(
        faces, "smote_enn", space=pixels, clean_space=space, cache=cache, keep_wiped=True
    )
    new = sum(one.after - one.before + one.removed for one in done.balanced.counts)
    assert done.images is not None and len(done.images) == new
    assert sum(seen) == 3 * max(TRAIN.values())  # every real row and every mixture, once
    same = balanced(faces, "smote_enn", space=pixels, cache=cache, keep_wiped=True)
    assert done.balanced.parents.shape != same.balanced.parents.shape or (
        done.balanced.kept.tolist() != same.balanced.kept.tolist()
    )
    with pytest.raises(UsageError, match="have no images to describe otherwise"):
        balanced(faces, "smote_enn", space=space, clean_space=pixels, cache=cache)


def test_the_same_seed_writes_the_same_and_json_says_it_all(moppet, own, tmp_path):
    said = []
    for folder in ("a", "b", "b"):
        done = moppet("balance", own, "-o", tmp_path / folder, "--keep-wiped", "--json")
        assert done.code == 0, done.err
        said.append(json.loads(done.out))
    for one in said:
        assert one["method"] == "smote_enn" and one["space"] == "pixels"
        assert one["clean_space"] == "embedding" and one["model"].startswith("adults (")
        halved = any(2 * c["removed"] > c["before"] for c in one["class_counts"])
        assert halved == any("more than half" in text for text in one["warnings"])
        assert [c["name"] for c in one["class_counts"]] == ["neutral", "happiness", "surprise"]
        one.pop("manifest")
    assert said[0] == said[1] == said[2]
    first, second = (read_manifest(tmp_path / f / "manifest.parquet") for f in "ab")
    assert first.column("content_hash").tolist() == second.column("content_hash").tolist()
    files = [sorted(p.name for p in (tmp_path / f / "images").iterdir()) for f in "ab"]
    assert files[0] == files[1] and len(files[0]) == int((~real_rows(first)).sum())


@pytest.mark.parametrize("method", ["smote", "random_over", "random_under"])
def test_a_sheet_is_drawn_only_when_asked_for(moppet, own, tmp_path, method):
    sheet = tmp_path / "looks" / "sheet.png"
    done = moppet("balance", own, "-o", tmp_path / "out", "--method", method, "--show-faces", sheet)
    assert done.code == 0 and f"example images: {sheet}" in done.out
    drawn = cv2.imread(str(sheet))
    assert drawn.shape[1] > 1000 and drawn.shape[0] > 200 and 5 < drawn.std() < 120
    pages = [
        p for p in tmp_path.rglob("*.png") if "home" not in p.parts and p.parent.name != "images"
    ]
    assert pages == [sheet]
    refused = moppet("balance", own, "-o", tmp_path / "o", "--show-faces", tmp_path / "sheet.html")
    assert (refused.code, refused.err.count("\n")) == (2, 1) and not (tmp_path / "o").exists()


def test_the_embedding_names_its_model_and_its_default_is_the_adults(moppet, own, tmp_path):
    model = write_model(tmp_path / "tiny")
    arguments = ("balance", own, "-o", tmp_path / "out", "--space", "embedding")
    done = moppet(*arguments, "--model", model, "--method", "smote", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["model"].startswith("tiny (")
    assert not (tmp_path / "out" / "images").exists()
    assert (tmp_path / "out" / "embedding.npz").is_file()
    refused = moppet(*arguments[:-2], "--model", model, "--method", "smote")
    assert refused.code == 2 and "--space embedding" in refused.err
    gone = moppet(*arguments, "--model", tmp_path / "gone")
    assert gone.code == 1 and "there is no model" in gone.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--method", "smoth"], 2, "Did you mean 'smote'"),
        (["--target", "feer=3"], 2, "class 'feer' has no training row"),
        (["--target", "fear"], 2, "--target takes class=count"),
        (["--method", "enn", "--target", "equal"], 2, "enn takes no target"),
        (["--space", "hog"], 2, "one of pixels, embedding"),
        (["--enn", "some"], 2, "'all' or 'most' or 'majority'"),
        (["--all-train"], 2, "already have a split"),
        (["--option", "x=1"], 2, "has no option x"),
        (["--target", f"surprise={'9' * 400}"], 2, "up to 1,000,000,000,000"),
        (["--target", f"surprise={'9' * 400}x"], 2, "up to 1,000,000,000,000"),
        (["--target", f"{'9' * 400}x"], 2, "--target takes class=count"),
    ],
)
def test_wrong_use_ends_in_one_sentence(moppet, own, tmp_path, words, code, said):
    done = moppet("balance", own, "-o", tmp_path / "out", *words)
    assert done.code == code and said in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def test_what_fails_before_anything_is_found_leaves_no_folder(moppet, own, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert moppet("balance", own, "-o", out, "--all-train").code == 2 and not out.exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = moppet("balance", own, "-o", out)
    assert done.code == 1 and "pip install 'moppet[train]'" in done.err and not out.exists()


def test_a_folder_with_other_things_or_with_the_data_is_left_alone(moppet, own, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years", encoding="utf-8")
    (tmp_path / "mine" / ".video.mp4.part").write_bytes(b"half a video")
    done = moppet("balance", own, "-o", tmp_path / "mine")
    assert done.code == 2 and "has other files (.video.mp4.part, thesis.txt)" in done.err
    assert (tmp_path / "mine" / ".video.mp4.part").is_file()
    shutil.copytree(own.parent / "faces", tmp_path / "other" / "images")
    shutil.copy(own, tmp_path / "other" / "manifest.parquet")
    done = moppet("balance", own, "-o", tmp_path / "other")
    assert done.code == 2 and "has other files (images, manifest.parquet)" in done.err
    assert len(list((tmp_path / "other" / "images").iterdir())) == len(read_manifest(own))
    for folder in (own.parent, own.parent.parent):
        assert "holds source images" in moppet("balance", own, "-o", folder).err
    (own.parent / "faces" / "labels.csv").write_text("path,label\n00.png,fear\n", "utf-8")
    done = moppet("balance", own.parent / "faces", "-o", own.parent / "faces" / "x")
    assert done.code == 2 and "is among the images" in done.err
    assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "three years"


def test_a_folder_of_images_without_a_split_says_what_to_do(moppet, tmp_path):
    for name, n in (("happy", 2), ("sad", 1)):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for i in range(n):
            image = np.full((1, 1, 3), 9, np.uint8)
            cv2.imwrite(str(tmp_path / "faces" / name / f"{i}.png"), image)
    unsplit = moppet("balance", tmp_path / "faces", "-o", tmp_path / "out")
    assert unsplit.code == 1 and "moppet data split" in unsplit.err
    tiny = moppet("balance", tmp_path / "faces", "-o", tmp_path / "out", "--all-train")
    assert tiny.code == 1 and "none of the 3 training images can be used" in tiny.err
    for path in (tmp_path / "faces").rglob("*.png"):
        path.write_bytes(b"no image")
    broken = moppet("balance", tmp_path / "faces", "-o", tmp_path / "out", "--all-train")
    assert broken.code == 1 and "cannot be read" in broken.err
    (tmp_path / "faces.csv").write_text("no,such,table\n", encoding="utf-8")
    assert moppet("balance", tmp_path / "gone", "-o", tmp_path / "out").code == 1


def test_a_class_of_one_image_is_named(moppet, own, tmp_path):
    manifest = read_manifest(own)
    columns = {name: manifest.column(name).tolist() for name in ("path", "split", "label")}
    columns["label"][0] = "fear"
    place = build_manifest(columns, root=manifest.root).write(tmp_path / "one.parquet")
    done = moppet("balance", place, "-o", tmp_path / "out")
    assert done.code == 2 and "class 'fear' has 1 training row" in done.err
    done = moppet("balance", place, "-o", tmp_path / "out", "--method", "random_over")
    assert done.code == 0 and "fear" in done.out


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_a_full_disk_or_a_stop_leaves_nothing_that_looks_whole(
    moppet, own, tmp_path, monkeypatch, raised, code, said
):
    out = tmp_path / "out"
    assert moppet("balance", own, "-o", out, "--method", "smote").code == 0
    plain, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise raised
        return plain(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    done = moppet("balance", own, "-o", out, "--method", "smote", "--seed", "1")
    assert done.code == code and said in done.err and done.err.count("\n") == 1
    assert sorted(p.name for p in out.iterdir()) == ["balance.json", "faces.npz"]
    monkeypatch.setattr(Path, "write_bytes", plain)
    (out / ".images.1.part").mkdir()
    (out / "made").mkdir()  # of version 0.1
    (out / ".faces.npz.1.part.npz").write_bytes(b"half")
    assert moppet("balance", own, "-o", out, "--method", "smote").code == 0
    assert (
        not list(out.glob(".*"))
        and not (out / "made").exists()
        and (out / "manifest.parquet").is_file()
    )
    written.clear()
    monkeypatch.setattr(
        "moppet.balance.balanced_manifest.find_manifest_faces", lambda *a, **k: stop()
    )
    done = moppet("balance", own, "-o", out, "--method", "smote", "--seed", "1")
    assert done.code == 130 and "holds the result of an earlier run" in done.err
    assert (out / "manifest.parquet").is_file()


def stop() -> None:
    raise KeyboardInterrupt


def test_made_images_never_lie_among_the_images_that_they_come_from(moppet, own, tmp_path):
    labeled = read_manifest(own)
    columns = {name: labeled.column(name).tolist() for name in ("path", "split", "label")}
    for i, (path, label) in enumerate(zip(columns["path"], columns["label"], strict=True)):
        place = tmp_path / "pics" / str(label) / Path(path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(labeled.root / path, place)
        columns["path"][i] = place.relative_to(tmp_path).as_posix()
    manifest = build_manifest(columns, root=tmp_path).write(tmp_path / "pics.parquet")
    for inside in ("pics/balanced", "pics/surprise/balanced"):
        for command in (["balance"], ["synthesize", "--method", "vae"]):
            done = moppet(*command, manifest, "-o", tmp_path / inside)
            assert done.code == 2 and "is among the images" in done.err, done.err
    out = tmp_path / "out"
    assert moppet("balance", manifest, "-o", out, "--method", "smote").code == 0
    again = moppet("balance", out / "manifest.parquet", "-o", tmp_path / "out" / "images")
    assert (
        again.code == 2
        and "holds source images" in again.err
        and len(list((out / "images").iterdir()))
    )


def test_a_sheet_has_its_own_place_and_does_not_keep_the_table_back(moppet, own, tmp_path):
    out = tmp_path / "out"
    done = moppet("balance", own, "-o", out, "--show-faces", out / "sheet.png")
    assert done.code == 2 and "choose another place" in done.err and not out.exists()
    done = moppet("balance", own, "-o", out, "--method", "smote", "--show-faces", own / "sheet.png")
    assert done.code == 1 and "manifest:" in done.out


@pytest.mark.parametrize("method", ["tomek", "random_under"])
def test_what_a_balancer_left_is_not_split_again(moppet, own, tmp_path, method):
    whole = read_manifest(own).replace(split=[None] * len(read_manifest(own)))
    whole.write(own.parent / "whole.parquet")
    out = tmp_path / "out"
    done = moppet(
        *("balance", own.parent / "whole.parquet", "--all-train", "-o", out),
        *("--method", method, "--keep-wiped"),
    )
    assert done.code == 0, done.err
    cleaned = read_manifest(out / "manifest.parquet")
    cleaned = cleaned.select(np.flatnonzero(real_rows(cleaned)))
    assert any(cleaned.column(REMOVED_BY))
    for split in (
        lambda: holdout(cleaned, 0.3, np.random.default_rng(0)),
        lambda: kfold(cleaned, 2, np.random.default_rng(0)),
        lambda: with_split(cleaned, 0),
    ):
        with pytest.raises(UsageError, match="removed by balancing"):
            split()


def test_a_balanced_set_is_not_split_again(moppet, own, tmp_path):
    out = tmp_path / "out"
    assert moppet("balance", own, "-o", out, "--method", "random_over").code == 0
    done = moppet("data", "split", out / "manifest.parquet", "-o", tmp_path / "again.parquet")
    assert done.code == 2 and "split the real images first" in done.err
    again = moppet(
        "balance", out / "manifest.parquet", "-o", tmp_path / "more", "--method", "tomek"
    )
    assert again.code == 0 and "13 of the 36 rows to balance are synthetic" in again.out


def test_help_names_every_method(moppet):
    done = moppet("balance", "--help")
    assert done.code == 0 and "Example: moppet balance" in done.out
    assert all(name in " ".join(done.out.split()) for name in BALANCERS)


def test_the_column_names_of_earlier_versions_are_read():
    columns = {"path": ["a.png", "b.png"], "label": ["fear"] * 2, "split": ["report", "train"]}
    former = {"made_by": [None, "gan"], "made_seed": [None, 3], "made_model": [None, "m"]}
    m = build_manifest(columns | former, root=".")
    assert m.column("split").tolist() == ["test", "train"]
    assert m.column("generator").tolist() == [None, "gan"]
    assert m.table["synthetic_seed"].to_pylist() == [None, 3]
    assert m.column("synthetic_model").tolist() == [None, "m"]
    assert not set(former) & set(m.table.column_names)
    assert real_rows(m).tolist() == [True, False]


def test_a_users_own_column_named_generator_marks_no_row_and_is_refused_by_name(tmp_path):
    columns = {"path": ["a.png", "b.png"], "label": ["fear"] * 2, "split": ["train", "test"]}
    own = {"generator": ["diesel", None]}
    with pytest.raises(UsageError, match=r"'synthetic_seed', which is missing. Rename 'generator'"):
        build_manifest(columns | own, root=".")
    empty = build_manifest(columns | {"generator": [None, None]}, root=".")
    assert real_rows(empty).all()
    synthetic = build_manifest(columns | own | {"synthetic_seed": [None, None]}, root=".")
    assert real_rows(synthetic).tolist() == [False, True]
    table = tmp_path / "faces.csv"
    table.write_text("path,label,generator\na.png,happy,diesel\n")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(UsageError, match="Rename 'generator' if it is your own column"):
        read_dataset(table)
