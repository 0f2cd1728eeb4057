"""The paper's claims as statistics."""

from orchestrator.paper.claims.claim import Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.registry import CLAIMS, findings

__all__ = ["CLAIMS", "Claim", "Finding", "findings"]
