"""Measures the cost of a call and the rate of delivery by the number of values, keys and threads.

`benchmarks/run` calls this script and builds the measured program. The cost of a call is measured twice: while no
server listens, so that no other work competes for the processor, and while a SQLite file accepts the values.
"""

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import QUICK, RUST, environment, write

ROUNDS = 1 if QUICK else 3
MANY = 20_000 if QUICK else 1_000_000
MOST = 100_000 if QUICK else 10_000_000
DOWN = "http://127.0.0.1:9"

# Number that grows, and the numbers of values, keys and threads of each measurement.
SERIES = [
    ("values", [(values, 10, 1) for values in (10**power for power in range(3, 8)) if values <= MOST]),
    ("keys", [(MANY, keys, 1) for keys in (1, 10, 100, 1_000, 10_000)]),
    ("threads", [(MANY, 10, threads) for threads in (1, 2, 4, 16, 64)]),
]


def run(uri, folder, timeout, values, keys, threads):
    """Returns the figures that the program prints for its calls, and the time from its start to its end."""
    folder.mkdir()
    begun = time.monotonic()
    done = subprocess.run(
        [str(RUST / "growth"), uri, str(values), str(keys), str(threads)], cwd=folder, capture_output=True, text=True,
        env=environment(folder, MLFLOW_EXIT_TIMEOUT=timeout),
    )
    took = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | dict(total_s=took)


def medians(reports):
    return {name: statistics.median(report[name] for report in reports) for name in reports[0]}


def measure(root, values, keys, threads):
    """Returns one row. `values` is rounded down to a multiple of `threads`."""
    values -= values % threads
    work, folder = (values, keys, threads), root / "journal"
    away, delivered = [], []
    for _ in range(ROUNDS):
        away.append(run(DOWN, folder, "0", *work))
        shutil.rmtree(folder)
    for _ in range(1 if values > MANY else ROUNDS - 1 or 1):
        delivered.append(run(f"sqlite:///{folder / 'mlflow.db'}", folder, "600", *work))
        with sqlite3.connect(folder / "mlflow.db") as connection:
            there = connection.execute("select count(*) from metrics").fetchone()[0]
        assert there == values, f"{there} of {values}"
        shutil.rmtree(folder)
    row = dict(values=values, keys=keys, threads=threads, away=medians(away), delivering=medians(delivered))
    # At most as many threads run at the same time as there are cores.
    row["caller_ns"] = row["away"]["wall_ns"] * min(threads, os.cpu_count())
    row["delivered_per_s"] = values / row["delivering"]["total_s"]
    print(json.dumps(row), flush=True)
    return row


def main():
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    with tempfile.TemporaryDirectory(prefix="growth-") as root:
        series = {
            name: [measure(Path(root), *work) for work in works]
            for name, works in SERIES
            if not wanted or name in wanted
        }
    write("growth.json", rounds=ROUNDS, series=series)


main()
