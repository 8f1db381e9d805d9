"""The demo: a true story on real data, told by a whole factory on this machine.

Loaded by `andon demo` only; needs the `demo` extra, which trains the models.
"""

from andon.app.demo.story import demo

__all__ = ["demo"]
