"""What a hybrid study compares: data sets, methods, classifiers and spaces. TOML in, checked."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from moppet.balance import BALANCERS
from moppet.config import checked_table, checked_value, old_names, read_toml
from moppet.study.features import SPACES
from moppet.study.hybrid.classifiers import CLASSIFIERS
from moppet.synthesis.generators import GENERATORS
from moppet.synthesis.settings import SynthesisSettings, settings_from
from moppet.values import UsageError, name_hint
from moppet.vocabulary import current_key, former_split


@dataclass(frozen=True)
class DataSet:
    """Which rows are learned from and read.

    classes: of these names. only_ages: of these bands, empty for all.
    share: of each class's training rows that are drawn, never fewer than `least`; 1 for all.
    methods: those that are tried here, empty for all.
    """

    name: str
    classes: tuple[str, ...]
    only_ages: tuple[str, ...] = ()
    share: float = 1.0
    least: int = 5
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """What is done with a fold's training rows before a classifier sees them; at first balanced.

    balance: a key of BALANCERS, or "" for none. enn: which of their neighbors must agree ("all"
        or "majority"). space: "pixels" (what is made is an image, described in the classifier's
        space afterwards) or "own" (balanced in the classifier's own space).
    synthesize: a trained generator of GENERATORS, or "" for none; it learns from what balancing
        left, and brings each class to the count of the largest one that came.
    weights: every class weighs the same.
    """

    name: str
    balance: str = ""
    enn: str = "all"
    space: str = "pixels"
    synthesise: str = ""
    weights: bool = False


@dataclass(frozen=True)
class HybridPlan:
    """A whole study.

    parts: splits of the data set that it draws from. model: of the embedding; it must not have
        learned from these faces. folds, repeats: of the grouped cross-validation.
    reference: the method that every other is compared with. generator: how images are made.
    published: method → figure → the gain over the reference that a publication gives, as a share
        of the reference's figure.
    output, work: folders of the results and of what is under way.
    """

    name: str
    title: str
    data: Path
    kind: str
    parts: tuple[str, ...]
    model: str
    spaces: tuple[str, ...]
    classifiers: tuple[str, ...]
    folds: int
    repeats: int
    seed: int
    reference: str
    generator: SynthesisSettings | None
    data_sets: tuple[DataSet, ...]
    methods: tuple[Method, ...]
    output: Path
    work: Path
    published: dict[str, dict[str, float]]

    def cells(self) -> list[HybridCell]:
        """Return everything that is to be run; the first repeat of all comes first."""
        return [
            HybridCell(data, method, repeat, fold)
            for repeat in range(self.repeats)
            for data in self.data_sets
            for method in self.methods
            if not data.methods or method.name in data.methods
            for fold in range(self.folds)
        ]

    def hash_of(self, cell: HybridCell) -> str:
        """Tells what a cell does from whatever else a cell of this name once did."""
        made = old_names(self.generator) if self.generator and cell.method.synthesise else {}
        told = [
            (
                [former_split(part) for part in self.parts],
                self.model,
                self.spaces,
                self.classifiers,
                self.folds,
                self.seed,
            ),
            asdict(cell.data) | {"name": "", "methods": ()},
            asdict(cell.method) | {"name": ""},
            made,
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class HybridCell:
    """One fold of a data set made ready by one method, read by every classifier in every space."""

    data: DataSet
    method: Method
    repeat: int
    fold: int

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What tells the cell from every other of its study."""
        return (self.data.name, self.method.name, self.repeat, self.fold)


_NEEDED: Final = ("name", "title", "output", "work", "data", "data_sets", "methods", "reference")
_DEFAULTS: Final[dict[str, Any]] = {
    "kind": "",
    "parts": ["train", "val"],
    "model": "adults",
    "spaces": ["hog", "embedding", "pixels"],
    "classifiers": list(CLASSIFIERS),
    "folds": 5,
    "repeats": 2,
    "seed": 0,
    "generator": {},
    "published": {},
}
_KINDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("data", "output", "work"), str),
    **dict.fromkeys(("data_sets", "methods", "generator", "published"), dict),
}
"""What a key of the file is, where the plan has something made of it."""
FIGURES: Final = ("macro_f1", "g_mean", "auc")
SIDE_PX: Final = 48
"""Side of the gray faces that a hybrid study works on: FER+'s own."""


def is_hybrid(path: Path) -> bool:
    """Return whether a TOML file describes a hybrid study rather than one of trainings."""
    try:
        return "methods" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return False


def read_hybrid_plan(path: Path) -> HybridPlan:
    """Read a study's plan; raise UsageError, naming the place, for what is wrong in it."""
    table = read_toml(path, "study")
    for name in _NEEDED:
        if name not in table:
            raise UsageError(f"{path}: the key {name!r} is needed.")
    _check_known(table, (*_NEEDED, *_DEFAULTS), str(path))
    types = get_type_hints(HybridPlan)
    given = {
        key: checked_value(_KINDS.get(key) or types[key], value, f"{path}: {key}")
        for key, value in (_DEFAULTS | table).items()
    }
    methods = tuple(_made(Method, n, t, f"{path}: method") for n, t in given["methods"].items())
    common = checked_value(dict, given["data_sets"].get("common", {}), f"{path}: data set 'common'")
    data_sets = tuple(
        _made(DataSet, name, t, f"{path}: data set", common)
        for name, t in given["data_sets"].items()
        if name != "common"
    )
    plan = HybridPlan(
        name=str(given["name"]),
        title=str(given["title"]),
        data=(path.parent / given["data"]).resolve(),
        kind=str(given["kind"]),
        parts=tuple(current_key(part) for part in given["parts"]),
        model=str(given["model"]),
        spaces=given["spaces"],
        classifiers=given["classifiers"],
        folds=given["folds"],
        repeats=given["repeats"],
        seed=given["seed"],
        reference=str(given["reference"]),
        generator=_generator(given["generator"], methods, str(path)),
        data_sets=data_sets,
        methods=methods,
        output=(path.parent / given["output"]).resolve(),
        work=(path.parent / given["work"]).resolve(),
        published=given["published"],
    )
    _check(plan, str(path))
    return plan


def _made(
    kind: type[Any], name: str, table: Any, where: str, common: Mapping[str, Any] = {}
) -> Any:
    where = f"{where} {name!r}"
    table = {**common, **checked_value(dict, table, where)}
    _check_known(table, [f.name for f in fields(kind) if f.name != "name"], where)
    try:
        return kind(name, **checked_table(kind, table, where))
    except TypeError:
        raise UsageError(f"{where}: the key 'classes' is needed.") from None


def _generator(
    table: dict[str, Any], methods: Sequence[Method], where: str
) -> SynthesisSettings | None:
    makers = {method.synthesise for method in methods if method.synthesise}
    if len(makers) > 1:
        raise UsageError(f"{where}: the methods of one study make images in one way.")
    if not makers:
        return None
    return settings_from({"method": makers.pop(), **table}, f"{where}: generator")


def _check_known(table: dict[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}.{name_hint(key, known)}")


def _check(plan: HybridPlan, where: str) -> None:
    learned = [name for name, one in GENERATORS.items() if one.trained]
    names = [method.name for method in plan.methods]
    words: list[tuple[str, str, Sequence[str]]] = [
        *(("space", space, list(SPACES)) for space in plan.spaces),
        *(("classifier", word, list(CLASSIFIERS)) for word in plan.classifiers),
        *(("balancer", m.balance, list(BALANCERS)) for m in plan.methods if m.balance),
        *(("synthesiser", m.synthesise, learned) for m in plan.methods if m.synthesise),
        *(("way of ENN", m.enn, ["all", "majority"]) for m in plan.methods),
        *(("space of a method", m.space, ["pixels", "own"]) for m in plan.methods),
        *(("method", word, names) for data in plan.data_sets for word in data.methods),
        ("reference", plan.reference, names),
        *(("published method", word, names) for word in plan.published),
    ]
    for method, gains in plan.published.items():
        if not isinstance(gains, dict) or not all(isinstance(x, float) for x in gains.values()):
            raise UsageError(f"{where}: published {method!r} needs figures as shares, as in 0.063.")
        words += [("published figure", word, FIGURES) for word in gains]
    for what, word, known in words:
        if word not in known:
            raise UsageError(f"{where}: there is no {what} {word!r}; known: {', '.join(known)}.")
    made = plan.generator
    if made is not None and (made.size, made.color) != (SIDE_PX, "gray"):
        raise UsageError(
            f"{where}: generator: a hybrid study's faces are gray and of {SIDE_PX} pixels, not "
            f"{made.color} and of {made.size}."
        )
    if any(m.space == "own" and m.synthesise for m in plan.methods):
        raise UsageError(f"{where}: a generator learns from images: balance in pixels before it.")
    if plan.folds < 2 or plan.repeats < 1 or plan.seed < 0:
        raise UsageError(f"{where}: a study needs 2 folds, 1 repeat and a seed of 0 at least.")
    for data in plan.data_sets:
        if not 2 <= len(data.classes) <= 10 or not 0 < data.share <= 1 or data.least < 2:
            raise UsageError(
                f"{where}: data set {data.name!r} needs 2 to 10 classes, a share above 0 and up "
                "to 1, and 2 rows of a class at least."
            )
        if len(set(data.classes)) < len(data.classes):
            raise UsageError(f"{where}: data set {data.name!r} names a class twice.")
