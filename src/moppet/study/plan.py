"""A study's recipe, read from TOML and checked, and the cells that the study consists of."""

from __future__ import annotations

import hashlib
import json
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import Ge, Gt, Interval, Le, MaxLen, MinLen

from moppet.config import SettingsError, change_keys, check_settings, old_names, read_toml
from moppet.infer.expression_model import find_model
from moppet.plugins import NameIn
from moppet.synthesis.generators import find_generator
from moppet.synthesis.settings import SynthesisSettings, settings_from
from moppet.train.recipe import Recipe, check_models, chosen_settings
from moppet.values import MoppetError, UsageError, name_hint

COPIES: Final = "copies"
"""A regime's `synthetic` that adds copies of the real training rows: more steps, no new faces."""
FIGURES: Final = {"macro_f1": "macro-F1", "g_mean": "G-mean", "auc": "AUC"}
"""Key of the results of classifiers → the figure's name."""
ALL: Final = "all"
"""What stands for classifier and space in a method's mean over all of them."""
SIDE_PX: Final = 48
"""Side of the gray faces that a study of classifiers works on: FER+'s own."""


@dataclass(frozen=True)
class StudyPlan:
    """What every study has.

    name, title: of the files that it writes, and of its page.
    output: the folder of the results. work: the folder of unfinished runs and caches.
    base: the recipe's folder, which relative paths start from; not a key of the recipe.
    """

    KEY: ClassVar[tuple[str, ...]]
    """The names of a cell's key in the ledger."""
    REPETITION: ClassVar[tuple[str, ...]]
    """Those that tell apart the cells of one hash."""

    name: Annotated[str, MinLen(1)]
    title: str
    output: Path
    work: Path
    base: Path

    def problems(self) -> Iterator[str]:
        """Yield what is wrong in the name, which is a part of file names."""
        if Path(self.name).name != self.name:
            yield f"name must be usable as a file name, got {self.name!r}."

    @property
    def ledger(self) -> Path:
        """The file of the finished cells, one a line."""
        return self.output / f"{self.name}.cells.jsonl"

    def cells(self) -> list[Any]:
        """Return every cell of the study, in the order in which they run."""
        raise NotImplementedError

    def hash_of(self, cell: Any) -> str:
        """Return 16 hexadecimal digits that stand for all settings that a cell depends on."""
        raise NotImplementedError


# --------------------------------------------------------------------- studies of networks


@dataclass(frozen=True)
class Regime:
    """Which rows a network is trained on.

    counts: class → number of images drawn from it; empty for all.
    draws: repetitions, each with other rows (where counts are given), other initial weights and
        another order.
    val: share of the drawn rows that becomes the validation set; 0 keeps the validation rows of
        the data set.
    synthetic: rows added to the training rows, `ratio` of them for each: faces of one of the
        plan's generators, or "copies" of the real rows; "" for none.
    """

    RENAMED: ClassVar = {"choose": "val", "made": "synthetic"}

    name: str
    draws: Annotated[int, Ge(1)] = 3
    counts: dict[str, Annotated[int, Ge(1)]] = field(default_factory=dict)
    val: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    synthetic: str = ""
    ratio: Annotated[float, Ge(0)] = 0.0

    def problems(self) -> Iterator[str]:
        if bool(self.synthetic) != (self.ratio > 0):
            yield "give both 'synthetic' and a ratio above 0, or neither."
        if self.synthetic == COPIES and self.ratio % 1:
            yield f"copies need a whole ratio, got {self.ratio}."


@dataclass(frozen=True)
class Table:
    """A table of experiments, which are compared with the first of them.

    experiments: keys of a training recipe, and `published`. common: keys of all of them.
    regimes: the regimes that they run in; empty for all.
    """

    experiments: Annotated[tuple[dict[str, Any], ...], MinLen(1)]
    common: dict[str, Any] = field(default_factory=dict)
    regimes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """One line of a table: a training recipe.

    published: the accuracy in a publication, on data of its own; None for none.
    """

    table: str
    name: str
    recipe: Recipe
    published: float | None = None


@dataclass(frozen=True)
class NetworkCell:
    """One training run and its evaluation on the test rows."""

    experiment: Experiment
    regime: Regime
    draw: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells the cell from every other of its study."""
        return (self.experiment.table, self.experiment.name, self.regime.name, self.draw)

    @property
    def recipe(self) -> Recipe:
        """The experiment's recipe with a seed of the draw's own."""
        recipe = self.experiment.recipe
        return replace(recipe, seed=recipe.seed + self.draw)


@dataclass(frozen=True)
class NetworkPlan(StudyPlan):
    """A study that trains networks: every experiment in every regime, several times.

    common: keys of all training recipes. generators: name → settings of synthetic faces.
    compare: "experiments" (each with the first of its table, within a regime) or "regimes" (each
        with the first one, within an experiment).
    notes: paragraphs for the page.
    """

    KEY = ("table", "experiment", "regime", "draw")
    REPETITION = ("draw",)

    common: dict[str, Any]
    regimes: dict[str, Regime]
    tables: dict[str, Table]
    generators: dict[str, dict[str, Any]] = field(default_factory=dict)
    compare: Literal["experiments", "regimes"] = "experiments"
    notes: str = ""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong in the regimes, the tables and the names of experiments."""
        yield from super().problems()
        yield from _name_problems("regimes", self.regimes)
        known = (COPIES, *self.generators)
        for name, regime in self.regimes.items():
            if regime.synthetic and regime.synthetic not in known:
                hint = name_hint(regime.synthetic, known)
                yield f"regimes.{name}: there is no generator {regime.synthetic!r}.{hint}"
        for title, table in self.tables.items():
            for name in set(table.regimes) - set(self.regimes):
                yield f"tables.{title}: no regime {name!r}.{name_hint(name, self.regimes)}"
        try:
            experiments = self.experiments
        except SettingsError:
            return  # which `table_problems` has listed
        names = [(one.table, one.name) for one in experiments]
        for title, name in sorted({one for one in names if names.count(one) > 1}):
            yield f"tables.{title}: two experiments have the name {name!r}."
        recipes = [one.recipe for one in experiments]
        if len({(recipe.data, recipe.kind, recipe.subject) for recipe in recipes}) > 1:
            yield "the experiments of a study use one data set; give 'data' once, in [common]."

    @classmethod
    def table_problems(cls, table: Mapping[str, Any]) -> Iterator[str]:
        """Yield what is wrong in the generators and the training recipes of a study's table."""
        for name, given in _tables(table.get("generators")).items():
            try:
                settings_from(given, "")
            except SettingsError as error:
                yield from (f"generators.{name}: {one}" for one in error.problems)
        found: dict[str, str] = {}
        for title, one in _tables(table.get("tables")).items():
            lines = one.get("experiments")
            for number, line in enumerate(lines if isinstance(lines, list) else ()):
                keys = _tables({0: table.get("common"), 1: one.get("common"), 2: line})
                try:
                    _experiment(title, dict(ChainMap(*reversed(keys.values()))))
                except SettingsError as error:  # in `common` it would come once per experiment
                    for text in error.problems:
                        found.setdefault(text, f"tables.{title}, experiment {number + 1}")
        yield from (f"{place}: {text}" for text, place in found.items())

    @cached_property
    def experiments(self) -> tuple[Experiment, ...]:
        """Every table's experiments, in order."""
        return tuple(
            _experiment(title, {**self.common, **table.common, **line})
            for title, table in self.tables.items()
            for line in table.experiments
        )

    @cached_property
    def synthesis(self) -> dict[str, SynthesisSettings]:
        """The generators' settings by name."""
        return {name: settings_from(given, name) for name, given in self.generators.items()}

    def cells(self) -> list[NetworkCell]:
        """Return every cell of the study: all experiments of a regime, then the next regime."""
        return [
            NetworkCell(experiment, regime, draw)
            for regime in self.regimes.values()
            for experiment in self.experiments
            if regime.name in (self.tables[experiment.table].regimes or self.regimes)
            for draw in range(regime.draws)
        ]

    def hash_of(self, cell: NetworkCell) -> str:
        """Return the hash of a cell's training recipe and regime, without the draw."""
        recipe = chosen_settings(cell.experiment.recipe) | {"name": ""}
        ratio = cell.regime.ratio
        # 3 and 3.0 are one ratio.
        regime = old_names(cell.regime) | {"draws": 0, "ratio": ratio if ratio % 1 else int(ratio)}
        settings: list[Any] = [recipe, regime]
        if not cell.regime.synthetic:
            del regime["made"], regime["ratio"]
        elif cell.regime.synthetic in self.generators:
            settings.append(old_names(self.synthesis[cell.regime.synthetic]))
        return _hash(settings)


def _experiment(title: str, given: dict[str, Any]) -> Experiment:
    published = given.pop("published", None)
    wrong = isinstance(published, bool) or not isinstance(published, float | int | None)
    if wrong or not 0 <= (published or 0) <= 1:
        raise SettingsError([f"published must be an accuracy from 0 to 1, got {published!r}."])
    recipe = check_settings(Recipe, given, "")
    return Experiment(title, recipe.name, recipe, published)


def _tables(table: Any) -> dict[Any, dict[str, Any]]:
    """Return the tables within a table, and nothing else that a file may hold."""
    items = table.items() if isinstance(table, dict) else ()
    return {key: one for key, one in items if isinstance(one, dict)}


# ------------------------------------------------------------------ studies of classifiers


@dataclass(frozen=True)
class DataSet:
    """Which rows the classifiers are trained and tested on.

    classes: their names. only_ages: keep only these age bands; empty for all.
    share: of each class's training rows that is used, never fewer than `min_rows`; 1 for all.
    methods: those to compare here; empty for all.
    """

    RENAMED: ClassVar = {"least": "min_rows"}

    name: str
    classes: Annotated[tuple[str, ...], MinLen(2), MaxLen(10)]
    only_ages: tuple[str, ...] = ()
    share: Annotated[float, Gt(0), Le(1)] = 1.0
    min_rows: Annotated[int, Ge(2)] = 5
    methods: tuple[str, ...] = ()

    def problems(self) -> Iterator[str]:
        if len(set(self.classes)) < len(self.classes):
            yield f"classes must differ, got {list(self.classes)}."


@dataclass(frozen=True)
class Method:
    """What is done with a fold's training rows: balancing first, then synthesis.

    balance: a key of BALANCERS, or "" for none. enn: how many of a row's neighbors must be of
        its class for edited nearest neighbors to keep it.
    space: "pixels" (balanced as images, whose features are computed afterwards) or "own"
        (balanced in the classifier's own feature space). clean_space: "embedding" to find the
        neighbors of the cleaning in the embedding of the study's model; "" for `space`.
    synthesize: a generator that is trained on what balancing left, and that brings each class to
        the count of the largest class before balancing; "" for none.
    weights: weight all classes equally.
    """

    RENAMED: ClassVar = {"synthesise": "synthesize"}

    name: str
    balance: Annotated[str, NameIn("moppet.balancers", "balancing method", optional=True)] = ""
    enn: Literal["all", "most", "majority"] = "all"  # as EnnRule, which loads much
    space: Literal["pixels", "own"] = "pixels"
    clean_space: Literal["", "embedding"] = ""
    synthesize: Annotated[str, NameIn("moppet.generators", "generator", optional=True)] = ""
    weights: bool = False

    def problems(self) -> Iterator[str]:
        """Yield a generator that is not trained, or that would get no images."""
        if self.space == "own" and self.synthesize:
            yield "a generator is trained on images; with 'synthesize', space must be 'pixels'."
        if self.space == "own" and self.clean_space:
            yield "'clean_space' is for images; with it, space must be 'pixels'."
        if self.synthesize and not find_generator(self.synthesize).trained:
            yield f"synthesize needs a generator that is trained here, got {self.synthesize!r}."


@dataclass(frozen=True)
class ClassifierCell:
    """One fold of a data set, prepared by one method, for every classifier and feature space."""

    data: DataSet
    method: Method
    repeat: int
    fold: int

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What tells the cell from every other of its study."""
        return (self.data.name, self.method.name, self.repeat, self.fold)


@dataclass(frozen=True)
class ClassifierPlan(StudyPlan):
    """A study that compares ways of balancing and synthesis by cross-validated classifiers.

    data, kind: the data set, and its kind ("" to recognize it). subject: a regular expression
        whose (group) in a file's path is the person; "" for what the data says itself.
    reference: the method that every other is compared with.
    splits: those of the data set whose rows are used.
    model: of the embedding; it must not have been trained on these faces.
    folds, repeats: of the grouped cross-validation.
    generator: settings of the generator that the methods' `synthesize` names.
    published: method → figure → relative gain over the reference in a publication.
    other_data: the data set was given in place of the recipe's; not a key of the recipe.
    """

    KEY = ("data", "method", "repeat", "fold")
    REPETITION = ("repeat", "fold")
    RENAMED: ClassVar = {"parts": "splits"}
    RENAMED_WORDS: ClassVar = {"splits": {"choose": "val", "report": "test"}}

    data: Path
    reference: str
    data_sets: dict[str, DataSet]
    methods: dict[str, Method]
    kind: str = ""
    subject: str = ""
    splits: tuple[Literal["train", "val", "test"], ...] = ("train", "val")
    model: str = "adults"
    spaces: Annotated[tuple[Literal["pixels", "hog", "lbp", "embedding"], ...], MinLen(1)] = (
        "hog",
        "embedding",
        "pixels",
    )
    classifiers: Annotated[
        tuple[Literal["cart", "samme", "f1_adaboost", "logistic"], ...], MinLen(1)
    ] = ("cart", "samme", "f1_adaboost", "logistic")
    folds: Annotated[int, Ge(2)] = 5
    repeats: Annotated[int, Ge(1)] = 2
    seed: Annotated[int, Ge(0)] = 0
    generator: dict[str, Any] = field(default_factory=dict)
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    other_data: bool = False

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _name_problems("data_sets", self.data_sets)
        yield from _name_problems("methods", self.methods)
        named = [("reference", self.reference), *(("published", name) for name in self.published)]
        for data in self.data_sets.values():
            named += [(f"data_sets.{data.name}", name) for name in data.methods]
        for place, name in named:
            if name not in self.methods:
                yield f"{place}: there is no method {name!r}.{name_hint(name, self.methods)}"
        for method, gains in self.published.items():
            for name in gains:
                if name not in FIGURES:
                    hint = name_hint(name, FIGURES)
                    yield f"published.{method}: there is no figure {name!r}.{hint}"
        if len({m.synthesize for m in self.methods.values() if m.synthesize}) > 1:
            yield "all methods of one study must use the same generator in 'synthesize'."
            return
        try:
            settings = self.synthesis
        except UsageError as error:
            yield str(error)
            return
        if settings is not None and (settings.size, settings.channels) != (SIDE_PX, 1):
            yield f"generator: the faces of this study are gray and {SIDE_PX} pixels wide."

    @property
    def references(self) -> list[str]:
        """The methods that the others' means are compared with: the reference and the first."""
        return list(dict.fromkeys([self.reference, next(iter(self.methods))]))

    @cached_property
    def synthesis(self) -> SynthesisSettings | None:
        """The generator's settings; None where no method uses one."""
        used = [m.synthesize for m in self.methods.values() if m.synthesize]
        return settings_from({"method": used[0], **self.generator}, "generator") if used else None

    def cells(self) -> list[ClassifierCell]:
        """Return every cell of the study; the first repeat of all comes first."""
        return [
            ClassifierCell(data, method, repeat, fold)
            for repeat in range(self.repeats)
            for data in self.data_sets.values()
            for method in self.methods.values()
            if not data.methods or method.name in data.methods
            for fold in range(self.folds)
        ]

    def hash_of(self, cell: ClassifierCell) -> str:
        """Return the hash of all settings that a cell depends on, without repeat and fold."""
        old = old_names(self)
        method = old_names(cell.method) | {"name": ""}
        if not cell.method.clean_space:
            del method["clean_space"]  # cells of version 0.1 keep their hash
        settings: list[Any] = [
            [old[key] for key in ("parts", "model", "spaces", "classifiers", "folds", "seed")],
            old_names(cell.data) | {"name": "", "methods": ()},
            method,
            old_names(self.synthesis) if self.synthesis and cell.method.synthesize else {},
        ]
        settings += [str(self.data)] if self.other_data else []
        return _hash(settings + ([self.subject] if self.subject else []))


# ------------------------------------------------------------------------------- reading


def read_plan(
    path: Path,
    *,
    data: Path | None = None,
    output: Path | None = None,
    subject: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> NetworkPlan | ClassifierPlan:
    """Return the plan in a TOML file: of classifiers if it has [methods], else of networks.

    data, output, subject: a dataset, a folder and a regular expression in place of the recipe's.
    changes: keys to set over those of the file; "generator.steps" for a key of a table.
    Raises UsageError that lists every mistake in the file.
    """
    table = change_keys(read_toml(path, "study"), changes or {})
    for name in ("base", "other_data"):
        if name in table:
            raise UsageError(f"{path}: unknown key {name!r}.")
    base = path.parent
    table["base"] = str(base)
    kind: type[NetworkPlan | ClassifierPlan] = NetworkPlan
    if "methods" in table or "data_sets" in table:
        kind = ClassifierPlan
        _prepare_data_sets(table)
    if data is not None:
        _replace_data(table, kind, data=str(data.resolve()), kind="")
        table |= {"other_data": True} if kind is ClassifierPlan else {}
    if subject is not None:
        _replace_data(table, kind, subject=subject)
    if output is not None:
        table["output"] = str(output.resolve())
    for key in ("output", "work", "data"):
        if isinstance(table.get(key), str):
            table[key] = str((base / table[key]).resolve())
    for key in ("regimes", "data_sets", "methods"):
        if isinstance(table.get(key), dict):
            table[key] = {name: _named(name, one) for name, one in table[key].items()}
    return check_settings(kind, table, source=str(path))


def check_plan_models(plan: NetworkPlan | ClassifierPlan, path: Path) -> None:
    """Raise UsageError for a model that the study names and that is not there. path: its file."""
    if isinstance(plan, NetworkPlan):
        check_models((one.recipe for one in plan.experiments), path, only_names=True)
    elif "embedding" in (*plan.spaces, *(m.clean_space for m in plan.methods.values())):
        try:
            find_model(plan.model)
        except MoppetError as error:
            raise UsageError(f"{path}: model: {error}") from None


def _prepare_data_sets(table: dict[str, Any]) -> None:
    """Give every data set the keys of [data_sets.common]."""
    sets = table.get("data_sets")
    if isinstance(sets, dict) and isinstance(sets.get("common"), dict):
        common = sets.pop("common")
        for name, one in sets.items():
            sets[name] = {**common, **one} if isinstance(one, dict) else one


def _replace_data(table: dict[str, Any], plan: type[StudyPlan], **keys: str) -> None:
    """Set keys of the study's data, for networks in [common] and in no table or experiment."""
    if plan is ClassifierPlan:
        table |= keys
        return
    tables = table.get("tables")
    for one in tables.values() if isinstance(tables, dict) else ():
        for settings in (one.get("common"), *one.get("experiments", ())):
            if isinstance(settings, dict):
                for key in keys:
                    settings.pop(key, None)
    if isinstance(table.setdefault("common", {}), dict):
        table["common"] |= keys


def _named(name: str, one: Any) -> Any:
    return {"name": name, **one} if isinstance(one, dict) else one


def _name_problems(place: str, tables: Mapping[str, Any]) -> Iterator[str]:
    for name, one in tables.items():
        if one.name != name:
            yield f"unknown key '{place}.{name}.name'; the name is that of the table."


def _hash(settings: Any) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
