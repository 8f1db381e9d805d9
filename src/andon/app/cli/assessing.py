"""`andon models assess`: attack a version within a budget of queries, and record how it stood.

Attacks the files that the version names, or, with --through, its endpoint on the gateway as anybody with a key could.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from andon.app.cli.client import segment
from andon.app.cli.commands import load
from andon.app.cli.output import emit
from andon.app.cli.session import Session
from andon.kernel.errors import Refused

_DATA_BYTES_MAX = 256 << 20


def assess(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The version, as <model>-<version>.")],
    *,
    data: Annotated[
        Path, typer.Option("--data", help="Rows with labels: CSV with a header, or .npz with x and y.")
    ],
    label: Annotated[str, typer.Option(help="Column of the label in a CSV; by default the last.")] = "",
    norm: Annotated[str, typer.Option(help="linf or l2.")] = "linf",
    epsilon: Annotated[float, typer.Option(help="How far, as a share of each feature's range.")] = 0.1,
    budget: Annotated[int, typer.Option(help="Queries for each row.", min=1, max=1_000_000)] = 1000,
    rows: Annotated[int, typer.Option(help="Rows to attack, drawn by the seed.", min=1, max=10_000)] = 50,
    attack: Annotated[
        str, typer.Option(help="hopskipjump (labels only) or zoo (needs scores).")
    ] = "hopskipjump",
    seed: Annotated[int, typer.Option(help="The same seed, the same assessment.", min=0, max=2**31)] = 0,
    through: Annotated[str, typer.Option(help="Attack this endpoint through the gateway instead.")] = "",
    key: Annotated[str, typer.Option(envvar="ANDON_KEY", help="API key for --through.")] = "",
) -> None:
    """Attack a model version, and record its clean and robust accuracy."""
    session: Session = context.obj
    if norm not in ("linf", "l2") or attack not in ("hopskipjump", "zoo") or not epsilon > 0:
        raise Refused(
            "assessment_terms",
            "The norm is linf or l2, the attack hopskipjump or zoo, epsilon above 0.",
            hint="andon models assess --help",
        )
    model = load("andon.security.robustness.model")
    terms = model.Terms(attack=attack, norm=norm, epsilon=epsilon, budget=budget, rows=rows, seed=seed)
    record = session.client().get(f"/v1/resources/ModelVersion/{segment(name)}")
    admission = record.get("status", {}).get("admission") or {}
    table, labels, origin = _read(data, label)
    with tempfile.TemporaryDirectory(prefix="andon-") as folder:
        if through:
            predict = _through(session.gateway_url(), through, key)
        else:
            predict = _loaded(session.home(), record["spec"], admission, Path(folder))
        outcome = load("andon.security.robustness.attacks").assess(predict, table, labels, terms)
    body = _body(model, terms, outcome, {"digest": admission.get("digest", ""), "data": origin})
    answer = session.client().post(f"/v1/models/{segment(name)}/assessments", body)
    emit(session, answer, lambda: _shown(answer), [name])


def _body(model: Any, terms: Any, outcome: Any, known: dict[str, str]) -> dict[str, Any]:
    clean = model.interval(outcome.right, outcome.rows)
    robust = model.interval(outcome.stood, outcome.rows)
    return {
        **known,
        "attack": terms.attack,
        "norm": terms.norm,
        "epsilon": terms.epsilon,
        "budget": terms.budget,
        "seed": terms.seed,
        "rows": outcome.rows,
        "cleanAccuracy": outcome.right / outcome.rows,
        "robustAccuracy": outcome.stood / outcome.rows,
        "cleanLow": clean[0],
        "cleanHigh": clean[1],
        "robustLow": robust[0],
        "robustHigh": robust[1],
        "queries": outcome.queries,
    }


def _shown(answer: dict[str, Any]) -> str:
    return (
        f"clean accuracy  {answer['cleanAccuracy']:.3f}  ({answer['cleanLow']:.3f} to {answer['cleanHigh']:.3f})\n"
        f"robust accuracy {answer['robustAccuracy']:.3f}  ({answer['robustLow']:.3f} to {answer['robustHigh']:.3f})\n"
        f"{answer['attack']}, {answer['norm']} {answer['epsilon']:g} of each feature's range, "
        f"{answer['budget']} queries a row, {answer['rows']} rows, {answer['queries']} queries in all"
    )


def _read(path: Path, label: str) -> tuple[Any, Any, str]:
    """Rows, class numbers, and what they were read from."""
    np = load("numpy")
    try:
        if path.stat().st_size > _DATA_BYTES_MAX:
            raise Refused(
                "assessment_data",
                f"{path} is larger than {_DATA_BYTES_MAX >> 20} MiB.",
                hint="Take a sample.",
            )
        raw = path.read_bytes()
    except OSError as error:
        raise Refused(
            "assessment_data", f"{path} cannot be read: {error.strerror}.", hint="Check --data."
        ) from error
    origin = f"{path.name} sha256:{hashlib.sha256(raw).hexdigest()[:16]}"
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["x"], _numbers(np, arrays["y"]), origin
        lines = [line.split(",") for line in raw.decode("utf-8").splitlines() if line.strip()]
        header = [word.strip() for word in lines[0]]
        place = header.index(label) if label else len(header) - 1
        table = np.array([[float(w) for n, w in enumerate(line) if n != place] for line in lines[1:]])
        return table, _numbers(np, np.array([line[place].strip() for line in lines[1:]])), origin
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise Refused(
            "assessment_data",
            f"{path} has no rows of numbers with a label: {error}.",
            hint="CSV with a header and numbers, the label in one column; or .npz with x and y.",
        ) from error


def _numbers(np: Any, labels: Any) -> Any:
    """Class numbers: as they are, or by the order of the labels' texts."""
    try:
        return labels.astype(np.float64).astype(np.int64)
    except ValueError:
        return np.unique(labels, return_inverse=True)[1]


def _loaded(home: Path, spec: dict[str, Any], admission: dict[str, Any], folder: Path) -> Any:
    """The admitted model, opened here from a verified copy."""
    if not admission.get("admitted"):
        raise Refused(
            "model_not_admitted",
            "The version is not admitted, so it is not loaded here either.",
            hint=str(admission.get("reason") or "Wait for admission: andon models list"),
        )
    digest, formats = load("andon.serving.models.digest"), load("andon.serving.models.formats.select")
    port, models = load("andon.serving.models.formats.port"), load("andon.serving.models.model")
    source = home / spec["source"]
    taken = digest.take(source, folder / "model")
    digest.expect(source, taken.digest, admission["digest"])
    declared = load("msgspec").convert(spec, models.ModelVersionSpec)
    opened = formats.open_model(
        port.ModelSource(
            path=taken.path,
            format=declared.format,
            entry=declared.entry,
            allow_pickle=declared.allow_pickle,
            signature=models.signature_of(declared.signature) if declared.signature else None,
        )
    )
    np = load("numpy")
    tensor = opened.signature.inputs[0]
    dtype = port.DTYPES[tensor.datatype]

    def predict(points: Any) -> Any:
        return _scores(np, list(opened.predict({tensor.name: points.astype(dtype)}).values()))

    return predict


def _through(url: str, endpoint: str, key: str) -> Any:
    """The endpoint, asked over the Open Inference Protocol as any client asks."""
    np = load("numpy")
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=60)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    path = f"/v2/models/{quote(endpoint, safe='')}"

    def ask(method: str, place: str, body: bytes | None = None) -> Any:
        try:
            connection.request(method, place, body, headers)
            response = connection.getresponse()
            content = response.read()
        except OSError as error:
            raise Refused(
                "gateway_unreachable", f"The gateway did not answer: {error}.", hint="andon status"
            ) from error
        if response.status != 200:
            raise Refused(
                "assessment_refused",
                f"The gateway answered {response.status}.",
                hint="Give a key that may call the endpoint (--key), and limits that let the attack through.",
            )
        return json.loads(content)

    tensor = ask("GET", path)["inputs"][0]

    def predict(points: Any) -> Any:
        inputs = [
            {
                "name": tensor["name"],
                "datatype": tensor["datatype"],
                "shape": list(points.shape),
                "data": points.ravel().tolist(),
            }
        ]
        answer = ask("POST", f"{path}/infer", json.dumps({"inputs": inputs}).encode())
        outputs = [np.array(one["data"]).reshape(one["shape"]) for one in answer["outputs"]]
        return _scores(np, outputs)

    return predict


def _scores(np: Any, outputs: list[Any]) -> Any:
    """Scores by class: a matrix of the model's own, else its labels as one column a class."""
    for output in outputs:
        array = np.asarray(output)
        if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind == "f":
            return array
    first = np.asarray(outputs[0]).reshape(-1)
    if first.dtype.kind == "f":  # one column: the probability of class 1
        return np.stack([1.0 - first, first], axis=1)
    classes = first.astype(np.int64).clip(0, 999)
    scores = np.zeros((len(first), max(_CLASSES_MIN, int(classes.max(initial=0)) + 1)))
    scores[np.arange(len(first)), classes] = 1.0
    return scores


_CLASSES_MIN = 10  # labels do not tell how many classes there are; columns that nothing uses do no harm
