"""Every kind of resource, in order of dependency: what is named first is created first and deleted last.

The one list from which factory files, `plan`, the API, the reference and the JSON Schemas are made.
"""

from __future__ import annotations

from andon.app.policy_vocabulary import vocabulary
from andon.control.catalogue import Catalogue
from andon.lifecycle.kinds import ENDPOINT_KIND, ROLLOUT_KIND
from andon.observability.alerts.kinds import ALERT_KIND, RECEIVER_KIND, SILENCE_KIND
from andon.observability.objectives.kinds import OBJECTIVE_KIND
from andon.observability.quality.drift.kinds import MONITOR_KIND
from andon.observability.quality.kinds import QUALITY_KIND
from andon.security.abuse.model import ABUSE_POLICY
from andon.security.admission.kinds import ADMISSION_KIND, SIGNER_KIND
from andon.security.guards.kinds import guard_kind
from andon.security.identity.bindings import ROLE_BINDING_KIND
from andon.security.identity.issuers import ISSUER_KIND
from andon.security.identity.model import API_KEY, SERVICE, TEAM
from andon.security.identity.people import USER_KIND
from andon.security.limits.model import LIMIT
from andon.security.policy.approvals import APPROVAL_KIND
from andon.security.policy.checking import policy_kind
from andon.security.policy.model import POLICY
from andon.serving.deployments.model import DEPLOYMENT_KIND
from andon.serving.models.kinds import MODEL_KIND, MODEL_VERSION_KIND
from andon.serving.providers.rules import PROVIDER_KIND


def catalogue() -> Catalogue:
    """The kinds of this version of Andon."""
    kinds = (
        TEAM,
        SERVICE,
        API_KEY,
        USER_KIND,
        ISSUER_KIND,
        ROLE_BINDING_KIND,
        PROVIDER_KIND,
        MODEL_KIND,
        SIGNER_KIND,
        ADMISSION_KIND,
        MODEL_VERSION_KIND,
        DEPLOYMENT_KIND,
        guard_kind(),
        ENDPOINT_KIND,
        ROLLOUT_KIND,
        LIMIT,
        ABUSE_POLICY,
        OBJECTIVE_KIND,
        MONITOR_KIND,
        RECEIVER_KIND,
        ALERT_KIND,
        SILENCE_KIND,
        QUALITY_KIND,
        APPROVAL_KIND,
    )
    # Policies speak about every kind, themselves included.
    words = vocabulary([*(kind.name for kind in kinds), POLICY])
    return Catalogue((*kinds, policy_kind(words)))
