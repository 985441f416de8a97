"""The peers: what is installed for each, and how many readings the slow ones get."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

INSTALL_S = 1_200


@dataclass(frozen=True)
class Peer:
    name: str
    packages: tuple
    # `batch`: answers once over all rows; `stream`: keeps windows as rows come.
    kind: str = "batch"
    # Readings for a workload, where all of them would take minutes. The key is the
    # beginning of the workload's name; the first that fits counts.
    rows: dict = field(default_factory=dict)

    def rows_for(self, workload):
        for beginning, rows in self.rows.items():
            if workload.startswith(beginning):
                return rows
        return None


# A frame of 60 s holds 1.2 M readings, one of 1,000 rows by sensor fills after 1 M: fewer
# would measure frames that never move.
PEERS = [
    Peer("polars", ("polars", "pyarrow", "numpy")),
    Peer("duckdb", ("duckdb", "pyarrow", "numpy"),
         rows={"W4-range-key": 4_000_000, "W4-range": 2_000_000, "W6-median": 4_000_000,
               "W6": 1_000_000}),
    Peer("chdb", ("chdb", "pyarrow"), rows={"W4": 4_000_000, "W6-median": 2_000_000}),
    Peer("datafusion", ("datafusion", "pyarrow"),
         rows={"W4-range": 2_000_000, "W4": 4_000_000}),
    Peer("pandas", ("pandas", "pyarrow"),
         rows={"W4-range-key": 4_000_000, "W4-rows-key": 4_000_000, "W6-median": 2_000_000}),
    Peer("flink", ("apache-flink",), "stream", rows={"W4": 1_200_000, "W": 1_000_000}),
    Peer("bytewax", ("bytewax", "pyarrow", "numpy"), "stream", rows={"W2": 20_000, "W": 200_000}),
    Peer("pathway", ("pathway", "pyarrow"), "stream", rows={"W2": 10_000, "W": 200_000}),
]


def home(cache, peer):
    return os.path.join(cache, "peers", peer.name)


def python(cache, peer):
    """The interpreter that has the peer, or `None`."""
    path = os.path.join(home(cache, peer), "bin", "python")
    return path if os.path.exists(path) else None


def install(cache, peer):
    """Makes an environment of its own for the peer; gives the reason if it fails."""
    folder = home(cache, peer)
    whole = python(cache, peer) is not None
    steps = [[os.path.join(folder, "bin", "python"), "-m", "pip", "install", "--quiet",
              "--upgrade", *peer.packages]]
    if not whole:
        steps.insert(0, [sys.executable, "-m", "venv", "--clear", folder])
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_S)
            if done.returncode == 0:
                continue
            lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            reason = lines[-1] if lines else f"exit code {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        if not whole:
            shutil.rmtree(folder, ignore_errors=True)
        return f"not installed: {reason}"
    return None
