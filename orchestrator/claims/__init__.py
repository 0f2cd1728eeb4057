"""The paper's claims as statistics."""

from orchestrator.claims.claim import Claim
from orchestrator.claims.finding import Finding
from orchestrator.claims.registry import CLAIMS, findings

__all__ = ["CLAIMS", "Claim", "Finding", "findings"]
