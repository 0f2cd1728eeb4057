"""Does a store bear out what the paper claims? Each claim as a test, with its finding.

Read `claim` first, then `population` (the trials that claims are about), `measures` and `registry`.
"""

from orchestrator.paper.claims.claim import Claim, Finding
from orchestrator.paper.claims.registry import CLAIMS, findings

__all__ = ["CLAIMS", "Claim", "Finding", "findings"]
