"""A small catalogue with every shape that specs have, and documents for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from andon.control.catalogue import Catalogue
from andon.control.documents import Document, Source, parse_sources
from andon.control.kinds import Kind, Problem, World
from andon.store.model import Record


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of the test's specs only so that the options stand once."""


class ModelSpec(Spec):
    """A model."""

    source: Annotated[str, msgspec.Meta(description="Where the files are.")] = ""
    trust_pickle: Annotated[bool, msgspec.Meta(description="Allow pickle.")] = False


class Step(Spec):
    """One step of a release."""

    name: Annotated[str, msgspec.Meta(description="What it is called.")]
    weight: Annotated[int, msgspec.Meta(description="Share in percent.", ge=0, le=100)] = 0


class Strategy(Spec):
    """How a release goes."""

    mode: Annotated[Literal["canary", "blueGreen"], msgspec.Meta(description="Which way.")] = "canary"
    steps: Annotated[tuple[Step, ...], msgspec.Meta(description="In order.")] = ()


class EndpointSpec(Spec):
    """An endpoint."""

    model: Annotated[str, msgspec.Meta(description="The model's name.")]
    retries: Annotated[int, msgspec.Meta(description="Attempts after the first.", ge=0)] = 2
    strategy: Annotated[Strategy | None, msgspec.Meta(description="How to release.")] = None
    aliases: Annotated[tuple[str, ...], msgspec.Meta(description="Other names.")] = ()
    extra: Annotated[dict[str, float], msgspec.Meta(description="Numbers.")] = {}


class MadeSpec(Spec):
    """Generated."""


def check_endpoint(spec: EndpointSpec, record: Record, world: World) -> list[Problem]:
    if ("Model", spec.model) in world:
        return []
    return [Problem(path="spec.model", message=f"there is no Model '{spec.model}'")]


CATALOGUE = Catalogue(
    [
        Kind(name="Model", plural="models", spec=ModelSpec, summary="A model.", short=("mo",)),
        Kind(
            name="Endpoint",
            plural="endpoints",
            spec=EndpointSpec,
            summary="A name that clients call.",
            short=("ep",),
            check=check_endpoint,
        ),
        Kind(name="Rollout", plural="rollouts", spec=MadeSpec, summary="A release.", generated=True),
    ]
)


def yaml_of(kind: str, name: str, spec: str = "{}") -> str:
    return f"apiVersion: andon/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec: {spec}\n"


def parse(*texts: str) -> list[Document]:
    """Each text is one layer."""
    sources = [Source(file=f"f{index}.yaml", text=text, layer=index) for index, text in enumerate(texts)]
    return parse_sources(sources, CATALOGUE)


def resource(kind: str, name: str, **spec: Any) -> str:
    return yaml_of(kind, name, msgspec.json.encode(spec).decode())
