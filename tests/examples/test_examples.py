"""Every example, run as its README says: real processes, on free ports, in a copy of its folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.factories import PATIENCE_S, Factory, running_provider, wait_for

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@contextlib.contextmanager
def example(
    name: str,
    root: Path,
    *before: str,
    layers: tuple[str, ...] = ("factory.yaml",),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Factory]:
    """A running copy of an example; `before` is a script that it needs first."""
    shutil.copytree(EXAMPLES / name, root)
    factory = Factory(root, environment)
    for script in before:
        run(factory, script)
    try:
        factory.up(*(word for layer in layers for word in ("-f", layer)))
        yield factory
    finally:
        factory.andon("down", code=None)


def run(factory: Factory, *words: str) -> str:
    """What a script of the example prints."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=factory.root,
        env={**factory.environment, **os.environ, "ANDON_GATEWAY": factory.url},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def make_key(factory: Factory, team: str) -> None:
    factory.environment["ANDON_KEY"] = factory.andon("keys", "create", "--team", team).stdout.strip()


def release(factory: Factory, version: str) -> None:
    """The README's `sed`: another version on the line that names the release."""
    text = factory.file.read_text()
    factory.file.write_text(re.sub(r'(release: .*version: )"\d"', rf'\1"{version}"', text))
    factory.andon("apply", "--yes")


def wait_for_phase(factory: Factory, rollout: str, *phases: str) -> None:
    wait_for(f"{rollout} in {phases}", lambda: factory.phase(rollout) in phases)


def ask(factory: Factory, endpoint: str, data: str, *words: str) -> tuple[str, str]:
    """The release that answered, and the body."""
    done = factory.andon("invoke", endpoint, "-d", data, *words)
    found = re.search(r"x-andon-release: (\S+)", done.stderr)
    assert found is not None, done.stderr
    return found.group(1), done.stdout


def documented(name: str, command: str) -> str:
    """The body that the README sends."""
    text = (EXAMPLES / name / "README.md").read_text()
    found = re.search(rf"{command}.* -d '([^']+)'", text)
    assert found is not None
    return found.group(1)


@pytest.mark.slow
def test_canary(tmp_path: Path) -> None:
    with example("canary", tmp_path / "canary") as factory:
        make_key(factory, "shop")
        factory.wait_until_served("parcel")
        assert run(factory, "traffic.py").split() == ["parcel@1", "200", "100"]
        release(factory, "2")
        wait_for_phase(factory, "parcel-1", "Progressing")
        wait_for_traffic_until(factory, "parcel-1", "Succeeded")
        assert run(factory, "traffic.py", "20").split() == ["parcel@2", "200", "20"]
        release(factory, "3")
        wait_for_phase(factory, "parcel-2", "Progressing")
        counts = run(factory, "traffic.py", "200").splitlines()
        failed = next(line.split() for line in counts if line.startswith("parcel@3"))
        assert failed[1] == "500"
        assert int(failed[2]) < 20
        wait_for_phase(factory, "parcel-2", "Aborted")
        assert "breach" in factory.andon("explain", "rollout", "parcel-2").stdout


def wait_for_traffic_until(factory: Factory, rollout: str, phase: str) -> None:
    """Control looks at progress every second or so: requests until it has seen enough of them."""

    def sent() -> bool:
        run(factory, "traffic.py", "300")
        return factory.phase(rollout) == phase

    wait_for(f"{rollout} {phase}", sent, patience_s=2 * PATIENCE_S)


@pytest.mark.slow
def test_openai(tmp_path: Path) -> None:
    local = (EXAMPLES / "openai" / "local.yaml").read_text()
    assert "http://127.0.0.1:8799/v1" in local
    with running_provider() as url:
        (tmp_path / "local.yaml").write_text(local.replace("http://127.0.0.1:8799", url))
        with example("openai", tmp_path / "openai", layers=("factory.yaml", "../local.yaml")) as factory:
            make_key(factory, "support")
            factory.wait_until_served("assistant")
            assert "the line runs" in run(factory, "ask.py")
            answers = run(factory, "ask.py", "5").splitlines()
            assert len(answers) == 5
            assert answers[0].startswith("the line runs")
            assert answers[-1].startswith("refused:")
            assert "429" in factory.andon("logs", "assistant").stdout


def test_blue_green(tmp_path: Path) -> None:
    data = documented("blue-green", r"andon invoke score \"\$@\"")
    preview = ("-H", "x-preview: yes")
    with example("blue-green", tmp_path / "blue-green", "make_models.py") as factory:
        make_key(factory, "risk")
        factory.wait_until_served("score")
        assert ask(factory, "score", data)[0] == "score@1"
        release(factory, "2")
        wait_for("the preview", lambda: ask(factory, "score", data, *preview)[0] == "score@2")
        assert ask(factory, "score", data)[0] == "score@1"
        factory.andon("promote", "score-1")
        wait_for("the switch", lambda: ask(factory, "score", data)[0] == "score@2")
        factory.andon("abort", "score-1")
        wait_for("the way back", lambda: ask(factory, "score", data)[0] == "score@1")
        wait_for_phase(factory, "score-1", "Aborted")


@pytest.mark.slow
def test_mlflow(tmp_path: Path) -> None:
    with example("mlflow", tmp_path / "mlflow", "train.py") as factory:
        make_key(factory, "garden")
        factory.wait_until_served("iris")
        served, body = ask(factory, "iris", documented("mlflow", "andon invoke iris"))
        assert served == "iris@1"
        assert '"datatype": "INT64"' in body


def test_quality(tmp_path: Path) -> None:
    with example("quality", tmp_path / "quality") as factory:
        make_key(factory, "lending")
        factory.wait_until_served("loans")
        run(factory, "apply_for_loans.py", "200")
        before = run(factory, "accuracy.py")
        assert before.startswith("loans@1: 200 answers, 0 labels")
        assert "not known yet" in before
        factory.andon("facts", "import", "labels.csv")
        after = run(factory, "accuracy.py")
        assert after.startswith("loans@1: 200 answers, 200 labels")
        by_scores, by_labels = (float(share) for share in re.findall(r"([\d.]+)%", after))
        assert abs(by_scores - by_labels) < 10
        assert [item["name"] for item in factory.read("quality")["items"]] == ["loans"]


@pytest.mark.slow
def test_alerts(tmp_path: Path) -> None:
    pager = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "alerts" / "pager.py"), "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert pager.stdout is not None
        url = pager.stdout.readline().removeprefix("listening at ").strip()
        with example("alerts", tmp_path / "alerts", environment={"PAGER_URL": url}) as factory:
            make_key(factory, "post")
            factory.wait_until_served("stamps")
            wait_for(
                "the pager", lambda: factory.andon("alerts", "send-test", "desk", code=None).returncode == 0
            )
            assert "This is a test" in pager.stdout.readline()
            assert run(factory, "weigh.py").split() == ["200", "100"]
            assert "500  " in run(factory, "weigh.py", "60", "-1")
            assert pager.stdout.readline().startswith("FIRING stamps-fail stamps fails")
            assert "firing" in factory.andon("alerts").stdout
            factory.andon("alerts", "silence", "alertname=stamps-fail", "--for", "1h")
            assert "stamps-fail" in factory.andon("alerts", "test", "stamps-fail", "--since", "1h").stdout
    finally:
        pager.kill()
        pager.wait()
        pager.stdout.close()


def test_secure_factory(tmp_path: Path) -> None:
    with (
        running_provider() as url,
        example("secure-factory", tmp_path / "secure-factory", layers=()) as factory,
    ):
        factory.file.write_text(factory.file.read_text().replace("http://127.0.0.1:8799", url))
        (factory.root / "value").write_text("not-a-real-key")
        given = ("--from-file", "value", "--user", "Provider/far")
        factory.andon("secrets", "set", "provider", *given)
        assert "17 to create" in factory.andon("plan", code=2).stdout
        factory.andon("apply", "--yes")
        made = factory.andon("keys", "create", "--team", "desk", "--role", "clerk", "--label", "internal")
        factory.environment["ANDON_KEY"] = made.stdout.strip()
        bodies = re.findall(
            r"invoke (\w+).* -d '(.+)'$", (EXAMPLES / "secure-factory" / "README.md").read_text(), re.M
        )
        (letter, personal), (_, hello), (_, tools), (model, figures) = bodies
        wait_for(
            "the provider", lambda: factory.andon("invoke", letter, "-d", personal, code=None).returncode == 0
        )
        denied = factory.andon("invoke", letter, "-d", hello, "-H", "x-andon-label: confidential", code=1)
        assert "HTTP 403" in denied.stderr
        refused = factory.andon("invoke", letter, "-d", tools, code=1)
        assert "HTTP 400" in refused.stderr
        assert "content_filter" in refused.stdout
        wait_for(
            "the model", lambda: factory.andon("invoke", model, "-d", figures, code=None).returncode == 0
        )
        assert re.search(r"urgency-1 +clean +true +build", factory.andon("models").stdout)
        wait_for("the verdict", lambda: "EMAIL_ADDRESS" in factory.andon("guards").stdout)
        factory.environment["ANDON_KEY"] = factory.key("--team", "desk")[1]
        assert "HTTP 403" in factory.andon("invoke", letter, "-d", hello, code=1).stderr
        assert factory.andon("audit", "verify").stdout.rstrip().endswith("sound")
