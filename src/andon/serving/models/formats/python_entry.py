"""Python entry points: a class or a function of the user's own that predicts.

The file's author is trusted with the replica's process, and with nothing else: it runs apart from gateway and control.
A class may be made with no argument or with the model's folder; `signature`, `close` are optional on it, and so is
`timings`: milliseconds by feature of the last call, told to the gateway and from there to the ledger.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from andon.kernel.errors import Permanent
from andon.kernel.snapshot import Signature
from andon.serving.models.formats.port import Array, ModelSource
from andon.serving.models.model import SignatureSpec, signature_of

_FILE = "model.py"
_MODULE = "andon_served_model"
_TIMING_MAX_MS = 3_600_000.0


class PythonModel:
    """A user's object behind the port."""

    platform = "python"

    def __init__(
        self,
        predict: Callable[[Mapping[str, Array]], Mapping[str, Any]],
        signature: Signature,
        close: Callable[[], None] | None,
        timings: Callable[[], object] | None = None,
    ) -> None:
        self._timings = timings
        self.signature = signature
        self._predict = predict
        self._close = close

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The user's answer as arrays; raises TypeError if it is no mapping of names to arrays."""
        answer = self._predict(inputs)
        if not isinstance(answer, Mapping):
            raise TypeError(f"predict gave {type(answer).__name__}; it must give a dict of name to array")
        return {name: np.asarray(value) for name, value in answer.items()}

    def features_ms(self) -> Mapping[str, float]:
        """How long the last call took for each feature: the user's `timings`, a mapping of names to milliseconds.

        What is no such mapping is as if it were absent: a slip in it must not cost an answer.
        """
        told = self._timings() if self._timings is not None else None
        if not isinstance(told, Mapping):
            return {}
        return {
            name: float(duration_ms)
            for name, duration_ms in told.items()
            if isinstance(name, str)
            and isinstance(duration_ms, int | float)
            and 0 <= duration_ms < _TIMING_MAX_MS
        }

    def close(self) -> None:
        """Call the user's own `close`, if there is one."""
        if self._close is not None:
            self._close()


def find_python(path: Path) -> Path | None:
    """The file that a source means: itself, or `model.py` in it."""
    if path.is_file():
        return path if path.suffix == ".py" else None
    return path / _FILE if (path / _FILE).is_file() else None


def open_python(source: ModelSource) -> PythonModel:
    """Import the entry point and make the model; raises `Permanent` with what is missing."""
    module, name = _import(source)
    target = getattr(module, name, None) if name else _default(module)
    if target is None:
        raise Permanent(
            "entry_missing",
            f"{source.path} has no {name or 'class Model and no function predict'}.",
            hint="Define one, or name another with spec.entry: module:Class.",
        )
    folder = source.path if source.path.is_dir() else source.path.parent
    subject = _made(target, folder, source) if inspect.isclass(target) else target
    predict = subject if not hasattr(subject, "predict") else subject.predict
    if not callable(predict):
        raise Permanent("entry_missing", f"{name or 'Model'} of {source.path} has no predict(inputs).")
    signature = source.signature or _own_signature(subject, module, source)
    close = getattr(subject, "close", None)
    return PythonModel(
        predict,
        signature,
        close if callable(close) else None,
        lambda: getattr(subject, "timings", None),
    )


def _import(source: ModelSource) -> tuple[ModuleType, str]:
    """The module and the name asked for in it."""
    module_name, _, name = source.entry.partition(":")
    folder = source.path if source.path.is_dir() else source.path.parent
    # The process serves this model only, so that its folder may be the first place to import from.
    sys.path.insert(0, str(folder))
    try:
        if module_name:
            return importlib.import_module(module_name), name
        path = find_python(source.path)
        if path is None:
            raise Permanent(
                "entry_missing",
                f"There is no Python file at {source.path}.",
                hint=f"Name the .py file, a folder with {_FILE}, or spec.entry.",
            )
        specification = importlib.util.spec_from_file_location(_MODULE, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[_MODULE] = module
        specification.loader.exec_module(module)
        return module, name
    except Permanent:
        raise
    except Exception as error:  # the user's module may raise anything while it is imported
        raise Permanent(
            "model_code_failed",
            f"Importing {source.entry or source.path} raised {type(error).__name__}: {error}",
            hint="Run it by itself with the same Python; its packages must be installed here.",
        ) from error


def _default(module: ModuleType) -> Any:
    """`Model`, `predict`, or the only class defined there that predicts."""
    named = getattr(module, "Model", None) or getattr(module, "predict", None)
    if named is not None:
        return named
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and hasattr(value, "predict")
    ]
    return own[0] if len(own) == 1 else None


def _made(target: type, folder: Path, source: ModelSource) -> Any:
    try:
        takes_folder = bool(inspect.signature(target).parameters)
        return target(folder) if takes_folder else target()
    except Exception as error:  # the user's constructor may raise anything
        raise Permanent(
            "model_code_failed",
            f"Making {target.__name__} of {source.path} raised {type(error).__name__}: {error}",
            hint="Run it by itself with the same Python.",
        ) from error


def _own_signature(subject: Any, module: ModuleType, source: ModelSource) -> Signature:
    """`signature` on the object or in its module: a mapping in the words of spec.signature."""
    stated = getattr(subject, "signature", None) or getattr(module, "signature", None)
    if stated is None:
        raise Permanent(
            "signature_missing",
            f"Nothing says what {source.path} takes and gives.",
            hint="Write spec.signature, or a `signature` dict with inputs and outputs on the class.",
        )
    try:
        return signature_of(msgspec.convert(stated, SignatureSpec))
    except msgspec.ValidationError as error:
        raise Permanent(
            "signature_wrong", f"The `signature` of {source.path} cannot be read: {error}."
        ) from error
