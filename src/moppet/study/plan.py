"""A study's plan: which experiments run on which rows how often. TOML in, checked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from moppet.config import checked_table, checked_value, read_toml
from moppet.study.synthetic_faces import COPIES
from moppet.synthesis.settings import SynthesisSettings, settings_from
from moppet.train.recipe import Recipe, recipe_from
from moppet.values import UsageError
from moppet.vocabulary import current_key


@dataclass(frozen=True)
class Regime:
    """Which rows are learned from.

    counts: class → how many images of it are drawn; empty for all.
    draws: how often it is done again, each time with another draw of rows (where counts are
        given), another start and another order.
    val: share of the drawn rows that becomes the validation set; 0 keeps the validation rows of
        the data set.
    made: what stands beside the training rows, `ratio` rows for each of them: faces of one of the
        plan's generators, or "copies" of the rows; "" for nothing.
    """

    name: str
    draws: int = 3
    counts: dict[str, int] = field(default_factory=dict)
    val: float = 0.0
    made: str = ""
    ratio: float = 0.0


@dataclass(frozen=True)
class Experiment:
    """One line of the table: a recipe, and the regimes that it runs in.

    table: experiments of one table are compared with the first of it.
    published: the accuracy that a publication gives for it, on data of its own; None for none.
    """

    name: str
    table: str
    recipe: Recipe
    regimes: tuple[str, ...]
    published: float | None = None


@dataclass(frozen=True)
class Plan:
    """A whole study.

    name, title: of the files that it writes, and of its page.
    output: the folder that they go to. work: the folder of what is under way.
    base: the folder that the recipes' paths start from.
    generators: how faces are made, by the name that regimes call it.
    compare: "experiments" (each with the first of its table, within a regime) or "regimes" (each
        with the first one, within an experiment).
    """

    name: str
    title: str
    output: Path
    work: Path
    base: Path
    regimes: tuple[Regime, ...]
    experiments: tuple[Experiment, ...]
    generators: dict[str, SynthesisSettings] = field(default_factory=dict)
    compare: str = "experiments"
    notes: str = ""

    def cells(self) -> list[Cell]:
        """Return everything that is to be run, in order."""
        return [
            Cell(experiment, regime, draw)
            for regime in self.regimes
            for experiment in self.experiments
            if regime.name in experiment.regimes
            for draw in range(regime.draws)
        ]


@dataclass(frozen=True)
class Cell:
    """One training and its measurement."""

    experiment: Experiment
    regime: Regime
    draw: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells the cell from every other of its study."""
        return (self.experiment.table, self.experiment.name, self.regime.name, self.draw)

    @property
    def recipe(self) -> Recipe:
        """The experiment's recipe with the draw's own start, order and views."""
        recipe = self.experiment.recipe
        return replace(recipe, seed=recipe.seed + self.draw)


_KEYS: Final = {"name", "title", "output", "work", "common", "regimes", "tables"}
_OPTIONAL: Final = {"generators", "compare", "notes"}


def read_plan(path: Path) -> Plan:
    """Read a study's plan; raise UsageError, naming the place, for what is wrong in it."""
    table = read_toml(path, "study")
    odd = sorted(set(table) - _KEYS - _OPTIONAL)
    missing = sorted(_KEYS - set(table))
    if odd or missing:
        said = f"unknown key {odd[0]!r}" if odd else f"the key {missing[0]!r} is needed"
        raise UsageError(f"{path}: {said}. A study holds {', '.join(sorted(_KEYS))}.")
    for name in ("common", "regimes", "tables", "generators"):
        checked_value(dict, table.get(name, {}), f"{path}: {name}")
    generators = {}
    for name, given in table.get("generators", {}).items():
        place = f"{path}: generator {name!r}"
        generators[name] = settings_from(checked_value(dict, given, place), place)
    known = {"", COPIES, *generators}
    regimes = tuple(_regime(name, given, path, known) for name, given in table["regimes"].items())
    experiments: list[Experiment] = []
    for title, given in table["tables"].items():
        experiments += _experiments(title, given, table, regimes, path)
    names = [(e.table, e.name) for e in experiments]
    if len(set(names)) < len(names):
        raise UsageError(f"{path}: two experiments of one table have one name.")
    return Plan(
        str(table["name"]),
        str(table["title"]),
        (path.parent / table["output"]).resolve(),
        (path.parent / table["work"]).resolve(),
        path.parent,
        regimes,
        tuple(experiments),
        generators,
        _compared(table.get("compare", "experiments"), path),
        str(table.get("notes", "")).strip(),
    )


def _compared(word: Any, path: Path) -> str:
    if word not in ("experiments", "regimes"):
        raise UsageError(f'{path}: compare is "experiments" or "regimes", but {word!r} came.')
    return str(word)


def _published(value: Any, place: str) -> float | None:
    if value is not None and not (isinstance(value, float) and 0 <= value <= 1):
        raise UsageError(f"{place}: published is an accuracy from 0.0 to 1.0, but {value!r} came.")
    return value


def _regime(name: str, given: Any, path: Path, known: set[str]) -> Regime:
    place = f"{path}: regime {name!r}"
    given = {current_key(key): value for key, value in checked_value(dict, given, place).items()}
    given = checked_table(Regime, given, place)
    odd = sorted(set(given) - {f.name for f in fields(Regime) if f.name != "name"})
    if odd:
        raise UsageError(f"{path}: regime {name!r}: unknown key {odd[0]!r}.")
    made = given.get("made", "")
    if made not in known:
        raise UsageError(f"{path}: regime {name!r}: there is no generator {made!r}.")
    if bool(made) != (given.get("ratio", 0) > 0):
        raise UsageError(
            f"{path}: regime {name!r} needs both made and a ratio above 0, or neither."
        )
    regime = Regime(name, **given)
    if regime.draws < 1 or not 0 <= regime.val < 1 or any(n < 1 for n in regime.counts.values()):
        raise UsageError(
            f"{path}: regime {name!r} needs draws and counts of 1 or more, and a share 'val' "
            "below 1."
        )
    if regime.made == COPIES and regime.ratio != int(regime.ratio):
        raise UsageError(f"{path}: regime {name!r}: copies need a whole ratio, not {regime.ratio}.")
    return regime


def _experiments(
    title: str,
    given: dict[str, Any],
    table: dict[str, Any],
    regimes: tuple[Regime, ...],
    path: Path,
) -> list[Experiment]:
    known = tuple(regime.name for regime in regimes)
    wanted = tuple(given.get("regimes", known))
    if not set(wanted) <= set(known):
        raise UsageError(f"{path}: table {title!r} asks for a regime that is not there.")
    made = []
    for line in given.get("experiments", []):
        settings = {**table["common"], **given.get("common", {}), **line}
        name = str(settings.get("name", ""))
        place = f"{path}: {title}: {name or 'an experiment'}"
        published = _published(settings.pop("published", None), place)
        recipe = recipe_from(settings, place)
        made.append(Experiment(name, title, recipe, wanted, published))
    if not made:
        raise UsageError(f"{path}: table {title!r} has no [[experiments]].")
    return made
