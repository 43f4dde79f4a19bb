"""MTCNN's weights: only the pinned file is read, and it is never unpickled."""

from __future__ import annotations

import io
import os
import pickle

import numpy as np
import onnx
import onnxruntime as ort
import platformdirs
import pytest

from moppet.infer.detectors import mtcnn
from moppet.infer.detectors.mtcnn import (
    WEIGHTS_SHA256,
    build_onnx,
    load_onnx,
    read_weights,
)
from moppet.values import ModelError

NETS = sorted(WEIGHTS_SHA256)


@pytest.mark.parametrize("net", NETS)
def test_the_networks_hold_every_array_that_joblib_reads(net):
    joblib = pytest.importorskip("joblib")
    arrays = joblib.load(io.BytesIO(read_weights(net)))
    built = [
        onnx.numpy_helper.to_array(one)
        for one in onnx.load_from_string(build_onnx(net)).graph.initializer
    ]
    assert len(built) == len(arrays)
    for found, array in zip(built, arrays, strict=True):
        kernel = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        np.testing.assert_array_equal(found.ravel(), kernel.ravel())


class Command:
    def __init__(self, run, *arguments):
        self.run, self.arguments = run, arguments

    def __reduce__(self):
        return self.run, self.arguments


def test_a_file_with_another_hash_is_refused_before_it_is_read(monkeypatch, tmp_path):
    fake = tmp_path / "pnet.lz4"
    fake.write_bytes(pickle.dumps([Command(os.system, f"touch {tmp_path / 'trace'}")]))
    monkeypatch.setattr(mtcnn, "_weights_path", lambda net: fake)
    with pytest.raises(ModelError, match=r"SHA-256 .* expected .*pip install"):
        read_weights("pnet")
    assert not (tmp_path / "trace").exists()


def test_a_missing_wheel_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(mtcnn.importlib.metadata, "files", lambda name: None)
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

    monkeypatch.setattr(mtcnn, "build_onnx", never)
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
