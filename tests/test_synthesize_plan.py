"""The plan: so many images a class, spread evenly, in words that suit images of children."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from moppet.synthesis.generators import GENERATORS
from moppet.synthesis.sampling_plan import (
    AGES,
    BACKGROUNDS,
    ETHNICITIES,
    NEGATIVE_PROMPT,
    OCCLUSIONS,
    SamplingPlan,
    expression_prompt,
    make_plan,
    prompt_of,
)
from moppet.synthesis.settings import settings_from
from moppet.values import EXPRESSIONS, UsageError

FACTORS = ("age_band", "ethnicity", "background", "occlusion")


def plan(counts: dict[str, int], **settings: Any) -> SamplingPlan:
    return make_plan(settings_from({"method": "diffusion", **settings}, "test"), counts)


def spread(values: Any, possible: int) -> int:
    """How far the commonest and the rarest of the possible values lie apart."""
    counts = Counter(values)
    return max(counts.values()) - (min(counts.values()) if len(counts) == possible else 0)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 5))
@hypothesis_settings(max_examples=12, deadline=None)
def test_every_factor_is_as_even_as_the_number_allows(happy: int, sad: int, seed: int) -> None:
    made = plan({"happiness": happy, "sadness": sad}, seed=seed)
    assert made.counts() == {"happiness": {"happiness": happy}, "sadness": {"sadness": sad}}
    sizes = (2, 6, 6, 7)
    for label in ("happiness", "sadness"):
        own = [r for r in made.requests if r.label == label]
        assert [r.number for r in own] == list(range(1, len(own) + 1))
        for factor, size in zip(FACTORS, sizes, strict=True):
            assert spread([getattr(r, factor) for r in own], size) <= 1
    for factor, size in zip(FACTORS, sizes, strict=True):
        assert spread([getattr(r, factor) for r in made.requests], size) <= 2


def test_pairs_of_factors_are_even_too() -> None:
    made = plan({"sadness": 252})
    sizes = dict(zip(FACTORS, (2, 6, 6, 7), strict=True))
    for a, b in itertools.combinations(FACTORS, 2):
        pairs = [(getattr(r, a), getattr(r, b)) for r in made.requests]
        expected = 252 / (sizes[a] * sizes[b])
        counts = Counter(pairs)
        assert len(counts) == sizes[a] * sizes[b]
        assert max(counts.values()) <= expected + 3 and min(counts.values()) >= expected - 3
    assert len({tuple(getattr(r, f) for f in FACTORS) for r in made.requests}) >= 230


def test_the_seed_decides_the_plan_and_every_image_has_a_seed_of_its_own() -> None:
    counts = {"happiness": 20, "sadness": 20}
    assert plan(counts) == plan(counts)
    assert plan(counts, seed=1) != plan(counts)
    seeds = [r.seed for r in plan(counts).requests]
    assert len(set(seeds)) == 40 and all(0 <= seed < 2**53 for seed in seeds)


@pytest.mark.parametrize("method", [n for n, each in GENERATORS.items() if each.trained])
def test_a_method_that_learns_is_asked_for_classes_alone(method: str) -> None:
    made = make_plan(settings_from({"method": method}, "test"), {"shouting loudly": 3})
    assert made.factors == () and made.names == ("shouting loudly",)
    assert all(r.prompt is None and r.age_band is None for r in made.requests)
    longer = make_plan(settings_from({"method": method}, "test"), {"a": 9, "shouting loudly": 5})
    assert [r.seed for r in longer.requests[9:12]] == [r.seed for r in made.requests]


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({}, FACTORS),
        ({"start": "image"}, ("background", "occlusion")),
        ({"method": "inpaint"}, ()),
        ({"method": "inpaint", "change": "occlusion"}, ("occlusion",)),
    ],
)
def test_a_method_that_begins_with_a_face_leaves_alone_who_that_is(
    settings: dict[str, Any], factors: tuple[str, ...]
) -> None:
    made = plan({"sadness": 14}, **settings)
    assert made.factors == factors
    assert "none" not in {r.occlusion for r in made.requests} or "occlusion" not in factors[:1]
    for request in made.requests:
        assert request.prompt is not None
        assert ("one person" in request.prompt) == ("age_band" not in factors)


def test_what_a_plan_spreads_over_can_be_narrowed() -> None:
    hidden = ["hat", "dummy"]  # the old word for a pacifier
    made = plan({"anger": 12}, ages=["adult"], occlusions=hidden, ethnicities=["Asian"])
    assert {(r.age_band, r.ethnicity, r.occlusion) for r in made.requests} == {
        ("adult", "Asian", "hat")  # no pacifier in an adult's mouth
    }
    with pytest.raises(UsageError, match="only children have a pacifier"):
        plan({"anger": 1}, ages=["adult"], occlusions=["dummy"])
    with pytest.raises(UsageError, match=r"occlusions: unknown value 'sunglases'.*'sunglasses'"):
        plan({"anger": 1}, occlusions=["sunglases"])
    with pytest.raises(UsageError, match="than 'none'"):
        plan({"anger": 1}, method="inpaint", change="occlusion", occlusions=["none"])


def every_prompt() -> list[str]:
    looks = [expression_prompt(name) for name in (*EXPRESSIONS, "crying", "contempt")]
    combos = itertools.product(AGES, ETHNICITIES, BACKGROUNDS, OCCLUSIONS)
    return [
        prompt_of(look, age_band=a, ethnicity=e, background=b, occlusion=o)
        for look, (a, e, b, o) in zip(itertools.cycle(looks), combos, strict=False)
    ]


def test_every_prompt_is_of_one_clothed_person_and_fits_what_clip_reads() -> None:
    prompts = every_prompt()
    assert len(set(prompts)) == len(prompts) == 3 * 6 * 6 * 7
    for prompt in (*prompts, NEGATIVE_PROMPT):
        assert len(re.findall(r"\w+|[^\w\s]", prompt)) <= 65  # of 75, for words that it splits
    assert all("fully clothed" in prompt and " one " in prompt for prompt in prompts)
    assert all(word in NEGATIVE_PROMPT for word in ("nude", "sexual", "violence", "underwear"))


def test_a_class_s_own_name_never_comes_into_a_prompt() -> None:
    assert expression_prompt("Happy") == expression_prompt("happiness")
    for name in ("nude", "sad boy on a beach", "class 1", ""):
        with pytest.raises(UsageError, match="there is no prompt for the class"):
            expression_prompt(name)
    with pytest.raises(UsageError, match="no prompt for the class 'nude'"):
        plan({"nude": 1})


def test_a_plan_is_written_as_a_table() -> None:
    made = plan({"sadness": 3, "fear": 1})
    rows = list(csv.DictReader(io.StringIO(made.as_csv())))
    assert [row["label"] for row in rows] == ["sadness"] * 3 + ["fear"]
    assert [row["prompt"] for row in rows] == [r.prompt for r in made.requests]
    assert made.rows()[3]["number"] == 1
