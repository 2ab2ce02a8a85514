"""Measures what `cargo mlflow` reads and ships, each beside a reference in the same run: MLflow's Python client and
command line, and a living process.

`benchmarks/run` calls this script and builds the measured programs. The runs lie in SQLite files, which are filled by
SQL, because Python would take an hour to log them.
"""

import json
import os
import re
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from side_by_side import QUICK, RUST, TARGET, environment, run, write

POINTS = 100_000 if QUICK else 1_000_000
FEW, MANY = (1_000, 10_000) if QUICK else (10_000, 100_000)
# Values of each kind that a run has: params, tags, latest metrics.
VALUES = 10
ROUNDS = 3 if QUICK else 7
DOWN = "http://127.0.0.1:9"
OURS = str(RUST / "cargo-mlflow")
PYTHON = str(TARGET / "bin" / "python")

HISTORY = """
import sys, time
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
run, = client.search_runs([client.get_experiment_by_name("history").experiment_id])
begun = time.perf_counter()
assert len(client.get_metric_history(run.info.run_id, "loss")) == int(sys.argv[2])
print(time.perf_counter() - begun)
"""


def uri(path):
    return f"sqlite:///{path}"


def timed(command, folder, **more):
    """Runs a command. Returns its seconds and its greatest memory in MiB."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment(folder, **more), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0, (command, status)
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def median(command, folder, rounds=ROUNDS):
    return statistics.median(timed(command, folder)[0] for _ in range(rounds))


def create(path, folder, experiment):
    """Creates a file with MLflow's own tables and an experiment."""
    code = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).create_experiment(sys.argv[2])"
    subprocess.run([PYTHON, "-c", code, uri(path), experiment], cwd=folder, env=environment(folder), check=True,
                   stderr=subprocess.DEVNULL)
    database = sqlite3.connect(path)
    number, = database.execute("select experiment_id from experiments where name = ?", [experiment]).fetchone()
    return database, number


def add_runs(database, experiment, count):
    for index in range(count):
        run_id = f"{index:032x}"
        database.execute(
            "insert into runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, "
            "experiment_id, artifact_uri) values (?, ?, 'LOCAL', 'u', 'FINISHED', ?, ?, 'active', ?, '')",
            [run_id, f"run-{index}", 1_700_000_000_000 + index, 1_700_000_100_000 + index, experiment])
        database.executemany("insert into params values (?, ?, ?)",
                             [(f"param_{key}", str(index * key), run_id) for key in range(VALUES)])
        database.executemany("insert into tags values (?, ?, ?)",
                             [(f"tag_{key}", "value", run_id) for key in range(VALUES)])
        database.executemany(
            "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) values (?, ?, 1, 1, 0, ?)",
            [(f"metric_{key}", index / (key + 1), run_id) for key in range(VALUES)])
    database.commit()


def history(folder):
    path = folder / "history.db"
    database, experiment = create(path, folder, "history")
    add_runs(database, experiment, 1)
    run_id, = database.execute("select run_uuid from runs").fetchone()
    insert = "insert into metrics (key, value, timestamp, run_uuid, step, is_nan) values ('loss', ?, ?, ?, ?, 0)"
    points = ((step / 7, 1_700_000_000_000 + step, run_id, step) for step in range(POINTS))
    database.executemany(insert, points)
    database.execute("delete from latest_metrics")
    latest = "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) values ('loss', 1, ?, ?, 0, ?)"
    database.execute(latest, [1_700_000_000_000 + POINTS - 1, POINTS - 1, run_id])
    database.commit()
    reading = [OURS, "inspect", run_id, "--summary", "--json", "--tracking-uri", uri(path)]
    ours = median(reading, folder)
    python = subprocess.run([PYTHON, "-c", HISTORY, uri(path), str(POINTS)], cwd=folder, env=environment(folder),
                            check=True, capture_output=True, text=True)
    return dict(ours_s=ours, python_s=float(python.stdout), points=POINTS)


def lists(folder):
    path = folder / "few.db"
    database, experiment = create(path, folder, "few")
    add_runs(database, experiment, FEW)
    page = median([OURS, "runs", "-e", "few", "--tracking-uri", uri(path)], folder)
    whole = median([OURS, "runs", "-e", "few", "-n", "0", "--json", "--tracking-uri", uri(path)], folder)
    command = [str(TARGET / "bin" / "mlflow"), "runs", "list", "--experiment-id", str(experiment)]
    python = statistics.median(timed(command, folder, MLFLOW_TRACKING_URI=uri(path))[0] for _ in range(3))
    return dict(runs=FEW, page_s=page, all_s=whole, python_s=python)


def memory(folder):
    path = folder / "many.db"
    database, experiment = create(path, folder, "many")
    add_runs(database, experiment, MANY)
    listing = [OURS, "runs", "-e", "many", "--json", "--tracking-uri", uri(path), "-n"]
    _, one = timed([*listing, "1"], folder)
    seconds, every = timed([*listing, "0"], folder)
    return dict(runs=MANY, one_mib=one, all_mib=every, all_s=seconds)


def shipping(folder):
    """Measures a process that logs and delivers, and `sync` of what a killed process has logged."""
    logger = [str(RUST / "ours")]
    live, shipped = [], []
    for number in range(1 if QUICK else 3):
        place = folder / f"live-{number}"
        place.mkdir()
        live.append(run(logger, uri(place / "live.db"), POINTS, place)["total_s"])
        place = folder / f"killed-{number}"
        place.mkdir()
        run(logger, DOWN, POINTS, place, kill=True)
        destination = uri(place / "synced.db")
        shipped.append(timed([OURS, "sync", "--to", destination], place)[0])
        count, = sqlite3.connect(place / "synced.db").execute("select count(*) from metrics").fetchone()
        assert count == POINTS, count
    return dict(points=POINTS, live_s=statistics.median(live), sync_s=statistics.median(shipped))


def screen():
    """Runs the measurement of `watch`, which draws to a screen in memory."""
    root = Path(__file__).resolve().parent.parent
    command = ["cargo", "test", "--release", "-q", "-p", "cargo-mlflow", "--target-dir", str(RUST.parent), "--",
               "--ignored", "--nocapture", "--test-threads", "1", "a_million_points"]
    output = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    units = {"µs": 1e-3, "ms": 1.0, "s": 1e3}
    row = re.compile(r"^(.+): (\d+) points loaded in ([\d.]+)(\S+), first frame ([\d.]+)(\S+), a frame ([\d.]+)(\S+)$", re.M)
    return [
        dict(source=source, points=int(points), loaded_ms=float(loaded) * units[unit],
             first_frame_ms=float(first) * units[of_first], frame_ms=float(frame) * units[of_frame])
        for source, points, loaded, unit, first, of_first, frame, of_frame in row.findall(output)
    ]


def main():
    with tempfile.TemporaryDirectory(prefix="reads-") as root:
        folder = Path(root)
        measured = dict(
            start_s=median([OURS, "--version"], folder, 50),
            python_start_s=median([str(TARGET / "bin" / "mlflow"), "--version"], folder, 3),
            history=history(folder), lists=lists(folder), memory=memory(folder), shipping=shipping(folder),
        )
    measured["screen"] = [] if QUICK else screen()
    print(json.dumps(measured, indent=1))
    write("reads.json", **measured)


if __name__ == "__main__":
    main()
