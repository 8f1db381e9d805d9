"""The stage that refuses requests no model could answer, before a release is chosen.

Stands in the chain after limits. Tensors are held against the signature of the endpoint's stable release: what clients
were promised, whatever a new release may take. Memory only.
"""

from __future__ import annotations

from collections.abc import Callable

from andon.gateway.dialects.oip import InferRequest
from andon.gateway.dialects.openai import ChatRequest, CompletionRequest, EmbeddingRequest
from andon.gateway.validation_rules import check_counts, check_messages, check_prompt, check_tensors
from andon.kernel.errors import AndonError
from andon.kernel.exchange import Exchange
from andon.kernel.snapshot import Signature, Snapshot


class ValidateStage:
    """Checks what the dialect has decoded."""

    name = "validate"

    def __init__(self) -> None:
        self._signatures: dict[str, Signature] = {}

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Index the signatures of stable releases."""
        signatures = {
            endpoint.name: release.signature
            for endpoint in snapshot.endpoints
            for release in endpoint.releases
            if release.arm == "stable" and release.signature is not None
        }

        def put() -> None:
            self._signatures = signatures

        return put

    def admit(self, exchange: Exchange) -> AndonError | None:
        """Refuse with the field or tensor at fault."""
        request = exchange.request
        if isinstance(request, ChatRequest):
            return check_messages(request, exchange.body)
        if isinstance(request, InferRequest):
            endpoint = exchange.endpoint
            signature = self._signatures.get(endpoint.name) if endpoint is not None else None
            return check_tensors(request, signature, exchange.body, exchange.header_length)
        if isinstance(request, CompletionRequest):
            return check_prompt(request.prompt, "prompt") or check_counts(request.max_tokens, None, request.n)
        if isinstance(request, EmbeddingRequest):
            return check_prompt(request.input, "input")
        return None

    def settle(self, exchange: Exchange) -> None:
        """Nothing is held."""
