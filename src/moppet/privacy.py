"""What keeps the libraries below from reporting home, and their files in moppet's own cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import platformdirs

# onnxruntime looks at its switch when it is loaded; disable_telemetry_events() comes too late.
_NO_TELEMETRY: Final = {
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",  # diffusers and transformers
    "DO_NOT_TRACK": "1",
}
_OFFLINE: Final = "true"  # true for the hub's client as "1" is, but recognizable as moppet's own
_ONNXRUNTIME: Final = Path("Microsoft", "DeveloperTools", ".onnxruntime")
_TELEMETRY_FILES: Final = (
    "deviceid",
    "deviceid.lock",
    "onnxruntime.db",
    "onnxruntime.db-wal",
    "onnxruntime.db-shm",
    "onnxruntime.db-journal",
)


def disable_telemetry() -> None:
    """Switch the telemetry of all libraries off, here and in every process started from here.

    Call it before any of them is imported.
    """
    os.environ.update(_NO_TELEMETRY)


def use_own_caches() -> None:
    """Keep the caches of the libraries in moppet's own folder, and Hugging Face offline.

    Only for moppet's own processes: in a notebook, matplotlib and the others keep their settings.
    Variables that the user has set stay.
    """
    cache = platformdirs.user_cache_path("moppet", appauthor=False)
    os.environ.setdefault("MPLCONFIGDIR", str(cache / "matplotlib"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "torch"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(cache / "triton"))
    if "HF_HUB_OFFLINE" not in os.environ:
        os.environ["HF_HUB_OFFLINE"] = _OFFLINE


@contextmanager
def hub_download() -> Iterator[None]:
    """Let the Hugging Face hub be reached, for a model that the user has pinned.

    Only the switch of `use_own_caches` is lifted; a user's own HF_HUB_OFFLINE stays in force.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    if os.environ.get("HF_HUB_OFFLINE") == _OFFLINE:
        constants.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def remove_telemetry_files() -> None:
    """Remove, once per user, the device id and the events that onnxruntime stored before.

    Earlier releases of moppet did not switch its telemetry off. Nothing else is removed, and
    nothing is reported: what cannot be removed stays.
    """
    done = platformdirs.user_cache_path("moppet", appauthor=False) / "telemetry_removed"
    if done.exists():
        return
    cache = platformdirs.user_cache_path()
    folder = cache / _ONNXRUNTIME
    with suppress(OSError):
        if folder.is_dir() and folder.resolve() == cache.resolve() / _ONNXRUNTIME:
            for name in _TELEMETRY_FILES:
                if not (folder / name).is_symlink():
                    (folder / name).unlink(missing_ok=True)
            for empty in (folder, *list(folder.parents)[:2]):
                empty.rmdir()
    with suppress(OSError):
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()
