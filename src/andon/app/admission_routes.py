"""Routes about models: their papers and their assessments.

What is decided is decided by admission's controller; nothing here admits anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from andon.app.views import Input, Name, View
from andon.kernel.access import Resource
from andon.kernel.admission import Assessment
from andon.kernel.errors import Refused
from andon.web.routes import Call, Route


class VersionPath(Input, frozen=True, kw_only=True):
    """Path parameter of one model version."""

    name: Name


class Card(View, frozen=True, kw_only=True):
    """A model card."""

    markdown: str


class Papers(Protocol):
    """The verbs behind the routes."""

    async def bom(self, name: str) -> dict[str, Any]: ...
    async def card(self, name: str) -> str: ...
    async def record(self, name: str, assessment: Assessment, actor: str) -> Assessment: ...


class NoPapers:
    """For places without models."""

    async def bom(self, name: str) -> dict[str, Any]:
        """Refused."""
        raise _absent()

    async def card(self, name: str) -> str:
        """Refused."""
        raise _absent()

    async def record(self, name: str, assessment: Assessment, actor: str) -> Assessment:
        """Refused."""
        raise _absent()


def _absent() -> Refused:
    return Refused(
        "papers_elsewhere", "This process keeps no papers of models.", hint="Ask control.", status=404
    )


def admission_routes(papers: Papers) -> Sequence[Route]:
    """The routes."""

    async def bom(call: Call) -> dict[str, Any]:
        return await papers.bom(call.path.name)

    async def card(call: Call) -> Card:
        return Card(markdown=await papers.card(call.path.name))

    async def assessed(call: Call) -> Assessment:
        return await papers.record(call.path.name, call.body, call.principal.id)

    def version(path: Any) -> Resource:
        return Resource(kind="ModelVersion", name=path.name)

    return (
        Route(
            method="GET",
            path="/v1/models/{name}/bom",
            name="getModelBom",
            action="factory.read",
            summary="The bill of materials of a model version, in CycloneDX",
            response=dict[str, Any],
            handler=bom,
            params=VersionPath,
            resource=version,
        ),
        Route(
            method="GET",
            path="/v1/models/{name}/card",
            name="getModelCard",
            action="factory.read",
            summary="The model card of a version, in Markdown",
            response=Card,
            handler=card,
            params=VersionPath,
            resource=version,
        ),
        Route(
            method="POST",
            path="/v1/models/{name}/assessments",
            name="addAssessment",
            action="factory.assess",
            summary="Record how a model version stood up to an attack",
            response=Assessment,
            handler=assessed,
            params=VersionPath,
            request=Assessment,
            resource=version,
        ),
    )
