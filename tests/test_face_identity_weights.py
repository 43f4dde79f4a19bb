"""The tool that turns an npm package's face network into a start for training."""

from __future__ import annotations

import runpy
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

TOOL = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "face_identity_weights.py"))


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """A network of the same names, of few filters."""
    rng = np.random.default_rng(5)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    found = {
        "conv1/convolution/merged_input": drawn(3, 3, 3, 4),
        "conv1_bn/batchnorm_1/sub": drawn(4),
    }
    for i in range(1, 14):
        found |= {
            f"conv_dw_{i}/depthwise_kernel": drawn(3, 3, 4, 1),
            f"conv_dw_{i}_bn/batchnorm_1/mul": drawn(4),
            f"conv_dw_{i}_bn/batchnorm_1/sub": drawn(4),
            f"conv_pw_{i}/convolution/merged_input": drawn(1, 1, 4, 4),
            f"conv_pw_{i}_bn/batchnorm_1/sub": drawn(4),
        }
    return found


def test_the_first_layer_answers_our_input_as_it_answered_its_own(
    arrays: dict[str, np.ndarray],
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 9, 3)).astype(np.float32)
    its_own = image[:, :, ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    kernel = arrays["conv1/convolution/merged_input"]
    wanted = [
        (its_own[y : y + 3, x : x + 3, :, None] * kernel).sum(axis=(0, 1, 2))
        + arrays["conv1_bn/batchnorm_1/sub"]
        for y in range(7)
        for x in range(7)
    ]
    layers = TOOL["folded_layers"](arrays)
    ours = torch.from_numpy((image - 128) / 128).permute(2, 0, 1)[None]
    weight, bias = (torch.from_numpy(layers[f"00_{kind}"]) for kind in "wb")
    got = functional.conv2d(ours, weight, bias)[0].flatten(1).T.numpy()
    assert np.allclose(got, wanted, rtol=1e-4, atol=1e-3)


def test_a_depthwise_layer_is_filtered_then_scaled(arrays: dict[str, np.ndarray]) -> None:
    x = np.random.default_rng(2).normal(0, 1, (3, 3, 4)).astype(np.float32)
    scale = arrays["conv_dw_7_bn/batchnorm_1/mul"]
    wanted = (x * arrays["conv_dw_7/depthwise_kernel"][:, :, :, 0]).sum(axis=(0, 1)) * scale
    layers = TOOL["folded_layers"](arrays)
    assert len(layers) == 2 * 27
    weight = torch.from_numpy(layers["13_w"])
    got = functional.conv2d(torch.from_numpy(x).permute(2, 0, 1)[None], weight, groups=4)
    assert np.allclose(got[0, :, 0, 0], wanted, atol=1e-5)


def test_weights_other_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    member = TOOL["MEMBER"]
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        for end, text in ((".json", '{"weightsManifest": [{"weights": []}]}'), (".bin", "12345")):
            path = tmp_path / f"file{end}"
            path.write_text(text)
            archive.add(path, member + end)
    with pytest.raises(SystemExit, match="holds other weights than expected"):
        TOOL["read_arrays"](tmp_path / "other.tgz")
