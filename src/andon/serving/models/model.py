"""What people say about models in factory files: the specs of `Model` and `ModelVersion`.

Read by control to plan replicas; the heavy libraries of model formats are never imported from here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from andon.kernel.labels import Label
from andon.kernel.snapshot import Signature, TensorSpec

MODEL = "Model"
MODEL_VERSION = "ModelVersion"

Format = Literal["auto", "mlflow", "onnx", "python"]
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "BF16", "FP32", "FP64", "BYTES",
]  # fmt: skip

ROWS_MAX = 4096  # a batch beyond this gains nothing on a CPU and delays everyone in it


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A model as people speak of it; its versions are resources of their own."""

    description: Annotated[str, Meta(description="What it predicts and for whom, in a sentence.")] = ""
    task: Annotated[
        Literal["classification", "regression", "ranking", "embedding", "generation", "other"],
        Meta(description="What kind of answer it gives."),
    ] = "other"
    owner: Annotated[str, Meta(description="The person or team to ask about it.")] = ""


class Tensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One input or output, in the terms of the Open Inference Protocol v2."""

    name: Annotated[str, Meta(description="The tensor's name in requests.", min_length=1)]
    datatype: Annotated[Datatype, Meta(description="Its type by the protocol's name, e.g. FP32.")]
    shape: Annotated[
        tuple[int, ...], Meta(description="Its dimensions; -1 is free, and a free first one can be batched.")
    ]
    optional: Annotated[bool, Meta(description="Whether a request may leave it out.")] = False
    minimum: Annotated[float | None, Meta(description="Smallest value accepted.")] = None
    maximum: Annotated[float | None, Meta(description="Largest value accepted.")] = None
    allow_nan: Annotated[bool, Meta(description="Whether NaN (null in JSON) is accepted.")] = False


class SignatureSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What the version takes and gives; checked against the model when it is loaded."""

    inputs: Annotated[tuple[Tensor, ...], Meta(description="Inputs, with their allowed ranges.")] = ()
    outputs: Annotated[tuple[Tensor, ...], Meta(description="Outputs; empty = as the model says.")] = ()


class BatchingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How requests that wait at the same moment share one call of the model."""

    max_size: Annotated[
        int, Meta(description="Most rows in one call; 1 switches batching off.", ge=1, le=ROWS_MAX)
    ] = 32
    max_delay_ms: Annotated[
        float,
        Meta(description="Longest wait for company; 0 = only what is waiting already.", ge=0, le=1000),
    ] = 0.0


class ResourcesSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What one replica may use."""

    memory: Annotated[
        str,
        Meta(description="Most resident memory, e.g. 512Mi; the replica ends itself beyond. Empty = any."),
    ] = ""
    cpu_threads: Annotated[int, Meta(description="Threads of one prediction.", ge=1, le=256)] = 1


class CardSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What the papers of a version say besides what Andon knows: its model card and bill of materials."""

    licence: Annotated[str, Meta(description="Its licence, as an SPDX id.", max_length=100)] = ""
    datasets: Annotated[tuple[str, ...], Meta(description="What it was trained on.", max_length=100)] = ()
    derived_from: Annotated[tuple[str, ...], Meta(description="Models it was made from.", max_length=20)] = ()
    use_cases: Annotated[tuple[str, ...], Meta(description="What it is meant for.", max_length=50)] = ()
    limitations: Annotated[
        tuple[str, ...], Meta(description="Where it should not be trusted.", max_length=50)
    ] = ()
    ethical_considerations: Annotated[
        tuple[str, ...], Meta(description="Whom it may harm, and how that is held off.", max_length=50)
    ] = ()


class TrainedOnDataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A data set by the names of OpenLineage."""

    namespace: Annotated[
        str, Meta(description="Where it lives, e.g. s3://lake.", min_length=1, max_length=1024)
    ]
    name: Annotated[str, Meta(description="Its name there.", min_length=1, max_length=1024)]
    version: Annotated[str, Meta(description="Which version; empty = not known.", max_length=200)] = ""
    label: Annotated[Label | None, Meta(description="Its data class.")] = None


class TrainedOnSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a version came from, as far as no event of OpenLineage tells."""

    datasets: Annotated[
        tuple[TrainedOnDataset, ...], Meta(description="Data sets it was trained on.", max_length=200)
    ] = ()
    features: Annotated[tuple[str, ...], Meta(description="Features it uses.", max_length=2000)] = ()
    run: Annotated[
        str, Meta(description="The training run: its id in OpenLineage or MLflow.", max_length=200)
    ] = ""


class AllowSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """An exception: findings of the scan that somebody answers for, and until when."""

    findings: Annotated[
        tuple[str, ...],
        Meta(
            description="Findings as the scan names them: `rule` or `rule:subject`.",
            min_length=1,
            max_length=200,
        ),
    ]
    reason: Annotated[str, Meta(description="Why they are no danger, and who says so.", min_length=10)]
    until: Annotated[
        str, Meta(description="Last day on which it holds, e.g. 2030-12-31.", pattern=r"^\d{4}-\d{2}-\d{2}$")
    ]


class ModelVersionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One immutable version of a model. Its resource is named `<model>-<version>`."""

    model: Annotated[str, Meta(description="The Model it is a version of.", min_length=1)]
    version: Annotated[str, Meta(description="Its version, e.g. 3.", min_length=1)]
    source: Annotated[
        str,
        Meta(description="Folder or file, absolute or relative to the factory file's folder.", min_length=1),
    ]
    format: Annotated[Format, Meta(description="How to read the source; auto looks at it.")] = "auto"
    entry: Annotated[
        str, Meta(description="Python only: `module:Class`; otherwise `Model` or `predict` of the file.")
    ] = ""
    digest: Annotated[
        str,
        Meta(
            description="sha256:… of the file, or of the folder's listing of paths and contents; checked at load.",
            pattern="^(sha256:[0-9a-f]{64})?$",
        ),
    ] = ""
    allow_pickle: Annotated[
        bool,
        Meta(description="Accept formats that run code from the file when loaded (pickle, cloudpickle)."),
    ] = False
    allow: Annotated[
        AllowSpec | None,
        Meta(description="Findings of the scan that are accepted; what is refused outright cannot be."),
    ] = None
    trained_on: Annotated[TrainedOnSpec, Meta(description="What it came from.")] = TrainedOnSpec()
    card: Annotated[CardSpec, Meta(description="What its model card says.")] = CardSpec()
    signature: Annotated[
        SignatureSpec | None, Meta(description="What it takes and gives; else read from the model.")
    ] = None
    batching: Annotated[BatchingSpec, Meta(description="Dynamic batching.")] = BatchingSpec()
    resources: Annotated[ResourcesSpec, Meta(description="Limits of one replica.")] = ResourcesSpec()
    warmup: Annotated[
        tuple[dict[str, Any], ...],
        Meta(
            description="Sample requests, input name to nested values; made from the signature if empty.",
            max_length=16,
        ),
    ] = ()
    env: Annotated[dict[str, str], Meta(description="Environment of the replica; never secrets.")] = {}
    start_timeout_s: Annotated[
        float, Meta(description="Seconds to become ready before it is started again.", gt=0, le=3600)
    ] = 60.0


def signature_of(spec: SignatureSpec) -> Signature:
    """The declared signature as the kernel carries it."""
    return Signature(
        inputs=tuple(_tensor_of(tensor) for tensor in spec.inputs),
        outputs=tuple(_tensor_of(tensor) for tensor in spec.outputs),
    )


def _tensor_of(tensor: Tensor) -> TensorSpec:
    return TensorSpec(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=tensor.shape,
        optional=tensor.optional,
        minimum=tensor.minimum,
        maximum=tensor.maximum,
        allow_nan=tensor.allow_nan,
    )
