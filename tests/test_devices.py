"""The devices of the expression model: equal readings, and one sentence where one is lacking."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import moppet
from command_line import Run
from moppet.infer import devices
from moppet.infer.devices import DEVICES, check_device, make_session, on_device
from moppet.infer.expression_model import BUNDLED
from moppet.infer.pipeline import Settings
from moppet.values import UsageError

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "child.mp4"
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None


def usable() -> list[str]:
    """Every device of this machine beside the processor."""
    found = []
    for name in DEVICES[2:]:
        try:
            found.append(check_device(name))
        except UsageError:
            continue
    return found


@pytest.mark.parametrize("device", ["auto", *usable()])
def test_every_device_reads_what_the_processor_reads(device):
    crops = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
    expected = moppet.load_model().predict(crops)
    found = moppet.load_model(device=device).predict(crops)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.05)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=0.5)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("device", ["cuda", "openvino", "coreml"])
def test_a_device_that_is_lacking_is_refused_with_its_remedy(monkeypatch, device):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(devices, "_has_openvino", lambda: False)
    with pytest.raises(UsageError, match=rf"'{device}' cannot be used.*or use --device cpu\."):
        moppet.load_model(device=device)


def test_a_provider_without_its_driver_is_refused_by_name_and_passed_over_by_auto(monkeypatch):
    # onnxruntime then falls back to the processor without an error.
    content = (BUNDLED / "default" / "model.onnx").read_bytes()
    on_cpu = make_session(content, 1)
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: there)
    monkeypatch.setattr(ort, "InferenceSession", lambda *args, **options: on_cpu)
    with pytest.raises(UsageError, match="onnxruntime-gpu"):
        on_device(on_cpu, content, 1, "cuda")
    assert on_device(on_cpu, content, 1, "auto") is on_cpu


def test_an_unknown_device_is_refused_before_anything_is_written(
    moppet: Run, tmp_path: Path
) -> None:
    done = moppet("analyze", EXAMPLE, "--device", "gpu", "-o", tmp_path / "nowhere")
    assert done.code == 2 and "'gpu'" in done.err and "cuda" in done.err
    assert not (tmp_path / "nowhere").exists()


def test_the_device_is_kept_with_the_settings_unless_it_is_the_processor():
    assert "device" not in Settings().to_dict()
    assert Settings(device="auto").to_dict()["device"] == "auto"
