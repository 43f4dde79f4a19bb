"""Devices that run a network: the processor, or what onnxruntime and OpenVINO support besides."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol, get_args

import numpy as np
import onnxruntime as ort

from moppet.values import Floats, UsageError

Device = Literal["auto", "cpu", "cuda", "openvino", "coreml"]
"""What runs the expression model; "auto" takes the first of CUDA, CoreML and the processor."""
DEVICES: Final[tuple[str, ...]] = get_args(Device)

_PROVIDERS: Final[Mapping[str, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
_REMEDIES: Final[Mapping[str, str]] = {
    "cuda": "Install onnxruntime-gpu in place of onnxruntime, and NVIDIA's driver",
    "openvino": "Install it with: pip install openvino",
    "coreml": "It comes with onnxruntime on macOS",
}


class Session(Protocol):
    """A network that is ready to run, as onnxruntime's InferenceSession is."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Any]:
        """Return these outputs, in this order; all of them for None."""
        ...

    def get_inputs(self) -> list[Any]:
        """Return the inputs, each with its name, shape and type."""
        ...

    def get_outputs(self) -> list[Any]:
        """Return the outputs, each with its name, shape and type."""
        ...


def make_session(model: bytes, threads: int, device: str = "cpu") -> ort.InferenceSession:
    """Return an onnxruntime session whose threads do not spin while idle.

    model: serialized ONNX. device: "cpu", "cuda", "openvino" or "coreml".
    Raises UsageError if onnxruntime cannot use the device.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3 if device == "cpu" else 4
    wanted = _PROVIDERS[device]
    providers = dict.fromkeys((wanted, _PROVIDERS["cpu"]))  # each once, in this order
    session = ort.InferenceSession(model, options, providers=list(providers))
    if session.get_providers()[0] != wanted:  # without its driver, onnxruntime takes the processor
        raise _lacking(device)
    return session


def check_device(device: str) -> str:
    """Return the device to use, the best one for "auto".

    Raises UsageError if it is unknown, or this machine lacks it or what runs it.
    """
    if device not in DEVICES:
        raise UsageError(f"there is no device {device!r}: use {', '.join(DEVICES)}.")
    there = ort.get_available_providers()
    if device == "auto":
        return next(one for one in ("cuda", "coreml", "cpu") if _PROVIDERS[one] in there)
    if _PROVIDERS[device] in there or (device == "openvino" and _has_openvino()):
        return device
    raise _lacking(device)


def on_device(session: Session, model: bytes, threads: int, device: str) -> Session:
    """Return a session of the model on a device; `session` is its session on the processor.

    device: as for `check_device`; "auto" stays on the processor where its best device fails.
    Raises UsageError if the device is unknown, or cannot be used.
    """
    found = check_device(device)
    if found == "cpu":
        return session
    if found == "openvino" and _PROVIDERS[found] not in ort.get_available_providers():
        return OpenVinoSession(session, model, threads)
    try:
        made: Session = make_session(model, threads, found)
        return made
    except Exception as error:  # onnxruntime's errors share no public base class
        if device == "auto":
            return session
        raise error if isinstance(error, UsageError) else _lacking(found) from None


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _lacking(device: str) -> UsageError:
    return UsageError(
        f"the device {device!r} cannot be used on this machine. {_REMEDIES[device]}, or use "
        "--device cpu."
    )


class OpenVinoSession:
    """A network that the package `openvino` runs on the processor.

    session: the same network in onnxruntime, which describes its inputs and outputs.
    """

    def __init__(self, session: Session, model: bytes, threads: int) -> None:
        import openvino

        self._described = session
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # what is not int8; bfloat16 would be the default
        }
        self._model = core.compile_model(core.read_model(model, b""), "CPU", settings)

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Any]:
        """Return these outputs, in this order; all of them for None."""
        found = self._model(dict(input_feed))
        names = output_names or [one.name for one in self.get_outputs()]
        outputs: list[Floats] = [np.array(found[name]) for name in names]
        return outputs

    def get_inputs(self) -> list[Any]:
        """Return the inputs, as onnxruntime does."""
        return self._described.get_inputs()

    def get_outputs(self) -> list[Any]:
        """Return the outputs, as onnxruntime does."""
        return self._described.get_outputs()
