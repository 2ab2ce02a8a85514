"""Compares trackers that do the same work: one run, 100 params, 100,000 points in ten keys.

`benchmarks/run` calls this script and installs and builds the trackers. Every figure comes from this run on this
machine. The slowest trackers log fewer points; the table shows the number of points.
"""

import json
import os
import platform
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "target" / "side-by-side"
PYTHON = TARGET / "bin" / "python"
RUST = TARGET / "build" / "release"
QUICK = "--quick" in sys.argv
POINTS = 2_000 if QUICK else 100_000
FEW = 500 if QUICK else 2_000
PATIENCE = 900

# Destinations of the points.
FILE, SERVER, OWN = "SQLite file", "server", "its own files"


def rust(name):
    return [str(RUST / name)]


def python(name):
    return [str(PYTHON), str(HERE / "contender.py"), name]


# Name, command, number of points, destination.
CONTENDERS = [
    ("mlflow-runtime", rust("ours"), POINTS, FILE),
    ("MLflow Python, log_batch", python("mlflow-log-batch"), POINTS, FILE),
    ("MLflow Python, asynchronous", python("mlflow-async"), FEW, FILE),
    ("MLflow Python, synchronous", python("mlflow"), FEW, FILE),
    ("mlflow-runtime", rust("ours"), POINTS, SERVER),
    ("MLflow Python, log_batch", python("mlflow-log-batch"), POINTS, SERVER),
    ("MLflow Python, asynchronous", python("mlflow-async"), FEW, SERVER),
    ("MLflow Python, synchronous", python("mlflow"), FEW, SERVER),
    ("crate mlflow-client", rust("mlflow-client"), POINTS, SERVER),
    ("crate trs-mlflow", rust("trs-mlflow"), FEW, SERVER),
    ("W&B, offline", python("wandb-offline"), POINTS, OWN),
    ("Trackio", python("trackio"), POINTS, OWN),
]


class Counter:
    """Proxy that forwards connections to a server, and counts the connections and the requests."""

    def __init__(self, port):
        self.port = port
        self.connections = self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.port))
            for source, sink, counts in [(client, server, True), (server, client, False)]:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pass_on, args=(source, sink, counts), daemon=True).start()

    def pass_on(self, source, sink, counts):
        request = re.compile(rb"(?:POST|GET|PUT|PATCH|DELETE) /\S* HTTP/1\.1\r\n")
        try:
            while data := source.recv(1 << 16):
                if counts:
                    self.requests += len(request.findall(data))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                end.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Server:
    """Real MLflow server with a SQLite file in a separate folder."""

    def __init__(self, folder, *options, **more):
        self.port = free_port()
        self.database = folder / "server.db"
        self.process = subprocess.Popen(
            [str(TARGET / "bin" / "mlflow"), "server", "--backend-store-uri", f"sqlite:///{self.database}",
             "--artifacts-destination", str(folder / "artifacts"), "--port", str(self.port), "--workers", "1", *options],
            env=environment(folder, **more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        begun = time.monotonic()
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if time.monotonic() - begun > PATIENCE:
                    raise
                time.sleep(0.1)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def environment(folder, **more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "WANDB_"))}
    return kept | dict(
        MLFLOW_JOURNAL_DIR=str(folder / "journal"), MLFLOW_EXIT_TIMEOUT="600", MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true", WANDB_SILENT="true", WANDB_DISABLE_TELEMETRY="true",
        TRACKIO_DIR=str(folder / "trackio"), GIT_PYTHON_REFRESH="quiet", PYTHONWARNINGS="ignore",
    ) | more


def run(command, uri, points, folder, kill=False, **more):
    """Runs a tracker. Returns its report on its calls, the time and the memory that it took; None if it failed."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command + [uri, str(points)], cwd=folder, env=environment(folder, **more), stdout=subprocess.PIPE,
        stderr=open(folder / "stderr", "ab"), text=True, start_new_session=True,
    )
    timer = threading.Timer(PATIENCE, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    report = None
    for line in process.stdout:
        if line.startswith('{"blocked_s"'):
            report = json.loads(line)
            report["logged_s"] = time.monotonic() - begun
            if kill:
                # Kills all processes that the tracker has started, too, as the end of a container would.
                os.killpg(process.pid, signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    timer.cancel()
    if report is None:
        return None
    report.update(total_s=time.monotonic() - begun, peak_mib=usage.ru_maxrss / 1024, failed=status != 0)
    report["left_s"] = report["total_s"] - report["logged_s"]
    return report


def stored(where, folder, server):
    """Returns the number of stored points."""
    if where == OWN:
        return stored_by_others(folder)
    database = server.database if where == SERVER else folder / "mlflow.db"
    if not database.exists():
        return 0
    with sqlite3.connect(database, timeout=60) as connection:
        query = "select count(*) from metrics m join runs r using (run_uuid) where r.lifecycle_stage = 'active'"
        return connection.execute(query).fetchone()[0]


def stored_by_others(folder):
    count = 0
    for database in folder.glob("trackio/*.db"):
        with sqlite3.connect(database) as connection:
            for (metrics,) in connection.execute("select metrics from metrics"):
                count += sum(key.startswith("metric_") for key in json.loads(metrics))
    for log in folder.glob("wandb/offline-run-*/*.wandb"):
        counted = subprocess.run([str(PYTHON), str(HERE / "wandb_points.py"), str(log)], capture_output=True, text=True)
        count += int(counted.stdout or 0)
    return count


def compare(name, command, points, where, root):
    """Returns one row of the table."""
    row = dict(name=name, where=where, points=points)

    def fresh(label):
        folder = root / re.sub(r"\W+", "-", f"{name}-{where}-{label}")
        folder.mkdir()
        server = Server(folder) if where == SERVER else None
        counter = Counter(server.port) if server else None
        uri = counter.url if counter else f"sqlite:///{folder / 'mlflow.db'}"
        return folder, server, counter, uri

    def end(folder, server):
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    folder, server, counter, uri = fresh("whole")
    report = run(command, uri, points, folder)
    if report:
        there = stored(where, folder, server)
        row.update(report, there=there, delivered_per_s=there / report["total_s"])
        if counter:
            row.update(requests=counter.requests, connections=counter.connections)
    end(folder, server)

    folder, server, counter, uri = fresh("killed")
    if run(command, uri, points, folder, kill=True):
        if name == "mlflow-runtime":
            run(command, uri, 0, folder)
        # Waits until the server has processed the requests that it received before the client died.
        before = -1
        while before != (there := stored(where, folder, server)):
            before = there
            time.sleep(1)
        row["lost"] = max(points - there, 0)
    end(folder, server)

    if where == SERVER:
        folder = root / re.sub(r"\W+", "-", f"{name}-down")
        folder.mkdir()
        begun = time.monotonic()
        down = run(command, f"http://127.0.0.1:{free_port()}", min(points, FEW), folder, MLFLOW_EXIT_TIMEOUT="5",
                   MLFLOW_HTTP_REQUEST_MAX_RETRIES="3")
        row["down"] = f"{down['left_s']:.2f} s" if down and not down["failed"] else (
            f"fails after {time.monotonic() - begun:.1f} s")
        end(folder, None)
    return row


def write(file, **results):
    """Writes results for `report.py`, with the machine and the date."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}"
    results = dict(machine=machine, date=time.strftime("%Y-%m-%d")) | results
    (TARGET / file).write_text(json.dumps(results, indent=1))


def main():
    rows = []
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as root:
        for name, command, points, where in CONTENDERS:
            if wanted and not any(word in f"{name} {where}" for word in wanted):
                continue
            row = compare(name, command, points, where, Path(root))
            print(json.dumps(row), flush=True)
            rows.append(row)
    write("results.json", points=POINTS, few=FEW, rows=rows)


if __name__ == "__main__":
    main()
