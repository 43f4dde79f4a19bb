"""`moppet evaluate` as people meet it: its files, its page, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_folder
from evaluation_sample import (
    N,
    faces_without_search,
    make_manifest,
    two_class_model,
    write_images,
)
from moppet.commands import main as cli
from moppet.commands.console import figure_cell
from moppet.commands.evaluate import print_evaluation
from moppet.evaluate import predictions
from moppet.files import write_text
from moppet.pages import face_images as face_images
from moppet.pages.evaluate import build_page, write_page
from moppet.pages.wording import number
from moppet.values import MoppetError
from page_text import numbers_in, text_of

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
LOG = "epoch,train_loss,val_loss,val_accuracy\n1,0.9,0.8,0.4\n2,0.7,0.5,0.6\n3,0.6,0.6,0.5\n"


@pytest.fixture(scope="module", autouse=True)
def _no_search(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions, "find_manifest_faces", faces_without_search())
        patch.setattr(face_images, "find_manifest_faces", faces_without_search())
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with its training, another one, and data with votes."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_images(folder)
    model = model_folder.write_model(folder / "model", name="<b>ours</b>", licence="CC0")
    (model / "training.csv").write_text(LOG, encoding="utf-8")
    two_class_model(folder / "other", ["happiness", "sadness", "fear"], name="other")
    manifest = make_manifest(folder, model)
    rng = np.random.default_rng(3)
    votes = rng.multinomial(9, np.ones(7) / 7, N) + 4 * np.eye(7)[manifest.labels]
    manifest.replace(votes=votes).write(folder / "data.parquet")
    return folder


def run(*arguments: Any) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["moppet", "evaluate", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


@pytest.fixture(scope="module")
def written(folder):
    """The folder that one whole run has written."""
    output = folder / "out"
    arguments = (folder / "model", folder / "data.parquet", "--by", "room", "-o", output)
    assert run(*arguments, "--against", folder / "other") == 0
    return output


@pytest.fixture(scope="module")
def page(written):
    return (written / "evaluation.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found(written):
    return json.loads((written / "evaluation.json").read_text(encoding="utf-8"))


def test_every_figure_on_the_page_stands_in_the_json(page, found):
    kept = {number(x) for x in numbers_in(found)}
    shown = re.findall(r"[\N{MINUS SIGN}]?\b\d\.\d{3}\b", text_of(page))
    assert len(shown) > 300
    assert [x for x in shown if x not in kept] == []


def test_the_cards_and_tables_show_the_figures_of_the_json(page, found):
    whole = found["classes"]["parts"]["all"]
    cards = re.search(r'<dl class="cards">.*?</dl>', page, flags=re.S)[0]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        one = whole["overall"][name]
        said = f"<strong>{number(one['value'])}</strong><span>{number(one['low'])} to "
        assert said in cards
    for name in found["classes"]["names"]:
        recall = whole["per_class"]["recall"][name]
        row = rf">{name}</th><td class=n>{recall['n']}</td><td class=n [^>]*>"
        assert re.search(row + re.escape(number(recall["value"])), page)


def test_the_matrices_show_the_counts_of_the_json(page, found):
    tables = re.findall(r'<table class="confusion">.*?</table>', page, flags=re.S)
    assert len(tables) == 2
    for table, level in zip(tables, (found["classes"], found["groups"]), strict=True):
        counts = level["parts"]["all"]["confusion"]
        k = len(level["names"])
        cells = [int(x) for x in re.findall(r"<td class=\"n[^>]*>(\d+)", table)]
        rows = np.array(cells).reshape(k + 1, k + 1)
        assert rows[:k, :k].tolist() == counts
        assert rows[k].tolist() == [*np.sum(counts, axis=0), np.sum(counts)]
        shares = [int(x) for x in re.findall(r'class="n hit d\d+">\d+<small>(\d+)', table)]
        expected = [round(100 * counts[i][i] / sum(counts[i])) for i in range(k) if counts[i][i]]
        assert shares == pytest.approx(expected, abs=1)


def test_reliability_and_roc_show_n_of_every_bin_and_class(page, found):
    for level in (found["classes"], found["groups"]):
        for one in level["reliability"]:
            if one["accuracy"]["n"]:
                assert f'rotate(-90)">{one["accuracy"]["n"]}</text>' in page
    panels = re.findall(r"<figure><svg class=\"roc\".*?</figure>", page, flags=re.S)
    assert len(panels) == 7 + 3
    for name, panel in zip(found["classes"]["names"], panels, strict=False):
        area = found["classes"]["parts"]["all"]["per_class"]["auc"][name]
        assert f"AUC {number(area['value'])}" in panel and f"n = {area['n']}" in panel


def test_the_map_draws_every_point_twice(page, found):
    maps = re.findall(r'<svg class="map".*?</svg>', page, flags=re.S)
    assert len(maps) == 2
    assert all(drawn.count("h0") == found["map"]["n"] for drawn in maps)


def test_parts_columns_and_the_second_model_are_there(page, found):
    text = text_of(page)
    for name in ("infant or child", "no face found", "red", "blue", "Compared with other"):
        assert name in text
    mcnemar = found["against"]["mcnemar"]
    assert f"is correct in {mcnemar['only_first']}, only other in {mcnemar['only_second']}" in text
    assert "does not know neutral, surprise, disgust, anger" in text
    assert "The validation loss was lowest after epoch 2." in text


def test_it_says_how_it_was_made(page, found, folder):
    text = text_of(page)
    made = found["about"]
    for said in (made["model"]["sha256"], "Made up: nobody's faces.", "CC0", "onnxruntime"):
        assert said in text
    assert made["command"].startswith("moppet evaluate ") and made["command"] in text
    assert "names no split" in text


def test_an_evaluation_of_version_0_1_gives_the_same_page(found):
    found = found | {"rows": found["rows"] | {"duplicates": {"faces": 7, "images": 3}}}
    old = json.loads(json.dumps(found))
    old["made"] = made = old.pop("about")
    made["made_at"] = made.pop("created_at")
    for one in (made["model"], made["data"]):
        one["licence"] = one.pop("license")
    del old["rows"]["duplicates"]
    old["rows"]["copies"] = {"faces": 7, "pictures": 3}
    assert build_page(old) == build_page(found)
    assert "about" not in old  # what was given stays as it is


def test_a_model_that_is_called_like_markup_stays_text(page):
    assert "<b>ours</b>" not in page and "&lt;b&gt;ours&lt;/b&gt;" in page


def test_the_page_asks_for_nothing_from_outside(page):
    asked = re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']?[^\s"'>]+""", page, flags=re.I)
    assert asked == []
    assert not re.search(r"https?:|@import|fetch\(|XMLHttp|WebSocket|sendBeacon", page)
    assert not re.search(r"\bstyle=|\bon\w+=", page)  # its own policy forbids both


def test_no_image_without_being_asked(page):
    assert "<img" not in page and "data:image" not in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "img-src 'none'" in policy


def test_images_when_asked_one_for_each_mistake(folder, written, found):
    output = folder / "sheet"
    assert run(folder / "model", folder / "data.parquet", "-o", output, "--show-faces") == 0
    page = (output / "evaluation.html").read_text(encoding="utf-8")
    images = re.findall(r'<img src="data:image/jpeg;base64,[^"]+"', page)
    assert len(images) == len(set(images)) == len(found["mistakes"]) > 20
    assert "img-src data:" in page
    assert "data:image" not in (output / "evaluation.json").read_text(encoding="utf-8")


def test_what_is_not_there_is_said_and_no_number_is_made_up(tmp_path, found):
    bare = json.loads(json.dumps(found))
    bare |= {"groups": None, "training": None, "map": None, "mistakes": [], "against": None}
    bare["classes"]["gaps"] = []
    figures = bare["classes"]["parts"]["all"]["overall"]
    figures["g_mean"] = dict.fromkeys(figures["g_mean"])
    page = write_page(bare, tmp_path / "page.html").read_text(encoding="utf-8")
    text = text_of(page)
    assert "has no training.csv" in text and "There is no map" in text
    assert "None" not in text and "nan" not in text.lower().replace("finance", "")
    assert page.count('<table class="confusion">') == 1


def test_an_interval_without_width_is_called_no_spread(tmp_path, found):
    few = json.loads(json.dumps(found))
    few["classes"]["parts"]["all"]["overall"]["accuracy"] |= {"value": 1, "low": 1, "high": 1}
    page = write_page(few, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<strong>1.000</strong><span>no spread</span>" in page
    assert "1.000 to 1.000" not in re.search(r'<dl class="cards">.*?</dl>', page, flags=re.S)[0]


def test_a_figure_without_an_interval_has_a_dash_in_tables(tmp_path, found):
    lone = json.loads(json.dumps(found))
    lone["classes"]["parts"]["infant"]["overall"]["ece"] |= {"value": 0.5, "low": None}
    page = write_page(lone, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("0.500<small>–</small>") == 1
    assert figure_cell({"value": 0.5, "low": None, "high": None}) == "0.500 [dim]–[/]"
    assert figure_cell({"value": None, "low": None, "high": None}) == "–"


def test_json_is_the_file_and_nothing_else(folder, capsys):
    output = folder / "json"
    capsys.readouterr()
    assert run(folder / "model", folder / "data.parquet", "-o", output, "--json") == 0
    printed = capsys.readouterr()
    assert printed.out == (output / "evaluation.json").read_text(encoding="utf-8")
    assert json.loads(printed.out)["rows"]["evaluated"] == N


def test_the_terminal_shows_the_same_figures(folder, capsys, found, monkeypatch):
    monkeypatch.chdir(folder)
    capsys.readouterr()
    assert run("model", "data.parquet", "--by", "room,age_band", "--against", "other") == 0
    out = capsys.readouterr().out
    assert (folder / "evaluation_b_ours_b" / "evaluation.html").is_file()
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        assert number(found["classes"]["parts"]["all"]["overall"][name]["value"]) in out
    assert "by room" in out and "by age_band" in out and "less other, on the same" in out
    assert "note: The data names no split" in out
    left_out = found["against"]["faces_left_out"]
    assert left_out > 0 and found["against"]["n"] + left_out == N
    assert f"the comparison leaves out {left_out} faces with these labels" in out


def test_what_is_left_out_of_the_second_model_is_said(tmp_path, found, capsys):
    both = json.loads(json.dumps(found))
    both["against"]["second_left_out"] = ["boredom"]
    page = write_page(both, tmp_path / "page.html").read_text(encoding="utf-8")
    print_evaluation(both, [])
    for text in (text_of(page), capsys.readouterr().out):
        assert "other's probabilities of boredom are left out" in " ".join(text.split())


def test_copies_that_were_found_are_counted_on_the_page_and_the_terminal(tmp_path, found, capsys):
    copied = json.loads(json.dumps(found))
    copied["rows"]["duplicates"] = {"faces": 7, "images": 3}
    page = write_page(copied, tmp_path / "page.html").read_text(encoding="utf-8")
    print_evaluation(copied, [])
    for text in (text_of(page), capsys.readouterr().out):
        assert "7 found to be duplicates of 3 images" in " ".join(text.split())
    assert found["rows"]["duplicates"] is None
    print_evaluation(found, [])
    assert "copies" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--split", "reprot"), 2, "no split 'reprot'"),
        (("--by", "romo"), 2, "Did you mean 'room'"),
        (("--against", "nobody"), 1, "there is no model 'nobody'"),
        (("--cache", "faces.txt"), 2, "needs the name of an .npz file"),
        (("--kind", "ferplusss"), 2, "did you mean 'ferplus'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    folder, tmp_path, capsys, arguments, code, said
):
    output = tmp_path / "out"
    data = folder / "data.parquet"
    assert run(folder / "model", data, "-o", output, *arguments) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and "Traceback" not in err
    assert not output.exists()


def test_an_output_that_cannot_be_a_folder_is_refused(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(folder / "model", folder / "data.parquet", "-o", tmp_path / "file") == 1
    assert "cannot be made" in capsys.readouterr().err
    with pytest.raises(MoppetError, match="Cannot write"):
        write_text(tmp_path / "file" / "x.json", "")


def opened(page: Path, width: int = 1200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(str(BROWSER), *QUIET, f"--user-data-dir={page.parent / 'profile'}"),
            *("--enable-logging=stderr", "--virtual-time-budget=1000"),
            *(f"--window-size={width},900", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_a_browser_opens_it_without_complaint(written):
    done = opened(written / "evaluation.html")
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count('<button type="button">') > 10  # sortable tables


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize("width", [1200, 420])
def test_nothing_hangs_over_the_edge_of_the_page(page, tmp_path, width):
    # A window has a least width; a frame has none.
    probe = "parent.document.title = [document.documentElement.scrollWidth, innerWidth]"
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    inner = escape(bare.replace("</body>", f"<script>{probe}</script></body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(f'<title></title><iframe width="{width}" srcdoc="{inner}"></iframe>', "utf-8")
    title = re.search(r"<title>(\d+),(\d+)</title>", opened(frame, 1300).stdout)
    assert width - 40 < int(title[1]) <= int(title[2]) <= width
