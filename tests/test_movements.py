"""Two readings and facial movements, from the network to every form of a timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_folder import MOVEMENTS, PRIOR, linear_network, write_model, write_whole_model
from moppet import EXPRESSIONS, TimelineSettings, analyze, load_model, read_timeline, stream
from moppet.infer.pipeline import Analysis, Settings
from moppet.timeline import OptionalColumns, build_timeline, read_unfinished
from moppet.timeline.people import People, Person, Piece, name_people
from moppet.values import GROUPS, ModelError, TimelineError, UsageError

CROPS = np.random.default_rng(1).integers(0, 256, (5, 40, 40, 3)).astype(np.uint8)
COLUMNS = [f"m_{name}" for name in MOVEMENTS]
DISPLAY = [f"d_{name}" for name in EXPRESSIONS]
BOTH = TimelineSettings(reading="both")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole_model(tmp_path_factory.mktemp("movements") / "whole")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, pictures: Any, write_video: Any) -> Path:
    image = pictures["age05_asian_happiness.jpg"].image
    dark = (image // 2).astype(np.uint8)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, (image if i % 7 else dark for i in range(30)), 20)


# ------------------------------------------------------------------------------- the model


def test_one_pass_gives_two_readings_and_the_movements(model: Path) -> None:
    scores = load_model(model).predict(CROPS)
    assert scores.display is not None and scores.display.shape == (5, 7)
    assert scores.display.sum(axis=1) == pytest.approx(1)
    assert not np.allclose(scores.display, scores.probabilities)
    assert scores.movement_names == MOVEMENTS and scores.movements.shape == (5, len(MOVEMENTS))
    assert (scores.movements > 0).all() and (scores.movements < 1).all()
    none = load_model(model).predict(CROPS[:0])
    assert none.display.shape == (0, 7) and none.movements.shape == (0, len(MOVEMENTS))


def test_a_model_of_today_has_neither(tmp_path: Path) -> None:
    scores = load_model(write_model(tmp_path / "tiny")).predict(CROPS)
    assert scores.display is None
    assert scores.movement_names == () and scores.movements.shape == (5, 0)


@pytest.mark.parametrize(
    ("network", "card", "message"),
    [
        ({"movements": 2}, {"movements": ["blink"]}, "has 2 movements, but its card names 1"),
        ({"movements": 2}, {}, "has 2 movements, but its card names 0"),
        ({}, {"movements": ["blink"]}, "no output 'movements', but its card names 1"),
        ({"display": 3}, {}, "has 3 classes in display_logits, but its card names 7"),
        (
            {"movements": 1, "movement_op": "Identity"},
            {"movements": ["blink"]},
            "movements that are not from 0 to 1",
        ),
        ({}, {"movements": ["brow_lowr"]}, r"no known movement 'brow_lowr'\. Did you mean"),
        ({}, {"movements": ["jaw_open_left"]}, "no known movement 'jaw_open_left'"),
        ({}, {"movements": ["blink", "blink"]}, "movements must be different"),
        ({}, {"tables": {"movement_validity.blink": {"real": 0.8}}}, "names 'blink', which is not"),
        (
            {"movements": 1},
            {"movements": ["blink"], "tables": {"movement_validity.blink": {"real": 8.0}}},
            "movement_validity.blink.real",
        ),
    ],
)
def test_a_card_that_does_not_fit_is_one_sentence(
    tmp_path: Path, network: dict[str, Any], card: dict[str, Any], message: str
) -> None:
    folder = write_model(tmp_path / "wrong", linear_network(**network), **card)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


# ---------------------------------------------------------------------------- the timeline


def test_the_observers_reading_decides_unless_display_is_asked_for(clip: Path, model: Path) -> None:
    observers, both, display = (
        analyze(clip, model=model, timeline=TimelineSettings(smooth_s=0, reading=reading))
        for reading in ("observers", "both", "display")
    )
    assert not {*DISPLAY} & {*observers.table.column_names}
    assert {*DISPLAY, *COLUMNS} <= {*both.table.column_names}
    for name in EXPRESSIONS:
        assert both.table[f"s_{name}"] == both.table[f"p_{name}"] == observers.table[f"s_{name}"]
        assert display.table[f"s_{name}"] == display.table[f"d_{name}"] == both.table[f"d_{name}"]
        assert display.table[f"p_{name}"] == both.table[f"p_{name}"]
    assert observers.table["m_blink"] == display.table["m_blink"]


def test_valence_is_happiness_less_the_strongest_negative(clip: Path, model: Path) -> None:
    rows = analyze(clip, model=model).table.to_pylist()
    assert any(row["valence"] is not None for row in rows)
    for row in rows:
        if row["expression"] is None:
            assert row["valence"] is None
            continue
        negative = max(row[f"s_{x}"] for x in EXPRESSIONS if GROUPS[x] == "negative")
        assert row["valence"] == pytest.approx(row["s_happiness"] - negative, abs=1e-6)
    two = build_timeline(
        [{"frame": 0, "time_s": 0.0, "status": "ok", "face_id": 0, "p": [0.7, 0.3]}],
        names=("calm", "crying"),
        group_of={"crying": "negative"},
    )
    assert two.table["valence"].to_pylist() == [None]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_every_format_restores_the_new_columns(
    tmp_path: Path, clip: Path, model: Path, suffix: str
) -> None:
    timeline = analyze(clip, model=model, timeline=BOTH)
    back = read_timeline(timeline.write(tmp_path / f"t{suffix}"))
    assert back == timeline and back.settings.reading == "both"
    assert back.metadata["prior"] == pytest.approx(PRIOR)


def test_a_csv_whose_movements_were_edited_is_noticed(
    tmp_path: Path, clip: Path, model: Path
) -> None:
    path = analyze(clip, model=model).write(tmp_path / "t.csv")
    lines = path.read_text().splitlines()
    at = lines[0].split(",").index('"m_blink"')
    cells = lines[1].split(",")
    cells[at] = "0.123"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(TimelineError, match="do not belong together"):
        read_timeline(path)


def test_a_timeline_refuses_movements_out_of_range(clip: Path, model: Path) -> None:
    row = {"frame": 0, "time_s": 0.0, "status": "ok", "face_id": 0, "p": [1.0], "m": [-0.5, 0.5]}
    optional = OptionalColumns(movements=("gaze_x", "blink"))
    given: dict[str, Any] = {"names": ["calm"], "group_of": {}, "optional": optional}
    assert build_timeline([row], **given).table["m_gaze_x"].to_pylist() == [-0.5]
    with pytest.raises(TimelineError, match="has a m_blink outside 0 and 1"):
        build_timeline([row | {"m": [0.5, -0.5]}], **given)
    with pytest.raises(TimelineError, match="has 1 movements, but there are 2"):
        build_timeline([row | {"m": [0.5]}], **given)


@pytest.mark.parametrize("reading", ["observers", "both", "display"])
@pytest.mark.parametrize("prior", ["natural", "estimate"])
def test_a_resumed_analysis_equals_an_unbroken_one(
    tmp_path: Path, clip: Path, model: Path, reading: Any, prior: Any
) -> None:
    settings = Settings(model=str(model), prior=prior, timeline=TimelineSettings(reading=reading))
    journal = tmp_path / "j.arrows"

    def stop(at: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Analysis(clip, settings, journal=journal).run(stop)
    part = read_unfinished(journal)
    resumed = Analysis(clip, settings, journal=journal, resume=True).run()
    unbroken = Analysis(clip, settings).run()
    assert resumed.table.equals(unbroken.table)
    assert {*resumed.metadata} == {*unbroken.metadata}
    assert resumed.metadata["prior"] == unbroken.metadata["prior"]
    assert part.table.column_names == unbroken.table.column_names
    assert 0 < part.table.num_rows < unbroken.table.num_rows
    assert part.table["m_blink"] == unbroken.table["m_blink"].slice(0, part.table.num_rows)


def test_a_journal_is_not_resumed_with_another_reading(
    tmp_path: Path, clip: Path, model: Path
) -> None:
    journal = tmp_path / "j.arrows"
    Analysis(clip, Settings(model=str(model)), journal=journal).run()
    other = Settings(model=str(model), timeline=BOTH)
    with pytest.raises(TimelineError, match="started with another settings"):
        Analysis(clip, other, journal=journal, resume=True)


def test_a_live_stream_carries_the_same_columns(clip: Path, model: Path) -> None:
    settings = TimelineSettings(smooth_s=0, reading="display")
    table = analyze(clip, model=model, timeline=settings).table
    rows = [row for rows in stream(clip, model=model, timeline=settings) for row in rows]
    assert [*rows[0]] == table.column_names
    seen = [row for row in rows if row["face_id"] is not None]
    assert seen and all(row["m_blink"] is not None for row in seen)
    assert all(row["s_anger"] == pytest.approx(row["d_anger"], abs=1e-6) for row in seen)


def test_named_people_keep_movements_and_the_deciding_reading(clip: Path, model: Path) -> None:
    timeline = analyze(clip, model=model, timeline=TimelineSettings(reading="display"))
    named = name_people(timeline, People((Person("Mia", "child", (Piece(0),)),)))
    assert named.table.equals(timeline.table)


def test_a_model_without_display_says_what_it_lacks(tmp_path: Path, clip: Path) -> None:
    for model in ("default", write_model(tmp_path / "tiny")):
        with pytest.raises(UsageError, match=r"has no display reading.*Use --reading observers"):
            analyze(clip, model=model, timeline=BOTH)
    row = {"frame": 0, "time_s": 0.0, "status": "no_face"}
    with pytest.raises(TimelineError, match="no columns d_<class>"):
        build_timeline([row], names=["calm"], group_of={}, settings=BOTH)


# ----------------------------------------------------------------------------------- priors


def test_an_estimated_prior_is_applied_to_every_row_and_written_down(
    clip: Path, model: Path
) -> None:
    own = analyze(clip, model=model, timeline=BOTH)
    found = analyze(clip, model=model, timeline=BOTH, prior="estimate")
    for prefix, key in (("p_", "prior"), ("d_", "display_prior")):
        old, new = own.metadata[key], found.metadata[key]
        assert sum(new.values()) == pytest.approx(1) and new != pytest.approx(old)
        before, after = (
            np.array([t.table[prefix + x].to_numpy() for x in EXPRESSIONS]).T for t in (own, found)
        )
        weighted = before * [new[x] / old[x] for x in EXPRESSIONS]
        np.testing.assert_allclose(after, weighted / weighted.sum(axis=1, keepdims=True), atol=1e-5)
    assert found.metadata["settings"]["prior"] == "estimate"
    assert "prior" not in own.metadata["settings"]


def test_a_stream_cannot_estimate_its_prior(clip: Path, model: Path) -> None:
    with pytest.raises(UsageError, match="cannot be estimated while frames arrive"):
        stream(clip, model=model, prior="estimate")  # type: ignore[arg-type]


def test_a_data_frame_and_a_notebook_have_them_too(clip: Path, model: Path) -> None:
    pytest.importorskip("pandas")
    timeline = analyze(clip, model=model, timeline=BOTH)
    frame = timeline.to_pandas()
    assert {*DISPLAY, *COLUMNS, "valence"} <= {*frame.columns}
    assert frame["m_blink"].dtype == "float32" and frame["m_blink"].notna().any()
    found = timeline._repr_html_()
    assert found is not None and "m_blink" not in found
