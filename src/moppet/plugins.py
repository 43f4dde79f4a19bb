"""Plugins: entries that other installed packages add to moppet's registries."""

from __future__ import annotations

import warnings
from importlib.metadata import entry_points
from typing import Any, Final

_LOADED: Final[set[str]] = set()


class PluginWarning(UserWarning):
    """A plugin cannot be used; its message is one sentence that names the package."""


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
