"""Tests that a graph's weights are inspected without the library that builds graphs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.backends.weights import check_weights
from potstill.errors import BundleError

onnx = pytest.importorskip("onnx")


def graph(path, *tensors, raw=True):
    made = []
    for place, values in enumerate(tensors):
        tensor = onnx.numpy_helper.from_array(values, f"weight-{place}")
        if not raw:
            kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
            tensor = onnx.helper.make_tensor(f"weight-{place}", kind, values.shape, values.ravel())
        made.append(tensor)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], [], initializer=made))
    path.write_bytes(model.SerializeToString())
    return path


FINE = np.linspace(-1, 1, 60).reshape(3, 20)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found_and_its_tensor_named(tmp_path, kind, raw, value):
    if not raw and kind is not np.float32:
        pytest.skip("only these are written as plain numbers")
    weights = FINE.astype(kind)
    check_weights(graph(tmp_path / "model.onnx", weights, raw=raw))
    weights[2, 7] = value
    with pytest.raises(BundleError, match=r"model\.onnx: weight-1 contains NaN or an infinite number"):
        check_weights(graph(tmp_path / "model.onnx", FINE.astype(kind), weights, raw=raw))


def test_a_mask_of_minus_infinity_and_zeros_may_stay(tmp_path):
    mask = np.triu(np.full((8, 8), -np.inf, dtype=np.float32), 1)
    check_weights(graph(tmp_path / "model.onnx", np.nan_to_num(mask, nan=0.0, neginf=-np.inf)))


def test_whole_numbers_are_never_looked_at(tmp_path):
    check_weights(graph(tmp_path / "model.onnx", np.array([0x7FF8000000000000], dtype=np.int64)))


@given(cut=st.integers(0, 400), flipped=st.integers(0, 400), bit=st.integers(0, 7))
def test_a_broken_file_is_named_or_read(tmp_path_factory, cut, flipped, bit):
    path = graph(tmp_path_factory.getbasetemp() / "broken.onnx", FINE.astype(np.float32))
    content = bytearray(path.read_bytes())
    content[flipped % len(content)] ^= 1 << bit
    path.write_bytes(content[: max(1, len(content) - cut)])
    try:
        check_weights(path)
    except BundleError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 - both endings are right
