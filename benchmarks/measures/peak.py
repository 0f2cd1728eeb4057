"""The most memory that a process has had."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def peak_resident() -> int:
    """The most bytes that this process has had in main memory so far."""
    status = Path("/proc/self/status")
    if status.exists():
        [peak] = re.findall(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(peak) * 1024
    # Elsewhere: of this process or of the one that started it, whichever is more.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
