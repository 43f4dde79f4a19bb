"""A network of others is tried once, in a process with limits, before it is used."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_folder import linear_network, write_model
from moppet import load_model
from moppet.infer import model_probe
from moppet.infer.detectors import load_detector
from moppet.values import ModelError

SIZE = 16
IMAGES = ["n", 1, SIZE, SIZE]


@pytest.fixture(autouse=True)
def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was tried before."""
    monkeypatch.setattr(model_probe, "_folder", lambda: tmp_path / "tried")


def value(name: str, shape: Sequence[Any] | None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def network(
    *nodes: Any,
    inputs: Sequence[Any] | None = None,
    outputs: Sequence[Any] | None = None,
    tensors: Sequence[Any] = (),
) -> bytes:
    """A network whose first nodes give `x`, two numbers for each image."""
    weights = numpy_helper.from_array(np.zeros((SIZE * SIZE, 2), np.float32), "w")
    first = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["x"]),
    ]
    graph = helper.make_graph(
        [*first, *nodes],
        "g",
        inputs or [value("image", IMAGES)],
        outputs or [value("logits", ["n", 2])],
        [weights, *tensors],
    )
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("odd", 1)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, outputs, **attributes)


def whole(name: str, numbers: list[int]) -> Any:
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def endless() -> bytes:
    body = helper.make_graph(
        [node("Identity", ["go"], ["still"]), node("Identity", ["v"], ["w2"])],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("v", None)],
        [value("still", [], TensorProto.BOOL), value("w2", None)],
    )
    true = numpy_helper.from_array(np.array(True), "true")
    return network(node("Loop", ["", "true", "x"], ["logits"], body=body), tensors=[true])


def huge() -> bytes:
    return network(
        node("ConstantOfShape", ["shape"], ["big"]),
        node("ReduceMean", ["big"], ["mean"], keepdims=0),
        node("Add", ["x", "mean"], ["logits"]),
        tensors=[whole("shape", [10**6, 10**5])],
    )


def external() -> bytes:
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return network(node("Add", ["x", "far"], ["logits"]), tensors=[tensor])


UNFIT = {
    "endless": (endless, "runs for more than"),
    "huge": (huge, "needs more than 1 GB of memory|needs too much memory"),
    "other files": (external, "keeps its weights in other files"),
    "own operators": (
        lambda: network(node("Odd", ["x"], ["logits"], domain="odd")),
        "cannot be run by onnxruntime",
    ),
    "not finite": (
        lambda: network(node("Log", ["x"], ["l"]), node("Sub", ["l", "l"], ["logits"])),
        "not finite numbers",
    ),
    "one row": (
        lambda: network(
            node("ReduceMean", ["x"], ["logits"], axes=[0], keepdims=1),
            outputs=[value("logits", ["m", 2])],
        ),
        r"logits of shape \(1, 2\) for 3 images",
    ),
    "no rows": (
        lambda: network(
            node("ReduceMean", ["x"], ["logits"], keepdims=0), outputs=[value("logits", None)]
        ),
        r"logits of shape \(\) for 1 images",
    ),
    "fixed batch": (
        lambda: network(
            node("Identity", ["x"], ["logits"]),
            inputs=[value("image", [3, 1, SIZE, SIZE])],
            outputs=[value("logits", [3, 2])],
        ),
        "takes 3 images at a time",
    ),
    "two inputs": (
        lambda: network(
            node("Identity", ["x"], ["logits"]), inputs=[value("image", IMAGES), value("y", ["n"])]
        ),
        "has 2 inputs",
    ),
    "text": (
        lambda: network(
            node("Cast", ["x"], ["logits"], to=TensorProto.STRING),
            outputs=[value("logits", ["n", 2], TensorProto.STRING)],
        ),
        "numbers are needed",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_network_is_refused_in_one_sentence(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_probe, "_CHILD", model_probe._CHILD.replace(
        "; ", "; import moppet.infer.model_probe as m; m._CPU_S = 2; "))  # fmt: skip
    make, text = UNFIT[name]
    folder = write_model(tmp_path / "m", make(), labels=["a", "b"], size=SIZE, groups={})
    with pytest.raises(ModelError, match=text) as refused:
        load_model(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)


def test_a_fit_network_is_tried_once_and_bundled_ones_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: started.append(a) or run(*a, **k))
    load_model("default")
    assert not started
    folder = write_model(tmp_path / "m")
    for _ in range(2):
        load_model(folder)
    assert len(started) == 1


@pytest.mark.parametrize("kind", ["pipe", "link", "above", "absolute", "loop"])
def test_only_a_file_in_the_model_folder_is_its_network(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(linear_network())
    names = {"above": "../other.onnx", "absolute": str(other)}
    folder = write_model(tmp_path / "m", file=names.get(kind, "model.onnx"))
    path = folder / "model.onnx"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("link", "loop"):
        path.symlink_to(other if kind == "link" else path)
    with pytest.raises(ModelError, match=r"not a file|outside its model folder|cannot be read"):
        load_model(folder)


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.onnx").rename(folder / "real.onnx")
    (folder / "model.onnx").symlink_to("real.onnx")
    assert load_model(folder).name == "tiny"


@pytest.mark.parametrize("content", [b"", b"no network", linear_network()])
def test_a_detector_of_others_is_tried_too(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not a YuNet model"):
        load_detector("yunet", model_path=path)
    with pytest.raises(ModelError, match="no such file"):
        load_detector("yunet", model_path=Path("/dev/zero"))
