"""Compiles the hot path with mypyc, if this machine can; otherwise says in one line why it stays interpreted.

Run by `make setup` once and by `make compile`, `make bench` and `make prove` when sources have changed. The result goes
beside the installed packages, never among the sources; `andon.app.compiled` decides whether it may be used. It must
never fail a setup: everything runs without it.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from andon.app import compiled

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 600
# What a request walks through. Not here: modules of msgspec Structs alone, ports, and classes that tests derive from.
HOT = """
    kernel/clearance kernel/exchange kernel/ids kernel/trace
    wire/census wire/client wire/connection wire/framing wire/model wire/reply wire/upstream
    gateway/answers gateway/breakers gateway/course gateway/dispatch gateway/egress gateway/gateway gateway/ingress
    gateway/meters gateway/recording gateway/retries gateway/routing gateway/shadows gateway/streams gateway/targets
    gateway/validation gateway/validation_rules
    gateway/guarding gateway/dialects/documents gateway/dialects/text_rules gateway/dialects/texts
    security/abuse/addresses security/abuse/penalties security/abuse/shedding security/abuse/stage
    security/audit/stage security/guards/engine security/guards/labelling security/guards/memory
    security/guards/views security/guards/windows security/guards/work
    security/guards/injection/features security/guards/injection/normalisation
    security/guards/pii/detector security/guards/pii/features security/guards/pii/patterns security/guards/pii/tagger
    security/guards/secrets/assignments security/guards/secrets/detector security/guards/secrets/forms
    security/identity/stage security/limits/counters security/limits/headers security/limits/rules
    security/limits/stage security/policy/stage
    lifecycle/rollouts/evidence lifecycle/rollouts/gates lifecycle/rollouts/latencies lifecycle/rollouts/stage
    ledger/log ledger/segment
    serving/replica/application serving/replica/batcher serving/replica/tensors
""".split()


def build(target: Path) -> None:
    """Extension modules of `HOT` and their manifest into `target`; raises or exits as mypyc and setuptools do."""
    before = compiled.digest(compiled.SOURCE)
    mypycify = importlib.import_module("mypyc.build").mypycify
    setup = importlib.import_module("setuptools").setup
    os.chdir(ROOT / "src")  # module names follow from paths
    settings = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(target / "types")]
    sources = [f"andon/{name}.py" for name in HOT]
    extensions = mypycify(
        [*settings, "--no-warn-unreachable", "--python-executable", sys.executable, *sources],
        opt_level="3",
        debug_level="0",
        target_dir=str(target / "c"),
        group_name="andon",
    )
    places = ["--build-lib", str(target / "lib"), "--build-temp", str(target / "objects")]
    setup(name="andon-compiled", packages=[], ext_modules=extensions, script_args=["build_ext", *places])
    library = target / "lib"
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    modules = {
        path.relative_to(library).as_posix().removesuffix(suffix).replace("/", "."): str(
            path.relative_to(library)
        )
        for path in sorted(library.rglob(f"*{suffix}"))
    }
    manifest = {"digest": before, "modules": modules}
    (library / compiled.MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def obstacle() -> str:
    """Why this machine cannot compile; empty if it can."""
    if os.environ.get(compiled.PURE):
        return f"{compiled.PURE} is set"
    compiler = os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")
    if shutil.which(shlex.split(compiler)[0]) is None:
        return "there is no C compiler"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "the headers of Python are not installed"
    return ""


def install(place: Path) -> str:
    """Build in a folder of its own, then take the place of what is there; why it could not, if so."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".andon_compiled_", dir=place.parent) as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as said:
            command = [sys.executable, __file__, "--build", scratch]
            try:
                done = subprocess.run(command, stdout=said, stderr=said, timeout=LIMIT_S, check=False)
            except subprocess.TimeoutExpired:
                return f"it took more than {LIMIT_S} s"
        if done.returncode != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            told = [line for line in lines if "error" in line.lower()] or lines or ["it said nothing"]
            return f"the compiler failed: {told[-1].strip()[:200]}"
        shutil.rmtree(place, ignore_errors=True)
        (Path(scratch) / "lib").rename(place)
    return ""


def main() -> None:
    """Bring the compiled form up to date, or remove one that is out of date."""
    if sys.argv[1:2] == ["--build"]:
        build(Path(sys.argv[2]))
        return
    place = compiled.folder()
    if not compiled.find({}, place).reason and not os.environ.get(compiled.PURE):
        return
    began = time.perf_counter()
    reason = obstacle()
    if not reason:
        print("compile: turning the hot path into machine code (two or three minutes)", flush=True)
        reason = install(place)
    if reason and not os.environ.get(compiled.PURE):
        shutil.rmtree(place, ignore_errors=True)
    took = f"in {time.perf_counter() - began:.0f} s"
    print(
        f"compile: the gateway stays interpreted: {reason}" if reason else f"compile: done {took}", flush=True
    )


if __name__ == "__main__":
    main()
