"""The most memory that a process has had."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_resident() -> int:
    """The most bytes that this process has had in main memory so far."""
    status = Path("/proc/self/status")
    if status.exists():
        [peak] = re.findall(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(peak) * 1024
    # Elsewhere: of this process or of the one that started it, whichever is more.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes
