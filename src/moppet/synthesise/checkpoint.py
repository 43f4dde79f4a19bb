"""A run's files on disk: checkpoints and finished generators as safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from moppet.synthesise.learner import Learner
from moppet.synthesise.settings import chosen_settings
from moppet.values import MoppetError, UsageError

_KEY: Final = "moppet"


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors; a file that is there is replaced only once the new one is whole.

    The same tensors and metadata give the same bytes.
    """
    # One entry: several come out in another order each time.
    kept = {_KEY: json.dumps(metadata, sort_keys=True)}
    fresh = path.with_name(f".{path.name}.tmp")
    try:
        fresh.touch()  # with the user's own mode: safetensors lets nobody else read its files
        mode = fresh.stat().st_mode
        save_file({k: v.contiguous() for k, v in tensors.items()}, fresh, kept)
        fresh.chmod(mode)
        fresh.replace(path)
    except SafetensorError as error:  # what a full disk comes as
        raise MoppetError(
            f"{path} cannot be written: {error}. What was there before is kept; make room and run "
            "the command again."
        ) from None
    finally:
        fresh.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors and metadata; MoppetError if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = json.loads((file.metadata() or {}).get(_KEY, "{}"))
        return load_file(path), metadata
    except (SafetensorError, OSError, ValueError):
        raise MoppetError(f"{path} is damaged. Remove it to start anew.") from None


def save_state(path: Path, learner: Learner, fingerprint: str, done: int) -> None:
    """Keep all that going on exactly needs: networks, running average, optimizers' moments."""
    tensors = {f"networks.{k}": v for k, v in learner.state_dict().items()}
    for name, optimizer in learner.optimizers.items():
        for number, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{name}.{number}.{key}"] = torch.as_tensor(value)
    metadata = {"done": str(done), "settings": _settings_key(learner), "data": fingerprint}
    save_tensors(path, tensors, metadata)


def read_done(path: Path) -> int:
    """Return the steps that a checkpoint has done, 0 without one."""
    return int(load_tensors(path)[1].get("done", 0)) if path.is_file() else 0


def load_state(path: Path, learner: Learner, fingerprint: str) -> int:
    """Bring a learner to where its checkpoint left it; return the steps done, 0 without one.

    Raises UsageError if the checkpoint is of other settings or other pictures.
    """
    if not path.is_file():
        return 0
    tensors, metadata = load_tensors(path)
    done = int(metadata.get("done", 0))
    for name, ours in (("settings", _settings_key(learner)), ("data", fingerprint)):
        if metadata.get(name) != ours:
            other = "with other settings" if name == "settings" else "on other pictures or labels"
            raise UsageError(
                f"{path.parent} holds a run {other}. Name another folder with -o, or remove it."
            )
    try:
        learner.load_state_dict(
            {k.removeprefix("networks."): v for k, v in tensors.items() if k.startswith("networks")}
        )
        for name, optimizer in learner.optimizers.items():
            optimizer.load_state_dict(_optimizer_state(optimizer, tensors, f"optimizer.{name}."))
    except (RuntimeError, KeyError, ValueError):
        raise MoppetError(f"{path} is damaged. Remove it to start anew.") from None
    return done


def _optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], prefix: str
) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            number, name = key.removeprefix(prefix).split(".", 1)
            state.setdefault(int(number), {})[name] = value
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _settings_key(learner: Learner) -> str:
    """The settings that learning depends on: not how long it lasts, nor how often it is kept."""
    kept = chosen_settings(learner.settings)
    for name in ("steps", "epochs", "checkpoint_steps"):
        kept.pop(name, None)
    return json.dumps([kept, learner.classes], sort_keys=True)
