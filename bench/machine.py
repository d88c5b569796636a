"""What the figures were taken on: machine, interpreter, server, and the versions of every contestant."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from server import valkey_binary


def described() -> dict[str, str]:
    """Name → what, for the head of the tables and the raw figures."""
    listed = Path("/proc/cpuinfo")
    cpu = re.search(r"model name\s*:\s*(.+)", listed.read_text("utf-8")) if listed.exists() else None
    version = subprocess.run([valkey_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "server": version.split(" sha")[0],
        "load before": f"{os.getloadavg()[0]:.1f}",
    }
