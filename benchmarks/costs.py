"""Measures the costs besides the calls: the build, the binary, a process that logs nothing, a server that is down.

`benchmarks/run` calls this script and builds the measured programs. The reference for a build is a crate that uses two or
three dependencies of this library directly, with the same manifest entries, but not the library.
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from side_by_side import QUICK, RUST, TARGET, Server, environment, write

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 1 if QUICK else 2
# Seconds. For 5 s after the last value, the shipper checks for new values, and the sync thread calls fsync once.
SETTLING, IDLE = (1, 2) if QUICK else (10, 20)
VALUES = 100_000 if QUICK else 10_000_000
# Address on which no server listens.
DOWN = "http://127.0.0.1:9"

USES = dict(
    reqwest='let _client = reqwest::Client::builder().build();',
    tokio='let _runtime = tokio::runtime::Builder::new_current_thread().build();',
    rusqlite='let _connection = rusqlite::Connection::open_in_memory();',
)
OURS = """#[mlflow::tracked]
fn train(rate: f64) -> f64 {
    mlflow::metric!("loss", rate, step = 1);
    rate
}

fn main() {
    println!("Hello, world! {}", train(0.1));
}
"""
PLAIN, WITHOUT, OUR_NAME = "nothing", "all that we depend on", "mlflow-runtime"
# The HTTP client and SQLite, by the feature that brings them.
CLIENTS = dict(rest="reqwest", sqlite="rusqlite")


def manifest(name, dependencies):
    lines = [f"{dependency} = {inline(value)}" for dependency, value in dependencies.items()]
    return "\n".join(
        ["[package]", f'name = "{name}"', 'version = "0.0.0"', 'edition = "2024"', "[workspace]", "[dependencies]",
         *lines, "[profile.release]", "strip = true", ""]
    )


def inline(value):
    """Returns a dependency as TOML. Only tables differ from JSON."""
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{ " + ", ".join(f"{key} = {json.dumps(entry)}" for key, entry in value.items()) + " }"


def crates(folder):
    """Creates the crates and downloads their dependencies.

    Returns the folder and the label of the reference by the label in the table. The reference of a crate stands before it.
    """
    versions = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["dependencies"]
    ours = tomllib.loads((ROOT / "mlflow-runtime" / "Cargo.toml").read_text())
    made = {}

    def make(what, name, dependencies, reference=None):
        uses = "".join(f"    {USES[dependency]}\n" for dependency in dependencies if dependency in USES)
        code = OURS if "mlflow" in dependencies else f'fn main() {{\n    println!("Hello, world!");\n{uses}}}\n'
        (folder / name / "src").mkdir(parents=True)
        (folder / name / "src" / "main.rs").write_text(code)
        (folder / name / "Cargo.toml").write_text(manifest(f"hello-{name}", dependencies))
        shutil.copy(ROOT / "Cargo.lock", folder / name)
        cargo(folder / name, None, "fetch")
        made[what] = folder / name, reference
        return what

    def client(*features):
        names = ["tokio", *(CLIENTS[feature] for feature in features)]
        return make(", ".join(names), "-".join(names), {name: versions[name] for name in names})

    make(PLAIN, "plain", {})
    both = client(*CLIENTS)
    # All dependencies of this library except its own crates: the smallest build time that the library can have.
    entries = ours["features"]
    built = {entry.removeprefix("dep:") for feature in entries["default"] for entry in entries[feature]}
    needed = [name for name, entry in ours["dependencies"].items() if not entry.get("optional") or name in built]
    needed = [name for name in needed if not name.startswith("mlflow-")]
    without = {name: versions[name] for name in [*needed, "syn", "quote", "proc-macro2"]}
    make(WITHOUT, "without", without, both)
    library = dict(package="mlflow-runtime", path=str(ROOT / "mlflow-runtime"))
    make(OUR_NAME, "ours", dict(mlflow=library), both)
    for feature in CLIENTS:
        chosen = library | {"default-features": False, "features": [feature]}
        make(f"{OUR_NAME}, `{feature}` alone", f"ours-{feature}", dict(mlflow=chosen), client(feature))
    return made


def cargo(crate, target, *arguments):
    # Cargo does not build a crate from a registry incrementally. The same holds here for this library, a path.
    variables = {"CARGO_INCREMENTAL": "0"} | ({"CARGO_TARGET_DIR": str(target)} if target else {})
    done = subprocess.run(["cargo", *arguments], cwd=crate, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def cold_build(crate, folder):
    """Returns the wall-clock time, the processor time of all that cargo starts, and the wall-clock time by crate."""
    target = folder / "target"
    begun, used = time.monotonic(), os.times()
    cargo(crate, target, "build", "--offline", "--timings")
    took, now = time.monotonic() - begun, os.times()
    report = (target / "cargo-timings" / "cargo-timing.html").read_text()
    shutil.rmtree(target)
    by_crate = {}
    for unit in json.loads(re.search(r"^const UNIT_DATA = (\[.*?\]);$", report, re.DOTALL | re.MULTILINE)[1]):
        by_crate[unit["name"]] = by_crate.get(unit["name"], 0) + unit["duration"]
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    return took, cpu, by_crate


def tree(crate):
    """Returns the number of crates that are built, without the crate itself."""
    listed = cargo(
        crate, None, "tree", "--offline", "--prefix", "none", "-e", "normal,build", "--no-dedupe", "-f", "{p}"
    )
    return len(set(listed.split("\n")) - {""}) - 1


def builds():
    with tempfile.TemporaryDirectory(prefix="costs-", dir=TARGET) as folder:
        made = crates(Path(folder))
        rows = {
            what: dict(name=what, crates=tree(crate), reference=reference)
            for what, (crate, reference) in made.items()
        }
        times = {what: [] for what in ([PLAIN] if QUICK else made)}
        for _ in range(ROUNDS):
            for what, rounds in times.items():
                rounds.append(cold_build(made[what][0], Path(folder)))
                print(what, rounds[-1][:2], flush=True)
        for what, rounds in times.items():
            wall, cpu, by_crate = zip(*rounds)
            middle = {name: statistics.median(each[name] for each in by_crate) for name in by_crate[0]}
            rows[what].update(build_s=statistics.median(wall), cpu_s=statistics.median(cpu), by_crate=middle)
        for what in [PLAIN] if QUICK else made:
            # All crates share one folder, which is kept, so that their common dependencies are built once.
            crate = made[what][0]
            cargo(crate, TARGET / "sizes", "build", "--release", "--offline")
            rows[what]["bytes"] = (TARGET / "sizes" / "release" / f"hello-{crate.name}").stat().st_size
    return list(rows.values())


def start(command, folder, **more):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        command, cwd=folder, env=environment(folder, **more), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=open(folder / "stderr", "ab"), text=True,
    )


def pauses(process, at):
    """Waits until the program has reached the pause `at`."""
    line = process.stdout.readline().strip()
    assert line == at, f"{line!r} instead of {at!r}"


def go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()


def status(path):
    """Returns the numbers in `/proc/…/status` of a process or thread; memory in KiB."""
    fields = (line.split(":", 1) for line in (path / "status").read_text().splitlines())
    return {name: int(value.split()[0]) for name, value in fields if value.split() and value.split()[0].isdigit()}


def memory(process):
    """Returns the resident memory in MiB: the total, the process's own, and pages of files, including the journal's."""
    found = status(Path(f"/proc/{process.pid}"))
    names = dict(resident="VmRSS", anonymous="RssAnon", file="RssFile", shared="RssShmem", peak="VmHWM")
    return {name: found[field] / 1024 for name, field in names.items()}


def threads(process):
    """Returns the context switches and the processor time in ms of each thread except the first, by name and number."""
    found = {}
    for path in Path(f"/proc/{process.pid}/task").iterdir():
        if path.name != str(process.pid):
            switches = status(path)
            count = switches["voluntary_ctxt_switches"] + switches["nonvoluntary_ctxt_switches"]
            used = int((path / "schedstat").read_text().split()[0]) / 1e6
            found[f"{(path / 'comm').read_text().strip()} {path.name}"] = (count, used)
    return found


def since(before, after):
    """Returns the wake-ups between two samples, also for each thread that had any, and the processor time."""
    wakes = {name: after[name][0] - before.get(name, (0, 0))[0] for name in after}
    used = sum(after[name][1] - before.get(name, (0, 0))[1] for name in after)
    by_thread = {name: count for name, count in wakes.items() if count}
    return dict(wakes=sum(wakes.values()), by_thread=by_thread, cpu_ms=used)


def idle(where, uri, folder):
    """Measures a run that is open and logs nothing."""
    process = start([str(RUST / "idle"), uri], folder / where.replace(" ", "-"), MLFLOW_EXIT_TIMEOUT="0")
    pauses(process, "before")
    row = dict(where=where, before=memory(process), threads_before=len(threads(process)))
    begun = time.monotonic()
    go_on(process)
    pauses(process, "idle")
    row["flushed_s"] = time.monotonic() - begun
    looks = [threads(process)]
    for wait in (SETTLING, IDLE):
        time.sleep(wait)
        looks.append(threads(process))
    row.update(
        idle=memory(process), threads=len(looks[2]), settling_s=SETTLING, idle_s=IDLE, settling=since(*looks[:2]),
        quiet=since(*looks[1:]),
    )
    go_on(process)
    process.wait()
    print(json.dumps(row), flush=True)
    return row


def idles(folder):
    """Measures all destinations at the same time, because the processes only sleep."""
    (folder / "served").mkdir()
    server = Server(folder / "served")
    uris = {
        "SQLite file": f"sqlite:///{folder / 'mlflow.db'}", "server": f"http://127.0.0.1:{server.port}",
        "server that is down": DOWN,
    }
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda case: idle(*case, folder), uris.items()))
    server.stop()
    return rows


def leave(name, uri, values, timeout, folder):
    """Logs to an unavailable store. Returns the memory after 1,000 values and after all, and the time of the exit."""
    process = start([str(RUST / "backlog"), uri, str(values)], folder, MLFLOW_EXIT_TIMEOUT=str(timeout))
    pauses(process, "warm")
    warm, begun = memory(process), time.monotonic()
    go_on(process)
    pauses(process, "logged")
    took, logged, begun = time.monotonic() - begun, memory(process), time.monotonic()
    go_on(process)
    process.wait()
    row = dict(
        name=name, values=values, timeout_s=timeout, warm=warm, logged=logged, logged_s=took,
        left_s=time.monotonic() - begun, failed=process.returncode != 0,
    )
    print(json.dumps(row), flush=True)
    shutil.rmtree(folder)
    return row


def away(folder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        never = f"http://127.0.0.1:{silent.getsockname()[1]}"
        return [
            leave("nothing listens", DOWN, VALUES, 0, folder / "many"),
            leave("nothing listens", DOWN, 2_000, 2, folder / "refused"),
            leave("it never answers", never, 2_000, 2, folder / "silent"),
        ]


def main():
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    parts = dict(builds=builds, idle=lambda: idles(root), away=lambda: away(root))
    with tempfile.TemporaryDirectory(prefix="costs-") as name:
        root = Path(name)
        results = {part: measure() for part, measure in parts.items() if not wanted or part in wanted}
    write("costs.json", rounds=ROUNDS, **results)


main()
