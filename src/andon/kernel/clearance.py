"""Whether data of a class may go where an exchange wants to take it: to the endpoint, and to whoever asks.

Pure. Asked by the stage that labels exchanges, and again by the gateway when findings of guards have raised the class.
"""

from __future__ import annotations

from andon.kernel.errors import Refused
from andon.kernel.exchange import Exchange
from andon.kernel.labels import RANKS
from andon.kernel.principals import Principal


def label_refusal(x: Exchange) -> Refused | None:
    """Why data of the exchange's class may not go on: beyond what the endpoint takes, or its caller may handle."""
    label, endpoint = x.label, x.endpoint
    rank = RANKS[label]
    if rank == 0 or endpoint is None:
        return None
    if rank > RANKS[endpoint.label_max]:
        why = f"'{endpoint.name}' takes data up to class {endpoint.label_max}"
    elif x.principal is not None and rank > _ceiling(x.principal):
        why = "this caller may not handle such data"
    elif x.key is not None and rank > RANKS[x.key.label]:
        why = "this key may not handle such data"
    else:
        return None
    return Refused(
        "label_not_allowed",
        f"The data is {label}, and {why}.",
        hint="Send it to an endpoint for such data, or leave the data out.",
        status=403,
    )


def _ceiling(principal: Principal) -> int:
    """Who lets strangers in lets them have what is internal, which every endpoint is unless it says otherwise."""
    own = RANKS[principal.label]
    return max(own, RANKS["internal"]) if principal.kind == "anonymous" else own
