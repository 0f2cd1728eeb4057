"""The paper's claims as statistics."""

from orchestrator.paper.claims.claim import Claim, Finding
from orchestrator.paper.claims.registry import CLAIMS, findings

__all__ = ["CLAIMS", "Claim", "Finding", "findings"]
