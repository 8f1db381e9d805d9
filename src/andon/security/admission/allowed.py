"""The globals that a pickle of a model may use: exact names, nothing by pattern, nothing by module.

Classes whose making and state run no code of the file's author, and the few functions by which numpy, scipy and
scikit-learn make their own objects. A list of dangers only words findings more strongly; it permits nothing.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

_FILE = "globals.txt"  # written by tools/model_globals.py, read by people

_DANGERS = frozenset(
    """os posix nt subprocess sys socket pty runpy importlib ctypes shutil commands code codeop pdb bdb webbrowser
    pip setuptools distutils ensurepip venv pickle _pickle cPickle dill cloudpickle marshal shelve multiprocessing
    concurrent asyncio signal threading _thread urllib http ftplib smtplib telnetlib requests tempfile pathlib io
    _io builtins __builtin__ operator _operator functools types inspect gc atexit platform profile cProfile timeit
    trace doctest unittest test idlelib lib2to3 tkinter turtle pydoc logging site sysconfig zipimport pkgutil
    imaplib poplib ssl sqlite3 uuid numpy.f2py numpy.testing numpy.distutils numpy.ctypeslib torch.hub torch.utils
    torch._dynamo torch._inductor torch.fx torch.jit torch.serialization torch.storage joblib.numpy_pickle
    pandas.io pandas.eval sympy IPython jax tensorflow keras""".split()
)


@lru_cache(maxsize=1)
def listed() -> frozenset[str]:
    """Every name on the list, `module.attribute`."""
    text = resources.files("andon.security.admission").joinpath(_FILE).read_text(encoding="utf-8")
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return frozenset(line for line in lines if line)


def is_allowed(module: str, name: str) -> bool:
    """Whether a pickle may use it. The module is compared apart, so that `a.b` + `c` is not taken for `a` + `b.c`."""
    return "." not in name and f"{module}.{name}" in listed()


def is_known_danger(module: str, name: str) -> bool:
    """Whether code runs by it. Only the words and the exceptions depend on this."""
    parts = module.split(".")
    return any(".".join(parts[:count]) in _DANGERS for count in range(1, len(parts) + 1))
