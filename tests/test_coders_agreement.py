"""How far raters agree: units, words, events, intervals; against hand counts and scikit-learn."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, recall_score

from moppet.coders import Code, Lane
from moppet.coders.agreement import MIN_SAMPLE, compare_tracks, make_blocks, pair_events
from moppet.coders.code_map import Vocabulary, check_known, read_map
from moppet.coders.time_units import (
    LEFT_OUT,
    NO_FACE,
    NOT_READ,
    TWICE,
    UNCODED,
    UNSURE,
    Track,
    Units,
    human_track,
    machine_track,
    make_units,
    merged,
)
from moppet.timeline import TimelineSettings
from moppet.values import EXPRESSIONS, GROUPS, UsageError
from report_samples import make_row, make_timeline

NAMES = ("calm", "cry", "laugh")


def same(label):
    return label


def track_of(codes, *, name="a", n=100, names=NAMES, uncoded=None, unit_s=0.1):
    lane = Lane("x", tuple(Code(*code) for code in codes))
    units = Units(0.0, unit_s, n)
    rename = {**dict.fromkeys(names, None), **{n: n for n in names}, "away": None}.get
    return human_track(lane, name, units, names, rename=rename, uncoded=uncoded)


def test_a_unit_has_the_code_that_covers_its_middle():
    track = track_of([(0.0, 0.25, "calm"), (0.26, 0.5, "cry"), (0.7, 0.7, "laugh")], n=8)
    # The middle of the third unit is at 0.25 s, where the first code has just ended.
    assert track.value.tolist() == [0, 0, UNCODED, 1, 1, UNCODED, UNCODED, UNCODED]
    assert [e.label for e in track.events] == ["calm", "cry", "laugh"]


def test_a_code_outside_the_units_or_between_two_middles_is_no_units():
    assert set(track_of([(-3.0, -1.0, "cry"), (0.26, 0.3, "cry"), (20, 22, "cry")]).value) == {-1}
    (pair,) = compare_codes([(0, 9, "calm")], [(-3, -1, "cry"), (0, 9, "calm")], n=90).pairs
    assert pair.events.by_label == {"calm": (1, 1, 1)} and pair.events.left_out == 1


def test_overlaps_conflict_unless_they_say_the_same_and_skipped_codes_have_no_value():
    track = track_of([(0, 0.3, "cry"), (0.2, 0.6, "cry"), (0.4, 0.5, "calm"), (0.6, 0.8, "away")])
    assert track.value[:9].tolist() == [1, 1, 1, 1, TWICE, 1, LEFT_OUT, LEFT_OUT, UNCODED]


def test_uncoded_time_can_be_given_a_name():
    assert track_of([(0.2, 0.4, "cry")], n=5, uncoded="calm").value.tolist() == [0, 0, 1, 1, 0]


def test_events_that_touch_are_one_and_points_stay_alone():
    codes = [Code(0, 1, "cry"), Code(1.05, 2, "cry"), Code(1.5, 1.5, "cry"), Code(2.5, 3, "cry")]
    assert merged(codes, 0.1) == (Code(0, 2, "cry"), Code(1.5, 1.5, "cry"), Code(2.5, 3, "cry"))


def one_hot(name):
    return [0.94 if other == name else 0.01 for other in EXPRESSIONS]


def clip():
    """10 frames/s: 0-2 s neutral, 2-3 s happy, then nobody for 1 s, then a blurred angry second.

    A second face is surprised from 2 to 3 s; from 5 s frames cannot be read; the sixth second is
    not in the recording.
    """
    rows = []
    for i in range(60):
        t = i / 10
        if t < 3:
            rows.append(make_row(i, t, one_hot("neutral" if t < 2 else "happiness")))
            if t >= 2:
                rows.append(make_row(i, t, one_hot("surprise"), face_id=1))
        elif t < 4:
            rows.append(make_row(i, t))
        elif t < 5:
            rows.append(make_row(i, t, one_hot("anger"), status="low_quality", quality=0.1))
        else:
            rows.append(make_row(i, t, status="unreadable"))
    return make_timeline(rows, settings=TimelineSettings(smooth_s=0))


def values(track, names):
    """Seconds by name or reason, of units of 0.1 s."""
    found = {}
    for value in track.value.tolist():
        key = names[value] if value >= 0 else value
        found[key] = round(found.get(key, 0) + 0.1, 6)
    return found


def test_the_machine_has_no_value_where_it_is_unsure_or_sees_nobody():
    timeline = clip()
    units = make_units(timeline, 0.1, None, None)
    track = machine_track(timeline, [0], units, EXPRESSIONS, "expression", rename=same)
    assert values(track, EXPRESSIONS) == {
        "neutral": 2.0, "happiness": 1.0, NO_FACE: 1.0, UNSURE: 1.0, NOT_READ: 1.0,
    }  # fmt: skip
    names = (*EXPRESSIONS, "no face")
    counted = machine_track(
        *(timeline, [0], units, names, "expression"), rename=same, count=("unsure", "no face")
    )
    assert values(counted, names) == {
        "neutral": 2.0, "happiness": 1.0, "no face": 1.0, "anger": 1.0, NOT_READ: 1.0,
    }  # fmt: skip


def test_of_two_faces_the_first_named_counts_and_groups_are_compared_by_group():
    timeline, names = clip(), ["neutral", "positive", "negative"]
    units = make_units(timeline, 0.1, None, None)
    both = machine_track(timeline, [1, 0], units, EXPRESSIONS, "expression", rename=same)
    assert values(both, EXPRESSIONS)["surprise"] == 1.0
    groups = machine_track(timeline, [0, 1], units, names, "group", rename=same)
    assert values(groups, names)["positive"] == 1.0
    # Surprise is neutral here: the second face goes on where the first one's neutral ends.
    events = [(e.label, round(e.start_s, 6), round(e.end_s, 6)) for e in groups.events]
    assert events == [("neutral", 0.0, 3.0), ("positive", 2.0, 3.0)]


def test_a_part_of_the_recording_and_a_part_with_no_unit():
    units = make_units(clip(), 0.5, 1.0, 2.2)
    assert (units.from_s, units.n) == (1.0, 2)
    with pytest.raises(UsageError, match=r"no whole unit of 5\.0 s"):
        make_units(clip(), 5.0, 0.0, 2.0)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=40, max_size=120))
@settings(max_examples=40, deadline=None)
def test_kappa_and_recalls_are_those_of_scikit_learn(units_said):
    first, second = np.array(units_said).T
    units = Units(0.0, 0.5, len(first))
    coder, machine = Track("coder", first, ()), Track("machine", second, ())
    found = compare_tracks(
        *([coder], machine, units, NAMES),
        labels=NAMES,
        tolerance_s=0.0,
        rng=np.random.default_rng(0),
    )
    (pair,) = found.pairs
    kappa = pair.units.overall["kappa"]
    if len(set(first.tolist()) | set(second.tolist())) > 1:
        assert kappa.value == pytest.approx(cohen_kappa_score(first, second))
    assert pair.units.overall["agreement"].value == pytest.approx(np.mean(first == second))
    # Without tolerance both ways of agreeing are the same.
    assert pair.units.overall["agreement_within_tolerance"].value == pytest.approx(
        np.mean(first == second)
    )
    theirs = recall_score(first, second, labels=[0, 1, 2], average=None, zero_division=0)
    for name, estimate in pair.units.recall.items():
        assert estimate.value == pytest.approx(theirs[NAMES.index(name)])
        assert estimate.n == int((first == NAMES.index(name)).sum())
    differ = found.disagreements()
    assert sum(s.end_s - s.start_s for s, _ in differ) == pytest.approx(
        0.5 * np.sum(first != second)
    )


def compare_codes(first, second, *more, tolerance_s=0.5, n=1000):
    tracks = [track_of(codes, name=f"r{i}", n=n) for i, codes in enumerate((first, second, *more))]
    return compare_tracks(
        *(tracks[1:], tracks[0], Units(0.0, 0.1, n), NAMES),
        labels=NAMES,
        tolerance_s=tolerance_s,
        rng=np.random.default_rng(0),
    )


def alternating(shift=0.0, seconds=2.0, n=50):
    """Fifty stretches of calm and cry in turn."""
    edges = [max(0.0, i * seconds + shift) for i in range(n + 1)]
    return [(a, b, NAMES[i % 2]) for i, (a, b) in enumerate(pairwise(edges))]


def test_a_constant_delay_shows_as_the_onset_error_and_vanishes_with_tolerance():
    machine, coder = alternating(0.3), alternating()
    (pair,) = compare_codes(machine, coder).pairs
    assert pair.events.onset_s.value == pytest.approx(0.3)
    assert pair.events.quartiles_s == pytest.approx((0.3, 0.3))
    assert pair.events.found.value == pair.events.within.value == 1.0
    assert pair.units.overall["agreement"].value == pytest.approx(0.85, abs=0.01)
    assert pair.units.overall["agreement_within_tolerance"].value == 1.0
    (strict,) = compare_codes(machine, coder, tolerance_s=0.2).pairs
    assert strict.events.within.value < 0.05 and strict.events.found.value == 1.0
    assert strict.units.overall["agreement_within_tolerance"].value < 1.0


def test_intervals_draw_whole_stretches_and_are_wider_than_of_single_units():
    rng = np.random.default_rng(3)
    coder = alternating()
    machine = [(a, b, NAMES[(NAMES.index(c) + (rng.uniform() < 0.3)) % 3]) for a, b, c in coder]
    (pair,) = compare_codes(machine, coder).pairs
    agreement = pair.units.overall["agreement"]
    n = round(pair.seconds / 0.1)
    of_units = 2 * 1.96 * math.sqrt(agreement.value * (1 - agreement.value) / n)
    of_stretches = 2 * 1.96 * math.sqrt(agreement.value * (1 - agreement.value) / 50)
    assert pair.blocks == 50
    assert agreement.high - agreement.low == pytest.approx(of_stretches, rel=0.25)
    assert agreement.high - agreement.low > 3 * of_units


def test_too_few_stretches_or_events_have_no_interval():
    codes = [(i * 2.0, i * 2.0 + 2, NAMES[i % 2]) for i in range(MIN_SAMPLE - 1)]
    (pair,) = compare_codes(codes, codes).pairs
    for estimate in (*pair.units.overall.values(), pair.events.found, pair.events.onset_s):
        assert not math.isnan(estimate.value) and math.isnan(estimate.low)


def test_a_block_is_a_stretch_of_one_code_cut_after_ten_seconds():
    value = np.repeat([0, 1, 0], [5, 230, 10])
    block = make_blocks(value, 0.1)
    assert np.bincount(block)[1:].tolist() == [5, 100, 100, 30, 10]


def test_two_coders_are_also_compared_with_each_other_and_where_the_machine_is_blind():
    coder = alternating()
    machine = coder[:10]  # sees nothing after 20 s
    found = compare_codes(machine, coder, alternating(0.2))
    names = [(p.first, p.second, p.where, round(p.seconds)) for p in found.pairs]
    assert names == [
        ("r1", "r0", "all judged", 20),
        ("r2", "r0", "all judged", 20),
        ("r1", "r2", "all judged", 20),
        ("r1", "r2", "both coded", 100),
    ]
    assert found.pairs[0].units.overall["kappa"].value == 1.0
    # What lies in time that is not compared is no missed event.
    assert found.pairs[0].events.found.value == 1.0
    assert found.pairs[0].events.left_out == 40
    assert found.left_out_s()["r0"] == {"uncoded": 80.0}


def test_disagreements_say_when_and_what_each_rater_saw():
    found = compare_codes(
        [(0, 2, "calm"), (2, 4, "cry")], [(0, 1, "calm"), (1, 3, "cry"), (3, 4, "laugh")]
    )
    said = [(round(s.start_s, 6), round(s.end_s, 6), who) for s, who in found.disagreements()]
    assert said == [(1.0, 2.0, ["cry", "calm"]), (3.0, 4.0, ["laugh", "cry"])]


def test_nothing_to_compare_is_undefined_not_zero():
    (pair,) = compare_codes([(0, 1, "calm")], [(5, 6, "calm")]).pairs
    assert pair.seconds == 0
    assert math.isnan(pair.units.overall["kappa"].value)
    assert math.isnan(pair.events.found.value) and math.isnan(pair.events.onset_s.value)
    assert pair.as_json(NAMES)["units"]["kappa"]["value"] is None


def test_pairs_are_one_to_one_of_one_label_and_take_the_largest_overlap():
    first = [Code(0, 4, "cry"), Code(5, 6, "cry"), Code(8, 9, "calm")]
    second = [Code(3.5, 5.9, "cry"), Code(0.5, 3, "cry"), Code(8, 9, "laugh")]
    assert pair_events(first, second, 0.0) == [(0, 1), (1, 0)]


def test_a_point_pairs_with_an_event_within_the_tolerance():
    point, event = [Code(2.0, 2.0, "cry")], [Code(2.4, 3.0, "cry")]
    assert pair_events(point, event, 0.5) == [(0, 0)]
    assert pair_events(point, event, 0.3) == []


WORDS = Vocabulary(EXPRESSIONS, GROUPS, {})


@pytest.mark.parametrize(
    ("label", "target"),
    [
        ("Happiness", "happiness"),
        (" SMILE ", "happiness"),
        ("cry", "negative"),
        ("Negative", "negative"),
        ("out of view", "skip"),
        ("not_visible", "skip"),
        ("bored", None),
        ("", None),
    ],
)
def test_common_words_are_placed_by_name(label, target):
    assert WORDS.target_of(label) == target


def test_the_users_words_come_first_and_another_models_classes_are_known():
    given = Vocabulary(EXPRESSIONS, GROUPS, read_map(["Cry=sadness, a=b=SKIP"], WORDS))
    assert given.target_of("CRY") == "sadness" and given.target_of("a=b") == "skip"
    own = Vocabulary(("crying", "calm"), {"crying": "negative"}, {})
    assert own.target_of("Crying") == "crying" and own.target_of("neutral") is None
    assert own.target_of("cry") == "negative"


def test_the_level_is_that_of_the_codes():
    assert WORDS.level_of(["smile", "sad"]) == "expression"
    assert WORDS.level_of(["smile", "cry"]) == "group"
    assert WORDS.name_of("group", "smile") == "positive"
    with pytest.raises(UsageError, match="'cry' means the group 'negative'"):
        WORDS.name_of("expression", "cry")


def test_unknown_words_and_targets_are_refused_with_what_would_do():
    with pytest.raises(UsageError, match=r"'bored' \(2 times\), 'x' \(1 times\).*--map"):
        check_known(["bored", "x", "bored", "smile"], WORDS, "h.eaf")
    with pytest.raises(UsageError, match="Did you mean 'happiness'"):
        read_map(["smile=hapiness"], WORDS)
    with pytest.raises(UsageError, match='takes "code=name"'):
        read_map(["smile"], WORDS)
