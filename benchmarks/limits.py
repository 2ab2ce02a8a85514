"""Compares the rate of delivery with the highest rate that a SQLite file and a server support.

`benchmarks/run` calls this script. The library and the reference take turns, each with a new file or server, and the
medians are compared. The clock starts at the first value, when the run exists already, and stops when the store has the
last value.
"""

import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from side_by_side import FEW, POINTS, QUICK, RUST, Counter, Server, environment, write

ROUNDS = 1 if QUICK else 3
MANY = FEW if QUICK else 1_000_000


def seconds(program, uri, points, folder):
    done = subprocess.run(
        [str(RUST / program), uri, str(points)], cwd=folder, capture_output=True, text=True,
        env=environment(folder, MLFLOW_EXIT_TIMEOUT="600"),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["delivered_s"]


def to_a_file(program, points, folder):
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    # Creates the tables of the database.
    subprocess.run([str(RUST / "ours"), uri, "0"], cwd=folder, env=environment(folder), check=True)
    return dict(points_per_s=points / seconds(program, uri, points, folder))


def to_a_server(program, points, folder):
    server = Server(folder)
    try:
        counter = Counter(server.port)
        took = seconds(program, counter.url, points, folder)
        return dict(points_per_s=points / took, connections=counter.connections)
    finally:
        server.stop()


def main():
    rows = []
    for where, deliver, reference, points in [
        ("SQLite file", to_a_file, "raw-insert", MANY),
        ("server", to_a_server, "ready-bodies", POINTS),
    ]:
        ours, limit = [], []
        for _ in range(ROUNDS):
            for program, results in [("flushed", ours), (reference, limit)]:
                with tempfile.TemporaryDirectory(prefix="limits-") as folder:
                    results.append(deliver(program, points, Path(folder)))
        median = lambda results: statistics.median(result["points_per_s"] for result in results)
        row = dict(
            where=where, reference=reference, points=points, ours_per_s=median(ours), limit_per_s=median(limit),
            all_ours=[result["points_per_s"] for result in ours], all_limit=[result["points_per_s"] for result in limit],
            connections=[max(result.get("connections", 0) for result in results) for results in (ours, limit)],
        )
        row["ratio"] = row["ours_per_s"] / row["limit_per_s"]
        print(json.dumps(row), flush=True)
        rows.append(row)
    write("limits.json", rows=rows)


main()
