"""Smoothing agrees with its formula, written out, at any time stamps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.timeline import CausalSmoother, TimelineSettings
from moppet.timeline.smoothing import segment_ids, smooth_face
from moppet.values import UsageError


def by_formula(time_s, p, quality, rule):
    """The documented sum, one pair at a time."""
    out = np.zeros((len(p), len(p[0])))
    for i, t in enumerate(time_s):
        total, norm = np.zeros(len(p[0])), 0.0
        for j, u in enumerate(time_s):
            low, high = min(i, j), max(i, j)
            gaps = [time_s[k + 1] - time_s[k] for k in range(low, high)]
            if abs(u - t) > 3 * rule.smooth_s + 1e-6 or any(
                gap > rule.max_gap_s + 1e-6 for gap in gaps
            ):
                continue
            w = 1.0 if math.isnan(quality[j]) else quality[j]
            w *= math.exp(-((u - t) ** 2) / (2 * rule.smooth_s**2))
            total, norm = total + w * np.asarray(p[j], dtype=float), norm + w
        out[i] = total / norm if norm > 0 else p[i]
    return out


@st.composite
def faces(draw):
    """Rows at uneven times: repeated stamps, frame-rate changes, gaps; some qualities 0 or NaN."""
    steps = draw(
        st.lists(
            st.one_of(st.sampled_from([0.0, 0.04, 1 / 30, 0.5, 1.0, 1.01, 7.0]), st.floats(0, 2)),
            min_size=0,
            max_size=25,
        )
    )
    time_s = np.cumsum([draw(st.floats(0, 100)), *steps])
    k = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    p = np.random.default_rng(seed).dirichlet(np.ones(k), len(time_s)).astype(np.float32)
    some = st.one_of(st.just(math.nan), st.just(0.0), st.floats(0, 1, width=32))
    quality = np.array(draw(st.lists(some, min_size=len(time_s), max_size=len(time_s))))
    return time_s, p, quality


@given(faces(), st.sampled_from([0.02, 0.25, 1.0, 30.0]), st.sampled_from([0.0, 0.3, 1.0, 100.0]))
@settings(max_examples=150, deadline=None)
def test_smoothing_is_the_documented_sum_at_uneven_times(face, smooth_s, max_gap_s):
    rule = TimelineSettings(smooth_s=smooth_s, max_gap_s=max_gap_s)
    s = smooth_face(*face, rule)
    assert s.dtype == np.float32
    np.testing.assert_allclose(s, by_formula(*face, rule), atol=1e-6)
    np.testing.assert_allclose(s.sum(axis=1), 1, atol=1e-5)


@given(faces())
@settings(max_examples=30, deadline=None)
def test_smoothing_off_returns_the_probabilities_untouched(face):
    assert np.array_equal(smooth_face(*face, TimelineSettings(smooth_s=0)), face[1])


def test_a_low_quality_frame_pulls_its_neighbors_less():
    time_s, p = np.array([0.0, 0.1]), np.array([[1, 0], [0, 1]], dtype=np.float32)
    rule = TimelineSettings(smooth_s=0.1)
    even = smooth_face(time_s, p, np.array([1.0, 1.0]), rule)
    poor = smooth_face(time_s, p, np.array([1.0, 0.2]), rule)
    weight = math.exp(-0.5)
    assert even[0, 1] == pytest.approx(weight / (1 + weight), abs=1e-6)
    assert poor[0, 1] == pytest.approx(0.2 * weight / (1 + 0.2 * weight), abs=1e-6)


def test_nothing_is_smoothed_across_a_gap():
    time_s = np.array([0.0, 0.5, 1.0, 3.0, 3.5])
    p = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    wide = TimelineSettings(smooth_s=10, max_gap_s=1)
    assert np.array_equal(smooth_face(time_s, p, np.ones(5), wide), p)
    assert not np.array_equal(
        smooth_face(time_s, p, np.ones(5), TimelineSettings(smooth_s=10, max_gap_s=2)), p
    )
    assert segment_ids(time_s, 1.0).tolist() == [0, 0, 0, 1, 1]


def test_work_grows_with_the_pairs_in_reach():
    # A quadratic way would need 20,000 squared kernels: 3 GB and minutes.
    n = 20_000
    p = np.random.default_rng(1).dirichlet(np.ones(3), n).astype(np.float32)
    s = smooth_face(np.arange(n) / 30, p, np.ones(n), TimelineSettings())
    middle = slice(10_000, 10_050)
    near = slice(9_900, 10_150)
    expected = by_formula(
        (np.arange(n) / 30)[near], p[near], np.ones(250), TimelineSettings(max_gap_s=1.0)
    )
    np.testing.assert_allclose(s[middle], expected[100:150], atol=1e-6)


@given(faces(), st.sampled_from([0.05, 0.25, 2.0]), st.sampled_from([0.3, 1.0]))
@settings(max_examples=100, deadline=None)
def test_the_causal_smoother_is_the_one_sided_exponential(face, tau, max_gap_s):
    time_s, p, quality = face
    rule = TimelineSettings(smooth_s=tau, max_gap_s=max_gap_s)
    smoother, segment = CausalSmoother(rule), segment_ids(time_s, max_gap_s)
    for i, t in enumerate(time_s):
        got = smoother.update(3, t, p[i], quality[i])
        past = [j for j in range(i + 1) if segment[j] == segment[i]]
        w = np.array(
            [
                (1.0 if math.isnan(quality[j]) else quality[j]) * math.exp((time_s[j] - t) / tau)
                for j in past
            ]
        )
        norm = w.sum()
        expected = w @ p[past].astype(float) / norm if norm > 1e-12 else p[i]
        np.testing.assert_allclose(got, expected, atol=2e-6)


def test_the_causal_smoother_keeps_faces_apart_and_forgets_after_a_gap():
    smoother = CausalSmoother(TimelineSettings(smooth_s=1.0, max_gap_s=0.5))
    smoother.update(0, 0.0, [1, 0])
    assert smoother.update(1, 0.1, [0, 1]).tolist() == [0, 1]
    assert 0 < smoother.update(0, 0.2, [0, 1])[0] < 1
    assert smoother.update(0, 0.8, [0, 1]).tolist() == [0, 1]
    assert smoother.update(0, 0.1, [1, 0]).tolist() == [1, 0], "time ran backwards"


def test_both_kernels_have_the_standard_deviation_smooth_s():
    # One odd frame in a long even row: its echo in time is the kernel.
    step, n, sigma = 0.01, 4001, 0.25
    time_s = np.arange(n) * step
    p = np.tile(np.array([0, 1], dtype=np.float32), (n, 1))
    p[2000] = [1, 0]
    rule = TimelineSettings(smooth_s=sigma)
    gaussian = smooth_face(time_s, p, np.ones(n), rule)[:, 0].astype(float)
    smoother = CausalSmoother(rule)
    causal = np.array([smoother.update(0, t, q)[0] for t, q in zip(time_s, p, strict=True)])
    for echo in (gaussian, causal.astype(float)):
        echo = echo / echo.sum()
        mean = (echo * time_s).sum()
        assert math.sqrt((echo * (time_s - mean) ** 2).sum()) == pytest.approx(sigma, rel=0.03)
    assert (causal / causal.sum() * time_s).sum() - 20 == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize(
    "wrong",
    [
        {"smooth_s": -0.1},
        {"smooth_s": math.nan},
        {"max_gap_s": math.inf},
        {"unsure_below": 1.1},
        {"low_quality_below": -1},
        {"min_episode_s": "0.4"},
        {"enter": True},
        {"enter": 0.3, "leave": 0.4},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=str(list(wrong)[-1])):
        TimelineSettings(**wrong)


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="'smooth_s'"):
        TimelineSettings.from_dict({"smoth_s": 0.1})
    rule = TimelineSettings(smooth_s=1, leave=0.1)
    assert TimelineSettings.from_dict(rule.to_dict()) == rule
