"""The life of a request on one screen: the stages of the gateway's chain, in order.

Each stage's `admit` runs downwards, its `settle` upwards. Between the last stage and the first settle stand the intent
row, the dispatch with its attempts, and the outcome row. Moving a line here changes what is checked before what.
"""

from __future__ import annotations

from collections.abc import Sequence

from andon.gateway.validation import ValidateStage
from andon.kernel.clock import Clock
from andon.kernel.ports import Disk, Reports, Stage
from andon.kernel.random import Random
from andon.lifecycle.rollouts.cuts import Cuts
from andon.lifecycle.rollouts.stage import RolloutStage
from andon.security.abuse.penalties import Penalties
from andon.security.abuse.settings import UNSET, AbuseSettings
from andon.security.abuse.stage import AddressStage, ConductStage
from andon.security.audit.stage import AuditStage
from andon.security.guards.labelling import LabelStage
from andon.security.identity.stage import IdentifyStage
from andon.security.limits.model import Shared
from andon.security.limits.stage import LimitStage
from andon.security.policy.stage import AuthoriseStage, ReconsiderStage


def build_chain(
    *,
    gateway: str,
    pepper: bytes,
    cuts: Disk,
    reports: Reports,
    clock: Clock,
    random: Random,
    abuse: AbuseSettings = UNSET,
    shared: Shared | None = None,
) -> Sequence[Stage]:
    """The stages of one gateway. `cuts` is where stopped releases are remembered over a restart.

    `shared` keeps the counters of limits with other gateways; without it this one counts alone.
    """
    authorise = AuthoriseStage(clock)
    keys = Penalties(abuse)
    return (
        AddressStage(abuse, clock, keys),  # from an address that must wait: 429
        IdentifyStage(pepper, clock),  # who asks: 401, 403
        authorise,  # may they: 403
        AuditStage(clock),  # whether it can be audited: 503, where the factory is closed to all else
        ConductStage(abuse, clock, keys, pepper),  # more than can be borne: 503; a key that must wait: 429
        LimitStage(clock, shared=shared),  # how much they may: 429; reserved now, settled at the end
        ValidateStage(),  # whether it is well-formed: 400, by the model's own signature
        LabelStage(),  # what class its data is of, and whether that may go there: 403
        ReconsiderStage(authorise),  # may they still, now that its data is known: 403
        RolloutStage(
            gateway, clock, random, reports, Cuts(cuts)
        ),  # which release serves; observes the outcome
    )
