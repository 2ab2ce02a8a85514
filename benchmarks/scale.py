"""Measures MLflow's PostgreSQL database, very many small runs, and a server with several workers, each beside a reference
in the same run.

`benchmarks/run` calls this script and builds the measured programs. PostgreSQL, the servers and the programs share the
processor of this machine. Programs and references take turns, and the medians are compared.

- Straight into PostgreSQL: each measurement has a database of its own. The clock starts at the first value, when the run
  exists already, and stops when the store has the last value. The limit is a COPY of the same rows, made beforehand, into a
  temporary table, and one INSERT from there, in transactions of the same size. Of Python's `log_batch`, only the calls count.
- Small runs: each has two params and three points. Python's client logs fewer; its rate does not depend on their number.
- Servers with one and with four workers, on PostgreSQL: one process logs, or several at once, each to a run of its own. The
  processor time of the server, of PostgreSQL and of the programs is measured, too, also without a server. A distant server is
  behind a proxy that delays each chunk, as in `artifacts.py`.
"""

import json
import os
import pwd
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from artifacts import DELAY, Delay
from side_by_side import PATIENCE, PYTHON, QUICK, RUST, TARGET, Server, environment, free_port, python, rust, write

ROUNDS = 1 if QUICK else 3
MANY = 20_000 if QUICK else 1_000_000
# Points of Python's client.
FEW = 2_000 if QUICK else 50_000
RUNS = 300 if QUICK else 10_000
# Runs of Python's client.
FEW_RUNS = 20 if QUICK else 200
# Points that a process logs to a server.
TO_SERVER = 1_000 if QUICK else 20_000
# The same of each of several processes.
TO_SERVER_EACH = 500 if QUICK else 5_000
PROCESSES = 8
WORKERS = (1, 4)
# What is measured, in order; `scale.py PART…` measures some of it anew and keeps the others.
PARTS = ["points", "runs_to_file", "runs_to_postgres", "straight", "servers"]


class Postgres:
    """PostgreSQL server in a separate folder, started from the programs installed on the system."""

    def __init__(self):
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
        found = str(versions[-1]) if versions else shutil.which("initdb")
        assert found, "PostgreSQL is not installed (on Debian: apt-get install postgresql)"
        self.programs = Path(found).parent
        self.home = Path(tempfile.mkdtemp(prefix="scale-postgres-"))
        # PostgreSQL refuses to run as root.
        self.user = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.home, nobody.pw_uid, nobody.pw_gid)
            self.user = dict(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
        self.port = free_port()
        self.databases = 0
        subprocess.run(
            [self.programs / "initdb", "--username=mlflow", "--auth=trust", "--encoding=UTF8", "--locale=C", "--pgdata=data"],
            cwd=self.home, check=True, capture_output=True, **self.user,
        )
        self.process = subprocess.Popen(
            [self.programs / "postgres", "-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
             "-c", "max_connections=500", "-c", f"port={self.port}"],
            cwd=self.home, stdout=subprocess.DEVNULL, stderr=(TARGET / "scale-postgres.log").open("w"), **self.user,
        )
        begun = time.monotonic()
        while self.psql("postgres", "select 1").returncode != 0:
            assert time.monotonic() - begun < PATIENCE, "PostgreSQL does not start"
            time.sleep(0.1)

    def psql(self, database, statement):
        return subprocess.run(
            [self.programs / "psql", "--host=127.0.0.1", "--username=mlflow", f"--port={self.port}", "--no-psqlrc",
             "--quiet", "--tuples-only", "--no-align", "--command", statement, database],
            capture_output=True, text=True,
        )

    def ask(self, database, statement):
        asked = self.psql(database, statement)
        assert asked.returncode == 0, asked.stderr
        return asked.stdout.strip()

    def create_database(self):
        """Creates a database without tables. Returns its name and its URI."""
        self.databases += 1
        name = f"d{self.databases}"
        self.ask("postgres", f"create database {name}")
        return name, f"postgresql+psycopg2://mlflow@127.0.0.1:{self.port}/{name}"

    def drop_database(self, name):
        self.ask("postgres", f"drop database {name} with (force)")
        # Writes of one measurement shall not become due in the next.
        self.ask("postgres", "checkpoint")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        shutil.rmtree(self.home)


def report(command, uri, count, folder, seconds="delivered_s"):
    """Runs a program. Returns how long its work took."""
    done = subprocess.run(
        command + [uri, str(count)], cwd=folder, capture_output=True, text=True, env=environment(folder)
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])[seconds]


class Contender:
    """Program that logs, with the number of things that it logs."""

    def __init__(self, name, command, count, seconds="delivered_s"):
        self.name, self.command, self.count, self.seconds = name, command, count, seconds

    def rate(self, uri, folder):
        return self.count / report(self.command, uri, self.count, folder, self.seconds)


def ours(program, count):
    return Contender("mlflow-runtime", rust(program), count)


def client(name, program, count):
    return Contender(name, python(program), count, "blocked_s")


POINTS = [
    ours("flushed", MANY),
    Contender("raw COPY", rust("raw-copy"), MANY),
    client("Python's `log_batch`", "mlflow-log-batch", FEW),
]
SMALL_RUNS = [
    ours("small-runs", RUNS),
    client("Python's client", "small-runs", FEW_RUNS),
    client("Python's client, three calls a run", "small-runs-in-batches", FEW_RUNS),
]


class File:
    """SQLite files."""

    def rate(self, contender):
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            folder = Path(folder)
            uri = f"sqlite:///{folder / 'mlflow.db'}"
            create_tables(uri, folder)
            return contender.rate(uri, folder)


class Database:
    """Databases on a PostgreSQL server."""

    def __init__(self, postgres):
        self.postgres = postgres

    def rate(self, contender):
        name, uri = self.postgres.create_database()
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            create_tables(uri, Path(folder))
            rate = contender.rate(uri, Path(folder))
        self.postgres.drop_database(name)
        return rate


def create_tables(uri, folder):
    subprocess.run(rust("ours") + [uri, "0"], cwd=folder, env=environment(folder), check=True)


def side_by_side(place, contenders):
    """Returns the rates of contenders that take turns, by name."""
    rates = {contender.name: [] for contender in contenders}
    for _ in range(ROUNDS):
        for contender in contenders:
            rates[contender.name].append(place.rate(contender))
    return {name: dict(per_s=statistics.median(all_rates), all=all_rates) for name, all_rates in rates.items()}


def processor_s(root):
    """Returns the processor time of a process and of all its descendants, dead or alive, in seconds."""
    parents, times = {}, {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(process.name)] = int(fields[1])
            times[int(process.name)] = sum(map(int, fields[11:15]))
    found, left = 0, [root]
    while left:
        process = left.pop()
        found += times.get(process, 0)
        left += [child for child, parent in parents.items() if parent == process]
    return found / os.sysconf("SC_CLK_TCK")


def log_at_once(server, postgres, url, program, processes, points, folder):
    """Logs from several processes at once, to a server or without one. Returns the rate, and the processor time of all parts
    per thousand points."""

    def used():
        of_children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return dict(server=processor_s(server.process.pid) if server else 0, postgres=processor_s(postgres.process.pid),
                    programs=of_children.ru_utime + of_children.ru_stime)

    before = used()
    running = []
    for number in range(processes):
        own = folder / str(number)
        own.mkdir()
        running.append(subprocess.Popen(
            rust(program) + [url, str(points)], cwd=own, env=environment(own), stdout=subprocess.PIPE, text=True
        ))
    reports = []
    for process in running:
        reports.append(json.loads(process.communicate()[0].splitlines()[-1]))
        assert process.returncode == 0
    after = used()
    begun = min(report["ended_s"] - report["delivered_s"] for report in reports)
    took = max(report["ended_s"] for report in reports) - begun
    total = processes * points
    parts = {part: 1000 * (after[part] - before[part]) / total for part in after}
    return dict(per_s=total / took, cores_busy=sum(parts.values()) / 1000 * total / took, **parts)


def warm_up(server):
    """Sends so many requests at once that every worker answers some: its first answer takes seconds."""
    url = f"http://127.0.0.1:{server.port}/api/2.0/mlflow/experiments/search?max_results=1"

    def ask(_):
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            answer.read()

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(ask, range(1_000)))


def servers(postgres):
    """Returns one row for each number of workers, distance, program and number of processes."""
    cases = [
        (away, program, processes)
        for away in (False, True)
        for program, processes in [("flushed", 1), ("flushed", PROCESSES), ("ready-bodies", 1)]
    ]
    rows = [dict(workers=workers, away=away, program=program, processes=processes, rounds=[])
            for away, program, processes in cases for workers in WORKERS]
    with tempfile.TemporaryDirectory(prefix="scale-servers-") as root:
        started = {}
        for workers in WORKERS:
            folder = Path(root) / f"workers-{workers}"
            folder.mkdir()
            server = Server(
                folder, "--workers", str(workers), "--backend-store-uri", postgres.create_database()[1],
                # The proxy passes on requests to its own address, which the server takes for a foreign host.
                "--allowed-hosts", "*", MLFLOW_SQLALCHEMYSTORE_POOL_SIZE="80",
            )
            started[workers] = server, Delay(server.port).url
        try:
            for server, _ in started.values():
                warm_up(server)
            for number in range(ROUNDS):
                for index, row in enumerate(rows):
                    server, distant = started[row["workers"]]
                    url = distant if row["away"] else f"http://127.0.0.1:{server.port}"
                    points = TO_SERVER_EACH if row["processes"] > 1 else TO_SERVER
                    folder = Path(root) / f"{number}-{index}"
                    folder.mkdir()
                    row["rounds"].append(
                        log_at_once(server, postgres, url, row["program"], row["processes"], points, folder)
                    )
        finally:
            for server, _ in started.values():
                server.stop()
    return with_medians(rows)


def straight(postgres):
    """Returns the same rows for processes that log straight into the database."""
    rows = [dict(processes=processes, rounds=[]) for processes in (1, PROCESSES)]
    for _ in range(ROUNDS):
        for row in rows:
            name, uri = postgres.create_database()
            with tempfile.TemporaryDirectory(prefix="scale-") as folder:
                create_tables(uri, Path(folder))
                points = MANY // 2 // row["processes"]
                row["rounds"].append(
                    log_at_once(None, postgres, uri, "flushed", row["processes"], points, Path(folder))
                )
            postgres.drop_database(name)
    return with_medians(rows)


def with_medians(rows):
    for row in rows:
        rounds = row["rounds"]
        row.update({key: statistics.median(one[key] for one in rounds) for key in rounds[0]})
    return rows


def main():
    wanted = [part for part in sys.argv[1:] if not part.startswith("--")] or PARTS
    measured = {}
    path = TARGET / "scale.json"
    if path.exists():
        measured = json.loads(path.read_text())
    postgres = Postgres()
    try:
        measures = dict(
            points=lambda: side_by_side(Database(postgres), POINTS),
            runs_to_file=lambda: side_by_side(File(), SMALL_RUNS),
            runs_to_postgres=lambda: side_by_side(Database(postgres), SMALL_RUNS),
            straight=lambda: straight(postgres),
            servers=lambda: servers(postgres),
        )
        for part in wanted:
            measured[part] = measures[part]()
            print(json.dumps({part: measured[part]}), flush=True)
    finally:
        postgres.stop()
    measured.update(many=MANY, runs=RUNS, processes=PROCESSES, round_trip_ms=2000 * DELAY)
    write("scale.json", **{key: value for key, value in measured.items() if key not in ("machine", "date")})


if __name__ == "__main__":
    main()
