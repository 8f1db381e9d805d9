"""The one place where heavy libraries are imported, on selection of a format.

Everything above stays light: importing `andon` never imports onnxruntime, pandas, scikit-learn or mlflow.
"""

from __future__ import annotations

import importlib
from typing import Any

from andon.kernel.errors import Permanent


def load_library(name: str, extra: str) -> Any:
    """The module; raises `Permanent` naming the extra that brings it, and why it could not be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise Permanent(
            "library_missing",
            f"This model needs the Python package {package}, which cannot be imported here ({error}).",
            hint=f"Install it: pip install 'andon[{extra}]'.",
        ) from error
