"""The settings of a training run: read from TOML, checked, and compared with other runs'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from annotated_types import Ge, Interval

from moppet.config import old_names, read_settings
from moppet.infer.expression_model import find_model
from moppet.plugins import NameIn
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest

RANDOM_VIEWS: Final = "random_views"
Share = Annotated[float, Interval(ge=0, le=1)]
SourceShare = Annotated[float, Interval(ge=0, le=0.9)]
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
NotNegative = Annotated[float, Ge(0)]
AtLeastOne = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class RandomViewSettings:
    """Ranges of the random views, in either direction; probabilities in [0, 1].

    scale, contrast, gamma: of the natural logarithm of the factor or exponent.
    shift, shear: as a proportion of the image's size. brightness: of the range of gray values.
    framing: probability of a crop that is much larger or tighter (by a factor of up to 1.5).
    color_cast: probability that color images are seen in light of another color; it changes how
        bright skin, lips and background are in gray.
    underexposed: probability that the image is 1 to 3 stops too dark, with a dark image's noise.
    compression: probability of JPEG compression of quality 10 to 60.
    cover: probability that something covers the face from one side.
    """

    rotation_deg: Annotated[float, Interval(ge=0, le=180)] = 15.0
    scale: Annotated[float, Interval(ge=0, le=2)] = 0.15
    shift: Share = 0.07
    shear: Share = 0.08
    flip: Share = 0.5
    contrast: Annotated[float, Interval(ge=0, le=2)] = 0.4
    brightness: Share = 0.15
    gamma: Annotated[float, Interval(ge=0, le=2)] = 0.35
    shadow: Share = 0.2
    blur: Share = 0.2
    low_resolution: Share = 0.2
    noise: Share = 0.15
    erase: Share = 0.3
    framing: Share = 0.0
    color_cast: Share = 0.0
    underexposed: Share = 0.0
    compression: Share = 0.0
    cover: Share = 0.0


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    data: any dataset that `moppet.datasets.readers` reads, relative to the recipe's folder; "" if
        it is given on the command line.
    kind: its layout, "" to recognize it. subject: a regular expression whose (group) in a file's
        path is the person; "" for what the data says itself.
    classes: keep only images of these classes; empty for all.
    leave_out_copies: search for duplicates, and leave out training rows that are copies of a
        validation or test image.
    only_ages, without_ages: keep only these age bands; or leave these out of the training and
        validation rows, with every copy of their images.
    labels: "soft", the proportions of the votes where raters voted, or "hard", the winner alone.
    start: starting weights, relative to the recipe's folder: a model folder, a checkpoint
        (.safetensors, .npz, .pth), a bundled model's name, or "" for random weights.
    teachers: finished models, as `start`, whose predictions are mixed into the targets with a
        weight of `teacher_share` (knowledge distillation).

    network: a name in NETWORKS; attention, batch_norm, dropout, head: its settings, where it
        has them.
    size, color: width of the network's input in pixels; one gray channel, or three color channels.

    head_rate, base_rate: highest learning rates of the classifier and of all other layers.
    freeze_base: train the classifier only.
    schedule: "cosine" (a rise over `warm_up` of the steps, then cosine decay to 0), "step"
        (multiplication by `step_factor` every `step_epochs`), or "constant".
    optimizer: "adamw", "adam" (weight decay added to the gradient) or "sgd" (with `momentum`).
    gradient_clip: largest norm of a step's gradient; larger gradients are scaled down; 0 for any.
    loss: "cross_entropy" or "focal" (with `focal_gamma`), against the targets as proportions.
    class_weights: "none", "inverse" (frequency) or "effective" (number of samples).
    sampling: "plain", as in the data; "root", in proportion to the square root of a class's size;
        or "balanced", every class equally often. With votes as labels both are milder, because a
        row is drawn for every class that it has votes for: on FER+ "balanced" draws 0.04 of the
        rows for disgust and 0.07 for fear, where 0.14 would be even.
    oversample_ages: an epoch shows rows of these age bands `oversample_times` times as often as
        others, each time in another view.
    ema_decay: decay of the moving average of the weights, which is evaluated and kept; 0 keeps
        the weights themselves.
    keep: the weights of the "last" epoch, or of the "best" (lowest validation loss).
    early_stop: stop after this many epochs without improvement; 0 for never.
    augmentations: names in AUGMENTATIONS; empty for "random_views" alone.
    random_views: the ranges of those.
    augment_px: width in pixels at which all but random views work; the result is enlarged to
        `size`. 0 for `size` itself.
    augment_share: proportion of the images that all but random views change.
    augment_strengths: of these changes, by the names of `BatchAugmentation`'s fields ("hue",
        "gray_p", "rotation_deg", …); what is not named keeps its default.
    limits, license: what the model cannot do, and how it may be used, for its card.

    heads: what the network reads beside what observers would call a face: "display", what the
        face was meant to show, and "movements", facial movements.
    display_label: column of the data with the labels of the display reading.
    display_weight, movement_weight: weights of these heads' losses; the observers' is 1.
    display_adjustment: logit adjustment of the display reading (Menon et al. 2021): 0 for a
        reading that expects the classes as often as in the data, 1 for one that expects all
        equally often.
    blendshapes: .npz with Face Landmarker's blendshapes of the data's images, for the movements.
    rendered: folders of rendered faces, which teach display and movements by their exact truth.
    unlabeled: data sets without labels to learn from: Face Landmarker's blendshapes where the
        data has them, and the teachers' predictions.
    rendered_share, unlabeled_share: proportions of each batch; the rest is from `data`. With 0
        they are not trained on, but movements are still chosen and reported by rendered faces.
    teachers_on: whose images the teachers teach: "data", "rendered", "unlabeled".
    """

    RENAMED: ClassVar = {
        "colour": "color",
        "licence": "license",
        "families": "augmentations",
        "augmentation": "random_views",
    }
    RENAMED_WORDS: ClassVar = {"color": {"grey": "gray"}}

    name: str
    data: str = ""
    limits: str = ""
    license: str = "Apache-2.0"
    kind: str = ""
    subject: str = ""
    classes: tuple[str, ...] = ()
    leave_out_copies: bool = False
    only_ages: tuple[str, ...] = ()
    without_ages: tuple[str, ...] = ()
    start: str = ""
    labels: Literal["soft", "hard"] = "soft"
    teachers: tuple[str, ...] = ()
    teacher_share: BelowOne = 0.5
    seed: Annotated[int, Interval(ge=0, le=2**32 - 1)] = 0
    network: Annotated[str, NameIn("moppet.networks", "network")] = "mobilenet_v2"
    attention: Literal["none", "se", "cbam"] = "none"
    batch_norm: bool = False
    dropout: BelowOne = 0.2
    head: Literal["hidden", "original"] = "hidden"
    size: Annotated[int, Ge(32)] = 96
    color: Literal["gray", "rgb"] = "gray"
    epochs: AtLeastOne = 20
    batch: Annotated[int, Ge(2)] = 128
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: BelowOne = 0.9
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    head_rate: NotNegative = 3e-3
    base_rate: NotNegative = 1e-3
    freeze_base: bool = False
    warm_up: BelowOne = 0.1
    step_epochs: AtLeastOne = 10
    step_factor: NotNegative = 0.1
    weight_decay: NotNegative = 0.02
    gradient_clip: NotNegative = 0.0
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: NotNegative = 2.0
    label_smoothing: BelowOne = 0.0
    class_weights: Literal["none", "inverse", "effective"] = "none"
    sampling: Literal["plain", "root", "balanced"] = "plain"
    oversample_ages: tuple[str, ...] = ()
    oversample_times: AtLeastOne = 2
    ema_decay: BelowOne = 0.998
    keep: Literal["last", "best"] = "last"
    early_stop: Count = 0
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"
    augmentations: tuple[Annotated[str, NameIn("moppet.augmentations", "augmentation")], ...] = ()
    augment_px: Count = 0
    augment_share: Share = 1.0
    augment_strengths: dict[str, float | int] = field(default_factory=dict)
    random_views: RandomViewSettings = field(default_factory=RandomViewSettings)
    heads: tuple[Literal["display", "movements"], ...] = ()
    display_label: str = "fer2013_label"
    display_weight: NotNegative = 0.5
    movement_weight: NotNegative = 0.5
    display_adjustment: Share = 0.0
    blendshapes: str = ""
    rendered: tuple[str, ...] = ()
    unlabeled: tuple[str, ...] = ()
    rendered_share: SourceShare = 0.0
    unlabeled_share: SourceShare = 0.0
    teachers_on: tuple[Literal["data", "rendered", "unlabeled"], ...] = ("data",)

    @property
    def shares(self) -> dict[str, float]:
        """The proportion of each batch that every source but the data gives."""
        return {"rendered": self.rendered_share, "unlabeled": self.unlabeled_share}

    @property
    def has_sources(self) -> bool:
        """Whether the recipe needs more of its rows than the votes of observers."""
        return bool(self.heads or self.rendered or self.unlabeled or any(self.shares.values()))

    @property
    def channels(self) -> int:
        """1 for gray images, 3 for color."""
        return 1 if self.color == "gray" else 3

    @property
    def batch_augmentations(self) -> tuple[str, ...]:
        """The augmentations that change whole batches."""
        return tuple(name for name in self.augmentations if name != RANDOM_VIEWS)

    @property
    def uses_random_views(self) -> bool:
        """Whether random views are drawn: if nothing else is named, or if they are."""
        return not self.augmentations or RANDOM_VIEWS in self.augmentations

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with keys that depend on each other or on names elsewhere."""
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            yield f"classes must be two or more different names, got {list(self.classes)}."
        if self.only_ages and self.without_ages:
            yield "give only_ages or without_ages, not both."
        if sum(self.shares.values()) > 0.9:
            yield "rendered_share and unlabeled_share leave less than 0.1 of a batch to the data."
        if self.augment_strengths and not self.batch_augmentations:
            yield "augment_strengths needs augmentations: name those whose strength it sets."
        if self.heads and self.batch_augmentations:
            yield "heads need random views: leave augmentations empty."


def read_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe in a TOML file; UsageError lists every wrong key and value.

    changes: keys to set over those of the file; "random_views.noise" for a key of a table.
    """
    return read_settings(Recipe, path, "recipe", changes)


def data_of(recipe: Recipe, base: Path, given: Path | None = None) -> Path:
    """Return where the recipe's data is: `given`, or the recipe's own key, relative to `base`.

    Raises UsageError where neither names it.
    """
    if given is None and not recipe.data:
        raise UsageError(
            f"the recipe {recipe.name!r} does not name its data. Give it on the command line, with "
            "--data FOLDER, or as the key 'data' in the recipe."
        )
    return (given or base / recipe.data).resolve()


def check_models(recipes: Iterable[Recipe], path: Path, *, only_names: bool = False) -> None:
    """Raise UsageError where a recipe's `start` or a teacher is no file, folder or bundled model.

    path: of the recipe; names of files and folders start from its folder.
    only_names: leave out what is written as a path.
    """
    found: list[str] = []
    for recipe in recipes:
        named = [("start", recipe.start), *(("teachers", name) for name in recipe.teachers)]
        for key, name in named:
            is_path = "/" in name or Path(name).suffix
            there = (path.parent / name).exists() or Path(name).exists()
            if name and not there and not (only_names and is_path):
                try:
                    find_model(name)
                except MoppetError as error:
                    found.append(f"{key}: {error}")
    if found:
        raise UsageError(f"{path}: {' '.join(dict.fromkeys(found))}")


def read_data(recipe: Recipe, place: Path) -> Manifest:
    """Return the images that a recipe trains on; see `data_of`."""
    from moppet.datasets.readers import read_dataset

    options = {"subject_pattern": recipe.subject} if recipe.subject else {}
    return read_dataset(place, recipe.kind or None, **options)


def chosen_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that differ from their defaults, under the names of version 0.1.

    They identify a recipe, in checkpoints and study cells, also for later versions with more
    settings.
    """
    return _differing(old_names(recipe), old_names(type(recipe)("")))


def _differing(given: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _differing(value, default[key]) if isinstance(value, dict) and default[key] else value
        for key, value in given.items()
        if value != default[key]
    }
