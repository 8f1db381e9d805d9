"""The factory file of a simulation: what its author has on disk, changed step by step and applied as text.

One model endpoint with canaries, one provider endpoint, limits and a team. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

CREDIT, CHAT = "credit", "chat"
CHAT_AT_ONCE = 10  # requests in flight that the limit `chat-at-once` grants
TEAM_PER_MINUTE, TEAM_BURST = 600, 40
TEAM = "risk"


@dataclass
class Desired:
    """The author's wishes. Versions count up; a version never means two things."""

    credit: int = 1
    chat: int = 1
    versions: list[int] = field(default_factory=lambda: [1])  # of the model, all that were ever declared
    replicas: int = 2
    retries: int = 2
    durability: str = "acknowledged"
    on_breach: str = "abort"
    strategy: str = "canary"
    sticky: str = "none"
    key_at_once: int = 6

    def text(self) -> str:
        """The factory file. JSON is YAML."""
        return "\n---\n".join(msgspec.json.encode(document).decode() for document in self.documents())

    def documents(self) -> list[dict[str, Any]]:
        """Every resource."""
        found = [
            _resource("Team", TEAM, {}),
            _resource("Provider", "cloud", {"url": "https://cloud.example/v1", "health": {"periodS": 5}}),
            _resource("Model", CREDIT, {}),
            _resource("Endpoint", CREDIT, self._credit()),
            _resource("Endpoint", CHAT, self._chat()),
            _resource(
                "Limit", "chat-at-once", {"scope": "endpoint", "subject": CHAT, "concurrency": CHAT_AT_ONCE}
            ),
            _resource("Limit", "key-at-once", {"scope": "key", "concurrency": self.key_at_once}),
            _resource(
                "Limit",
                "team-rate",
                {
                    "scope": "team",
                    "subject": TEAM,
                    "requestsPerMinute": TEAM_PER_MINUTE,
                    "burstRequests": TEAM_BURST,
                },
            ),
        ]
        for version in self.versions:
            spec = {"model": CREDIT, "version": str(version), "source": f"models/{version}.onnx"}
            found.append(_resource("ModelVersion", f"{CREDIT}-{version}", spec))
        return found

    def _strategy(self) -> dict[str, Any]:
        steps = [
            {"weight": 20, "pause": {"requests": 10}},
            {"weight": 50, "pause": {"requests": 15, "duration": "2s"}},
        ]
        gates = [
            {"name": "errors", "metric": "errorRate", "minimum": 10, "onBreach": self.on_breach},
            {"name": "latency", "metric": "latency", "minimum": 10, "onBreach": self.on_breach},
        ]
        return {
            "type": self.strategy,
            "canary": {"steps": steps, "sticky": {"by": self.sticky}},
            "blueGreen": {"scaleDownDelay": "5s", "holdback": 10},
            "gates": gates,
            "alpha": 0.05,
            "deadline": "3m",
            "progressDeadline": "40s",
            "rollbackWindow": "20s",
        }

    def _credit(self) -> dict[str, Any]:
        return {
            "release": {"model": CREDIT, "version": str(self.credit)},
            "protocol": "oip",
            "replicas": self.replicas,
            "retries": self.retries,
            "durability": self.durability,
            "strategy": self._strategy(),
            "timeouts": {"total": "5s", "connect": "1s", "firstByte": "2s", "idle": "1s"},
        }

    def _chat(self) -> dict[str, Any]:
        release = {"provider": "cloud", "upstreamModel": f"gpt-{self.chat}", "version": str(self.chat)}
        return {
            "release": release,
            "protocol": "openai",
            "retries": 1,
            "strategy": self._strategy(),
            "timeouts": {"total": "8s", "connect": "1s", "firstByte": "3s", "idle": "1s"},
        }


def _resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "andon/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
