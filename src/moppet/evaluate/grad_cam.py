"""Grad-CAM: which parts of a face support a class, from the network's own gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn

from moppet.infer.alignment import CROP_PX
from moppet.infer.expression_model import ExpressionModel
from moppet.train.networks import Network
from moppet.train.starting_weights import load_model_network
from moppet.values import CountProgress, Floats, Image, ModelError, no_progress

LEAST_SIDE: Final = 6
"""Maps with fewer cells per side cannot separate eyes from mouth."""
_MEASURED: Final = 12
_BATCH: Final = 32
_SAMPLE: Final = 8
_MUST_AGREE: Final = 0.9
_SAME: Final = 1e-3
_CLEAR: Final = 0.5  # between the two highest logits; rounding to 8 bits moves one by about 0.1


@dataclass(frozen=True)
class GradCam:
    """Saliency maps of Grad-CAM, and the layer that they come from.

    maps: (n, CROP_PX, CROP_PX) float32 from 0. layer: the module whose maps were weighted.
    grid: their rows and columns. mirrored: whether the predictions, and so the maps,
    are averaged with those of the mirror image.
    """

    maps: Floats
    layer: str
    grid: tuple[int, int]
    mirrored: bool


class ReceptiveFields(NamedTuple):
    """The input that each of n rows, or columns, of maps depends on: its center and standard
    deviation in pixels."""

    center: NDArray[np.float64]
    spread: NDArray[np.float64]


def explain_crops(
    folder: Path,
    model: ExpressionModel,
    crops: Image,
    classes: NDArray[np.integer[Any]],
    progress: CountProgress = no_progress,
) -> GradCam:
    """Return which parts of each crop support a class, for the network of a model folder.

    model: the same folder's, as `load_model` reads it. crops: (n, h, w, 3) RGB uint8.
    classes: (n,) index into model.names.
    Raises ModelError if the folder has no trained network, or one that differs from its ONNX file.
    """
    network = load_model_network(folder)
    path = folder / str(model.card.get("file", "model.onnx"))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    few = model.preprocessing.apply(crops[:_BATCH])
    # By its card: in 8 bits, the default model's logits of mirror images differ by 0.04.
    mirrored = bool(model.card.get("mirrored", False)) or _is_mirrored(session, few)
    _check_same(network, session, few, mirrored, folder)
    name, layer = find_layer(network, torch.from_numpy(few[:1]))
    sample = torch.from_numpy(few[:_SAMPLE])
    if mirrored:  # the same fields for images and their mirror images
        sample = torch.cat([sample, sample.flip(3)])
    fields = measure_receptive_fields(network, layer, sample)
    parts = []
    for start in range(0, len(crops), _BATCH):
        inputs = torch.from_numpy(model.preprocessing.apply(crops[start : start + _BATCH]))
        targets = torch.from_numpy(np.asarray(classes[start : start + _BATCH], np.int64))
        parts.append(grad_cam(network, layer, inputs, targets, fields, mirrored=mirrored))
        progress(min(start + _BATCH, len(crops)), len(crops))
    maps = np.concatenate(parts) if parts else np.empty((0, CROP_PX, CROP_PX), np.float32)
    return GradCam(maps, name, (len(fields[0].center), len(fields[1].center)), mirrored)


def grad_cam(
    network: Network,
    layer: nn.Module,
    inputs: Tensor,
    classes: Tensor,
    fields: tuple[ReceptiveFields, ReceptiveFields],
    *,
    mirrored: bool = False,
) -> Floats:
    """Return (n, CROP_PX, CROP_PX) float32 from 0: which parts support each input's class.

    The layer's maps, weighed by the mean gradient of the class's logit and added up (Selvaraju
    et al. 2017, equations 1-2, by captum), are spread over the receptive fields of their cells.
    mirrored: take the mean with the mirrored map of the mirror image. Negative values are then
    set to 0.
    inputs: (n, c, h, w). classes: (n,).
    fields: of rows and columns, from `measure_receptive_fields`.
    """
    method = LayerGradCam(lambda x: network(x)[0], layer)

    def spread(x: Tensor) -> NDArray[np.float64]:
        cells = method.attribute(x, classes).detach()[:, 0].double().numpy()
        return upsample_cells(cells, fields, inputs.shape[-1])

    maps = spread(inputs)
    if mirrored:
        maps = (maps + spread(inputs.flip(3))[:, :, ::-1]) / 2
    return np.asarray(np.maximum(maps, 0), np.float32)


def find_layer(network: Network, one: Tensor) -> tuple[str, nn.Module]:
    """Return the name and module of the last maps with at least LEAST_SIDE cells per side.

    That is the network's last layer of maps if the input is large enough. At 96 pixels, the last
    maps of MobileNetV2, ResNet18 and GoogLeNet have 3 x 3 cells, so an earlier layer is taken:
    the last one computed of its size, which is the end of a block and so sees everything.
    """
    answered: list[tuple[str, nn.Module, int]] = []

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, _: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.ndim == 4:
                answered.append((name, module, min(out.shape[2:])))

        return note

    handles = [m.register_forward_hook(hook(name)) for name, m in network.named_modules() if name]
    try:
        with torch.no_grad():
            network(one)
    finally:
        for handle in handles:
            handle.remove()
    last = next(i for i, (_, m, _) in enumerate(answered) if m is network.maps_module())
    for name, module, side in reversed(answered[: last + 1]):
        if side >= LEAST_SIDE:
            return name, module
    return answered[last][:2]


def measure_receptive_fields(
    network: Network, layer: nn.Module, sample: Tensor
) -> tuple[ReceptiveFields, ReceptiveFields]:
    """Return which part of the input the layer's rows and columns depend on, in pixels.

    It is measured, because strides, padding and borders shift it: rows 3 and 5 of 6 of the
    default model depend on pixels around 47 and 73 of 96; stretching the maps over the face, as
    is usual, would put them at 55 and 87. The weights are the squared gradients of a row's values,
    with random signs, by the input; of many rows, a dozen is measured.
    sample: some inputs (n, c, h, w).
    """
    x = sample.clone().requires_grad_()
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, out: seen.append(out))
    try:
        network(x)
    finally:
        handle.remove()
    signs = torch.rand(seen[0].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    maps = seen[0] * (signs * 2.0 - 1)
    return _measure_axis(maps, x, axis=2), _measure_axis(maps, x, axis=3)


def _measure_axis(maps: Tensor, x: Tensor, axis: int) -> ReceptiveFields:
    n, side = maps.shape[axis], x.shape[axis]
    pixels = np.arange(side)
    measured: dict[int, tuple[float, float]] = {}
    for i in np.unique(np.linspace(0, n - 1, _MEASURED).round().astype(int)).tolist():
        (gradient,) = torch.autograd.grad(maps.select(axis, i).sum(), x, retain_graph=True)
        weight = gradient.double().pow(2).sum(dim=(0, 1, 5 - axis)).numpy()
        if weight.sum() > 0:
            center = float(weight @ pixels / weight.sum())
            measured[i] = center, float(np.sqrt(weight @ (pixels - center) ** 2 / weight.sum()))
    if not measured:  # nothing in the sample reaches this layer: its cells share the input evenly
        measured = {i: ((i + 0.5) * side / n - 0.5, 0.0) for i in (0, n - 1)}
    known, pairs = list(measured), list(measured.values())
    centers, spreads = (np.interp(np.arange(n), known, [p[k] for p in pairs]) for k in (0, 1))
    return ReceptiveFields(centers, np.maximum(spreads, side / n / 2))


def upsample_cells(
    cells: NDArray[np.float64], fields: tuple[ReceptiveFields, ReceptiveFields], side: int
) -> NDArray[np.float64]:
    """Return (n, CROP_PX, CROP_PX): (n, r, c) cells, each spread as a bell over its field.

    A cell's whole weight stays in the image. side: of the input, in pixels.
    """
    pixels = (np.arange(CROP_PX) + 0.5) * side / CROP_PX - 0.5
    bells = [np.exp(-(((pixels[:, None] - r.center) / r.spread) ** 2) / 2) for r in fields]
    rows, columns = (bell / bell.sum(axis=0) for bell in bells)
    return np.asarray(rows @ cells @ columns.T, np.float64)


def _is_mirrored(session: ort.InferenceSession, inputs: Floats) -> bool:
    """Whether the model predicts the same for an image and its mirror image."""
    return bool(
        np.abs(_logits(session, inputs) - _logits(session, inputs[..., ::-1])).max() < _SAME
    )


def _logits(session: ort.InferenceSession, inputs: Floats) -> Floats:
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(inputs)}
    return np.asarray(session.run(["logits"], feed)[0], np.float32)


@torch.no_grad()
def _check_same(
    network: Network, session: ort.InferenceSession, inputs: Floats, mirrored: bool, folder: Path
) -> None:
    """Raise ModelError unless the network and the ONNX file nearly always agree.

    Images between two classes are not asked, unless all are: rounding to 8 bits may decide there.
    """
    x = torch.from_numpy(inputs)
    logits = network(x)[0]
    if mirrored:
        logits = logits + network(x.flip(3))[0]
    exported = _logits(session, inputs)
    second, first = np.sort(exported, axis=1)[:, -2:].T
    clear = first - second > _CLEAR
    alike = (logits.argmax(dim=1).numpy() == exported.argmax(axis=1))[clear if clear.any() else ...]
    if alike.mean() < _MUST_AGREE:
        raise ModelError(
            f"the network of {folder} and its ONNX file agree on only {alike.sum()} of "
            f"{len(alike)} images, so they do not belong together. Get the model folder again."
        )
