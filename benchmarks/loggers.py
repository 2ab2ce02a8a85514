"""Compares the cost of a call with the cost of a call of other logs: volatile ones, and ones that survive the process.

`benchmarks/run` calls this script. All logs take turns, each in a new process and a new folder, with a pause of a millisecond
after each thousand calls and without pauses. Then each of them is killed as soon as its last call has returned, and the values
that are still there are counted.
"""

import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from side_by_side import QUICK, RUST, environment, write

ROUNDS = 1 if QUICK else 3
CALLS = 10_000 if QUICK else 500_000
PAUSE_US = 1000
LOGGERS = ["mapped-append", "mlflow-runtime", "ticklog", "walrus", "commitlog"]


def call(folder, *arguments, killed=False):
    done = subprocess.run(
        [str(RUST / "loggers"), *map(str, arguments)], cwd=folder, capture_output=True, text=True,
        env=environment(Path(folder), WALRUS_QUIET="1", WALRUS_DATA_DIR=str(Path(folder) / "walrus")),
    )
    assert done.returncode == (-9 if killed else 0), done.stderr
    return None if killed else float(done.stdout)


def main():
    took = {(name, pause): [] for name in LOGGERS for pause in (PAUSE_US, 0)}
    for _ in range(ROUNDS):
        for (name, pause), results in took.items():
            with tempfile.TemporaryDirectory(prefix="loggers-") as folder:
                results.append(call(folder, name, CALLS, pause))
    rows = []
    for name in LOGGERS:
        row = dict(
            name=name, calls=CALLS, call_ns=statistics.median(took[name, PAUSE_US]),
            without_pauses_ns=statistics.median(took[name, 0]), all_ns=[took[name, pause] for pause in (PAUSE_US, 0)],
        )
        if name != "mapped-append":
            with tempfile.TemporaryDirectory(prefix="loggers-") as folder:
                call(folder, name, CALLS, 0, "kill", killed=True)
                row["lost"] = CALLS - int(call(folder, name, 0, 0, "count"))
        row["ratio"] = row["call_ns"] / rows[0]["call_ns"] if rows else 1.0
        print(json.dumps(row), flush=True)
        rows.append(row)
    write("loggers.json", rows=rows)


main()
