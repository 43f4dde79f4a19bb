"""Pretrained diffusion models: local folders, or hub models pinned file by file."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs
import torch

from moppet.config import read_toml
from moppet.values import ModelError, MoppetError, UsageError

SAFETY: Final = (
    "Pictures of children that a diffusion model makes are for teaching recognizers of expressions "
    "and for nothing else: never pass them on as photographs, never make one of a person whom you "
    "could name, and look through them before you use them. The prompts come from a fixed list, "
    "the negative prompt is always sent, and a safety checker in the folder stays on. Your law may "
    "ask for more."
)
_PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".msgpack", ".h5")
_HUB: Final = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Pin:
    """A model on the Hugging Face hub: its revision, and the SHA-256 of each file that is used."""

    repo: str
    revision: str
    files: Mapping[str, str]


def find_model(named: str, what: str, setting: str) -> Path:
    """Return the folder of a finished model.

    named: a folder, or a .toml file that pins a hub model (docs/guides/synthesis.md).
    what, setting: the model in words and the setting that names it, for errors.
    Raises UsageError where nothing is named, or a hub model without a pin; ModelError for a folder
    that holds no such model and for files that are not those of the pin.
    """
    if not named:
        raise UsageError(f"{what} is needed: give its folder in the setting {setting}.")
    place = Path(named).expanduser()
    if place.suffix.lower() == ".toml":
        return fetch_pinned(read_pin(place))
    if place.is_dir():
        return place
    if _HUB.fullmatch(named):
        raise UsageError(
            f"{named} is no folder here, and a hub model must be pinned: write its repo, revision "
            f"and the SHA-256 of its files into a .toml and name that in {setting} "
            "(docs/guides/synthesis.md)."
        )
    raise ModelError(f"{what} was expected in the folder {named}, but there is no such folder.")


def read_pin(path: Path) -> Pin:
    """Return the pin in a TOML file with the keys repo, revision and files.

    Raises UsageError if one is missing or wrong.
    """
    table = read_toml(path, "pin")
    files = table.get("files")
    pin = Pin(str(table.get("repo", "")), str(table.get("revision", "")), files or {})
    if set(table) != {"repo", "revision", "files"} or not isinstance(files, dict) or not files:
        raise UsageError(f"the pin {path} needs repo, revision and [files], and nothing else.")
    if not _HUB.fullmatch(pin.repo) or not re.fullmatch(r"[0-9a-f]{40}", pin.revision):
        raise UsageError(
            f'the pin {path} needs repo = "owner/name" and revision = a commit\'s 40 hex digits; '
            "a branch's name may mean other files tomorrow."
        )
    for name, digest in files.items():
        if Path(name).suffix.lower() in _PICKLES:
            raise UsageError(f"the pin {path} lists {name}: only safetensors weights are loaded.")
        if not re.fullmatch(r"[0-9a-f]{64}", str(digest)):
            raise UsageError(f"the pin {path} needs the SHA-256 of {name}, 64 hex digits.")
    return pin


def fetch_pinned(pin: Pin) -> Path:
    """Return the folder of a pinned model, downloaded if it is not here yet, every file checked.

    It is moppet's own, in the user's cache: no other file can lie in it and be loaded unchecked.
    Raises ModelError if it cannot be had, or a file is not the one that the pin names.
    """
    told = json.dumps([pin.repo, pin.revision, sorted(pin.files.items())])
    folder = _cache() / "models" / hashlib.sha256(told.encode()).hexdigest()[:16]
    with suppress(ModelError):
        check_files(folder, pin)
        return folder
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            pin.repo,
            revision=pin.revision,
            allow_patterns=sorted(pin.files),
            local_dir=folder,
        )
    except Exception as error:  # the hub's client raises many kinds; all mean the same here
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{pin.repo} cannot be fetched from the hub: {reason[0]}") from None
    check_files(folder, pin)
    return folder


def check_files(folder: Path, pin: Pin) -> None:
    """Raise ModelError unless every file of the pin is there and is the one that it names."""
    for name, digest in pin.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{pin.repo} at {pin.revision[:8]} has no file {name}.")
        if sha256_of(path) != digest:
            raise ModelError(
                f"{name} of {pin.repo} is not the file that is pinned (its SHA-256 differs): "
                "nothing was loaded."
            )


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def told_apart(folder: Path) -> str:
    """Return a model folder's name and what tells its weights and settings from any others."""
    read = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".txt"))
    found = [f"{path.relative_to(folder).as_posix()} {sha256_of(path)}" for path in read]
    return f"{folder.name} ({hashlib.sha256(chr(10).join(found).encode()).hexdigest()[:12]})"


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("moppet", appauthor=False))


def check_folder(folder: Path, needed: str, what: str) -> None:
    """Raise ModelError if a folder lacks the file that such a model has, or has only pickles."""
    if not (folder / needed).is_file():
        raise ModelError(f"{folder} holds no {what}: it has no {needed}.")
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(
            f"{folder} has no .safetensors weights, and other kinds can run code when they are "
            "read: get the model in that form."
        )


def license_of(folder: Path) -> str:
    """Return the license that a model's own card names, or that it names none."""
    with suppress(OSError, UnicodeDecodeError):
        head = (folder / "README.md").read_text(encoding="utf-8")[:4000]
        if found := re.search(r"^license(?:_name)?:\s*(\S[^\n]*)$", head, re.MULTILINE):
            return f"its card names the license {found.group(1).strip()}"
    return "its folder names no license: look it up before you use it"


def announce(folder: Path, what: str, *, checked: bool) -> bool:
    """Print a model's license and what must not be done with it, the first time it is used.

    checked: whether the folder has a safety checker. Returns whether it was printed. What was said
    is remembered in the user's cache folder by its words.
    """
    text = f"{what} in {folder}: {license_of(folder)}. {SAFETY}"
    if not checked:
        text += " This folder has no safety checker: look with more care."
    said = _cache() / "licences"
    marker = said / hashlib.sha256(text.encode()).hexdigest()[:16]
    with suppress(OSError):
        if marker.exists():
            return False
    print(text, file=sys.stderr)
    with suppress(OSError):
        said.mkdir(parents=True, exist_ok=True)
        marker.write_text(text + "\n", encoding="utf-8")
    return True


def needs(error: ModuleNotFoundError) -> MoppetError:
    """Return what to say where a library of the extra is missing."""
    return MoppetError(
        f"This method needs {error.name}. Install it with: pip install 'moppet[synthesize]'"
    )


def find_device(asked: str = "auto") -> str:
    """Return "cuda" or "cpu"; "auto" takes the first that is there.

    Raises UsageError for another word, and for a GPU that is not there.
    """
    there = torch.cuda.is_available()
    if asked == "auto":
        return "cuda" if there else "cpu"
    if asked not in ("cpu", "cuda"):
        raise UsageError(f"--device is auto, cpu or cuda, got {asked!r}.")
    if asked == "cuda" and not there:
        raise UsageError("--device cuda needs an NVIDIA GPU that torch can use; none is there.")
    return asked
