"""Splits: groups stay together, every class on both sides, the same seed the same split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.splits import holdout, kfold, split_manifest
from moppet.values import MoppetError, UsageError

BANDS = ("infant", "child", "adult")


def manifest(labels, subjects=None, bands=None, copies=None, **more) -> Manifest:
    n = len(labels)
    return build_manifest(
        {
            "path": [f"{i}.png" for i in range(n)],
            "label": list(labels),
            "subject": subjects or [None] * n,
            "age_band": bands or [None] * n,
            "duplicate_group": copies or [None] * n,
            **more,
        },
        root=".",
    )


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def manifests(draw) -> Manifest:
    row = st.tuples(
        st.sampled_from(["happiness", "sadness", None]),
        st.sampled_from([*(str(i) for i in range(12)), None]),
        st.sampled_from([*BANDS, None]),
        st.sampled_from([*range(8), None]),
    )
    rows = draw(st.lists(row, min_size=1, max_size=60))
    labels, subjects, bands, copies = map(list, zip(*rows, strict=True))
    return manifest(labels, subjects, bands, copies)


def dealt(m: Manifest, k: int, seed: int) -> np.ndarray | None:
    try:
        return kfold(m, k, rng(seed))
    except MoppetError:
        return None


# ------------------------------------------------------------------------------- what always holds


@settings(max_examples=60, deadline=None)
@given(manifests(), st.integers(2, 5), st.integers(0, 9))
def test_folds_never_split_a_group_and_hold_every_row_once(m, k, seed):
    fold = dealt(m, k, seed)
    if fold is None:
        return
    assert fold.shape == (len(m),) and set(fold) == set(range(k))
    for key in ("subject", "duplicate_group"):
        values = m.table[key].to_pylist()
        for value in set(values) - {None}:
            assert len({f for f, v in zip(fold, values, strict=True) if v == value}) == 1
    np.testing.assert_array_equal(fold, kfold(m, k, rng(seed)))


@settings(max_examples=60, deadline=None)
@given(manifests(), st.floats(0.05, 0.95), st.integers(0, 9))
def test_a_hold_out_never_splits_a_group_and_has_every_class_on_both_sides(m, share, seed):
    groups, labels = m.groups, m.labels
    try:
        held = holdout(m, share, rng(seed))
    except MoppetError:
        # Only where a class, or everything, is one group, or classes hang together.
        classes = set(labels[labels >= 0])
        few = [len(set(groups[labels == c])) for c in classes]
        assert min(few, default=2) == 1 or len(set(groups)) < 2 / min(share, 1 - share)
        return
    assert not set(groups[held]) & set(groups[~held])
    assert held.any() and not held.all()
    np.testing.assert_array_equal(held, holdout(m, share, rng(seed)))
    shared = [len(set(groups[labels == c])) for c in (0, 1)]
    if min(shared) >= 4:
        assert set(labels[held]) >= set(labels[labels >= 0]) <= set(labels[~held])


# -------------------------------------------------------------------------------- how even they are


def test_a_hold_out_takes_its_share_of_every_class_and_age_band():
    labels = ["happiness"] * 600 + ["sadness"] * 100 + [None] * 100
    bands = [BANDS[i % 3] for i in range(800)]
    m = manifest(labels, bands=bands)
    held = holdout(m, 0.2, rng())
    for name, band in {(a, b) for a, b in zip(labels, bands, strict=True)}:
        rows = np.array([a == (name, band) for a in zip(labels, bands, strict=True)])
        assert abs(held[rows].mean() - 0.2) < 0.5 / rows.sum() + 0.02, (name, band)


def test_folds_of_subjects_are_as_even_as_those_of_scikit_learn():
    r = rng(3)
    subject = r.integers(0, 60, 900)
    lean = r.dirichlet([0.6] * 4, 60)
    label = np.array([r.choice(4, p=lean[s]) for s in subject])
    m = manifest([f"class{c}" for c in label], [str(s) for s in subject])

    def unevenness(folds: list[np.ndarray]) -> float:
        shares = [np.bincount(label[f], minlength=4) / np.bincount(label) for f in folds]
        return float(np.abs(np.array(shares) - 0.2).max())

    ours = kfold(m, 5, rng())
    theirs = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(label, label, subject)
    assert unevenness([np.flatnonzero(ours == k) for k in range(5)]) <= max(
        unevenness([test for _, test in theirs]), 0.05
    )


def test_a_rare_class_reaches_every_fold_and_both_sides():
    m = manifest(["happiness"] * 97 + ["disgust"] * 3)
    for seed in range(5):
        fold = kfold(m, 3, rng(seed))
        assert sorted(fold[-3:]) == [0, 1, 2]
        held = holdout(m, 0.1, rng(seed))
        assert held[-3:].any() and not held[-3:].all()


def test_another_seed_gives_another_split():
    m = manifest(["happiness", "sadness"] * 50)
    assert (kfold(m, 4, rng(0)) != kfold(m, 4, rng(1))).any()
    assert (holdout(m, 0.3, rng(0)) != holdout(m, 0.3, rng(1))).any()


# ------------------------------------------------------------------------------- a whole split


def test_a_split_has_its_shares_and_says_train_val_or_test():
    m = manifest(["happiness", "sadness"] * 200, copies=[i // 2 for i in range(400)])
    split = split_manifest(m, test=0.2, val=0.1, rng=rng()).column("split")
    counts = {name: int((split == name).sum()) for name in set(split)}
    assert counts == {"train": 280, "val": 40, "test": 80}
    assert (split[::2] == split[1::2]).all()
    again = split_manifest(m, test=0.2, val=0.1, rng=rng()).column("split")
    assert (split == again).all()
    only = split_manifest(m, test=0.2, val=0, rng=rng()).column("split")
    assert set(only) == {"train", "test"}


def test_a_kept_report_stays_and_what_shares_its_groups_gets_no_split():
    labels = ["happiness", "sadness"] * 50
    subjects = [str(i // 4) for i in range(100)]
    source = ["test" if i % 20 == 0 else None for i in range(100)]
    m = manifest(labels, subjects, split=source)
    split = split_manifest(m, test=0.5, val=0.2, keep_test=True, rng=rng()).column("split")
    reporting = {subjects[i] for i in range(0, 100, 20)}
    for i in range(100):
        if i % 20 == 0:
            assert split[i] == "test"
        elif subjects[i] in reporting:
            assert split[i] is None
        else:
            assert split[i] in ("train", "val")
    assert (split == "val").sum() == 20


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share):
    with pytest.raises(UsageError, match="between 0 and 1"):
        holdout(manifest(["happiness"] * 4), share, rng())


@pytest.mark.parametrize("split", [lambda m: holdout(m, 0.2, rng()), lambda m: kfold(m, 2, rng())])
def test_a_class_with_one_image_or_one_child_is_refused_by_name(split):
    with pytest.raises(MoppetError, match=r"class 'fear' has only one image"):
        split(manifest(["happiness"] * 5 + ["fear"]))
    with pytest.raises(MoppetError, match=r"class 'fear' has only 3 images of one group"):
        split(manifest(["happiness"] * 5 + ["fear"] * 3, [None] * 5 + ["ann"] * 3))


def test_an_empty_fold_is_refused():
    with pytest.raises(MoppetError, match="5 parts need at least 5 groups, but the 4 images"):
        kfold(manifest(["happiness", "sadness"] * 2), 5, rng())
    with pytest.raises(UsageError, match="at least 2 folds"):
        kfold(manifest(["happiness", "sadness"] * 2), 1, rng())
    with pytest.raises(MoppetError, match=r"part of 1%, which would be empty"):
        holdout(manifest([None] * 10), 0.01, rng())


def test_shares_that_leave_nothing_to_train_on_are_refused():
    m = manifest(["happiness", "sadness"] * 20)
    with pytest.raises(UsageError, match="must leave rows to train on"):
        split_manifest(m, test=0.6, val=0.5, rng=rng())
    with pytest.raises(MoppetError, match="no test rows to keep"):
        split_manifest(m, test=0.2, val=0, keep_test=True, rng=rng())
