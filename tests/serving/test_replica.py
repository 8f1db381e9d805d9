"""A real replica process and real clients: the protocol as tritonclient speaks it, and its refusals."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import andon
from andon.kernel.clock import SystemClock
from andon.serving.replica.model import LastWords, Launch, Ready, ReplicaSpec
from tests.serving.conftest import save_linear

ECHO = """
class Echo:
    signature = {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "text", "datatype": "BYTES", "shape": [-1, 1], "optional": True},
            {"name": "half", "datatype": "FP16", "shape": [-1], "optional": True},
        ],
        "outputs": [],
    }

    def predict(self, inputs):
        if (inputs["x"] == 13).any():
            raise ValueError("a secret of the model")
        return dict(inputs)
"""


def start(folder: Path, spec: ReplicaSpec) -> tuple[subprocess.Popen[bytes], Launch]:
    launch = Launch(
        spec=spec,
        listen="http://127.0.0.1:0",
        ready_path=str(folder / "ready.json"),
        words_path=str(folder / "words.json"),
        pid_path=str(folder / "pid.json"),
    )
    path = folder / "launch.json"
    path.write_bytes(msgspec.json.encode(launch))
    source = str(Path(andon.__file__).parent.parent)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "andon.serving.replica", str(path)],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": source},
        )
    return process, launch


def until_ready(process: subprocess.Popen[bytes], launch: Launch) -> Ready:
    async def main() -> Ready:
        while not Path(launch.ready_path).exists():
            assert process.poll() is None, Path(launch.ready_path).with_name("log").read_text()
            await SystemClock().sleep(0.02)
        return msgspec.json.decode(Path(launch.ready_path).read_bytes(), type=Ready)

    return asyncio.run(main())


def serve(folder: Path, spec: ReplicaSpec) -> Iterator[str]:
    process, launch = start(folder, spec)
    try:
        yield until_ready(process, launch).url.removeprefix("http://")
    finally:
        process.terminate()
        assert process.wait(20) == 0
        words = msgspec.json.decode(Path(launch.words_path).read_bytes(), type=LastWords)
        assert words.error == "drained"


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("echo")
    (folder / "echo.py").write_text(ECHO)
    spec = ReplicaSpec(
        id="echo-1-r1",
        deployment="echo-1",
        model="echo",
        version="1",
        source=str(folder / "echo.py"),
        linger_s=0.0,
    )
    yield from serve(folder, spec)


@pytest.fixture(scope="module")
def linear_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("linear")
    source = save_linear(folder / "model.onnx", features=4)
    spec = ReplicaSpec(
        id="linear-7-r1", deployment="linear-7", model="linear", version="7", source=str(source), linger_s=0.0
    )
    yield from serve(folder, spec)


@pytest.fixture
def client(echo: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(echo) as made:
        yield made


def tensor(
    name: str, array: np.ndarray[Any, Any], datatype: str, *, binary: bool = True
) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


X = np.array([[1.5, 2.0], [3.0, -4.0]], np.float32)


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("echo")
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 2]}


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_json_and_binary_both_ways(client: triton.InferenceServerClient, sent: bool, asked: bool) -> None:
    text = np.array([["größe"], ["b"]], object)
    result = client.infer(
        "echo",
        [tensor("x", X, "FP32", binary=sent), tensor("text", text, "BYTES", binary=sent)],
        outputs=[triton.InferRequestedOutput(name, binary_data=asked) for name in ("text", "x")],
        request_id="abc",
    )
    assert result.get_response()["id"] == "abc"
    assert [output["name"] for output in result.get_response()["outputs"]] == ["text", "x"]
    assert result.as_numpy("x").tolist() == X.tolist()
    values = [
        value.decode() if isinstance(value, bytes) else value for value in result.as_numpy("text").ravel()
    ]
    assert values == ["größe", "b"]


def test_binary_is_given_when_outputs_are_not_named(client: triton.InferenceServerClient) -> None:
    half = np.array([0.5, 2.0], np.float16)
    result = client.infer("echo", [tensor("x", X, "FP32"), tensor("half", half, "FP16")])
    assert result.as_numpy("half").tolist() == half.tolist()
    assert result.as_numpy("x").tolist() == X.tolist()


def test_a_version_can_be_named(client: triton.InferenceServerClient) -> None:
    result = client.infer("echo", [tensor("x", X, "FP32")], model_version="1")
    assert result.get_response()["model_version"] == "1"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([tensor("z", X, "FP32")], "no input 'z'"),
        ([tensor("x", X.astype(np.float64), "FP64")], "is FP32, not FP64"),
        ([tensor("x", np.zeros((1, 3), np.float32), "FP32")], r"takes shape \[-1, 2\], not \[1, 3\]"),
        ([tensor("half", np.zeros(1, np.float16), "FP16")], "'x' is missing"),
        ([tensor("x", np.full((1, 2), 13, np.float32), "FP32")], "raised ValueError"),
    ],
)
def test_refusals_say_what_and_where(
    client: triton.InferenceServerClient, inputs: list[triton.InferInput], words: str
) -> None:
    with pytest.raises(InferenceServerException, match=words) as refused:
        client.infer("echo", inputs)
    assert "secret" not in str(refused.value)


def test_unknown_outputs_models_and_extensions_are_refused(client: triton.InferenceServerClient) -> None:
    x = tensor("x", X, "FP32")
    with pytest.raises(InferenceServerException, match="no output 'nope'"):
        client.infer("echo", [x], outputs=[triton.InferRequestedOutput("nope")])
    with pytest.raises(InferenceServerException, match="classification extension"):
        client.infer("echo", [x], outputs=[triton.InferRequestedOutput("x", class_count=2)])
    with pytest.raises(InferenceServerException, match="serves model 'echo' version '1'"):
        client.infer("other", [x])
    with pytest.raises(InferenceServerException, match="Compressed"):
        client.infer("echo", [x], request_compression_algorithm="gzip")


def test_half_floats_are_refused_in_json(client: triton.InferenceServerClient) -> None:
    half = tensor("half", np.zeros(2, np.float16), "FP16")
    outputs = [triton.InferRequestedOutput("half", binary_data=False)]
    with pytest.raises(InferenceServerException, match="binary_data: true"):
        client.infer("echo", [tensor("x", X, "FP32"), half], outputs=outputs)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/v2/models/linear/infer", b"{", {}, 400),
        ("POST", "/v2/models/linear/infer", b"{}", {}, 400),
        ("POST", "/v2/models/linear/infer", b"{}", {"Inference-Header-Content-Length": "x"}, 400),
        ("POST", "/v2/models/linear/infer", b"{}", {"Inference-Header-Content-Length": "99"}, 400),
        ("GET", "/v2/models/linear/infer", b"", {}, 405),
        ("GET", "/v2/models/linear/versions/8", b"", {}, 404),
        ("GET", "/", b"", {}, 404),
        ("GET", "/v2/models/l%69near", b"", {}, 200),
        ("GET", "/v2", b"", {}, 200),
    ],
)
def test_statuses_and_errors_in_the_protocols_shape(
    linear_url: str, method: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    connection = http.client.HTTPConnection(linear_url, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        decoded = msgspec.json.decode(answer.read())
    finally:
        connection.close()
    assert answer.status == status
    assert ("error" in decoded) == (status >= 400)


def test_an_onnx_model_answers_flat_and_nested(linear_url: str) -> None:
    connection = http.client.HTTPConnection(linear_url, timeout=10)
    try:
        for data in ([1, 2, 3, 4], [[1, 2, 3, 4]]):
            body = {"id": "1", "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": data}]}
            connection.request("POST", "/v2/models/linear/versions/7/infer", msgspec.json.encode(body))
            decoded = msgspec.json.decode(connection.getresponse().read())
            assert decoded == {
                "model_name": "linear",
                "model_version": "7",
                "id": "1",
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [6.0]}],
            }
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"digest": "sha256:" + "0" * 64}, "digest_mismatch"),
        ({"source": "/nowhere/at/all"}, "model_missing"),
        ({"warmup": ({"x": [1.0]},)}, "warmup_wrong"),
        ({"warmup": ({"y": [1.0]},)}, "warmup_wrong"),
    ],
)
def test_a_model_that_cannot_be_served_ends_the_process_with_its_reason(
    tmp_path: Path, linear: Path, changes: dict[str, Any], error: str
) -> None:
    spec = ReplicaSpec(id="linear-1-r1", deployment="d", model="linear", version="1", source=str(linear))
    process, launch = start(tmp_path, msgspec.structs.replace(spec, **changes))
    assert process.wait(30) == 65
    words = msgspec.json.decode(Path(launch.words_path).read_bytes(), type=LastWords)
    assert (words.error, words.permanent) == (error, True)
    assert not Path(launch.ready_path).exists()


def test_a_stop_while_loading_ends_at_once(tmp_path: Path) -> None:
    source = tmp_path / "model.py"
    began = f"{source}.began"  # not beside the file that runs: that is a private copy
    source.write_text(f"import time\nopen({began!r}, 'w').close()\ntime.sleep(600)\n")
    spec = ReplicaSpec(
        id="s-1-r1", deployment="s-1", model="s", version="1", source=str(source), linger_s=0.0
    )
    process, launch = start(tmp_path, spec)

    async def until_began() -> None:
        while not Path(f"{source}.began").exists():
            assert process.poll() is None
            await SystemClock().sleep(0.02)

    asyncio.run(until_began())
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert Path(launch.words_path).exists()


def test_a_launch_file_that_is_none_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "andon.serving.replica", str(tmp_path / "nope.json")],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(andon.__file__).parent.parent)},
    )
    assert done.returncode == 64
    assert b"cannot be read" in done.stderr
