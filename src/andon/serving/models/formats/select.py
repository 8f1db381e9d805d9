"""From files to a model that may be served: which format it is, and whether it is what was declared.

The digest is checked before anything is opened; the model's own signature against the declared one after.
"""

from __future__ import annotations

from andon.kernel.errors import Permanent
from andon.kernel.snapshot import Signature, TensorSpec
from andon.serving.models.formats.mlflow_dir import MLMODEL, open_mlflow
from andon.serving.models.formats.onnx import find_onnx, open_onnx
from andon.serving.models.formats.port import LoadedModel, ModelSource
from andon.serving.models.formats.python_entry import find_python, open_python


def format_of(source: ModelSource) -> str:
    """`mlflow`, `onnx` or `python`; raises `Permanent` if the files say none of them."""
    if source.format != "auto":
        return source.format
    if (source.path / MLMODEL).is_file():
        return "mlflow"
    if find_onnx(source.path) is not None:
        return "onnx"
    if source.entry or find_python(source.path) is not None:
        return "python"
    what = f"{source.path.suffix or 'such'} files" if source.path.is_file() else "what is in this folder"
    pickled = source.path.suffix in (".pkl", ".pickle", ".joblib")
    raise Permanent(
        "format_unknown",
        f"{source.path} has no format that can be served: not {what}.",
        hint="Pickles are not served bare: save it as an MLflow folder or convert it to ONNX (skl2onnx)."
        if pickled
        else "Give an MLflow folder (MLmodel), an .onnx file, or Python (model.py or spec.entry).",
    )


def open_model(source: ModelSource) -> LoadedModel:
    """The model, with ranges of the declared signature; raises `Permanent` with what, where and what next."""
    chosen = format_of(source)
    model: LoadedModel
    if chosen == "mlflow":
        model = open_mlflow(source)
    elif chosen == "onnx":
        model = open_onnx(source)
    else:
        model = open_python(source)
    if source.signature is not None:
        model.signature = reconcile(source.signature, model.signature)
    return model


def reconcile(declared: Signature, own: Signature) -> Signature:
    """The declared signature, completed by the model's own; raises `Permanent` where they contradict."""
    return Signature(
        inputs=_side("input", declared.inputs, own.inputs),
        outputs=_side("output", declared.outputs, own.outputs),
    )


def _side(side: str, declared: tuple[TensorSpec, ...], own: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    if not declared:
        return own
    real = {tensor.name: tensor for tensor in own}
    for tensor in declared:
        match = real.pop(tensor.name, None)
        if match is None:
            raise _wrong(f"the model has no {side} '{tensor.name}'", own)
        if match.datatype != tensor.datatype:
            raise _wrong(f"{side} '{tensor.name}' is {match.datatype}, declared {tensor.datatype}", own)
        fits = len(match.shape) == len(tensor.shape) and all(
            stated == -1 or actual in (-1, stated)
            for stated, actual in zip(tensor.shape, match.shape, strict=True)
        )
        if not fits:
            raise _wrong(f"{side} '{tensor.name}' is {match.shape}, declared {tensor.shape}", own)
    missing = [tensor.name for tensor in real.values() if side == "input" and not tensor.optional]
    if missing:
        raise _wrong(f"{side} '{missing[0]}' of the model is not declared", own)
    return declared


def _wrong(what: str, own: tuple[TensorSpec, ...]) -> Permanent:
    listed = ", ".join(f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in own)
    return Permanent(
        "signature_wrong",
        f"The declared signature does not fit the model: {what}.",
        hint=f"The model says: {listed or 'nothing'}.",
    )
