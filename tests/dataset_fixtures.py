"""A tiny made-up copy of every set that can be read, and what its reader should say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rendered import write_video

SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
NPZ_ROWS, NPZ_LEAKS = 42, (28, 29)
FEAR_AND_CONTEMPT = "0,0,0,0,0,0,4,6,0,0"


@dataclass(frozen=True)
class Fixture:
    """How a set is made below an empty folder, and what is read from it.

    make: folder → the path to read. needed: a file or folder below that path without which the
    set cannot be read ("" for the path itself), and the word for it in the error.
    labels, subjects, bands, splits: of each row, in order; None: null in every row.
    """

    make: Callable[[Path], Path]
    needed: str
    said: str
    labels: list[str | None]
    names: tuple[str, ...]
    subjects: list[str | None] | None = None
    bands: list[str | None] | None = None
    splits: list[str | None] | None = None
    more: dict[str, list[Any]] = field(default_factory=dict)


def photo(path: Path, value: int = 120) -> Path:
    """Write an image of 12 × 10 pixels in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((10, 12, 3), value, np.uint8)
    image[:5] = 255 - value
    done, data = cv2.imencode(path.suffix.lower(), image)
    assert done
    path.write_bytes(data.tobytes())
    return path


def pictures(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        photo(root / name, 20 + 9 * number)
    return root


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def video(path: Path, frames: int = 5) -> Path:
    """Write a video of 2 frames a second, each of another gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = [np.full((32, 32, 3), 40 + 30 * i, np.uint8) for i in range(frames)]
    return write_video(path, shades, fps=2)


def make_folder(root: Path) -> Path:
    pictures(root, "train/Happy/a.JPG", "train/sad/deep/b.png", "test/Happy/c.jpg")
    text(root / "train/Happy/notes.txt", "no image")
    photo(root / "train/sad/.hidden.png")
    return root


def make_csv(root: Path) -> Path:
    pictures(root, "a/1.jpg", "a/2.jpg", "ü/3.png")
    rows = "a/1.jpg;happy;k1;3.5;train;left\na/2.jpg;;k2;;val;\nü/3.png;angry;k1;15;odd;right\n"
    return text(root / "faces.csv", "path;label;subject;age;split;side\n" + rows)


def fer2013_csv(path: Path) -> Path:
    usages = ["Training", "Training", "PublicTest", "PrivateTest"]
    rows = [
        f"{emotion},{' '.join(str(10 * number + i) for i in range(16))},{usage}"
        for number, (emotion, usage) in enumerate(zip((0, 3, 4, 6), usages, strict=True))
    ]
    return text(path, "\n".join(["emotion,pixels,Usage", *rows]) + "\n")


def votes_csv(path: Path) -> Path:
    names = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = [
        "Training,fer0000000.png,0,0,0,0,5,5,0,0,0,0",
        "Training,,0,0,0,0,0,0,0,0,0,10",
        "PublicTest,fer0000002.png,1,0,0,7,0,0,0,0,2,0",
        f"PrivateTest,fer0000003.png,{FEAR_AND_CONTEMPT}",
    ]
    return text(path, "\n".join([f"Usage,Image name,{names}", *rows]) + "\n")


def make_ferplus(root: Path) -> Path:
    fer2013_csv(root / "fer2013.csv")
    votes_csv(root / "fer2013new.csv")
    return root


def make_ferplus_npz(root: Path) -> Path:
    """42 rows, whose votes name one of the seven in turn; 28 and 29 leak, 30 and on report."""
    names = [*SEVEN[::-1], "contempt", "unknown", "NF"]
    number = np.arange(NPZ_ROWS)
    votes = np.zeros((NPZ_ROWS, len(names)), np.uint8)
    votes[number, [names.index(SEVEN[i % 7]) for i in number]] = 8
    votes[:, names.index("contempt")] = 2
    np.savez(
        root / "ferplus.npz",
        images=np.repeat(number.astype(np.uint8), 64).reshape(NPZ_ROWS, 8, 8),
        votes=votes,
        vote_names=np.array(names),
        split=(number >= 30).astype(np.int8),
        dup_group=number.astype(np.int32),
        near_dup_group=np.full(NPZ_ROWS, -1, np.int32),
        leaks_into_split1=np.isin(number, NPZ_LEAKS),
        age_band=(number % 5 - 1).astype(np.int8),
    )
    return root / "ferplus.npz"


def expression_note(path: Path, code: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(str(code)))  # as text, as in the set


def make_affectnet(root: Path) -> Path:
    for part, codes in (("train_set", (1, 7, 9)), ("val_set", (4,))):
        for number, code in enumerate(codes):
            photo(root / part / "images" / f"{number}.jpg", 30 * number + 20)
            expression_note(root / part / "annotations" / f"{number}_exp.npy", code)
    return root


def make_rafdb(root: Path) -> Path:
    basic = root / "basic"
    rows = {"train_00001": 5, "train_00002": 1, "test_0001": 7}
    for number, name in enumerate(rows):
        photo(basic / f"Image/aligned/{name}_aligned.jpg", 60 * number + 10)
        points = "\n".join("1.0\t2.0" for _ in range(5))
        text(basic / f"Annotation/manual/{name}_manu_attri.txt", f"{points}\n1\n0\n{number}\n")
    lines = "".join(f"{name}.jpg {code}\n" for name, code in rows.items())
    text(basic / "EmoLabel/list_patition_label.txt", lines)
    return root


def make_ckplus(root: Path) -> Path:
    for subject, sequence, frames in (("S005", "001", 6), ("S010", "002", 11), ("S010", "004", 3)):
        stem = f"{subject}_{sequence}"
        folder = root / "cohn-kanade-images" / subject / sequence
        for number in range(1, frames + 1):
            photo(folder / f"{stem}_{number:08d}.png", 5 * number)
        label = {"001": "3.0", "002": "2.0"}.get(sequence)
        (root / "Emotion" / subject / sequence).mkdir(parents=True)
        if label:
            name = f"Emotion/{subject}/{sequence}/{stem}_{frames:08d}_emotion.txt"
            text(root / name, f"   {label}000000e+00\n")
    return root


def make_cafe(root: Path) -> Path:
    names = ("10541-happy_F-EA-14.jpg", "10542-angryopen_M-AA-03.jpg", "9037-fearful_F-EA-14.JPG")
    return pictures(root, *(f"sessions/640{i}/{name}" for i, name in enumerate(names)))


def make_childefes(root: Path) -> Path:
    pictures(root, "32_photo_1_contempt.jpg", "35_photo_2_happy.jpg")
    video(root / "32_video_1_sad.mp4")
    return root


def make_nimh(root: Path) -> Path:
    return pictures(root, "F12NS_4986.jpg", "M10HS_6767.jpg", "M10AA_6800.jpg", "M10SS_6781.jpg")


def make_dartmouth(root: Path) -> Path:
    return pictures(root / "DDCF_faces", "S11/S11_angry_left30.jpg", "S122_content_front.jpg")


def make_liris(root: Path) -> Path:
    video(root / "videos_208" / "S1_happy_1.mp4")
    video(root / "videos_208" / "S12_fear_surprise_2.mp4", 2)
    return root


def make_emoreact(root: Path) -> Path:
    video(root / "Data/Train/KIMCHI72_2.mp4")
    video(root / "Data/Train/DON'T_PANIC3_1.mp4", 2)
    video(root / "Data/Test/KIMCHI9_2.mp4", 2)
    text(root / "Train_names.txt", "'KIMCHI72_2.mp4'\n'DON''T_PANIC3_1.mp4'\n")
    text(root / "Labels/train_labels.text", "1,0,0,1,0,0,0,0,5.3\n0,0,0,0,0,1,0,0,2.0\n")
    text(root / "Labels/Test_names.txt", "'KIMCHI9_2.mp4'\n")
    text(root / "Labels/test_labels.text", "0,1,0,0,0,0,0,0,4.0\n")
    return root


def make_city(root: Path) -> Path:
    return pictures(root / "City Infant Faces", "positive/1.jpg", "negative/2.jpg", "Neutral 3.jpg")


def make_babyexp(root: Path) -> Path:
    return pictures(root / "BabyExp", "happy/1.jpg", "normal/2.jpg", "sad/3.jpg")


def make_tromso(root: Path) -> Path:
    return pictures(
        root,
        "A02/A02F10-JTP-4281AN.jpg",
        "A07/A07M4-none-5266SA.jpg",
        "A08/A08M12-JTPC-5426AF-SA-AN.jpg",
    )


def make_utkface(root: Path) -> Path:
    return pictures(
        root,
        "part1/1_0_2_20161219140530307.jpg",
        "part1/61_3_20170109150557335.jpg",
        "part2/9_1_4_20170103200501901.jpg.chip.jpg",
        "part2/16_0_0_20170103200501901.jpg.chip.jpg",
    )


def make_b3fd(root: Path) -> Path:
    names = ("imdb/01/nm01_rm2_1899-5-9_1901.jpg", "CACD2000/17_Jane_Doe_0013.jpg", "wiki/x y.jpg")
    pictures(root / "B3FD", *names)
    rows = "".join(f"{name} {age}\n" for name, age in zip(names, (2, 17, 40), strict=True))
    text(root / "B3FD_metadata/B3FD_age.csv", "path age\n" + rows)
    return root


def make_web_faces(root: Path) -> Path:
    """Four faces as JPEG in one file: the last two only report."""
    done, data = cv2.imencode(".jpg", np.full((24, 24, 3), 120, np.uint8))
    assert done
    jpeg = np.frombuffer(data.tobytes(), np.uint8)
    points = np.array([[8, 9], [16, 9], [12, 13], [9, 17], [15, 17]], np.float32)
    np.savez(
        root / "web.npz",
        jpeg=np.tile(jpeg, 4),
        offset=np.arange(5) * len(jpeg),
        landmarks_px=np.repeat(points[None], 4, axis=0),
        label=np.array(["anger", "happiness", "fear", "fear|sadness"]),
        report_only=np.array([False, False, True, True]),
        name=np.array([f"{i}.jpg" for i in range(4)]),
    )
    return root / "web.npz"


FIXTURES = {
    "folder": Fixture(
        make_folder, "*", "folders with images", ["happiness", "happiness", "sadness"],
        ("happiness", "sadness"), splits=["test", "train", "train"],
    ),
    "csv": Fixture(
        make_csv, "", "does not exist", ["happiness", None, "anger"],
        ("happiness", "anger"), ["k1", "k2", "k1"], ["infant", None, "uncertain"],
        ["train", "val", "odd"],
        {"age": [3.5, None, 15.0], "side": ["left", None, "right"]},
    ),
    "fer2013": Fixture(
        lambda root: fer2013_csv(root / "fer2013.csv"), "", "does not exist",
        ["anger", "happiness", "sadness", "neutral"],
        ("neutral", "happiness", "sadness", "anger"),
        splits=["train", "train", "val", "test"], more={"array_row": [0, 1, 2, 3]},
    ),
    "ferplus": Fixture(
        make_ferplus, "fer2013.csv", "FER2013Train", [None, "sadness", None], SEVEN,
        splits=["train", "val", "test"],
        more={
            "array_row": [0, 2, 3],
            "fer2013_label": ["anger", "sadness", "neutral"],
            "weight": [1.0, np.float32(0.8), np.float32(0.4)],
        },
    ),
    "ferplus-npz": Fixture(
        make_ferplus_npz, "", "does not exist",
        [SEVEN[i % 7] for i in range(NPZ_ROWS) if i not in NPZ_LEAKS], SEVEN,
        bands=[
            (None, "infant", "child", "adult", "uncertain")[i % 5]
            for i in range(NPZ_ROWS) if i not in NPZ_LEAKS
        ],
    ),
    "affectnet": Fixture(
        make_affectnet, "train_set/annotations/1_exp.npy", "1_exp.npy",
        ["happiness", "contempt", "fear"], ("happiness", "fear", "contempt"),
        splits=["train", "train", "test"],
    ),
    "raf-db": Fixture(
        make_rafdb, "basic/Image/aligned/train_00002_aligned.jpg", "train_00002_aligned.jpg",
        ["sadness", "surprise", "neutral"], ("neutral", "sadness", "surprise"),
        bands=["infant", "uncertain", "adult"], splits=["train", "train", "test"],
    ),
    "ck+": Fixture(
        make_ckplus, "Emotion", "Emotion_labels", ["neutral", "disgust", "neutral", "contempt"],
        ("neutral", "disgust", "contempt"), ["S005", "S005", "S010", "S010"], ["adult"] * 4,
        more={
            "path": [
                "cohn-kanade-images/S005/001/S005_001_00000001.png",
                "cohn-kanade-images/S005/001/S005_001_00000006.png",
                "cohn-kanade-images/S010/002/S010_002_00000001.png",
                "cohn-kanade-images/S010/002/S010_002_00000011.png",
            ]
        },
    ),
    "cafe": Fixture(
        make_cafe, "sessions", "10541-happy_F-EA-14.jpg", ["happiness", "anger", "fear"],
        ("happiness", "fear", "anger"), ["F-EA-14", "M-AA-03", "F-EA-14"], ["uncertain"] * 3,
        more={"mouth": ["closed", "open", "closed"]},
    ),
    "childefes": Fixture(
        make_childefes, "*", "35_photo_2_happy.jpg",
        ["contempt", "sadness", "sadness", "happiness"], ("happiness", "sadness", "contempt"),
        ["32", "32", "32", "35"], ["child"] * 4, more={"time_s": [None, 0.5, 1.5, None]},
    ),
    "nimh-chefs": Fixture(
        make_nimh, "*", "M10HS_6767.jpg", ["neutral", "anger", "happiness", "sadness"],
        ("neutral", "happiness", "sadness", "anger"), ["F12", "M10", "M10", "M10"],
        ["uncertain"] * 4, more={"gaze": ["direct", "averted", "direct", "direct"]},
    ),
    "dartmouth": Fixture(
        make_dartmouth, "*", "S11_happy_front.jpg", ["content", "anger"], ("anger", "content"),
        ["S122", "S11"], ["uncertain"] * 2,
    ),
    "liris-cse": Fixture(
        make_liris, "videos_208/*", "S1_happy_2.mp4", ["happiness", "happiness", None],
        ("happiness",), ["S1", "S1", "S12"], ["child"] * 3, more={"time_s": [0.5, 1.5, 0.5]},
    ),
    "emoreact": Fixture(
        make_emoreact, "Labels/train_labels.text", "train_labels.text",
        [None, None, "disgust", "uncertainty"],
        ("happiness", "surprise", "fear", "disgust", "curiosity", "excitement", "frustration",
         "uncertainty"),
        ["KIMCHI", "KIMCHI", "DON'T_PANIC", "KIMCHI"], ["uncertain"] * 4,
        ["train", "train", "train", "test"], {"valence": [5.3, 5.3, 2.0, 4.0]},
    ),
    "city-infant": Fixture(
        make_city, "*", "positive, negative and neutral", ["neutral", "negative", "positive"],
        ("neutral", "negative", "positive"), bands=["infant"] * 3,
    ),
    "babyexp": Fixture(
        make_babyexp, "*", "folders with images", ["happiness", "neutral", "sadness"],
        ("neutral", "happiness", "sadness"), bands=["infant"] * 3,
    ),
    "tromso": Fixture(
        make_tromso, "*", "A02F10-JTP-4281AN.jpg", ["anger", "sadness", "fear"],
        ("sadness", "fear", "anger"), ["A02", "A07", "A08"], ["infant"] * 3,
        more={"permission": ["JTP", "NONE", "JTPC"], "age": [10 / 12, 4 / 12, 1.0]},
    ),
    "utkface": Fixture(
        make_utkface, "*", "1_0_2_20161219140530307.jpg", [None] * 4, (),
        bands=["infant", "adult", "child", "uncertain"],
        more={
            "age": [1, 61, 9, 16], "sex": ["male", None, "female", "male"],
            "ethnicity": ["asian", None, "other", "white"],
        },
    ),
    "b3fd": Fixture(
        make_b3fd, "B3FD/wiki/x y.jpg", "x y.jpg", [None] * 3, (), ["nm01", "Jane_Doe", None],
        ["infant", "uncertain", "adult"],
    ),
    "web-faces": Fixture(
        make_web_faces, "", "does not exist", [None, None, "fear", None], SEVEN,
        splits=["train", "train", "test", "test"],
        more={"left_eye_x": [16.0] * 4, "right_eye_y": [9.0] * 4, "array_row": [0, 1, 2, 3]},
    ),
}  # fmt: skip
