"""The real Open Inference Protocol v2 client of NVIDIA, unchanged, against a running factory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.e2e.factories import Factory

FOUR = {
    "f": ("FP32", np.array([[1.5, -2.25]], np.float32)),
    "i": ("INT64", np.array([[2**40, -3]], np.int64)),
    "s": ("BYTES", np.array([["spindle", "Öl"]], dtype=object)),
    "b": ("BOOL", np.array([[True, False]])),
}


@pytest.fixture
def headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def client(factory: Factory) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(f"127.0.0.1:{factory.port}", concurrency=2)
    yield made
    made.close()


def tensor(name: str, datatype: str, value: np.ndarray, *, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(value.shape), datatype)
    made.set_data_from_numpy(value, binary_data=binary)
    return made


def row(value: float = 1.0, columns: int = 4) -> triton.InferInput:
    return tensor("x", "FP32", np.full((1, columns), value, np.float32))


def test_server_and_model_introduce_themselves(client: triton.InferenceServerClient, headers: dict[str, str]):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "andon"
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.is_model_ready("linear", headers=headers)
    assert not client.is_model_ready("linaer", headers=headers)
    described = client.get_model_metadata("linear", headers=headers)
    assert described["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert described["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}]


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_every_type_comes_back_as_it_went(
    client: triton.InferenceServerClient, headers: dict[str, str], binary: bool
):
    inputs = [tensor(name, datatype, value, binary=binary) for name, (datatype, value) in FOUR.items()]
    outputs = [triton.InferRequestedOutput(f"{name}_out", binary_data=binary) for name in FOUR]
    answer = client.infer("echo", inputs, outputs=outputs, headers=headers)
    for name, (datatype, value) in FOUR.items():
        found = answer.as_numpy(f"{name}_out")
        assert answer.get_output(f"{name}_out")["datatype"] == datatype
        if datatype == "BYTES":
            texts = [item.decode() if isinstance(item, bytes) else item for item in found.ravel()]
            assert texts == ["spindle", "Öl"]
        else:
            np.testing.assert_array_equal(found, value)


def test_requests_in_flight_together_each_get_their_own_answer(
    client: triton.InferenceServerClient, headers: dict[str, str]
):
    pending = [client.async_infer("linear", [row(float(n))], headers=headers) for n in range(16)]
    assert [one.get_result().as_numpy("y").item() for one in pending] == [2.0 * n + 1 for n in range(16)]


def test_a_large_tensor_passes_whole(client: triton.InferenceServerClient, headers: dict[str, str]):
    value = np.arange(400_000, dtype=np.float32).reshape(100_000, 4) / 1e5
    answer = client.infer("linear", [tensor("x", "FP32", value)], headers=headers)
    np.testing.assert_allclose(answer.as_numpy("y")[:, 0], value.sum(axis=1) / 2 + 1, rtol=1e-5)


def test_what_does_not_fit_the_signature_is_refused_in_words(
    client: triton.InferenceServerClient, headers: dict[str, str]
):
    wrong = {
        "shape": [row(columns=3)],
        "'z'": [tensor("z", "FP32", np.zeros((1, 4), np.float32))],
        "FP32": [tensor("x", "INT64", np.zeros((1, 4), np.int64))],
    }
    for word, inputs in wrong.items():
        with pytest.raises(InferenceServerException) as refused:
            client.infer("linear", inputs, headers=headers)
        assert word in refused.value.message()
        assert "400" in refused.value.status()
    with pytest.raises(InferenceServerException, match="linaer"):
        client.infer("linaer", [row()], headers=headers)
    with pytest.raises(InferenceServerException, match="key") as stranger:
        client.infer("linear", [row()])
    assert "401" in stranger.value.status()
