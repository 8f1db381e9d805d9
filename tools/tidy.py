"""House rules that no linter knows: sizes, names, docstrings, clocks, silent failures, traces of a machine.

First step of `make check`. Reads every tracked or new text file once, prints `file:line: message` for each breach and
exits 1 if there is any. It must never change a file, and stays under three seconds for the whole repository.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

FILE_LINES_MAX = 600
TEST_LINES_MAX = 900
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 6
DOCSTRING_LINES = range(2, 7)
ARCHITECTURE_LINES_MAX = 200

BANNED_NAMES = frozenset("util utils helper helpers common manager base misc".split())
BANNED_FUNCTIONS = BANNED_NAMES - {"base", "common"}  # a function may well return the base of something
BANNED_CLASS = re.compile(r"(Utils?|Helpers?|Manager|Misc)$")
TEXT_SUFFIXES = frozenset(
    ".py .md .toml .yaml .yml .json .sh .lock .txt .cfg .ini .js .ts .css .html".split()
)
TEXT_NAMES = frozenset({"Makefile", "run", ".gitignore", "Dockerfile"})

SURROUNDINGS = "a value handed down from app"
# Time, chance and surroundings come through ports, so that a simulation can stand in for all of them.
BANNED_USES = {
    **{f"time.{name}": "kernel.Clock" for name in "time time_ns monotonic monotonic_ns sleep".split()},
    **{f"time.{name}": "kernel.Clock" for name in "perf_counter perf_counter_ns".split()},
    **{f"datetime.datetime.{name}": "kernel.Clock" for name in "now utcnow today".split()},
    "datetime.date.today": "kernel.Clock",
    "uuid.uuid1": "kernel.Ids",
    "uuid.uuid4": "kernel.Ids",
    "os.urandom": "kernel.Random",
    "os.environ": SURROUNDINGS,
    "os.getenv": SURROUNDINGS,
}
BANNED_MODULES = {"random": "kernel.Random", "secrets": "kernel.Random"}
CONTAINERS = frozenset("list dict set bytearray defaultdict deque Counter OrderedDict".split())
MUTATIONS = frozenset(
    "append add update extend insert pop popitem remove discard clear setdefault appendleft".split()
)

BANNER = re.compile(r"^\s*#\s*([-=*#~_+])\1{3,}|^\s*#.*\s([-=*#~_+])\2{3,}\s*$")
DEBT = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!.*#\d+)")
MACHINE_PATH = re.compile(r"(?<![\w.~/$}-])/(?:work|farm|root)(?=/|[\s\"'`:;,)]|$)(?!/?\*)")
REGISTRY = re.compile(
    r"https?://\S+(?:\.whl|/wheels|/simple)\b|^\s*--(?:extra-)?(?:index-url|find-links)\b", re.M
)


class Breach(NamedTuple):
    """One broken rule at one place."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def check_text(path: str, text: str) -> Iterator[Breach]:
    """Rules of every text file: no traces of the machine it was written on, no addresses of registries."""
    for pattern, message in (
        (MACHINE_PATH, "path of somebody's machine; use a relative path or a setting"),
        (REGISTRY, "address of a package registry; leave it to the user's own configuration"),
    ):
        for match in pattern.finditer(text):
            yield Breach(path, text.count("\n", 0, match.start()) + 1, message)
    if path == "ARCHITECTURE.md" and text.count("\n") > ARCHITECTURE_LINES_MAX:
        yield Breach(path, ARCHITECTURE_LINES_MAX, f"more than {ARCHITECTURE_LINES_MAX} lines; say less")


def check_python(path: str, text: str) -> Iterator[Breach]:
    """Rules of one Python file; those of the product alone apply under `src/` only."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield Breach(path, error.lineno or 1, f"does not parse: {error.msg}")
        return
    product = path.startswith("src/")
    yield from _check_size(path, text)
    yield from _check_path_names(path)
    yield from _check_docstring(path, tree, strict=product)
    yield from _check_definitions(path, tree, strict=not path.startswith("tests/"))
    yield from _check_handlers(path, tree, text.splitlines())
    yield from _check_comments(path, text)
    if product or path.startswith("tools/"):
        yield from _check_globals(path, tree)
    if product:
        yield from _check_side_effects(path, tree)
        yield from _check_uses(path, tree)


def _check_size(path: str, text: str) -> Iterator[Breach]:
    limit = TEST_LINES_MAX if path.startswith("tests/") else FILE_LINES_MAX
    lines = text.count("\n")
    if lines > limit:
        yield Breach(path, limit, f"file of {lines} lines; at most {limit}: split it by concept")


def _check_path_names(path: str) -> Iterator[Breach]:
    parts = PurePosixPath(path).with_suffix("").parts
    for part in parts:
        if BANNED_NAMES & set(part.lower().split("_")):
            yield Breach(path, 1, f"'{part}' names a drawer, not a concept; use a noun of the domain")


def _check_docstring(path: str, tree: ast.Module, *, strict: bool) -> Iterator[Breach]:
    docstring = ast.get_docstring(tree)
    if docstring is None:
        if tree.body or strict:
            yield Breach(
                path, 1, "no module docstring: say what it is, where it stands, what it must never do"
            )
        return
    lines = sum(1 for line in docstring.splitlines() if line.strip())
    if strict and lines not in DOCSTRING_LINES:
        yield Breach(
            path, 1, f"module docstring of {lines} lines; write {DOCSTRING_LINES[0]} to {DOCSTRING_LINES[-1]}"
        )


def _check_definitions(path: str, tree: ast.Module, *, strict: bool) -> Iterator[Breach]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and BANNED_CLASS.search(node.name):
            yield Breach(path, node.lineno, f"class '{node.name}': name what it is, not that it manages")
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.strip("_").lower() in BANNED_FUNCTIONS:
            yield Breach(path, node.lineno, f"function '{node.name}': name what it does")
        yield from _check_function(path, node, strict=strict)


def _check_function(
    path: str, node: ast.FunctionDef | ast.AsyncFunctionDef, *, strict: bool
) -> Iterator[Breach]:
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if length > FUNCTION_LINES_MAX:
        yield Breach(path, node.lineno, f"'{node.name}' has {length} lines; at most {FUNCTION_LINES_MAX}")
    # Keyword-only parameters are named at the call, so only positional ones can be confused.
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    count = len(names) - (names[:1] in (["self"], ["cls"]))
    is_verb = names[:1] == ["context"] and "/cli/" in path  # an option of the command line is a parameter
    if strict and count > PARAMETERS_MAX and not is_verb:
        yield Breach(path, node.lineno, f"'{node.name}' takes {count} positional parameters; make a struct")
    for inner in ast.walk(node):
        if strict and isinstance(inner, ast.Import | ast.ImportFrom):
            yield Breach(
                path, inner.lineno, "import inside a function; move it up, or use importlib for an extra"
            )
        if isinstance(inner, ast.Global):
            yield Breach(path, inner.lineno, "global statement; give the state an owner")


def _check_handlers(path: str, tree: ast.Module, lines: list[str]) -> Iterator[Breach]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        explained = any("#" in line for line in lines[node.lineno - 1 : node.body[0].lineno])
        explained = explained or lines[node.lineno - 2].lstrip().startswith("#")
        names = (
            {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else set()
        )
        reraises = isinstance(node.body[-1], ast.Raise)
        silent = all(_does_nothing(statement) for statement in node.body)
        if node.type is None:
            yield Breach(path, node.lineno, "bare except; name what can happen")
        elif names & {"Exception", "BaseException"} and not explained and not reraises:
            yield Breach(path, node.lineno, "broad except without a comment that says why")
        elif silent and not explained:
            yield Breach(
                path, node.lineno, "silent except without a comment that says why nothing is to be done"
            )


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass | ast.Continue)


def _check_comments(path: str, text: str) -> Iterator[Breach]:
    suspects = [
        line for line in text.splitlines() if "#" in line and (DEBT.search(line) or BANNER.search(line))
    ]
    if not suspects:
        return  # Tokenizing is slow, and nearly every file ends here.
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if DEBT.search(token.string):
            yield Breach(path, token.start[0], "debt without an issue number; write `TODO #12: …` or do it")
        if BANNER.search(token.line):
            yield Breach(path, token.start[0], "banner comment; split the file instead")


def _check_globals(path: str, tree: ast.Module) -> Iterator[Breach]:
    """Containers at module level must be constants: capital letters, filled where they stand, never changed."""
    constants: set[str] = set()
    for statement in tree.body:
        for name, value in _assigned(statement):
            kind = _container(value)
            if kind == "" or name == "__all__":
                continue
            if kind == "empty" or name != name.upper():
                yield Breach(
                    path, value.lineno, f"mutable module global '{name}'; give it an owner or freeze it"
                )
            constants.add(name)
    for node in ast.walk(tree):
        changed = _mutated(node)
        if changed and changed.id in constants:
            yield Breach(path, changed.lineno, f"changes the module global '{changed.id}'; give it an owner")
        if isinstance(node, ast.FunctionDef) and any(_is_unbounded_cache(d) for d in node.decorator_list):
            yield Breach(path, node.lineno, f"cache of '{node.name}' has no limit; use lru_cache(maxsize=…)")


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value


def _container(value: ast.expr) -> str:
    """`filled`, `empty` or nothing, by what a module-level name is bound to."""
    if isinstance(value, ast.List | ast.Set):
        return "filled" if value.elts else "empty"
    if isinstance(value, ast.Dict):
        return "filled" if value.keys else "empty"
    if isinstance(value, ast.ListComp | ast.SetComp | ast.DictComp):
        return "filled"
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        if name in CONTAINERS:
            return "filled" if value.args and name in ("list", "dict", "set") else "empty"
    return ""


def _mutated(node: ast.AST) -> ast.Name | None:
    """The bare name that a node changes in place, if it does."""
    changed: ast.AST | None = None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        changed = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATIONS:
        changed = node.func.value
    return changed if isinstance(changed, ast.Name) else None


def _is_unbounded_cache(decorator: ast.expr) -> bool:
    text = ast.unparse(decorator)
    return text in ("cache", "functools.cache") or "maxsize=None" in text


def _check_side_effects(path: str, tree: ast.Module) -> Iterator[Breach]:
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield Breach(path, node.lineno, "call at import; importing a module must do nothing")


def _check_uses(path: str, tree: ast.Module) -> Iterator[Breach]:
    """Clocks, chance and the environment are read in one place each."""
    if path.startswith(("src/andon/kernel/", "src/andon/testing/")):
        if path.startswith("src/andon/kernel/"):
            yield from _check_kernel_imports(path, tree)
        return
    root = path.startswith("src/andon/app/")  # reads settings and starts processes, which need an environment
    origin = _imported(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        name = _resolve(node, origin)
        instead = BANNED_USES.get(name) or BANNED_MODULES.get(name.partition(".")[0] if "." in name else "")
        if instead and not (root and instead == SURROUNDINGS):
            yield Breach(path, node.lineno, f"{name} outside its one place; use {instead}")
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and _resolve(node.func, origin) == "asyncio.sleep"
            and not _is_yield(node)
        ):
            yield Breach(path, node.lineno, "asyncio.sleep outside its one place; use kernel.Clock")


def _is_yield(call: ast.Call) -> bool:
    """`asyncio.sleep(0)` lets others run and measures no time."""
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _check_kernel_imports(path: str, tree: ast.Module) -> Iterator[Breach]:
    for node in ast.walk(tree):
        names: Iterable[str] = ()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            root = name.partition(".")[0]
            known = root in sys.stdlib_module_names or root == "msgspec" or name.startswith("andon.kernel")
            if not known:
                yield Breach(
                    path, getattr(node, "lineno", 1), f"kernel imports '{name}'; it knows msgspec only"
                )


def _imported(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, dotted: {"sleep": "time.sleep", "dt": "datetime"}."""
    origin: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                origin[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                origin[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return origin


def _resolve(node: ast.expr, origin: dict[str, str]) -> str:
    """The dotted name that an expression refers to; empty if it is not an imported one."""
    if isinstance(node, ast.Name):
        return origin.get(node.id, "")
    if isinstance(node, ast.Attribute):
        owner = _resolve(node.value, origin)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def find_breaches(root: Path, paths: Iterable[str]) -> Iterator[Breach]:
    """Every breach in the given files, relative to `root`; files that are not text are passed over."""
    for path in paths:
        name = PurePosixPath(path)
        if name.suffix not in TEXT_SUFFIXES and name.name not in TEXT_NAMES:
            continue
        try:
            text = (root / path).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue  # It was deleted in the working tree and git still lists it.
        except UnicodeDecodeError:
            yield Breach(path, 1, "not UTF-8; convert it, or give it the suffix of a binary file")
            continue
        yield from check_text(path, text)
        if name.suffix == ".py":
            yield from check_python(path, text)


def list_paths(root: Path) -> list[str]:
    """Files that git tracks or would track, relative to `root`, sorted. Raises CalledProcessError outside git."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(set(filter(None, output.split("\0"))))


def main() -> int:
    """Check the whole repository; 1 if anything is to be tidied."""
    root = Path(__file__).resolve().parent.parent
    paths = list_paths(root)
    breaches = sorted(set(find_breaches(root, paths)))
    for breach in breaches:
        print(breach)
    print(f"tidy: {len(paths)} files, {len(breaches)} to tidy", file=sys.stderr)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
