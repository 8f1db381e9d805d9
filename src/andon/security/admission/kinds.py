"""The kinds `Admission` and `Signer`: what models must be to be loaded, and whose signatures count.

Checked at plan over the document alone; the controller reads them at every decision.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from andon.control.kinds import Kind, Problem, World
from andon.security.admission.signing import read_public_key
from andon.store.model import Record

ADMISSION = "Admission"
SIGNER = "Signer"
_GLOBAL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

Format = Literal[
    "onnx",
    "safetensors",
    "xgboost",
    "lightgbm",
    "python",
    "pickle",
    "npy",
    "npz",
    "torch",
    "keras",
    "hdf5",
    "gguf",
]
SAFE_FORMATS: tuple[Format, ...] = (
    "onnx",
    "safetensors",
    "xgboost",
    "lightgbm",
    "npy",
    "npz",
    "python",
    "pickle",
)


class AdmissionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a model version must be before anything of it is loaded."""

    formats: Annotated[
        tuple[Format, ...],
        Meta(
            description="Formats that files of models may have. Pickles need allowPickle on the version besides."
        ),
    ] = SAFE_FORMATS
    signatures: Annotated[
        Literal["auto", "required", "optional"],
        Meta(description="Whether models must be signed; auto = as soon as a Signer is declared."),
    ] = "auto"
    globals: Annotated[
        tuple[str, ...],
        Meta(
            description="Names that pickles may use besides those listed, exactly: own.Scaler.",
            max_length=500,
        ),
    ] = ()


class SignerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Somebody whose signature on a model counts."""

    public_key: Annotated[
        str, Meta(description="Ed25519 public key: PEM, or its 32 bytes in base64.", max_length=1000)
    ]
    models: Annotated[tuple[str, ...], Meta(description="Models it may sign; empty = all.")] = ()
    description: Annotated[str, Meta(description="Who holds the key.", max_length=500)] = ""


def check_admission(spec: Any, record: Record, world: World) -> list[Problem]:
    """One in a factory, and names that can be names."""
    assert isinstance(spec, AdmissionSpec)
    problems = []
    others = sorted(name for kind, name in world if kind == ADMISSION and name != record.name)
    if others and others[0] < record.name:
        problems.append(
            Problem(
                path="metadata.name",
                message=f"There is an Admission '{others[0]}' already.",
                hint="A factory has one: put everything there.",
            )
        )
    problems += [
        Problem(
            path=f"spec.globals[{place}]", message=f"'{name}' is no module.name.", hint="Write it in full."
        )
        for place, name in enumerate(spec.globals)
        if _GLOBAL.fullmatch(name) is None
    ]
    if spec.signatures == "required" and not any(kind == SIGNER for kind, _ in world):
        problems.append(
            Problem(
                path="spec.signatures",
                message="Signatures are required, and no Signer is declared: nothing could be admitted.",
                hint="Declare one; andon models key FILE makes a key and prints what to declare.",
            )
        )
    return problems


def check_signer(spec: Any, record: Record, world: World) -> list[Problem]:
    """A key that can be read, and models that are there."""
    assert isinstance(spec, SignerSpec)
    problems = []
    try:
        read_public_key(spec.public_key)
    except ValueError as error:
        problems.append(
            Problem(
                path="spec.publicKey",
                message=f"It cannot be used: {error}.",
                hint="andon models key FILE makes a pair and prints the public one.",
            )
        )
    problems += [
        Problem(path=f"spec.models[{place}]", message=f"There is no Model '{name}'.")
        for place, name in enumerate(spec.models)
        if ("Model", name) not in world
    ]
    return problems


ADMISSION_KIND = Kind(
    name=ADMISSION,
    plural="admissions",
    spec=AdmissionSpec,
    summary="What a model version must be before anything of it is loaded: formats, signatures, names in pickles.",
    check=check_admission,
    columns=(("SIGNATURES", "spec.signatures"), ("FORMATS", "spec.formats")),
)
SIGNER_KIND = Kind(
    name=SIGNER,
    plural="signers",
    spec=SignerSpec,
    summary="Somebody whose signature on a model counts: a public key and the models it may sign.",
    check=check_signer,
    columns=(("MODELS", "spec.models"), ("DESCRIPTION", "spec.description")),
)
