"""Every board that Andon ships, in the order in which they are listed.

A board is one file of data; nothing here knows Grafana.
"""

from __future__ import annotations

from andon.observability.dashboards.boards.business import BUSINESS
from andon.observability.dashboards.boards.cost import COST
from andon.observability.dashboards.boards.gpu import GPU
from andon.observability.dashboards.boards.infrastructure import INFRASTRUCTURE
from andon.observability.dashboards.boards.ledger import LEDGER
from andon.observability.dashboards.boards.llm import LLM
from andon.observability.dashboards.boards.models import MODELS
from andon.observability.dashboards.boards.objectives import OBJECTIVES
from andon.observability.dashboards.boards.quality import QUALITY
from andon.observability.dashboards.boards.service import SERVICE

BOARDS = (SERVICE, MODELS, LLM, GPU, OBJECTIVES, QUALITY, COST, BUSINESS, INFRASTRUCTURE, LEDGER)
