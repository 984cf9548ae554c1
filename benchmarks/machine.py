"""The machine, and the resources that processes use."""

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snapmanage.testing.services.process import family

TICKS = os.sysconf("SC_CLK_TCK")


def description() -> dict[str, Any]:
    """Return the properties of the machine on which a figure depends."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "memory_gb": round(int(memory) / 1024**2),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def conditions(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence that belongs below a table of these lines of results."""
    shown, loads = lines[0]["machine"], [line["load"] for line in lines]
    return (
        f"{shown['cores']} cores of {shown['cpu']}, {shown['memory_gb']} GB, Linux {shown['kernel']}, Python "
        f"{shown['python']}; load {min(loads)} to {max(loads)}. Only ratios can be compared."
    )


def load() -> float:
    """Return the average number of runnable processes in the last minute, of all users."""
    return round(os.getloadavg()[0], 1)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of processes and of their living descendants."""
    return sum(_cpu_seconds(member) for pid in pids for member in family(pid))


def memory_mb(pid: int, measure: str = "VmRSS") -> float:
    """Return the memory of a process and its descendants; with `VmHWM`, the sum of their peaks."""
    return round(sum(_memory_kb(member, measure) for member in family(pid)) / 1024, 1)


def quantile_ms(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{share}_ms": quantile_ms(seconds, share / 100) for share in (50, 95, 99)}


def median(values: Sequence[float], digits: int = 2) -> float:
    return round(statistics.median(values), digits)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory_kb(pid: int, measure: str) -> int:
    return next((int(line.split()[1]) for line in _lines(f"/proc/{pid}/status") if line.startswith(f"{measure}:")), 0)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
