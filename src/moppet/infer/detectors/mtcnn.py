"""MTCNN face detector: P-, R- and O-Net over an image pyramid, on onnxruntime.

Source: Zhang et al. (2016), Joint Face Detection and Alignment Using Multi-task CNNs; weights,
thresholds and rounding as in the PyPI package ``mtcnn`` 1.0.0, against which it is tested. The
weights are read from the wheel of that package, and built into ONNX models.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import onnxruntime as ort
import platformdirs
from numpy.typing import NDArray

from moppet.files import write_bytes, write_text
from moppet.infer.alignment import VIEW_WIDTH, face_from_view, upright_view
from moppet.infer.devices import make_session
from moppet.values import Face, Floats, Image, ModelError, MoppetError

_CELL: Final = 12
_STRIDE: Final = 2
_PYRAMID_STEP: Final = 0.709
THRESHOLDS: Final = (0.6, 0.7, 0.8)
_CHUNK: Final = 256
_WORKING_FACE_PX: Final = 40.0
_VIEW_PX: Final = 144

Boxes = NDArray[np.float64]
"""(m, 6): image number, x1, y1, x2, y2, score."""


class Mtcnn:
    """Detects faces with five landmarks.

    min_face_px: smallest face to look for, in pixels of the given image; None uses a twelfth of
        the shorter side, at least 20, because smaller faces show no readable expression.
    thresholds: lowest face score of P-, R- and O-Net.
    threads: number of threads of each network.
    """

    name = "mtcnn"

    def __init__(
        self,
        *,
        min_face_px: float | None = None,
        thresholds: tuple[float, float, float] = THRESHOLDS,
        threads: int = 1,
    ) -> None:
        self.min_face_px = min_face_px
        self.thresholds = thresholds
        self._pnet, self._rnet, self._onet = (
            make_session(load_onnx(net), threads) for net in ("pnet", "rnet", "onet")
        )

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return the faces of each image, highest score first; boxes may exceed the image.

        An image is first averaged down if the smallest face to look for is large, which saves time:
        the networks use only 12 to 48 pixels.
        """
        factors = [_whole_factor(self._smallest(image), _WORKING_FACE_PX) for image in images]
        smaller = [_average_down(image, f) for image, f in zip(images, factors, strict=True)]
        smallest = [self._smallest(image) / f for image, f in zip(images, factors, strict=True)]
        faces = self._landmark(smaller, self._refine(smaller, self._propose(smaller, smallest)))
        return [
            [_enlarge(face, factor) for face in found] if factor > 1 else found
            for found, factor in zip(faces, factors, strict=True)
        ]

    def _smallest(self, image: Image) -> float:
        return self.min_face_px or max(20.0, min(image.shape[:2]) / 12)

    def follow(self, image: Image, boxes_px: Floats, roll_deg: Floats) -> list[Face | None]:
        """Return the face that R- and O-Net find in each expected box, or None.

        boxes_px: (n, 4), x, y, width, height of each expected face.
        roll_deg: (n,) expected tilt of each head; any angle.
        Much faster than `detect`, because it needs no pyramid.
        """
        views = [
            upright_view(image, box, float(roll), _VIEW_PX)
            for box, roll in zip(boxes_px, roll_deg, strict=True)
        ]
        images = [view for view, _ in views]
        low, high = _VIEW_PX * (0.5 - 0.5 / VIEW_WIDTH), _VIEW_PX * (0.5 + 0.5 / VIEW_WIDTH)
        expected = np.array([[i, low, low, high, high, 1.0] for i in range(len(views))])
        found = self._landmark(images, self._refine(images, expected.reshape(-1, 6)))
        return [
            face_from_view(faces[0], matrix) if faces else None
            for faces, (_, matrix) in zip(found, views, strict=True)
        ]

    def _propose(self, images: Sequence[Image], smallest: Sequence[float]) -> Boxes:
        alike: dict[tuple[int, int, float], list[int]] = defaultdict(list)
        for number, (image, floor) in enumerate(zip(images, smallest, strict=True)):
            alike[(image.shape[0], image.shape[1], floor)].append(number)
        proposals = []
        for (height, width, floor), numbers in alike.items():
            scales = _pyramid(min(height, width), floor)
            levels = [_levels(images[i], scales) for i in numbers]
            for scale, *level in zip(scales, *levels, strict=True):
                batch = _normalize(np.stack(level))
                box, face = map(np.asarray, self._pnet.run(["box", "face"], {"image": batch}))
                found = _cells_to_boxes(box, face[:, 1], self.thresholds[0])
                found[:, 1:5] /= scale
                found[:, 0] = np.asarray(numbers)[found[:, 0].astype(int)]
                proposals.append(found[_surviving(found, 0.5)])
        boxes = np.concatenate(proposals) if proposals else np.empty((0, 6))
        return _square(boxes[_surviving(boxes, 0.7)])

    def _refine(self, images: Sequence[Image], boxes: Boxes) -> Boxes:
        if not len(boxes):
            return boxes
        box, face = _run_chunks(self._rnet, ["box", "face"], images, boxes, 24)
        boxes = _adjust(boxes, box, face[:, 1])
        boxes = boxes[boxes[:, 5] > self.thresholds[1]]
        return _square(boxes[_surviving(boxes, 0.7)])

    def _landmark(self, images: Sequence[Image], boxes: Boxes) -> list[list[Face]]:
        faces: list[list[Face]] = [[] for _ in images]
        if not len(boxes):
            return faces
        outputs = ["box", "face", "landmarks"]
        box, face, points = _run_chunks(self._onet, outputs, images, boxes, 48)
        size = boxes[:, 3:5] - boxes[:, 1:3] + 1
        landmarks = points.reshape(-1, 2, 5).transpose(0, 2, 1) * size[:, None]
        landmarks += boxes[:, None, 1:3] - 1
        boxes = _adjust(boxes, box, face[:, 1])
        sure = boxes[:, 5] > self.thresholds[2]
        boxes, landmarks = boxes[sure], landmarks[sure]
        for i in _surviving(boxes, 0.7, over="smaller"):
            number, x1, y1, x2, y2, score = boxes[i]
            box_px = np.array([x1, y1, x2 - x1, y2 - y1], np.float32)
            faces[int(number)].append(Face(box_px, landmarks[i].astype(np.float32), float(score)))
        return faces


def _whole_factor(size_px: float, needed_px: float) -> int:
    """Return the greatest whole factor, at least 1, that leaves a size what is needed of it."""
    return max(1, int(size_px / needed_px + 1e-6))


def _average_down(image: Image, factor: int) -> Image:
    """Return the image with each square of factor × factor pixels averaged, much the fastest way.

    What is left at the right and lower edge, less than one such square, is cut off.
    """
    height, width = (side // factor for side in image.shape[:2])
    if factor == 1 or min(height, width) < 1:
        return image
    whole = image[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _enlarge(face: Face, factor: float) -> Face:
    return replace(
        face,
        box_px=face.box_px * np.float32(factor),
        landmarks_px=(face.landmarks_px + np.float32(0.5)) * np.float32(factor) - np.float32(0.5),
    )


def _pyramid(shorter_side: int, min_face_px: float) -> list[float]:
    scales = [_CELL / min_face_px]
    while shorter_side * scales[-1] >= _CELL:
        scales.append(scales[-1] * _PYRAMID_STEP)
    return scales[:-1]


def _levels(image: Image, scales: Sequence[float]) -> list[Floats]:
    """Return the image at each scale of its pyramid, float32.

    It is first averaged down as far as leaves the first level 1.5 of its pixels for each of its
    own, which moves landmarks by a hundredth of a face's width at most.
    """
    if not scales:
        return []
    height, width = image.shape[:2]
    # In float32: rounding each level to bytes can move landmarks by up to 9 pixels.
    source = _average_down(image, _whole_factor(1 / scales[0], 1.5)).astype(np.float32)
    sizes = [(int(width * scale), int(height * scale)) for scale in scales]
    flags = [cv2.INTER_LINEAR if w > source.shape[1] else cv2.INTER_AREA for w, _ in sizes]
    return [
        np.asarray(cv2.resize(source, size, interpolation=flag), np.float32)
        for size, flag in zip(sizes, flags, strict=True)
    ]


def _normalize(images: NDArray[np.uint8] | Floats) -> Floats:
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
    channels_first -= 127.5
    channels_first /= 128
    return channels_first


def _cells_to_boxes(box: Floats, face: Floats, threshold: float) -> Boxes:
    number, row, column = np.nonzero(face > threshold)
    x1, y1 = column * _STRIDE + 1, row * _STRIDE + 1
    side = _CELL - 1
    cells = np.stack([x1, y1, x1 + side, y1 + side], axis=1)
    corners = cells + box[number, :, row, column] * side
    return np.column_stack([number, corners, face[number, row, column]])


def _run_chunks(
    net: ort.InferenceSession, outputs: list[str], images: Sequence[Image], boxes: Boxes, side: int
) -> list[Floats]:
    parts = []
    for start in range(0, len(boxes), _CHUNK):
        chunk = boxes[start : start + _CHUNK]
        patches = np.empty((len(chunk), side, side, 3), np.uint8)
        for patch, (number, *corners) in zip(patches, chunk[:, :5].tolist(), strict=True):
            _cut_patch(images[int(number)], corners, patch)
        parts.append(net.run(outputs, {"image": _normalize(patches)}))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _cut_patch(image: Image, corners: Sequence[float], patch: Image) -> None:
    """Write the box into a square patch, gray where it reaches over the edge.

    The first and last samples lie on the box's corners, as in tf.image.crop_and_resize.
    """
    side = len(patch)
    height, width = image.shape[:2]
    x1, y1, x2, y2 = corners
    shrink_x, shrink_y = (width - 1) / width, (height - 1) / height
    step_x, step_y = (x2 - x1) * shrink_x / (side - 1), (y2 - y1) * shrink_y / (side - 1)
    matrix = np.array([[step_x, 0, x1 * shrink_x], [0, step_y, y1 * shrink_y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    gray = (127.5, 127.5, 127.5)
    cv2.warpAffine(image, matrix, (side, side), dst=patch, flags=flags, borderValue=gray)


def _adjust(boxes: Boxes, regression: Floats, scores: Floats) -> Boxes:
    size = boxes[:, 3:5] - boxes[:, 1:3] + 1
    adjusted = boxes.copy()
    adjusted[:, 1:3] += regression[:, :2] * size
    adjusted[:, 3:5] += regression[:, 2:] * size
    adjusted[:, 5] = scores
    return adjusted


def _square(boxes: Boxes) -> Boxes:
    size = boxes[:, 3:5] - boxes[:, 1:3]
    side = size.max(axis=1, keepdims=True)
    squares = boxes.copy()
    squares[:, 1:3] += size / 2 - side / 2
    squares[:, 3:5] = squares[:, 1:3] + side
    return squares


def _surviving(boxes: Boxes, overlap: float, over: str = "union") -> list[int]:
    """Return the boxes that overlap no box of higher score in their image, best first.

    As in the reference, a suppressed box still suppresses others (unlike greedy suppression). Of
    equal scores, which are common near 1.0, the later box wins.
    """
    if len(boxes) < 2:
        return list(range(len(boxes)))
    kept: list[int] = []
    for number in np.unique(boxes[:, 0]):
        rows = np.flatnonzero(boxes[:, 0] == number)
        rows = rows[np.argsort(boxes[rows, 5], kind="stable")[::-1]]
        rivals = np.triu(_overlaps(boxes[rows, 1:5], over) > overlap, k=1)
        kept.extend(int(row) for row in rows[~rivals.any(axis=0)])
    return kept


def _overlaps(corners: NDArray[np.float64], over: str) -> NDArray[np.float64]:
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    if over == "union":
        return np.asarray(shared / (area[:, None] + area[None] - shared))
    return np.asarray(shared / np.minimum(area[:, None], area[None]))


WEIGHTS_SHA256: Final = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}

_HEADER_END: Final = b"\x10ub"
_REINSTALL: Final = "Reinstall them with: pip install --force-reinstall --no-deps mtcnn==1.0.0"


class _Network(NamedTuple):
    """The layers of a network.

    side: of its square input in pixels; None for any size.
    convolutions: (kernel side, channels, pooling side, same), each followed by PReLU and by maximum
        pooling with stride 2, unless the pooling side is 0; same: pads the far edge.
    dense: inputs and units of the dense layer before the outputs; None for a convolutional network.
    outputs: name → channels, in the order of their arrays. "face" gets a softmax.
    """

    side: int | None
    convolutions: tuple[tuple[int, int, int, bool], ...]
    dense: tuple[int, int] | None
    outputs: dict[str, int]


_PNET: Final = ((3, 10, 2, True), (3, 16, 0, False), (3, 32, 0, False))
_RNET: Final = ((3, 28, 3, True), (3, 48, 3, False), (2, 64, 0, False))
_ONET: Final = ((3, 32, 3, True), (3, 64, 3, False), (3, 64, 2, True), (2, 128, 0, False))
_NETWORKS: Final = {
    "pnet": _Network(None, _PNET, None, {"box": 4, "face": 2}),
    "rnet": _Network(24, _RNET, (576, 128), {"box": 4, "face": 2}),
    "onet": _Network(48, _ONET, (1152, 256), {"box": 4, "landmarks": 10, "face": 2}),
}


def read_weights(net: str) -> bytes:
    """Return the unpacked weights of a network: "pnet", "rnet" or "onet".

    Raises ModelError if the wheel is missing or its file has another hash.
    """
    import lz4.frame

    data = _weights_path(net).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256[net]:
        raise ModelError(
            f"MTCNN's weights {net}.lz4 have SHA-256 {found[:12]}…, "
            f"expected {WEIGHTS_SHA256[net][:12]}…. {_REINSTALL}"
        )
    return bytes(lz4.frame.decompress(data))


def _weights_path(net: str) -> Path:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("mtcnn") or []:
            if file.name == f"{net}.lz4":
                return Path(str(file.locate()))
    raise ModelError(f"MTCNN's weights {net}.lz4 are not installed. {_REINSTALL}")


class _Graph:
    """Collects the nodes of a network; reads its arrays in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def array(self, *shape: int) -> NDArray[np.float32]:
        """Return the next array; kernels have the shape (height, width, inputs, outputs)."""
        # A header ends in these bytes; the next byte is the number of bytes that align the array.
        start = self.data.index(_HEADER_END, self.position) + len(_HEADER_END)
        start += 1 + self.data[start]
        flat = np.frombuffer(self.data, "<f4", math.prod(shape), start)
        self.position = start + flat.nbytes
        return flat.reshape(shape)

    def constant(self, array: NDArray[np.float32]) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], output: str | None = None, **options: Any) -> str:
        from onnx import helper

        name = output or f"{op.lower()}{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(op, inputs, [name], **options))
        return name

    def conv(
        self, x: str, inputs: int, outputs: int, name: str | None = None, *, side: int = 1
    ) -> str:
        kernel = self.constant(self.array(side, side, inputs, outputs).transpose(3, 2, 0, 1))
        return self.node("Conv", [x, kernel, self.constant(self.array(outputs))], name)

    def dense(self, x: str, inputs: int, outputs: int, name: str | None = None) -> str:
        kernel = self.constant(self.array(inputs, outputs))
        return self.node("Gemm", [x, kernel, self.constant(self.array(outputs))], name)

    def prelu(self, x: str, *shape: int) -> str:
        return self.node("PRelu", [x, self.constant(self.array(*shape))])


def _add_layers(graph: _Graph, net: _Network) -> None:
    x, channels = "image", 3
    for side, outputs, pool, same in net.convolutions:
        x = graph.prelu(graph.conv(x, channels, outputs, side=side), outputs, 1, 1)
        channels = outputs
        if pool:
            # Keras' "same" pads at the far edge only, as ONNX's ceil mode does.
            size: dict[str, Any] = {"kernel_shape": [pool, pool], "strides": [2, 2]}
            x = graph.node("MaxPool", [x], **size, ceil_mode=int(same))
    layer: Callable[..., str] = graph.conv
    if net.dense:
        # The weights are in MATLAB's order: width before height, channels last.
        x = graph.node("Flatten", [graph.node("Transpose", [x], perm=[0, 3, 2, 1])])
        inputs, channels = net.dense
        x = graph.prelu(graph.dense(x, inputs, channels), channels)
        layer = graph.dense
    for name, outputs in net.outputs.items():
        if name == "face":
            graph.node("Softmax", [layer(x, channels, outputs)], name, axis=1)
        else:
            layer(x, channels, outputs, name)


def build_onnx(net: str) -> bytes:
    """Return the network as a serialized ONNX model.

    Input "image": (n, 3, h, w) float32, RGB, (value - 127.5) / 128; h = w = 24 for "rnet", 48
    for "onet". Outputs "box" (box regression), "landmarks" (onet only: five x, then five y) and
    "face" (the probabilities of "not a face" and "face").
    Source: Zhang et al. (2016), Joint Face Detection and Alignment Using Multi-task CNNs.
    """
    from onnx import TensorProto, helper

    network = _NETWORKS[net]
    graph = _Graph(read_weights(net))
    _add_layers(graph, network)
    size = [network.side] * 2 if network.side else ["h", "w"]
    cells = [] if network.side else ["rows", "columns"]
    value, float32 = helper.make_tensor_value_info, TensorProto.FLOAT
    outputs = [value(name, float32, ["n", n, *cells]) for name, n in network.outputs.items()]
    inputs = [value("image", float32, ["n", 3, *size])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, net, inputs, outputs, graph.initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return bytes(model.SerializeToString())


def load_onnx(net: str) -> bytes:
    """Return the network as serialized ONNX; it is cached in the user's cache folder."""
    folder = Path(platformdirs.user_cache_dir("moppet", appauthor=False)) / "mtcnn"
    cached = folder / f"{net}-{WEIGHTS_SHA256[net][:16]}.onnx"
    seal = cached.with_suffix(".sha256")
    try:
        model = cached.read_bytes()
        if hashlib.sha256(model).hexdigest().encode() == seal.read_bytes():
            return model
    except OSError:
        pass
    model = build_onnx(net)
    with contextlib.suppress(MoppetError):  # without a cache it only takes longer
        write_bytes(cached, model)
        write_text(seal, hashlib.sha256(model).hexdigest())
    return model
