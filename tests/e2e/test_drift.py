"""A drift monitor in a real factory: declared, given a reference from a file, listed, and told apart from nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import chat_endpoint
from tests.e2e.factories import resource, running_factory, wait_for


@pytest.mark.slow
def test_a_monitor_takes_its_reference_from_a_file(tmp_path: Path, provider: str) -> None:
    documents = [
        resource("Provider", "dummy", url=f"{provider}/v1", models={"good": "dummy"}),
        chat_endpoint("good"),
        resource("DriftMonitor", "good", endpoint="good", period="1h"),
    ]
    reference = tmp_path / "good.csv"
    reference.write_text("input_tokens,finish_reason\n" + "".join(f"{n % 50},stop\n" for n in range(500)))
    with running_factory(tmp_path / "plant", documents) as factory:

        def listed() -> bool:
            done = factory.andon("drift", "-o", "json", code=None)
            return done.returncode == 0 and [one["name"] for one in json.loads(done.stdout)["items"]] == [
                "good"
            ]

        wait_for("the observer to answer", listed, 30)
        said = factory.andon("drift", "baseline", "good", "--from", str(reference)).stdout
        assert said == "good is now compared with good.csv: 500 rows, 2 columns.\n"
        shown = json.loads(factory.andon("drift", "good", "-o", "json").stdout)
        assert shown["monitor"]["period"] == "1h"
        assert shown["monitor"]["baseline"] == "good.csv"
        assert shown["report"] is None
        assert "no drift monitor 'other'" in factory.andon("drift", "other", code=1).stderr
        too_few = factory.andon("drift", "baseline", "good", "--since", "1h", code=1).stderr
        assert "holds 0 rows" in too_few
