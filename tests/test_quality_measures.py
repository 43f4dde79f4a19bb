"""Distances between made and real faces: known answers, closed forms, worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, linalg, stats

from moppet.datasets.hashing import THUMB_PX
from moppet.evaluate.memorization import find_memorized
from moppet.evaluate.sample_distances import (
    cubic_kernel,
    distances,
    fit_space,
    frechet_distance,
    half_sample_intervals,
    js_divergence,
    kernel_distance,
    overlap,
)


def exact_divergence(first, second) -> float:
    """JS divergence in bits of two densities of one number, by numerical integration."""

    def bits(x: float) -> float:
        p, q = first.pdf(x), second.pdf(x)
        m = (p + q) / 2
        of = [y * math.log2(y / m) for y in (p, q) if y > 1e-300]
        return sum(of) / 2

    return integrate.quad(bits, -15, 15, limit=200)[0]


@pytest.mark.parametrize("apart", [0.0, 0.7, 1.5, 3.0])
def test_the_divergence_of_two_normal_samples_is_the_integral(apart):
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (1200, 1)), rng.normal(apart, 1, (1200, 1))
    exact = exact_divergence(stats.norm(0, 1), stats.norm(apart, 1))
    assert js_divergence(first, second, rng) == pytest.approx(exact, abs=0.04)


def test_the_divergence_sees_a_wider_density_about_the_same_middle():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, (1500, 1)), rng.normal(0, 4, (1500, 1))
    exact = exact_divergence(stats.norm(0, 1), stats.norm(0, 4))
    assert js_divergence(first, second, rng) == pytest.approx(exact, abs=0.04)


def test_the_divergence_of_several_numbers_is_that_of_the_one_that_differs():
    # Independent numbers that are alike in both samples add nothing to the divergence.
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, (1500, 3)), rng.normal(0, 1, (1500, 3))
    second[:, 1] += 2
    exact = exact_divergence(stats.norm(0, 1), stats.norm(2, 1))
    assert js_divergence(first, second, rng) == pytest.approx(exact, abs=0.06)


def test_samples_apart_have_one_bit_and_a_sample_beside_itself_none():
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 1, (60, 4))
    assert js_divergence(rows, rows + 1000, rng) == pytest.approx(1, abs=1e-6)
    assert js_divergence(rows, rows.copy(), rng) == 0


def test_samples_of_unlike_size_count_alike():
    rng = np.random.default_rng(4)
    few, many = rng.normal(1.5, 1, (150, 1)), rng.normal(0, 1, (1500, 1))
    exact = exact_divergence(stats.norm(0, 1), stats.norm(1.5, 1))
    assert js_divergence(few, many, rng) == pytest.approx(exact, abs=0.12)
    assert js_divergence(many, few, rng) == pytest.approx(exact, abs=0.12)


def test_too_few_rows_have_no_divergence():
    rows = np.random.default_rng(0).normal(0, 1, (3, 2))
    assert math.isnan(js_divergence(rows, rows, np.random.default_rng(0)))
    assert math.isnan(js_divergence(rows[:0], rows, np.random.default_rng(0)))


def test_the_space_is_whitened_principal_components():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (400, 3)) * [5, 1, 0] + [1, 2, 3]
    space = fit_space(rows, 2)
    reduced = space.apply(rows)
    np.testing.assert_allclose(np.cov(reduced.T), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(reduced.mean(axis=0), 0, atol=1e-9)
    assert abs(np.corrcoef(reduced[:, 0], rows[:, 0])[0, 1]) > 0.99
    assert fit_space(rows).axes.shape[1] == 2  # the third has no variance
    assert space.explained == pytest.approx(1)
    assert fit_space(np.ones((5, 3))).axes.shape[1] == 0


def exactly_normal(rng, n: int, d: int) -> np.ndarray:
    """Rows whose mean is exactly 0 and whose covariance is exactly the unit matrix."""
    rows = rng.normal(0, 1, (n, d))
    rows -= rows.mean(axis=0)
    return rows @ linalg.inv(linalg.cholesky(np.cov(rows.T)))


def test_the_frechet_distance_of_scaled_normals_is_the_closed_form():
    rng = np.random.default_rng(0)
    first, second = exactly_normal(rng, 50, 3), exactly_normal(rng, 80, 3)
    a, b, shift = np.array([1, 2, 3.0]), np.array([2, 2, 0.5]), np.array([1, 0, -2.0])
    expected = (shift**2).sum() + ((a - b) ** 2).sum()
    assert frechet_distance(first * a, second * b + shift) == pytest.approx(expected)


def test_the_frechet_distance_is_that_of_the_matrix_square_root():
    rng = np.random.default_rng(1)
    first = rng.normal(0, 1, (60, 4)) @ rng.normal(0, 1, (4, 4))
    second = rng.normal(0, 1, (40, 4)) @ rng.normal(0, 1, (4, 4)) + 0.3
    one, two = np.cov(first.T), np.cov(second.T)
    expected = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
    expected += np.trace(one + two - 2 * linalg.sqrtm(one @ two).real)
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    # More numbers than rows: covariances that have no inverse.
    wide = rng.normal(0, 1, (5, 30))
    assert frechet_distance(wide, wide) == pytest.approx(0, abs=1e-6)
    assert math.isnan(frechet_distance(wide[:1], wide))


def test_the_kernel_distance_is_the_sum_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (7, 3)), rng.normal(0.5, 1, (5, 3))

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    same_x = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    same_y = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    apart = np.mean([kernel(a, b) for a in x for b in y])
    found = kernel_distance(cubic_kernel(x, x), cubic_kernel(x, y), cubic_kernel(y, y))
    assert found == pytest.approx(same_x + same_y - 2 * apart)


def test_the_kernel_distance_of_one_density_is_zero_on_average():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        x, y = rng.normal(0, 1, (20, 4)), rng.normal(0, 1, (12, 4))
        found.append(kernel_distance(cubic_kernel(x, x), cubic_kernel(x, y), cubic_kernel(y, y)))
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(200)


def overlap_of(made, real, **more):
    made, real = (np.asarray(x, float).reshape(len(x), -1) for x in (made, real))
    tables = (distances(made, made), distances(made, real), distances(real, real))
    return overlap(*tables, **more)


def test_overlap_of_a_few_numbers_by_hand():
    # Balls of the real ones, k = 1: 0, 1, 2, 3 reach 1, 10 reaches 7. Of the made ones: 0.5 and 9
    # reach 8.5, 20 reaches 11. 0.5 lies in the balls of 0 and 1, 9 in that of 10, 20 in none.
    found = overlap_of([0.5, 9, 20], [0, 1, 2, 3, 10], precision_neighbors=1, density_neighbors=1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(1)
    assert found.density == pytest.approx(3 / 3)
    assert found.coverage == pytest.approx(3 / 5)


def test_made_faces_of_one_kind_only_are_precise_and_recall_little():
    rng = np.random.default_rng(0)
    real = np.r_[rng.normal(0, 1, (60, 2)), rng.normal(30, 1, (60, 2))]
    found = overlap_of(rng.normal(0, 0.5, (80, 2)), real)
    assert found.precision > 0.95 and found.recall < 0.5 and found.coverage < 0.5
    far = overlap_of(rng.normal(900, 1, (30, 2)), real)
    assert far == (0, 0, 0, 0)


def test_one_density_has_the_coverage_that_theory_expects():
    # Naeem et al. 2020, section 3.2: 1 - (n-1)…(n-k) / ((m+n-1)…(m+n-k)).
    n, m, k = 250, 250, 5
    expected = 1 - math.prod(n - i for i in range(1, k + 1)) / math.prod(
        m + n - i for i in range(1, k + 1)
    )
    rng = np.random.default_rng(0)
    found = [overlap_of(rng.normal(0, 1, (m, 3)), rng.normal(0, 1, (n, 3))) for _ in range(6)]
    assert np.mean([f.coverage for f in found]) == pytest.approx(expected, abs=0.02)
    assert np.mean([f.density for f in found]) == pytest.approx(1, abs=0.1)


def test_fewer_rows_than_neighbors_have_no_balls():
    found = overlap_of(np.zeros((2, 1)), np.arange(20.0))
    assert math.isnan(found.recall) and not math.isnan(found.precision)
    assert all(map(math.isnan, overlap_of(np.zeros((2, 1)), np.zeros((3, 1)))))


def test_half_samples_give_the_interval_that_theory_gives_a_mean():
    rng = np.random.default_rng(0)
    made, real = rng.normal(0, 1, 300), rng.normal(0, 2, 500)

    def figures(i, j):
        return {"gap": float(made[i].mean() - real[j].mean())}

    found = half_sample_intervals(figures, np.arange(300), np.arange(500), rng, 400)["gap"]
    half = 1.96 * math.sqrt(made.var() / 300 + real.var() / 500)
    assert found.value == made.mean() - real.mean()
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)
    assert found.n == 300
    # Ten copies of each row are no more knowledge than one.
    copies, others = np.repeat(np.arange(30), 10), np.repeat(np.arange(50), 10)
    made, real = np.repeat(made[:30], 10), np.repeat(real[:50], 10)
    found = half_sample_intervals(figures, copies, others, rng, 400)["gap"]
    half = 1.96 * math.sqrt(made.var() / 30 + real.var() / 50)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.2)


def test_few_groups_have_no_interval():
    found = half_sample_intervals(
        lambda i, j: {"n": float(len(i) + len(j))},
        *(np.zeros(40, int), np.arange(40), np.random.default_rng(0), 20),
    )["n"]
    assert found.value == 80 and math.isnan(found.low) and math.isnan(found.high)


def thumbs(n: int, seed: int) -> np.ndarray:
    """Pictures that are no copies of each other."""
    tones = np.random.default_rng(seed).integers(20, 236, (n, 8, 8))
    return tones.repeat(THUMB_PX // 8, axis=1).repeat(THUMB_PX // 8, axis=2).astype(np.uint8)


def memorised(made, real, groups=None, *, synthetic_thumbs=None, real_thumbs=None):
    groups = np.arange(len(real)) if groups is None else groups
    return find_memorized(
        *(made, real, groups, np.random.default_rng(0)),
        synthetic_thumbs=thumbs(len(made), 1) if synthetic_thumbs is None else synthetic_thumbs,
        real_thumbs=thumbs(len(real), 2) if real_thumbs is None else real_thumbs,
    )


def test_new_faces_of_the_kind_raise_the_alarm_about_once_in_a_hundred():
    rng = np.random.default_rng(0)
    found = memorised(rng.normal(0, 1, (400, 4)), rng.normal(0, 1, (400, 4)))
    assert found.alarm.mean() < 0.03
    assert len(found.real_closeness) == 400
    assert (found.real_closeness < found.limit).mean() <= 0.01


def test_faces_that_repeat_training_faces_raise_it_and_name_them():
    rng = np.random.default_rng(0)
    real = rng.normal(0, 1, (300, 4))
    found = memorised(real[:50] + rng.normal(0, 1e-3, (50, 4)), real)
    assert found.alarm.all()
    np.testing.assert_array_equal(found.nearest, np.arange(50))


def test_closeness_is_measured_by_the_place_where_the_real_face_lies():
    # The made face is far from its real one for where most lie, but that one has nobody near.
    real = np.r_[np.random.default_rng(0).normal(0, 1, (200, 2)), [[40.0, 0.0]]]
    found = memorised(np.array([[43.0, 0.0]]), real)
    apart = np.linalg.norm(real[:200] - real[200], axis=1).min()
    assert found.distance[0] == pytest.approx(3)
    assert found.closeness[0] == pytest.approx(3 / apart)
    assert found.too_near[0]


def test_images_of_one_person_do_not_lower_the_limit():
    rng = np.random.default_rng(0)
    real = rng.normal(0, 1, (150, 3))
    twice, groups = np.r_[real, real + 1e-4], np.r_[np.arange(150), np.arange(150)]
    made = rng.normal(0, 1, (20, 3))
    assert memorised(made, twice, groups).limit == pytest.approx(
        memorised(made, real).limit, rel=0.01
    )


def test_real_copies_that_nobody_marked_are_found_and_taken_for_one():
    rng = np.random.default_rng(0)
    real, pictures = rng.normal(0, 1, (100, 3)), thumbs(100, 2)
    found = memorised(
        rng.normal(0, 1, (10, 3)),
        np.r_[real, real[:30]],
        real_thumbs=np.r_[
            pictures, np.clip(pictures[:30].astype(int) + 9, 0, 255).astype(np.uint8)
        ],
    )
    assert found.real_duplicates == 60
    assert found.limit > 0.1


def test_a_copy_of_the_image_is_found_whatever_the_embedding_says():
    rng = np.random.default_rng(0)
    pictures = thumbs(12, 2)
    copies = np.stack([pictures[7][:, ::-1], thumbs(1, 9)[0]])  # a mirror image, and a new one
    found = memorised(
        rng.normal(90, 1, (2, 3)),
        rng.normal(0, 1, (12, 3)),
        synthetic_thumbs=copies,
        real_thumbs=pictures,
    )
    assert found.copy_of.tolist() == [7, -1]
    assert found.similarity[0] > 0.92 and math.isnan(found.similarity[1])
    assert found.alarm.tolist() == [True, False]


def test_few_real_faces_give_no_limit_but_the_very_same_embedding_is_caught():
    rng = np.random.default_rng(0)
    real = rng.normal(0, 1, (10, 3))
    found = memorised(np.r_[real[:1], rng.normal(0, 1, (1, 3))], real)
    assert math.isnan(found.limit)
    assert found.too_near.tolist() == [True, False]


def test_one_real_face_alone_has_no_closeness():
    found = memorised(np.ones((2, 3)), np.zeros((1, 3)))
    assert np.isnan(found.closeness).all() and not found.alarm.any()
    np.testing.assert_allclose(found.distance, math.sqrt(3))
