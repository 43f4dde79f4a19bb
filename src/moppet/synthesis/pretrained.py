"""Pretrained diffusion models: local folders, or hub models pinned file by file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs
import torch

from moppet.config import read_settings
from moppet.files import file_sha256, print_once
from moppet.privacy import hub_download
from moppet.values import ModelError, MoppetError, UsageError

SAFETY: Final = (
    "Synthetic images of children may only be used to train expression recognition. Never pass "
    "them on as photographs, never generate images of a person whom you could name, and review "
    "them before use. The prompts come from a fixed list, the negative prompt is always sent, and "
    "a safety checker in the folder stays on. The law in your country may require more."
)
_PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".msgpack", ".h5")
_HUB: Final = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Pin:
    """A model on the Hugging Face hub: its revision, and the SHA-256 of each file that is used."""

    repo: str
    revision: str
    files: dict[str, str]

    def problems(self) -> Iterator[str]:
        if not _HUB.fullmatch(self.repo):
            yield f'repo must be "owner/name", got {self.repo!r}.'
        if not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            yield (
                "revision must be the 40 hex digits of a commit, because the files of a branch "
                f"can change; got {self.revision!r}."
            )
        if not self.files:
            yield "[files] must list at least one file."
        for name, digest in self.files.items():
            if Path(name).suffix.lower() in _PICKLES:
                yield f"{name} cannot be used: only safetensors weights are loaded."
            elif not re.fullmatch(r"[0-9a-f]{64}", digest):
                yield f"the SHA-256 of {name} must have 64 hex digits, got {digest!r}."


def find_pretrained(named: str, what: str, setting: str) -> Path:
    """Return the folder of a pretrained model.

    named: a folder, or a .toml file that pins a hub model (docs/guides/synthesis.md).
    what, setting: the model in words and the setting that names it, for errors.
    Raises UsageError if nothing is named, or a hub model without a pin; ModelError if the folder
    does not exist, or if a file is not the pinned one.
    """
    if not named:
        raise UsageError(f"{what} is needed: give its folder in the setting {setting}.")
    place = Path(named).expanduser()
    if place.suffix.lower() == ".toml":
        return fetch_pinned(read_settings(Pin, place, "pin"))
    if place.is_dir():
        return place
    if _HUB.fullmatch(named):
        raise UsageError(
            f"{named} is not a folder on this machine, and a hub model must be pinned: write its "
            "repo, its revision and the SHA-256 of its files into a .toml file, and name this "
            f"file in {setting} (docs/guides/synthesis.md)."
        )
    raise ModelError(f"{what} is needed, but the folder {named} does not exist.")


def fetch_pinned(pin: Pin) -> Path:
    """Return the folder of a pinned model, downloaded if necessary, with every file checked.

    The folder is in moppet's own cache, so it contains no other files that could be loaded.
    Raises ModelError if the download fails, or if a file is not the pinned one.
    """
    key = json.dumps([pin.repo, pin.revision, sorted(pin.files.items())])
    folder = _cache() / "models" / hashlib.sha256(key.encode()).hexdigest()[:16]
    with suppress(ModelError):
        check_files(folder, pin)
        return folder
    from huggingface_hub import snapshot_download

    try:
        with hub_download():
            snapshot_download(
                pin.repo,
                revision=pin.revision,
                allow_patterns=sorted(pin.files),
                local_dir=folder,
            )
    except Exception as error:  # the hub's client raises errors of many kinds
        raise ModelError(f"{pin.repo} cannot be downloaded: {reason_of(error)}") from None
    check_files(folder, pin)
    return folder


def check_files(folder: Path, pin: Pin) -> None:
    """Raise ModelError unless every file of the pin exists and has the pinned SHA-256."""
    for name, digest in pin.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{pin.repo} at {pin.revision[:8]} has no file {name}.")
        if file_sha256(path) != digest:
            raise ModelError(
                f"{name} of {pin.repo} is not the pinned file: its SHA-256 differs. Nothing was "
                "loaded."
            )


def model_fingerprint(folder: Path) -> str:
    """Return a model folder's name and a hash of its weights and settings."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".txt"))
    found = [f"{path.relative_to(folder).as_posix()} {file_sha256(path)}" for path in files]
    return f"{folder.name} ({hashlib.sha256(chr(10).join(found).encode()).hexdigest()[:12]})"


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("moppet", appauthor=False))


def check_folder(folder: Path, needed: str, what: str) -> None:
    """Raise ModelError unless a folder has the needed file and safetensors weights."""
    if not (folder / needed).is_file():
        raise ModelError(f"{folder} contains no {what}: {needed} is missing.")
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(
            f"{folder} has no .safetensors weights. Get the model in this format: other formats "
            "can execute code when they are read."
        )


def license_of(folder: Path) -> str:
    """Return in words which license a model's own card names."""
    with suppress(OSError, UnicodeDecodeError):
        head = (folder / "README.md").read_text(encoding="utf-8")[:4000]
        if found := re.search(r"^license(?:_name)?:\s*(\S[^\n]*)$", head, re.MULTILINE):
            return f"license according to its card: {found.group(1).strip()}"
    return "its folder names no license, so look it up before you use the model"


def print_conditions(folder: Path, what: str, *, checked: bool) -> bool:
    """Print a model's license and the conditions of use, the first time that it is used.

    checked: whether the folder has a safety checker. Returns whether the text was printed; see
        `print_once`.
    """
    text = f"{what} in {folder}: {license_of(folder)}. {SAFETY}"
    if not checked:
        text += " This folder has no safety checker, so review the images with special care."
    return print_once(text, text)


def missing_library(error: ModuleNotFoundError) -> MoppetError:
    """Return the error to raise if a library of the extra is not installed."""
    return MoppetError(
        f"This method needs {error.name}. Install it with: pip install 'moppet[synthesize]'"
    )


def reason_of(error: Exception) -> str:
    """Return the first line of a library's error message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def find_device(name: str = "auto") -> str:
    """Return "cuda" or "cpu"; "auto" is the GPU if there is one.

    Raises UsageError for another name, or if there is no GPU.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name not in ("cpu", "cuda"):
        raise UsageError(f"--device must be auto, cpu or cuda, got {name!r}.")
    if name == "cuda" and not available:
        raise UsageError("--device cuda needs an NVIDIA GPU that torch can use, but there is none.")
    return name
