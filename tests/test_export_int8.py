"""The int8 file: a convolution and its activation are one step, and it reads like the network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from moppet.infer.alignment import align_face
from moppet.infer.expression_model import BUNDLED
from moppet.train.model_folder import export_float, export_int8, onnx_logits
from moppet.train.networks.registry import load_network
from rendered import read_stills

Files = tuple[Path, Path, np.ndarray]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The default network's float32 and int8 file, and faces for them."""
    folder = tmp_path_factory.mktemp("int8")
    network = load_network(BUNDLED / "default" / "weights.safetensors")
    side = network.input_size
    images = np.stack(
        [
            cv2.cvtColor(align_face(still.image, face.landmarks_px, side), cv2.COLOR_RGB2GRAY)
            for still in read_stills().values()
            for face in still.faces
        ]
    )[:, None]
    export_float(network, folder / "float32.onnx")
    inputs = (images.astype(np.float32) - 128) / 128
    export_int8(folder / "float32.onnx", inputs, folder / "int8.onnx")
    return folder / "float32.onnx", folder / "int8.onnx", images


def test_a_convolution_is_rounded_once_to_the_range_of_its_activation(files):
    graph = onnx.load(files[1]).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    activations = [made_by[node.input[0]] for node in graph.node if node.op_type == "Clip"]
    assert activations == ["Conv"] * 3  # of those that stay float32: the others are a range
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    ranges = [
        255 * float(arrays[node.input[1]])
        for node in graph.node
        if node.op_type == "QuantizeLinear" and made_by.get(node.input[0]) == "Conv"
    ]
    assert len(ranges) == 24 and max(ranges) < 6.01


def test_the_int8_file_reads_like_the_float32_file(files):
    whole, small, images = files
    expected, found = (onnx_logits(path, images)[0] for path in (whole, small))
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.08 * expected.std()
