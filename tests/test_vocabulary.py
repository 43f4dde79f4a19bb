"""One dictionary: data sets, coders and models call an expression by the same words."""

from __future__ import annotations

import pytest

from moppet.coders.code_map import Vocabulary
from moppet.values import EXPRESSIONS, GROUPS
from moppet.vocabulary import (
    EXPRESSION_WORDS,
    GROUP_NAMES,
    SKIP,
    class_of,
    expression_of,
    groups_of,
    meanings_of,
    order_groups,
)

WORDS = sorted(EXPRESSION_WORDS)


@pytest.mark.parametrize("word", [*WORDS, "frightened", " Frightened "])
def test_data_sets_and_coders_know_the_same_words(word: str) -> None:
    coders = Vocabulary(EXPRESSIONS, GROUPS, {})
    assert coders.target_of(word) == expression_of(word) == class_of(word)
    assert expression_of(word) in EXPRESSIONS


def test_frightened_is_fear() -> None:
    assert expression_of("frightened") == "fear" and meanings_of("FRIGHTENED") == ("fear",)


@pytest.mark.parametrize("word", ["smile", "calm", "cry", "out of view", "contempt", ""])
def test_codes_for_behavior_name_no_class_of_a_data_set(word: str) -> None:
    assert expression_of(word) is None and class_of(word) == word


def test_a_code_for_behavior_means_what_the_model_can_tell() -> None:
    assert meanings_of("smile") == ("happiness", "positive")
    assert meanings_of("Out_of  view") == (SKIP,)
    assert Vocabulary(("positive", "negative"), {}, {}).target_of("smile") == "positive"
    assert Vocabulary(EXPRESSIONS, GROUPS, {}).target_of("smile") == "happiness"


def test_groups_come_in_one_order() -> None:
    assert set(GROUPS.values()) == set(GROUP_NAMES)
    assert order_groups(["b", "negative", None, "a", "positive", "b"]) == [
        *("positive", "negative", "b", "a")
    ]
    assert groups_of(["Frightened", "joy", "zeal"]) == {"Frightened": "negative", "joy": "positive"}
