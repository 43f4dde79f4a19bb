"""The telemetry of the libraries is off before they are loaded, and what it left is removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moppet import privacy

# Prints the switches as they are at the moment when a library is first looked for.
WATCH = """
import importlib, json, os, sys
seen = {}
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("onnxruntime", "ray", "huggingface_hub"):
            seen.setdefault(name, [os.environ.get(v) for v in %r])
sys.meta_path.insert(0, Watch())
importlib.import_module(%r)
for name in sys.argv[1:]: importlib.import_module(name)
print(json.dumps(seen))
"""
SWITCHES = ("ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "HF_HUB_DISABLE_TELEMETRY")
FOLDER = Path("Microsoft", "DeveloperTools", ".onnxruntime")


def run(code: str, *arguments: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in SWITCHES}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    "module", ["moppet", "moppet.__main__", "moppet.values", "moppet.infer", "moppet.media"]
)
def test_the_switches_are_set_before_the_libraries_are_loaded(module: str) -> None:
    seen = json.loads(run(WATCH % (SWITCHES, module), "onnxruntime", "huggingface_hub"))
    assert seen == {"onnxruntime": ["1", "0", "1"], "huggingface_hub": ["1", "0", "1"]}


def test_even_a_user_who_had_it_on_gets_it_off_and_so_do_child_processes() -> None:
    code = (
        "import moppet, subprocess, sys\n"
        "child = 'import os; print(os.environ[\"ORT_DISABLE_TELEMETRY\"])'\n"
        "subprocess.run([sys.executable, '-c', child])"
    )
    assert run(code, ORT_DISABLE_TELEMETRY="0").strip() == "1"


def test_a_notebook_keeps_the_settings_of_its_own_libraries() -> None:
    names = ["MPLCONFIGDIR", "HF_HUB_OFFLINE"]
    code = f"import moppet, os; print([name for name in {names} if name in os.environ])"
    assert run(code).strip() == str([name for name in names if name in os.environ])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache, with what onnxruntime left in it."""

    def here(appname: str | None = None, **_: Any) -> Path:
        return tmp_path / (appname or "")

    monkeypatch.setattr(privacy.platformdirs, "user_cache_path", here)
    (tmp_path / FOLDER).mkdir(parents=True)
    for name in ("deviceid", "onnxruntime.db", "onnxruntime.db-wal", "onnxruntime.db-shm"):
        (tmp_path / FOLDER / name).write_bytes(b"x")
    return tmp_path


def test_what_onnxruntime_left_behind_is_removed(cache: Path) -> None:
    privacy.remove_telemetry_files()
    assert not (cache / "Microsoft").exists()
    assert (cache / "moppet").is_dir()


def test_files_of_others_stay(cache: Path) -> None:
    others = [cache / FOLDER / "settings.json", cache / "Microsoft" / "deviceid"]
    for path in others:
        path.write_text("mine", encoding="utf-8")
    privacy.remove_telemetry_files()
    assert sorted(p for p in (cache / "Microsoft").rglob("*") if p.is_file()) == sorted(others)


def test_it_is_removed_once_so_that_another_program_may_keep_its_own(cache: Path) -> None:
    privacy.remove_telemetry_files()
    (cache / FOLDER).mkdir(parents=True)
    (cache / FOLDER / "deviceid").write_bytes(b"x")
    privacy.remove_telemetry_files()
    assert (cache / FOLDER / "deviceid").exists()


def test_links_are_not_followed(cache: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (cache / FOLDER).rename(elsewhere)
    (cache / FOLDER).symlink_to(elsewhere)
    privacy.remove_telemetry_files()
    assert len(list(elsewhere.iterdir())) == 4


def test_a_cache_that_cannot_be_written_to_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(
        privacy.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "file" / "cache"
    )
    privacy.remove_telemetry_files()


@pytest.mark.parametrize(("of_the_user", "offline"), [(None, "False"), ("1", "True")])
def test_a_download_that_was_asked_for_reaches_the_hub_unless_the_user_is_offline(
    of_the_user: str | None, offline: str
) -> None:
    code = (
        "from moppet import privacy\n"
        "privacy.use_own_caches()\n"
        "from huggingface_hub import constants\n"
        "before = constants.HF_HUB_OFFLINE\n"
        "with privacy.hub_download():\n"
        "    during = constants.HF_HUB_OFFLINE\n"
        "print(before, during, constants.HF_HUB_OFFLINE)"
    )
    env = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    env |= {} if of_the_user is None else {"HF_HUB_OFFLINE": of_the_user}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.split() == ["True", offline, "True"]
