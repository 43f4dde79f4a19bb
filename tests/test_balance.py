"""Balancers: one contract over all of them, and imbalanced-learn called directly beside each."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import ADASYN, SMOTE, BorderlineSMOTE, RandomOverSampler
from imblearn.under_sampling import EditedNearestNeighbours, RandomUnderSampler, TomekLinks
from scipy.spatial.distance import cdist

from moppet import load_model
from moppet.balance import BALANCERS, ClassCount, Neighbors, balance, class_table
from moppet.balance.methods import read_codes, row_codes
from moppet.balance.resampling import imbalance
from moppet.balance.spaces import Embedding, Pixels, make_space
from moppet.balance.targets import read_targets, resolve_targets
from moppet.study.results import OUTCOMES
from moppet.values import ModelError, UsageError

GROWS = [name for name, b in BALANCERS.items() if b.targets == "up"]
MIXES = [name for name, b in BALANCERS.items() if b.interpolates]
DIRECT = {
    "random_over": lambda s: RandomOverSampler(random_state=s),
    "random_under": lambda s: RandomUnderSampler(random_state=s),
    "smote": lambda s: SMOTE(random_state=s),
    "borderline_smote": lambda s: BorderlineSMOTE(random_state=s),
    "adasyn": lambda s: ADASYN(random_state=s),
    "enn": lambda s: EditedNearestNeighbours(),
    "tomek": lambda s: TomekLinks(),
    "smote_enn": lambda s: SMOTEENN(random_state=s),
    "smote_tomek": lambda s: SMOTETomek(random_state=s),
}


def clouds(counts: dict[str, int], d: int = 6, apart: float = 2.0, seed: int = 0):
    """Rows of each class around a place of its own, shuffled: features (n, d), labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(list(counts), list(counts.values()))
    middle = {name: rng.normal(0, apart / np.sqrt(d), d) for name in counts}
    features = np.stack([rng.normal(middle[name], 1) for name in labels])
    order = rng.permutation(len(labels))
    return features[order], labels[order]


FACES = clouds({"happiness": 60, "sadness": 25, "fear": 12})


def run(method: str, data=FACES, seed: int = 0, **more):
    return balance(*data, method=method, rng=np.random.default_rng(seed), **more)


# ---------------------------------------------------------------------------- what holds for all


@pytest.mark.parametrize("method", BALANCERS)
def test_every_row_is_kept_or_removed_and_none_is_changed(method):
    features, labels = FACES
    before = features.copy(), labels.copy()
    done = run(method)
    assert sorted([*done.kept, *done.removed]) == list(range(len(labels)))
    np.testing.assert_array_equal(done.kept, np.sort(done.kept))
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("method", BALANCERS)
def test_what_comes_back_has_the_stated_shapes_and_types(method):
    features, labels = FACES
    done = run(method)
    m = len(done.labels)
    assert done.features.shape == (m, features.shape[1]) and done.features.dtype == np.float32
    assert done.parents.shape == (m, 2) and done.parents.dtype == np.int64
    assert done.shares.shape == (m,) and done.shares.dtype == np.float32
    assert done.kept.dtype == done.removed.dtype == np.int64
    assert done.labels.dtype == labels.dtype and set(done.labels) <= set(labels)
    assert done.method == method and isinstance(done.seed, int)
    if BALANCERS[method].oversample is None:
        assert m == 0


@pytest.mark.parametrize("method", BALANCERS)
def test_a_made_row_lies_between_its_two_parents_of_its_class(method):
    features, labels = FACES
    done = run(method)
    first, second = features[done.parents].transpose(1, 0, 2)
    share = done.shares[:, None].astype(float)
    np.testing.assert_allclose(done.features, share * first + (1 - share) * second, atol=1e-5)
    assert (labels[done.parents] == done.labels[:, None]).all()
    assert ((done.shares >= 0.5) & (done.shares <= 1)).all()
    if not BALANCERS[method].interpolates:
        assert (done.parents[:, 0] == done.parents[:, 1]).all() and (done.shares == 1).all()


@pytest.mark.parametrize("method", BALANCERS)
def test_the_counts_are_those_of_the_rows(method):
    _, labels = FACES
    done = run(method)
    for one in done.counts:
        assert one.before == (labels == one.name).sum()
        assert one.removed == (labels[done.removed] == one.name).sum()
        assert one.synthetic == (done.labels == one.name).sum()
        assert one.after == one.before - one.removed + one.synthetic


@pytest.mark.parametrize("method", BALANCERS)
def test_the_same_seed_gives_the_same_rows(method):
    first, again = run(method, seed=3), run(method, seed=3)
    for name in ("kept", "features", "labels", "parents", "shares"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.notes == again.notes and first.seed == again.seed


@pytest.mark.parametrize("method", [*GROWS, "random_under"])
def test_another_seed_gives_other_rows(method):
    first, other = run(method, seed=3), run(method, seed=4)
    assert first.parents.tolist() != other.parents.tolist() or first.kept.tolist() != (
        other.kept.tolist()
    )


@pytest.mark.parametrize("method", BALANCERS)
def test_it_is_what_imbalanced_learn_gives_when_called_directly(method):
    features, labels = FACES
    done = run(method, neighbors=Neighbors(enn_keeps="all"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, of = DIRECT[method](done.seed).fit_resample(features, labels)
    ours = np.concatenate([features[done.kept], done.features])
    assert Counter(of) == Counter([*labels[done.kept], *done.labels])
    order = [np.lexsort(np.round(rows, 4).T) for rows in (ours, theirs)]
    np.testing.assert_allclose(ours[order[0]], theirs[order[1]], atol=2e-5)


@pytest.mark.parametrize("method", BALANCERS)
def test_labels_may_be_numbers(method):
    features, labels = FACES
    numbers = np.unique(labels, return_inverse=True)[1]
    done, named = run(method, (features, numbers)), run(method)
    np.testing.assert_array_equal(done.kept, named.kept)
    np.testing.assert_array_equal(np.unique(labels)[done.labels.astype(int)], named.labels)


# ------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("method", [name for name in GROWS if BALANCERS[name].clean is None])
def test_equal_brings_every_class_to_the_largest(method):
    after = {one.name: one.after for one in run(method).counts}
    slack = 12 if method == "adasyn" else 0  # it rounds what each row gives
    assert all(abs(n - 60) <= slack for n in after.values()), after


def test_equal_brings_every_class_down_to_the_smallest():
    assert [one.after for one in run("random_under").counts] == [12, 12, 12]


@pytest.mark.parametrize("method", ["random_over", "smote", "borderline_smote"])
def test_a_count_for_one_class_is_reached_and_the_others_stay(method):
    after = {one.name: one.after for one in run(method, targets={"fear": 40}).counts}
    assert after == {"happiness": 60, "sadness": 25, "fear": 40}
    after = {one.name: one.after for one in run(method, targets={"fear": "2.5x"}).counts}
    assert after == {"happiness": 60, "sadness": 25, "fear": 30}


def test_a_class_may_be_grown_past_the_largest_when_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = {one.name: one.after for one in run("smote", targets={"fear": 90}).counts}
    assert after["fear"] == 90


def test_a_multiple_for_all_stops_at_the_largest_or_the_smallest():
    assert [c.after for c in run("smote", targets="3x").counts] == [36, 60, 60]
    assert [c.after for c in run("random_under", targets="0.5x").counts] == [12, 30, 12]


def test_adasyn_says_when_its_counts_are_only_near():
    data = clouds({"a": 50, "b": 17, "c": 9}, seed=5)
    done = run("adasyn", data)
    off = [one for one in done.counts if one.after != 50]
    assert off and len([n for n in done.notes if "not 50: adasyn rounds" in n]) == len(off)


@pytest.mark.parametrize(
    ("method", "targets", "said"),
    [
        ("smote", {"sadness": 10}, "cannot bring class 'sadness' to 10: it already has 25. Use"),
        ("random_under", {"fear": 13}, "cannot bring class 'fear' to 13: it has only 12. Use"),
        ("random_under", {"fear": 0}, "to 0: at least 1 of its 12 rows must stay"),
        ("smote", {"feer": 20}, "'feer' has no training row; the classes are .* mean 'fear'"),
        (
            "smote",
            {"fear": "many"},
            "a count such as 300 or a multiple such as '2x', up to .*, not 'many'",
        ),
        ("smote", "0.5x", "needs a multiple of 1x or more, not '0.5x'"),
        ("random_under", "2x", "more than 0x and at most 1x, not '2x'"),
        ("smote", "all", "targets are 'equal', a multiple .* not 'all'"),
        ("smote", {"fear": 10**12}, "1,000,000,000,000|999,999,999,988 new rows and .* GiB"),
        *((name, "equal", f"{name} takes no target") for name in ("enn", "tomek")),
    ],
)
def test_a_target_that_cannot_be_is_refused_with_both_counts(method, targets, said):
    with pytest.raises(UsageError, match=said):
        run(method, targets=targets)


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 500), min_size=1),
    st.floats(0.01, 20),
    st.sampled_from(["up", "down"]),
)
def test_multiples_never_pass_the_largest_nor_the_smallest(counts, times, direction):
    text = f"{times:.4f}x"
    try:
        wanted = resolve_targets(text, counts, direction, "x")
    except UsageError:
        assert (float(text[:-1]) < 1) if direction == "up" else not 0 < float(text[:-1]) <= 1
        return
    for name, count in wanted.items():
        assert count != counts[name]
        assert min(counts.values()) <= count <= max(counts.values())
        assert (count > counts[name]) == (direction == "up")


def test_targets_are_read_from_words():
    assert read_targets([]) is None
    assert read_targets(["equal"]) == "equal" and read_targets(["2x"]) == "2x"
    assert read_targets(["fear=30", "a=b=1.5x"]) == {"fear": 30, "a=b": "1.5x"}
    for words, said in (
        (["fear"], "got 'fear'"),
        (["fear=3", "equal"], "2 values with 'equal'"),
        (["fear=3", "fear=4"], "twice"),
    ):
        with pytest.raises(UsageError, match=said):
            read_targets(words)


# ------------------------------------------------------------------------- small and lost classes


@pytest.mark.parametrize("method", MIXES)
def test_a_class_too_small_for_k_neighbors_takes_fewer_and_says_so(method):
    data = clouds({"happiness": 40, "sadness": 20, "fear": 4}, apart=0.5)
    done = run(method, data, keep_wiped=True)
    assert (
        "class 'fear' has 4 rows, too few for 5 neighbors of the same class: 3 are used."
        in done.notes
    )
    assert not any("'sadness' has 20 rows, too few" in note for note in done.notes)


def test_a_small_class_changes_nothing_that_is_made_of_the_others():
    features, labels = FACES
    small = np.concatenate([features, features[:2] + 50])
    done = run("smote", (small, [*labels, "anger", "anger"]))
    alone = run("smote")
    for name in ("sadness", "fear"):
        np.testing.assert_array_equal(
            done.features[done.labels == name], alone.features[alone.labels == name]
        )


@pytest.mark.parametrize("method", MIXES)
def test_a_class_of_one_row_is_refused_by_name_where_it_should_grow(method):
    features, labels = FACES
    data = np.concatenate([features, features[:1]]), [*labels, "anger"]
    with pytest.raises(
        UsageError, match=f"class 'anger' has 1 training row, and {method} interpolates"
    ):
        run(method, data)
    done = run(method, data, targets={"fear": 30}, keep_wiped=True)
    assert next(one for one in done.counts if one.name == "anger").after == 1


def test_a_class_of_one_row_can_be_repeated_or_be_all_that_is_left():
    data = clouds({"happiness": 9, "fear": 1})
    assert [one.after for one in run("random_over", data).counts] == [9, 9]
    assert [one.after for one in run("random_under", data).counts] == [1, 1]


def mixed_up(lost: int = 8):
    """Each 'fear' among four of 'happiness', far from every other 'fear'."""
    places = np.arange(lost)[:, None] * 100.0
    near = np.concatenate([places + step for step in (-0.2, -0.1, 0.1, 0.2)])
    features = np.concatenate([near, places]) @ np.ones((1, 2))
    return features, ["happiness"] * len(near) + ["fear"] * lost


def test_a_class_that_would_be_wiped_out_is_refused_or_its_rows_are_kept_on_request():
    data, stay = mixed_up(), {"fear": 8}
    with pytest.raises(UsageError, match=r"would remove all 8 rows.* of class 'fear'"):
        run("smote_enn", data, targets=stay)
    done = run("smote_enn", data, targets=stay, keep_wiped=True)
    fear = next(one for one in done.counts if one.name == "fear")
    assert (fear.before, fear.removed, fear.after) == (8, 0, 8)
    assert any(
        "none of the 8 original rows of class 'fear': keep_wiped keeps" in n for n in done.notes
    )
    assert any(text in note for note in done.notes for text in OUTCOMES["kept"])  # as studies do


def test_it_is_said_when_only_made_rows_of_a_class_are_left():
    features, labels = mixed_up()
    far = np.random.default_rng(0).normal(-500, 1, (9, 2))
    data = np.concatenate([features, far]), [*labels, *["happiness"] * 9]
    done = run("smote_enn", data, targets={"fear": 60})
    fear = next(one for one in done.counts if one.name == "fear")
    assert fear.removed == 8 and fear.synthetic > 0
    assert any("keeps none of the 8 original rows of class 'fear', only" in n for n in done.notes)
    kept = run("smote_enn", data, targets={"fear": 60}, keep_wiped=True)
    assert next(one for one in kept.counts if one.name == "fear").removed == 0
    np.testing.assert_array_equal(kept.features, done.features)


def test_enn_may_wipe_out_a_class_but_never_the_smallest():
    features, labels = mixed_up()
    far = np.random.default_rng(0).normal(-500, 1, (5, 2))
    data = np.concatenate([features, far]), [*labels, *["anger"] * 5]
    with pytest.raises(UsageError, match="enn would remove all 8 rows of class 'fear'"):
        run("enn", data)
    after = {one.name: one.after for one in run("enn", data, keep_wiped=True).counts}
    assert (after["anger"], after["fear"]) == (5, 8)
    smallest = run("enn", (features, labels), keep_wiped=True)
    assert next(one for one in smallest.counts if one.name == "fear").removed == 0


def test_each_rule_of_enn_keeps_more_than_the_one_before():
    data = clouds({"anger": 40, "fear": 30, "sadness": 25, "disgust": 20}, apart=1.0)
    everyone, most, majority = (
        set(run("enn", data, neighbors=Neighbors(enn_keeps=rule)).kept)
        for rule in ("all", "most", "majority")
    )
    assert everyone < most < majority
    assert set(run("enn", data).kept) == majority


def test_most_is_two_of_three_as_batista_wrote():
    features, labels = clouds({"anger": 40, "fear": 30, "sadness": 12}, apart=0.5)
    kept = run("enn", (features, labels), neighbors=Neighbors(enn_keeps="most")).kept
    near = cdist(features, features) + np.diag(np.full(len(labels), np.inf))
    for row, label in enumerate(labels):
        differ = sum(labels[near[row].argsort()[:3]] != label)
        assert (row in kept) == (label == "sadness" or differ < 2)


def test_cleaning_finds_its_neighbors_in_the_space_that_it_is_given():
    features, labels = clouds({"anger": 40, "fear": 12}, apart=0.5)
    rooms = {"anger": 0.0, "fear": 90.0}
    place = np.array([[rooms[name]] for name in labels])
    seen = []

    def by_class(new):
        seen.append(new)
        return np.concatenate([place, np.full((len(new), 1), 90.0)])  # all new rows are fear

    mixed, apart = (
        run("smote_enn", (features, labels)),
        run("smote_enn", (features, labels), cleaning_space=by_class),
    )
    assert len(mixed.removed) and not len(apart.removed)
    assert len(apart.labels) == 28 and seen[0].shape == (28, 6) and seen[0].dtype == np.float32


def test_a_worse_ratio_and_a_halved_class_are_warned_of():
    rng = np.random.default_rng(0)
    labels = np.repeat(["anger", "fear"], [60, 30])
    among = np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(0, 0.01, (30, 2))])
    strict = Neighbors(enn_keeps="all")
    done = run("smote_enn", (np.round(among, 2), labels), neighbors=strict)
    anger, fear = done.counts
    worse = fear.after / anger.after > 2
    assert worse == any("less balanced" in text for text in done.warnings)
    spread = rng.normal(0, 1, (90, 2))
    done = run("smote_enn", (spread, labels), neighbors=strict)
    anger = done.counts[0]
    assert anger.removed > 30
    assert any(f"'anger' {anger.removed} of 60" in text for text in done.warnings)
    assert any("--enn majority" in text for text in done.warnings)
    assert not run("smote", (spread, labels)).warnings
    assert not run("random_under", (spread, labels)).warnings


def test_a_ratio_that_cleaning_made_worse_is_stated_before_and_after():
    pairs = np.concatenate([np.arange(18.0), np.arange(18) + 0.1, [900, 901, 902, 903]])
    x = np.concatenate([pairs, 5000 + np.arange(40.0)])
    labels = np.repeat(["anger", "fear", "anger", "joy"], [18, 18, 4, 40])
    done = run(
        "smote_enn", (x[:, None], labels), neighbors=Neighbors(enn_keeps="all"), keep_wiped=True
    )
    counts = [one.after for one in done.counts]
    before, after = 40 / 18, max(counts) / min(counts)
    assert after > before
    assert f"the largest was 2.2 times the smallest and is now {after:.1f}" in done.warnings[0]


def test_the_majority_is_that_of_the_neighbors_whatever_the_classes_are_called():
    features, labels = clouds({"anger": 40, "fear": 30, "sadness": 12}, apart=0.5)
    renamed = np.array([{"anger": "x", "fear": "m", "sadness": "a"}[name] for name in labels])
    rule = Neighbors(enn_keeps="majority")
    one, other = (run("enn", (features, of), neighbors=rule) for of in (labels, renamed))
    assert one.kept.tolist() == other.kept.tolist() and len(one.removed) > 5
    near = cdist(features, features) + np.diag(np.full(len(labels), np.inf))
    for row, label in enumerate(labels):
        votes = Counter(labels[near[row].argsort()[:3]])
        stays = label == "sadness" or votes[label] == max(votes.values())  # never of the smallest
        assert (row in one.kept) == stays


def test_adasyn_names_the_class_that_stands_apart():
    features, labels = FACES
    data = np.concatenate([features, np.random.default_rng(0).normal(900, 1, (9, 6))])
    with pytest.raises(UsageError, match="adasyn adds rows of class 'anger' near other classes"):
        run("adasyn", (data, [*labels, *["anger"] * 9]))


def test_adasyn_says_when_its_shares_round_to_none():
    with pytest.raises(
        UsageError, match="distributes 1 new rows of class 'sadness' over its 25 rows"
    ):
        run("adasyn", targets={"sadness": 26})


def test_borderline_smote_says_when_no_row_lies_at_the_border():
    data = clouds({"happiness": 30, "sadness": 12}, apart=200)
    done = run("borderline_smote", data)
    assert not len(done.labels)
    assert "no row of class 'sadness' is at the border to other classes" in done.notes[0]


def test_what_no_method_can_balance_is_refused():
    features, labels = FACES
    for data, said in (
        ((features[:3], ["a"] * 3), "training rows of two classes, but got only class 'a'"),
        ((features[:0], []), "training rows of two classes, but got no rows"),
        ((features, labels[:-1]), r"features \(n, d\) and n labels"),
        ((np.where(np.arange(6) == 2, np.nan, features), labels), "finite features, but row 0"),
    ):
        with pytest.raises(UsageError, match=said):
            run("smote", data)
    with pytest.raises(UsageError, match=r"no balancer 'smoth'\. Did you mean 'smote'"):
        run("smoth")
    with pytest.raises(UsageError, match="smote must be a whole number of at least 1, got 0"):
        Neighbors(smote=0)
    assert run("SMOTE-ENN").method == "smote_enn"


# ----------------------------------------------------------------------------------- the parents


@settings(deadline=None)
@given(st.integers(2, 5000), st.integers(0, 2**32 - 1))
def test_the_parents_of_a_mixture_are_read_back_whatever_the_share(n, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, n, (2, 50))
    step = rng.uniform(size=50)
    codes = row_codes(n)
    numbers, share = read_codes(codes[first] + step[:, None] * (codes[second] - codes[first]))
    swapped = step > 0.5
    expected = np.where(swapped, second, first), np.where(swapped, first, second)
    np.testing.assert_array_equal(numbers, np.stack(expected, axis=1))
    apart = first != second
    np.testing.assert_allclose(share[apart], np.maximum(step, 1 - step)[apart], atol=1e-9)
    assert (share[~apart] == 1).all()


def test_equal_rows_do_not_confuse_the_parents():
    features, labels = clouds({"happiness": 20, "fear": 5})
    fear = np.flatnonzero(labels == "fear")
    features[fear[1:]] = features[fear[0]]
    done = run("smote", (features, labels))
    np.testing.assert_allclose(done.features, np.tile(features[fear[0]], (15, 1)), rtol=1e-6)
    assert set(done.parents.ravel()) <= set(fear)


# ------------------------------------------------------------------------------ spaces and table


def test_pixels_are_in_0_to_1_and_come_back_as_the_image():
    crops = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 1), np.uint8).repeat(3, axis=3)
    space = Pixels()
    features = space.features(crops)
    assert features.shape == (4, 2304) and features.dtype == np.float32
    assert features.min() >= 0 and features.max() <= 1
    np.testing.assert_array_equal(space.images(features), crops[..., 0])
    assert space.images(np.array([[-1.0] * 2304, [2.0] * 2304])).tolist()[1][0][0] == 255
    assert space.features(crops[:0]).shape == (0, 2304)
    small = Pixels(16).features(np.full((1, 112, 112, 3), 51, np.uint8))
    np.testing.assert_allclose(small, 0.2, atol=1e-6)


def test_an_embedding_is_the_models_and_gives_no_image(tiny_model):
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    space = make_space("embedding", model=str(tiny_model))
    features = space.features(crops)
    np.testing.assert_array_equal(features, load_model(tiny_model).predict(crops).embeddings)
    assert features.shape == (3, 128) and space.images(features) is None
    assert space.model is not None and space.model.startswith("tiny (")


def test_a_model_without_an_embedding_and_an_unknown_space_are_refused(tmp_path):
    from model_folder import linear_network, write_model

    folder = write_model(tmp_path / "bare", linear_network(embedding=False, classes=7))
    with pytest.raises((UsageError, ModelError), match="embedding"):
        Embedding(load_model(folder)).features(np.zeros((1, 112, 112, 3), np.uint8))
    with pytest.raises(UsageError, match="one of pixels, embedding, not 'hog'"):
        make_space("hog")
    with pytest.raises(UsageError, match="8 pixels or more, got 4"):
        make_space("pixels", side=4)


def test_the_class_table_shows_before_and_after_with_shares():
    table = class_table(
        [
            ClassCount("happiness", 1200, 200, 0, 1000),
            ClassCount("fear", 40, 0, 960, 1000),
            ClassCount("disgust", 0, 0, 0, 0),
        ]
    )
    lines = table.splitlines()
    assert lines[0].split() == ["class", "before", "share", "removed", "added", "after", "share"]
    assert lines[2].split() == ["happiness", "1,200", "96.8%", "-200", "0", "1,000", "50.0%"]
    assert lines[3].split() == ["fear", "40", "3.2%", "0", "+960", "1,000", "50.0%"]
    assert lines[6].split() == ["all", "1,240", "100.0%", "-200", "+960", "2,000", "100.0%"]
    assert lines[7] == "largest to smallest class: 30.0 before, 1.0 after"
    assert np.isnan(imbalance([0, 0]))
