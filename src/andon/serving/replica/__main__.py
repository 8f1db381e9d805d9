"""`python -m andon.serving.replica LAUNCH.json`: the process that an executor starts.

Says in one line what is missing when numpy is not installed, before anything that needs it is imported.
"""

from __future__ import annotations

import importlib
import os
import sys

from andon.serving.replica.model import Exit


def main(arguments: list[str]) -> int:
    """The exit code, one of `Exit`."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m andon.serving.replica LAUNCH.json\n")
        return Exit.SPEC
    try:
        process = importlib.import_module("andon.serving.replica.process")
    except ImportError as error:
        sys.stderr.write(f"A replica cannot start: {error}. Install it: pip install 'andon[onnx]'.\n")
        return Exit.MODEL
    return int(process.run(arguments[0]))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # A model stuck in its thread would keep the interpreter from ending; everything that matters is on disk.
    os._exit(code)
