"""A model card says what is saved about a model, all of it, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import model_folder
import rendered
from command_line import Run
from moppet.datasets.readers import read_dataset
from moppet.evaluate.evaluation import evaluate
from moppet.evaluate.saved_results import read_results
from moppet.infer.expression_model import bundled_models
from moppet.pages.card import write_model_card
from moppet.values import ModelError, MoppetError, UsageError

SECTIONS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]
CLASSES = ("calm", "cry | <loud>")


class Numbers:
    """Gives estimates of which no two are alike, so that each can be found again."""

    def __init__(self) -> None:
        self.last = 100
        self.given: set[str] = set()

    def estimate(self, n: int = 250) -> dict[str, Any]:
        value, low, high = ((self.last + i) / 1000 for i in (2, 1, 3))
        self.last += 3
        self.given |= {f"{x:.3f}" for x in (value, low, high)}
        return {"value": value, "low": low, "high": high, "n": n}


def part(numbers: Numbers, n: int) -> dict[str, Any]:
    keys = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "ece_before_scaling")
    return {
        "n": n,
        **{key: numbers.estimate(n) for key in keys},
        **{
            figure: {name: numbers.estimate(n // 2) for name in CLASSES}
            for figure in ("recall", "auc", "precision", "f1")
        },
        "confusion": [[n // 2, 0], [n // 4, n // 4]],
    }


def figures(numbers: Numbers) -> dict[str, Any]:
    gap = numbers.estimate()
    return {
        "names": list(CLASSES),
        "rows": 250,
        "faces_found": 241,
        "faces_found_at_default_thresholds": 230,
        "aligned": {"all": part(numbers, 250), "infant": part(numbers, 28)},
        "raw": {"all": {"n": 250, "accuracy": numbers.estimate(), "kappa": numbers.estimate()}},
        "aligned_missed_wrong": {"accuracy": numbers.estimate()},
        "human": {"all": numbers.estimate(), "infant": numbers.estimate()},
        "gap": {"of": "accuracy, infant less adult", "model": {**gap, "p": 0.25}, "one_rater": gap},
    }


def write_folder(folder: Path, found: dict[str, Any] | None = None, **card: Any) -> Path:
    made = model_folder.write_model(folder, labels=CLASSES, groups={"calm": "good"}, **card)
    if found is not None:
        (made / "figures.json").write_text(json.dumps(found), encoding="utf-8")
    return made


def texts(folder: Path, out: Path, evaluation: Path | None = None) -> tuple[str, str]:
    markdown, page = write_model_card(str(folder), out, evaluation)
    return markdown.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")


def sections(markdown: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", markdown, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def numbers_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\d.])[01]\.\d{3}(?!\d)", text))


def tables(markdown: str) -> Iterator[list[list[str]]]:
    for block in re.findall(r"(?:^\|.*\|$\n?)+", markdown, flags=re.MULTILINE):
        lines = block.strip().splitlines()
        yield [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


# -------------------------------------------------------------------------------- saved → said


def test_the_nine_sections_stand_in_their_order(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", figures(Numbers()))
    markdown, page = texts(folder, tmp_path / "card")
    assert list(sections(markdown)) == SECTIONS
    found = re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    assert found == ["Key figures", *SECTIONS]


def test_every_saved_figure_is_said_and_no_other(tmp_path: Path) -> None:
    numbers = Numbers()
    folder = write_folder(tmp_path / "model", figures(numbers), temperature=1.5)
    markdown, page = texts(folder, tmp_path / "card")
    # 0.250 is p. Of the infants, the calibration before scaling and the figures of a class other
    # than recall are in no table.
    parts = sections(markdown)
    said = numbers_in(parts["Quantitative analyses"] + parts["Caveats and recommendations"])
    assert said <= numbers.given | {"0.250"}
    saved = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    infant = saved["aligned"]["infant"]
    untold = [infant["ece_before_scaling"]]
    untold += [infant[name][label] for name in ("auc", "precision", "f1") for label in CLASSES]
    left_out = {f"{one[key]:.3f}" for one in untold for key in ("value", "low", "high")}
    assert said == (numbers.given - left_out) | {"0.250"}
    assert numbers_in(page) == said


def test_a_changed_figure_changes_the_card(tmp_path: Path) -> None:
    found = figures(Numbers())
    folder = write_folder(tmp_path / "model", found)
    before, _ = texts(folder, tmp_path / "card")
    found["aligned"]["all"]["accuracy"] = {"value": 0.8761, "low": None, "high": None, "n": 250}
    write_folder(folder, found)
    after, page = texts(folder, tmp_path / "card")
    assert "| accuracy | 0.876 |" in after and "0.876" not in before
    assert "<strong>0.876</strong>" in page


def test_tables_have_as_many_cells_in_every_row_whatever_classes_are_called(
    tmp_path: Path,
) -> None:
    folder = write_folder(tmp_path / "model", figures(Numbers()), name="<i>*x*</i>")
    markdown, page = texts(folder, tmp_path / "card")
    found = list(tables(markdown))
    assert len(found) >= 5
    for table in found:
        assert len({len(row) for row in table}) == 1
    assert r"cry \| \<loud\>" in markdown
    assert "<loud>" not in page and "<i>" not in page and "cry | &lt;loud&gt;" in page


def test_numbers_of_faces_and_the_confusion_are_those_saved(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", figures(Numbers()))
    markdown, _ = texts(folder, tmp_path / "card")
    parts = sections(markdown)
    assert "- **Labeled faces**: 250" in parts["Evaluation data"]
    assert "- **Faces found**: 241" in parts["Evaluation data"]
    assert "infant (28)" in parts["Factors"]
    confusion = list(tables(parts["Quantitative analyses"]))[-1]
    assert [row[1:] for row in confusion[2:]] == [["125", "0"], ["62", "62"]]
    few = parts["Caveats and recommendations"]
    assert "too few for reliable figures: infant (28)" in few


def test_the_course_of_the_training_is_read_from_its_log(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    (folder / "training.csv").write_text(
        "epoch,train_loss,val_loss,val_accuracy\n1,1.5,1.25,0.5\n2,1.125,0.75,0.625\n"
        "3,0.875,0.8125,\n",
        encoding="utf-8",
    )
    markdown, _ = texts(folder, tmp_path / "card")
    (course,) = tables(sections(markdown)["Training data"])
    assert course[0] == ["", "epoch", "loss, training", "loss, validation", "accuracy, validation"]
    assert course[2:] == [
        ["first", "1", "1.500", "1.250", "0.500"],
        ["last", "3", "0.875", "0.812", "–"],
        ["lowest validation loss", "2", "1.125", "0.750", "0.625"],
    ]


# ---------------------------------------------------------------------------- missing → missing


def test_what_is_not_saved_is_said_to_be_missing(tmp_path: Path) -> None:
    markdown, page = texts(write_folder(tmp_path / "model"), tmp_path / "card")
    parts = sections(markdown)
    assert "card.toml does not state: the kind of network, the license, the author" in markdown
    assert "card.toml does not state the training data." in parts["Training data"]
    assert "The training history is not saved." in parts["Training data"]
    assert "No figures are saved by any of them." in parts["Factors"]
    assert "No figures are saved" in parts["Quantitative analyses"]
    assert "card.toml states no limits." in parts["Caveats and recommendations"]
    for file in ("figures.json", "training.csv", "evaluation.json"):
        assert file in parts["Caveats and recommendations"]
    assert numbers_in(parts["Quantitative analyses"] + page) == set()
    assert not list(tables(markdown))


def test_without_figures_json_the_scores_of_the_card_are_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    card = (folder / "card.toml").read_text(encoding="utf-8") + (
        "[scores]\naccuracy = { value = 0.9, low = 0.85, high = 0.94, n = 250 }\n"
        '"recall_calm" = { value = 0.7, n = 12 }\n'
        '"accuracy_infant_or_child" = { value = 0.8, low = 0.6, high = 0.9, n = 40 }\n'
    )
    (folder / "card.toml").write_text(card, encoding="utf-8")
    (measured,) = read_results(folder).measured
    assert measured.parts["all"].overall["accuracy"]["value"] == 0.9
    assert measured.parts["all"].per_class["recall"]["calm"]["low"] is None
    assert measured.parts["infant or child"].n == 40
    markdown, _ = texts(folder, tmp_path / "card")
    analyses = sections(markdown)["Quantitative analyses"]
    assert "| accuracy | 0.900 (0.850 to 0.940) |" in analyses
    assert "| calm | 12 | 0.700 |" in analyses


def test_the_older_poorer_figures_are_read_too(tmp_path: Path) -> None:
    found = figures(Numbers())
    del found["names"], found["gap"], found["human"]
    for rows in found["aligned"].values():
        for key in ("auc", "precision", "f1"):
            del rows[key]
    folder = write_folder(tmp_path / "model", found)
    markdown, _ = texts(folder, tmp_path / "card")
    classes = [t for t in tables(markdown) if t[0] == ["class", "n", "recall"]]
    assert len(classes) == 1 and len(classes[0]) == 4
    assert "Gap" not in markdown and "rater" not in sections(markdown)["Quantitative analyses"]


@pytest.mark.parametrize("name", list(bundled_models()))
def test_the_bundled_models_have_whole_cards(name: str, tmp_path: Path) -> None:
    markdown, page = (p.read_text(encoding="utf-8") for p in write_model_card(name, tmp_path))
    saved = json.loads((bundled_models()[name] / "figures.json").read_text(encoding="utf-8"))
    whole = saved["aligned"]["all"]
    assert f"| accuracy | {whole['accuracy']['value']:.3f} (" in markdown
    assert f"{saved['rows']:,}" in markdown
    for label in saved["names"]:
        assert f"| {label} | {whole['recall'][label]['n']:,} |" in markdown
    assert "<script" not in page and "https://" not in page and "http://" not in page


# -------------------------------------------------------------------------------- an evaluation


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder, and the evaluation.json that the study makes of it on two stills."""
    folder = tmp_path_factory.mktemp("evaluated")
    model = model_folder.write_model(folder / "model")
    for name, source in (("happy", "age05_asian_happiness"), ("neutral", "age30_dark_neutral")):
        (folder / "faces" / name).mkdir(parents=True)
        shutil.copyfile(
            rendered.FOLDER / f"{source}.jpg", folder / "faces" / name / f"{source}.jpg"
        )
    manifest = read_dataset(folder / "faces").replace(age_band=["child", "adult"])
    found = evaluate(model, manifest, by=["age_band"], draws=50).as_json()
    path = folder / "evaluation.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    return model, path


def test_an_evaluation_is_told_with_its_data_its_notes_and_its_columns(
    evaluated: tuple[Path, Path], tmp_path: Path
) -> None:
    model, path = evaluated
    found = json.loads(path.read_text(encoding="utf-8"))
    markdown, page = texts(model, tmp_path, path)
    parts = sections(markdown)
    assert "Sources**: folder" in parts["Evaluation data"]
    assert all(note[:30] in page for note in found["notes"])
    assert "By age_band, in the evaluation on folder: child (1), adult (1)." in parts["Factors"]
    accuracy = found["classes"]["parts"]["all"]["overall"]["accuracy"]["value"]
    assert f"| accuracy | {accuracy:.3f}" in parts["Quantitative analyses"]
    assert "By age\\_band:" in markdown or "By age_band:" in markdown
    assert "Gap (accuracy, infant or child less adult)" in markdown
    assert texts(model, tmp_path, path.parent) == (markdown, page)
    found["made"] = found.pop("about")  # as version 0.1 called it
    found["made"]["data"]["licence"] = found["made"]["data"].pop("license")
    (tmp_path / "evaluation.json").write_text(json.dumps(found), encoding="utf-8")
    assert texts(model, tmp_path, tmp_path / "evaluation.json") == (markdown, page)


def test_an_evaluation_of_another_network_is_refused(
    evaluated: tuple[Path, Path], tmp_path: Path
) -> None:
    other = write_folder(tmp_path / "other")
    (other / "model.onnx").write_bytes((evaluated[0] / "model.onnx").read_bytes() + b"\0")
    write_folder(other, network=(other / "model.onnx").read_bytes())
    with pytest.raises(UsageError, match="is about another network"):
        read_results(other, evaluated[1])


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("text", ["{", "[]", '{"aligned": 3}', '{"aligned": {"all": 1}}', "\0"])
def test_figures_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    folder = write_folder(tmp_path / "model")
    (folder / "figures.json").write_text(text, encoding="utf-8")
    with pytest.raises(MoppetError, match=r"figures\.json .*damaged.* Create it again"):
        read_results(folder)


WHOLE = {"value": 0.5, "low": 0.4, "high": None, "n": 3}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"n": 2.5}, r"aligned\.all\.n must be a whole number of at least 0"),
        ({"accuracy": WHOLE | {"value": "0.5"}}, r"all\.overall\.accuracy\.value must be a number"),
        ({"overall": {"accuracy": {"value": 1}}}, r"the key 'aligned\.all\.overall\.accuracy\."),
        ({"recall": {"calm": WHOLE | {"n": 10**400}}}, r"per_class\.recall\.calm\.n must be"),
        ({"per_class": [1]}, r"aligned\.all\.per_class must be a table"),
        ({"confusion": [[1, 2]]}, "confusion must have as many columns as rows"),
        ({"confusion": [[1, -2], [0, 3]]}, "item 2 of item 1 of aligned.all.confusion must"),
    ],
)
def test_odd_figures_are_refused_with_their_key(
    tmp_path: Path, part: dict[str, Any], says: str
) -> None:
    folder = write_folder(tmp_path / "model")
    (folder / "figures.json").write_text(json.dumps({"aligned": {"all": part}}), encoding="utf-8")
    with pytest.raises(MoppetError, match=rf"figures\.json is damaged: .*{says}.*`moppet train`"):
        read_results(folder)


def test_a_network_that_was_exchanged_has_no_card(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match="is not the network that"):
        read_results(folder)


def test_the_command_names_what_it_wrote(moppet: Run, tmp_path: Path) -> None:
    folder, out = write_folder(tmp_path / "model", figures(Numbers())), tmp_path / "a" / "card"
    code, said, _ = moppet("card", folder, "-o", out)
    assert code == 0
    assert said.splitlines() == [str(out / "model_card.md"), str(out / "model_card.html")]
    code, _, err = moppet("card", folder, "-o", out, "--evaluation", tmp_path / "none.json")
    assert code == 2 and "none.json is not there" in err
    code, _, err = moppet("card", tmp_path / "nobody", "-o", out)
    assert code == 1 and "there is no model" in err


def test_movements_are_listed_with_their_validity_and_the_prior_is_stated(tmp_path: Path) -> None:
    tables = {
        "prior": model_folder.PRIOR,
        "display_prior": model_folder.DISPLAY_PRIOR,
        "movement_validity.blink": {"rendered": 0.91, "rendered_lowest": 0.87, "real": 0.8},
    }
    folder = model_folder.write_whole_model(tmp_path / "whole", tables=tables)
    markdown, _ = (path.read_text() for path in write_model_card(str(folder), tmp_path))
    assert "| blink | AU45 | 0.910 | 0.870 | 0.800 |" in markdown
    assert "| brow_lower_left | AU4 | – | – | – |" in markdown
    assert "neutral 0.400, happiness 0.250" in markdown
    assert "neutral 0.200, happiness 0.250" in markdown
    assert "infants with measured movements" in markdown
    assert "display reading is what" not in markdown and "does not have these" not in markdown
    plain = model_folder.write_model(tmp_path / "plain")
    markdown, _ = (path.read_text() for path in write_model_card(str(plain), tmp_path))
    assert "movements" not in markdown.casefold() and "prevalence" not in markdown


def test_both_readings_and_the_movements_that_were_left_out_are_on_the_card(tmp_path: Path) -> None:
    folder, numbers = model_folder.write_whole_model(tmp_path / "whole"), Numbers()
    kinds = ("accuracy", "balanced_accuracy", "macro_f1", "ece")

    def figures_of(n: int) -> dict[str, Any]:
        return {"n": n, **{name: numbers.estimate(n) for name in kinds}}

    display = {
        "data": {"all": figures_of(250), "infant": figures_of(28)},
        "unlabeled": {"display": figures_of(90), "observers": figures_of(90)},
    }
    movements = {
        "brow_lower": {"exported": True, "left_out": None},
        "tongue_show": {"exported": False, "left_out": "real faces: 0.52"},
    }
    found = {"names": list(CLASSES), "rows": 250, "display": display, "movements": movements}
    (folder / "figures.json").write_text(json.dumps(found))
    paths = write_model_card(str(folder), tmp_path)
    markdown, page = (path.read_text(encoding="utf-8") for path in paths)
    section = markdown.split("### The display reading")[1].split("###")[0]
    assert numbers.given <= set(re.findall(r"0\.\d{3}", section))
    for row in ("test rows | 250", "test rows, infant | 28"):
        assert f"| {row} |" in section
    assert "| other faces, observers | 90 |" in section
    assert "- tongue_show: real faces: 0.52" in markdown and "- brow_lower" not in markdown
    assert "The display reading" in page and "AU45" in page
    found["movements"]["tongue_show"]["exported"] = "perhaps"
    (folder / "figures.json").write_text(json.dumps(found))
    with pytest.raises(MoppetError, match=r"figures\.json.*exported"):
        write_model_card(str(folder), tmp_path)
