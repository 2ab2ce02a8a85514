"""Compares the cost of a call with the cost of a call of other logs: volatile ones, and ones that survive the process.

`benchmarks/run` calls this script. All logs take turns, each in a new process and a new folder. Then each of them is killed as
soon as its last call has returned, and the values that are still there are counted.
"""

import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from side_by_side import QUICK, RUST, environment, write

ROUNDS = 1 if QUICK else 5
CALLS = 10_000 if QUICK else 500_000
LOGGERS = ["mapped-append", "mlflow-runtime", "ticklog", "walrus", "commitlog"]


def call(folder, *arguments, killed=False):
    done = subprocess.run(
        [str(RUST / "loggers"), *map(str, arguments)], cwd=folder, capture_output=True, text=True,
        env=environment(Path(folder), WALRUS_QUIET="1", WALRUS_DATA_DIR=str(Path(folder) / "walrus")),
    )
    assert done.returncode == (-9 if killed else 0), done.stderr
    return None if killed else float(done.stdout)


def main():
    took = {name: [] for name in LOGGERS}
    for _ in range(ROUNDS):
        for name in LOGGERS:
            with tempfile.TemporaryDirectory(prefix="loggers-") as folder:
                took[name].append(call(folder, name, CALLS))
    rows = []
    for name in LOGGERS:
        row = dict(name=name, calls=CALLS, call_ns=statistics.median(took[name]), all_ns=took[name])
        if name != "mapped-append":
            with tempfile.TemporaryDirectory(prefix="loggers-") as folder:
                call(folder, name, CALLS, "kill", killed=True)
                row["lost"] = CALLS - int(call(folder, name, 0, "count"))
        row["ratio"] = row["call_ns"] / rows[0]["call_ns"] if rows else 1.0
        print(json.dumps(row), flush=True)
        rows.append(row)
    write("loggers.json", rows=rows)


main()
