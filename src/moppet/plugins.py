"""Registries: the names in them, and the entries that other installed packages add to them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final

from moppet.values import name_hint

BUILT_IN: Final[Mapping[str, tuple[str, ...]]] = {
    "moppet.networks": (
        *("childcnn", "alexnet", "resnet18", "googlenet"),
        *("mobilenet_v1", "mobilenet_v2", "mobilefacenet", "dlib_resnet", "efficientnet_lite0"),
    ),
    "moppet.augmentations": ("random_views", "geometry", "appearance", "occlusion"),
    "moppet.balancers": (
        *("random_over", "random_under", "smote", "borderline_smote", "adasyn"),
        *("enn", "tomek", "smote_enn", "smote_tomek"),
    ),
}
"""Group of entry points → the names that moppet's own registry of heavy entries has."""

_LOADED: Final[set[str]] = set()
_OPEN: Final[dict[str, dict[str, Any]]] = {}
"""Group → its registry, once it is imported: users may have added names to it."""


class PluginWarning(UserWarning):
    """A plugin cannot be used; its message is one sentence that names the package."""


def announce_registry(group: str, registry: dict[str, Any]) -> None:
    """Let `known_names` see a group's registry, to which names are added in Python, too."""
    _OPEN[group] = registry


def known_names(group: str) -> list[str]:
    """Return the names in a registry and those that installed packages add; nothing is imported."""
    own = _OPEN.get(group, BUILT_IN.get(group, ()))
    return list(dict.fromkeys((*own, *sorted(entry_points(group=group).names))))


@dataclass(frozen=True)
class NameIn:
    """Annotates a setting that is a name in a registry, for the check in `moppet.config`.

    what: the noun for the message, such as "network". optional: whether it may be empty.
    """

    group: str
    what: str
    optional: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str) -> str:
        known = known_names(self.group)
        if name in known or (self.optional and not name):
            return name
        raise ValueError(f"there is no {self.what} {name!r}.{name_hint(name, known)}")


def load_plugins(group: str, registry: dict[str, Any], kind: Any = object) -> None:
    """Add every entry point of a group to a registry, the first time that it is called.

    group: of entry points, such as "moppet.datasets". The name of an entry point becomes the key
        and its object the value. Names that the registry has already are refused.
    kind: the class or abstract class (Callable) that a value must be an instance of.
    A plugin that cannot be used is left out with a PluginWarning. Call this before a name is
    looked up, not while moppet's modules are imported: plugins import those modules.
    """
    if group in _LOADED:
        return
    _LOADED.add(group)
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        if problem := _add(point, registry, kind):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            warnings.warn(
                f"the plugin {point.name!r} of the package {package} ({group}) is not used: "
                f"{problem}. Update or uninstall the package.",
                PluginWarning,
                stacklevel=2,
            )


def _add(point: Any, registry: dict[str, Any], kind: Any) -> str:
    """Add one entry point; return why it cannot be used, "" if it can."""
    if point.name in registry:
        return f"the name {point.name!r} is taken"
    try:
        value = point.load()
    except Exception as error:  # whatever a foreign module raises while it is imported
        text = " ".join(str(error).split()).rstrip(".")
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    if not isinstance(value, kind):
        return f"{point.value} is a {type(value).__name__}, but a {kind.__name__} is needed"
    registry[point.name] = value
    return ""
