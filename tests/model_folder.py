"""Model folders made on the spot: a linear network beside a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from moppet import EXPRESSIONS, GROUPS

EMBEDDING = 128


def linear_network(
    *,
    channels: int = 1,
    size: int = 32,
    classes: int = 7,
    output: str = "logits",
    embedding: bool = True,
    display: int = 0,
    movements: int = 0,
    movement_op: str = "Sigmoid",
) -> bytes:
    """A network (n, channels, size, size) → logits (n, classes) and embedding (n, 128).

    display, movements: columns of the outputs display_logits and movements; 0 for none.
    Its weights are drawn from seed 0 and give logits of about ±2 for inputs of about ±1.
    """
    rng = np.random.default_rng(0)
    pixels = channels * size * size
    first = rng.normal(0, 4 / np.sqrt(pixels), (pixels, EMBEDDING)).astype(np.float32)
    second = rng.normal(0, 1 / np.sqrt(EMBEDDING), (EMBEDDING, classes)).astype(np.float32)
    outputs = {output: classes, **({"embedding": EMBEDDING} if embedding else {})}
    weights = {"first": first, "second": second}
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "second"], [output]),
    ]
    for name, width in (("display_logits", display), ("movements", movements)):
        if width:
            outputs[name] = width
            head = rng.normal(0, 1 / np.sqrt(EMBEDDING), (EMBEDDING, width)).astype(np.float32)
            weights[f"{name}_weight"] = head
            op = movement_op if name == "movements" else "Identity"
            nodes.append(helper.make_node("MatMul", ["embedding", f"{name}_weight"], [f"{name}_0"]))
            nodes.append(helper.make_node(op, [f"{name}_0"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, size, size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
            for name, width in outputs.items()
        ],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


MOVEMENTS = ("brow_lower", "brow_lower_left", "brow_lower_right", "jaw_open", "blink", "gaze_x")
PRIOR = dict(zip(EXPRESSIONS, (0.4, 0.25, 0.1, 0.1, 0.05, 0.04, 0.06), strict=True))
DISPLAY_PRIOR = dict(zip(EXPRESSIONS, (0.2, 0.25, 0.15, 0.1, 0.1, 0.1, 0.1), strict=True))


def write_whole_model(folder: Path, **card: Any) -> Path:
    """Write a model folder with everything that one may have: two readings, movements, priors."""
    given: dict[str, Any] = {
        "movements": list(MOVEMENTS),
        "display_temperature": 0.8,
        "tables": {"prior": PRIOR, "display_prior": DISPLAY_PRIOR},
    }
    network = linear_network(display=len(EXPRESSIONS), movements=len(MOVEMENTS))
    return write_model(folder, network, **(given | card))


def write_model(
    folder: Path,
    network: bytes | None = None,
    *,
    labels: Sequence[str] | None = EXPRESSIONS,
    temperature: float = 1.5,
    groups: dict[str, str] | None = None,
    color: str = "gray",
    size: int = 32,
    detail_px: int = 0,
    tables: dict[str, dict[str, Any]] | None = None,
    **card: Any,
) -> Path:
    """Write a model folder whose card fits the network, but for what `card` sets; return it.

    tables: further tables of the card, such as {"prior": {...}}.
    """
    channels = 3 if color == "rgb" else 1
    network = linear_network(channels=channels, size=size) if network is None else network
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(network)
    groups = dict(GROUPS) if groups is None else groups
    values: dict[str, Any] = {
        "name": "tiny",
        "labels": None if labels is None else list(labels),
        "sha256": hashlib.sha256(network).hexdigest(),
        "temperature": temperature,
        **card,
    }
    # A JSON string, number or list of strings is the same in TOML.
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    lines += ["[groups]", *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in groups.items())]
    lines += ["[preprocessing]", f"size = {size}", f'color = "{color}"']
    lines += [f"detail_px = {detail_px}", "mean = 127.5", "scale = 127.5"]
    for name, table in (tables or {}).items():
        lines += [f"[{name}]", *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in table.items())]
    (folder / "card.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
