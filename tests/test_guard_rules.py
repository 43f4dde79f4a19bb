"""The guard's rules: what may be written, what it means, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moppet.guard.rules import (
    DEFAULT_RULES,
    Again,
    GuardSettings,
    NoFace,
    Rule,
    Shows,
    Span,
    members_of,
    parse_rules,
    read_guard,
)
from moppet.values import EXPRESSIONS, GROUPS, UsageError

NUMBERS = st.integers(1, 99_999).map(lambda n: n / 1000)
SPANS = st.builds(Span, NUMBERS, st.sampled_from(["s", "min"]))
SHOWS = st.builds(
    Shows,
    st.lists(st.sampled_from([*EXPRESSIONS, "negative", "group neutral", "not crying"]), min_size=1)
    .map(tuple),
    NUMBERS,
    SPANS,
)  # fmt: skip
ACTIONS = st.sampled_from([("pause",), ("alert",), ("pause", "alert")])
RULES = st.builds(Rule, st.one_of(SHOWS, st.builds(NoFace, SPANS)), ACTIONS)


def parse_one(text: str) -> Rule:
    (rule,) = parse_rules([text])
    return rule


@given(st.lists(st.tuples(RULES, st.none() | st.builds(Rule, st.builds(Again, SPANS), ACTIONS))))
def test_rules_read_back_as_they_print(pairs: list[tuple[Rule, Rule | None]]) -> None:
    rules = [rule for pair in pairs for rule in pair if rule is not None]
    texts = [str(rule) for rule in rules]
    if rules:
        assert parse_rules(texts) == tuple(rules)
        assert parse_rules(["; ".join(texts)]) == tuple(rules)
        assert parse_rules(["\n".join(texts)]) == tuple(rules)


@pytest.mark.parametrize("text", DEFAULT_RULES)
def test_the_default_rules_print_as_they_are_written(text: str) -> None:
    rules = parse_rules(DEFAULT_RULES)
    assert text in [str(rule) for rule in rules]


@pytest.mark.parametrize(
    "text",
    [
        "negative ≥ 60 % for 4 s → pause",
        "  negative>=60% for  4s->pause ",
        "negative >=60 % for 4.0 s -> pause",
    ],
)
def test_signs_and_spaces_may_be_written_in_other_ways(text: str) -> None:
    assert str(parse_one(text)) == "negative >= 60 % for 4 s -> pause"


def test_a_unit_stays_as_it_was_written_and_counts_in_seconds() -> None:
    assert str(parse_one("no face for 120 s -> alert")) == "no face for 120 s -> alert"
    assert parse_one("no face for 1.5 min -> alert").when.span.seconds == 90
    assert parse_one("no face for 2 h -> alert").when.span.seconds == 7200


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("negative > 60 % for 4 s -> pause", '">="'),
        ("negative <= 60 % for 4 s -> pause", '">="'),
        ("negative >= 60 for 4 s -> pause", '"60"'),
        ("negative >= 0.6 for 4 s -> pause", '"0.6"'),
        ("negative >= 0 % for 4 s -> pause", '"0 %"'),
        ("negative >= 101 % for 4 s -> pause", '"101 %"'),
        ("negative >= 60 % -> pause", '"60 %"'),
        ("negative >= 60 % for 4 -> pause", '"4"'),
        ("negative >= 60 % for 0 s -> pause", '"0 s"'),
        ("negative >= 60 % for 4 parsecs -> pause", '"4 parsecs"'),
        ("negative >= 60 % for 25 h -> pause", '"25 h"'),
        ("negative >= 60 % for -4 s -> pause", '"-4 s"'),
        (">= 60 % for 4 s -> pause", "name"),
        ("negative + >= 60 % for 4 s -> pause", "name"),
        ("negative >= 60 % for 4 s", '"->"'),
        ("negative >= 60 % for 4 s -> pause -> alert", '"->"'),
        ("negative >= 60 % for 4 s -> scream", '"scream"'),
        ("negative >= 60 % for 4 s -> pause, alert", '"pause, alert"'),
        ("negative >= 60 % for 4 s -> ", '""'),
        ("no face in 30 s -> pause", '"in"'),
        ("no face -> pause", '"for"'),
        ("again within 2 min -> pause", '"again"'),
        ("", "at least one rule"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place_and_an_example(text: str, place: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_rules([text])
    message = str(refused.value)
    assert place in message and "\n" not in message
    assert "negative >= 60 % for 4 s -> pause" in message
    assert not text or ("rule 1" in message and " ".join(text.split()) in message)


def test_again_belongs_to_one_rule_above_it() -> None:
    with pytest.raises(UsageError, match=r"rule 3 of my\.toml"):
        parse_rules([*DEFAULT_RULES[:2], DEFAULT_RULES[1]], source="my.toml")


def test_names_are_expressions_first_then_groups() -> None:
    def members(text: str) -> set[str]:
        when = parse_one(f"{text} >= 60 % for 4 s -> pause").when
        assert isinstance(when, Shows)
        return set(members_of(when, EXPRESSIONS, GROUPS))

    assert members("negative") == {"sadness", "fear", "disgust", "anger"}
    assert members("neutral") == {"neutral"}
    assert members("group neutral") == {"neutral", "surprise"}
    assert members("sadness + negative") == {"sadness", "fear", "disgust", "anger"}
    with pytest.raises(UsageError, match=r"\"negativ\"\. Did you mean 'negative'\?"):
        members("negativ")
    with pytest.raises(UsageError, match="Known: neutral, happiness"):
        members("xyzzy")


def test_a_file_gives_rules_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "guard.toml"
    path.write_text('rules = ["sadness ≥ 70 % for 2 s → alert"]\ncalm_s = 3\nchild = "longest"\n')
    settings = read_guard(path)
    assert settings == GuardSettings(
        parse_rules(["sadness >= 70 % for 2 s -> alert"]), calm_s=3, child="longest"
    )
    path.write_text("cooldown_s = 20\n")
    assert read_guard(path) == GuardSettings(cooldown_s=20)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cooldown = 5", "Did you mean 'cooldown_s'"),
        ("cooldown_s = -1", "cooldown_s must be"),
        ("calm_s = nan", "calm_s must be"),
        ("calm_s = true", "calm_s must be"),
        ('child = "tallest"', "'largest' or 'longest'"),
        ('rules = "negative >= 60 % for 4 s -> pause"', "list of texts"),
        ("rules = []", "at least one rule"),
        ('rules = ["no face for 3 -> pause"]', "rule 1 of guard.toml"),
        ("rules = [", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "guard.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_guard(path)
    assert says in str(refused.value) and "\n" not in str(refused.value)
