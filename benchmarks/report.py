"""Writes the measurements of `benchmarks/run` as tables to PERFORMANCE.md and README.md, and as plots to docs/.

A table is enclosed in the comments `<!-- NAME -->` and `<!-- /NAME -->`. The text between the comments is replaced.
"""

import json
import re
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("svg")
# Makes the plot files reproducible: the same figures give the same file.
matplotlib.rcParams["svg.hashsalt"] = "mlflow-runtime"
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "side-by-side"
NANOSECONDS = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}

# Row of divan's output, label in the table, reference row of the same run, number of calls in one measurement.
CALLS, LOOP = "log/thousand_calls", "log/thousand_metric_macros_on_each_thread"
TRACKED, OFF, PARTS = "log/tracked_call", "log/z_disabled", "parts"
NOW, MAPPED = f"{CALLS}/reference_instant_now", f"{CALLS}/reference_mapped_append"
EVENTS = "layer/thousand_events"
PIECES = [
    (f"{CALLS}/metric_macro", "`metric!`", MAPPED, 1000),
    (f"{CALLS}/metrics_macro_of_ten", "`metrics!` of ten, each", MAPPED, 1000),
    (f"{CALLS}/log_metric_at", "`log_metric_at`", MAPPED, 1000),
    (f"{CALLS}/bound_handle", "bound handle", MAPPED, 1000),
    (f"{LOOP}/t=1", "`metric!`, a run of its own", NOW, 1000),
    (f"{LOOP}/t=2", "the same on each of 2 threads", NOW, 1000),
    (f"{LOOP}/t=4", "on each of 4 threads", NOW, 1000),
    (f"{LOOP}/t=16", "on each of 16 threads", NOW, 1000),
    ("log/z_full_thousand_metric_macros", "`metric!` where the journal is full", NOW, 1000),
    (f"{CALLS}/metric_macro_without_a_run", "`metric!` without a run", NOW, 1000),
    (f"{OFF}/metric_macro", "`metric!`, tracking disabled", f"{OFF}/reference_plain_call", 1),
    (f"{TRACKED}/log_param", "`log_param`, a number", NOW, 1),
    (f"{TRACKED}/log_param_text", "`log_param`, a text", NOW, 1),
    (f"{TRACKED}/empty", "`#[tracked]`, start and end", NOW, 1),
    (f"{TRACKED}/two_arguments", "the same with two arguments and a metric", f"{TRACKED}/empty", 1),
    (f"{TRACKED}/nested", "the same, a child run", f"{TRACKED}/empty", 1),
    (f"{TRACKED}/asynchronous", "`#[tracked] async fn`", f"{TRACKED}/empty", 1),
    (f"{OFF}/empty", "`#[tracked]`, tracking disabled", f"{OFF}/reference_plain_call", 1),
    (f"{EVENTS}/metric", "`tracing` event that is a metric", f"{EVENTS}/metric_reference_nothing", 1000),
    (f"{EVENTS}/metric_of_a_spans_run", "the same, of its span's run", f"{EVENTS}/metric_reference_nothing", 1000),
    (f"{EVENTS}/line", "`tracing` event that is a line", f"{EVENTS}/line_reference_fmt_to_a_file", 1000),
    (f"{EVENTS}/ignored", "`tracing` event that is neither", f"{EVENTS}/ignored_reference_nothing", 1000),
    (f"{PARTS}/append/journal_append", "journal: append", f"{PARTS}/append/reference_mapped_append", 1000),
    (f"{PARTS}/recovery_scan", "journal: reading a point again", f"{PARTS}/append/reference_mapped_append", 100_000),
    (f"{PARTS}/body/batch_encoding", "a request's body, a point", f"{PARTS}/body/reference_serde_json", 1000),
    (f"{PARTS}/redaction/of_a_name", "is it a secret's name?", None, 1),
    (f"{PARTS}/redaction/of_a_short_text", "credentials in 23 characters?", None, 1),
    (f"{PARTS}/redaction/of_a_thousand_characters", "credentials in 1,000 characters?",
     f"{PARTS}/redaction/reference_lower_case_of_a_thousand_characters", 1),
]
# Label of a reference in the table, and number of calls in one measurement.
REFERENCES = {
    "reference_instant_now": ("`Instant::now()`", 1000),
    "reference_mapped_append": ("a bare append to mapped memory", 1000),
    "reference_plain_call": ("a call", 1),
    "empty": ("`#[tracked]`", 1),
    "metric_reference_nothing": ("a layer that does nothing", 1000),
    "line_reference_fmt_to_a_file": ("`tracing_subscriber::fmt`", 1000),
    "ignored_reference_nothing": ("a layer that does nothing", 1000),
    "reference_serde_json": ("`serde_json`", 1000),
    "reference_lower_case_of_a_thousand_characters": ("`to_ascii_lowercase`", 1),
}


def number(value, digits=3):
    if value is None:
        return ""
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def put(file, name, text):
    path = ROOT / file
    old = path.read_text()
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    assert begin in old and end in old, f"{file} has no place for {name}"
    before, rest = old.split(begin, 1)
    path.write_text(before + begin + "\n" + text + "\n" + end + rest.split(end, 1)[1])


def side_by_side(rows):
    def cells(row):
        return [
            row["name"], row["where"], number(row["points"]), number(row.get("blocked_s")), number(row.get("p50_us")),
            number(row.get("p999_us")), number(row.get("delivered_per_s")), number(row.get("requests")),
            number(row.get("connections")), number(row.get("peak_mib")), number(row.get("lost")), row.get("down", ""),
        ]

    header = ["tracker", "to", "points", "caller blocked, s", "a call: p50, µs", "p99.9, µs", "delivered a second", "requests",
              "connections", "peak memory, MiB", "lost after SIGKILL", "to leave, server down"]
    return table(header, [cells(row) for row in rows])


def short(rows):
    def cells(row):
        return [row["name"], row["where"], number(row.get("p50_us")), number(row.get("delivered_per_s")),
                f"{number(row.get('lost'))} of {number(row['points'])}"]

    return table(["tracker", "to", "a call, µs", "delivered a second", "lost after SIGKILL"], [cells(row) for row in rows])


def medians():
    """Returns the median of each row of divan's output, in nanoseconds, by the path of the row in the tree."""
    found, place = {}, []
    name = re.compile(r"^((?:[│ ]  )*)(?:[├╰]─ )?(\S+)\s+")
    median = re.compile(r"([\d.]+) (ns|µs|ms|s)\s+│ [\d.]+ \S+\s+│ ([\d.]+) (ns|µs|ms|s)\s")
    for line in (TARGET / "pieces.txt").read_text().splitlines():
        if "│" not in line or not (row := name.match(line)):
            continue
        depth = len(row[1]) // 3 + ("─ " in line[: row.end()])
        place = [*place[:depth], row[2]]
        if times := median.search(line):
            found["/".join(place)] = float(times[3]) * NANOSECONDS[times[4]]
    return found


def pieces():
    found, rows = medians(), []
    for name, what, reference, calls in PIECES:
        ratio = ""
        if reference:
            label, of = REFERENCES[reference.split("/")[-1]]
            ratio = f"{number(found[name] / calls / (found[reference] / of), 2)} × {label}"
        rows.append([what, f"{number(found[name] / calls)} ns", ratio])
    return table(["piece", "median", "against, in the same run"], rows)


def first_call_rows():
    row = re.compile(r"^(.+?)\s+([\d.]+) µs\s+([\d.]+) µs$", re.M)
    return row.findall((TARGET / "first_call.txt").read_text())


def first_call_ms():
    return {what: float(first) / 1000 for what, first, _ in first_call_rows()}["with a journal"]


def first_calls():
    calls = first_call_rows()
    return table(["in a process of its own", "first call, µs", "second call, µs"], [list(call) for call in calls])


def compile_times():
    row = re.compile(r"^(\w+)\s+([\d.]+) s\s+([\d.]+) x plain\s+(\d+) bytes", re.M)
    subjects = row.findall((TARGET / "compile_time.txt").read_text())
    return table(["1,000 functions", "seconds", "× without an attribute", "bytes of code more a function"],
                 [list(subject) for subject in subjects])


def limits():
    def cells(row):
        connections = " and ".join(number(count) for count in row["connections"]) if any(row["connections"]) else ""
        return [row["where"], number(row["points"]), number(row["ours_per_s"]), row["reference"],
                number(row["limit_per_s"]), f"{100 * row['ratio']:.0f} %", connections]

    measured = json.loads((TARGET / "limits.json").read_text())
    header = ["to", "points", "mlflow-runtime, a second", "the limit", "its points a second", "reached", "connections"]
    put("PERFORMANCE.md", "limits",
        f"Measured on {measured['date']}: {measured['machine']}.\n\n{table(header, [cells(row) for row in measured['rows']])}")


def plot(results):
    rows = [row for row in results["rows"] if row.get("p50_us")]
    names = [f"{row['name']} → {row['where']}" for row in rows]
    figure, (calls, rates) = plt.subplots(1, 2, figsize=(13, 0.4 * len(rows) + 1.6), sharey=True)
    colours = ["#1f6f8b" if row["name"] == "mlflow-runtime" else "#b8b8b8" for row in rows]
    for axes, values, title in [
        (calls, [row["p50_us"] for row in rows], "a call, µs (median)"),
        (rates, [row["delivered_per_s"] for row in rows], "points delivered a second"),
    ]:
        axes.barh(names, values, color=colours)
        axes.set_xscale("log")
        axes.set_title(title)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    calls.invert_yaxis()
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "side-by-side.svg", metadata={"Date": None})


def builds(rows):
    by_name = {row["name"]: row for row in rows}

    def cells(row):
        kinds = ("build_s", "cpu_s", "bytes")
        reference = by_name.get(row["reference"])
        ratios = [f"{row[kind] / reference[kind]:.2f}" if reference else "" for kind in kinds]
        return [row["name"], number(row["crates"]), number(row["build_s"]), number(row["cpu_s"]),
                number(row["bytes"] / 2**20), *ratios]

    header = ["a hello world with", "crates", "cold build, s", "of the processor, s", "binary, MiB",
              "cold build, ratio", "of the processor", "binary"]
    return table(header, [cells(row) for row in rows])


def dearest(rows):
    """Returns the crates that add most to the build time, with their build times in our build and in the reference."""
    by_name = {row["name"]: row for row in rows}
    ours = by_name["mlflow-runtime"]
    alone, ours = by_name[ours["reference"]]["by_crate"], ours["by_crate"]
    added = {name: took - alone.get(name, 0) for name, took in ours.items()}
    first = sorted((name for name in added if name != "hello-ours"), key=added.get, reverse=True)[:8]
    cells = [[f"`{name}`", number(ours[name]), number(alone.get(name))] for name in first]
    return table(["crate", "builds for, s", "in the reference, s"], cells)


def idle(rows):
    def cells(row):
        before, then, settling, quiet = row["before"], row["idle"], row["settling"], row["quiet"]
        return [
            row["where"], number(before["resident"]), number(then["resident"]), number(then["anonymous"]),
            number(row["threads"] - row["threads_before"]), number(settling["wakes"]), number(quiet["wakes"]),
            f"{settling['cpu_ms']:.1f}", f"{quiet['cpu_ms']:.1f}",
        ]

    first, rest = rows[0]["settling_s"], rows[0]["idle_s"]
    header = ["to", "resident before, MiB", "at idle, MiB", "of it anonymous, MiB", "threads more",
              f"wake-ups in {first} s", f"in the next {rest} s", f"processor time in {first} s, ms",
              f"in the next {rest} s, ms"]
    return table(header, [cells(row) for row in rows])


def away(rows):
    def cells(row):
        warm, logged = row["warm"], row["logged"]
        grown = [number(logged[kind] - warm[kind]) for kind in ("anonymous", "file")]
        return [row["name"], number(row["values"]), number(warm["resident"]), *grown,
                number(logged["peak"] - warm["resident"]), str(row["timeout_s"]), f"{row['left_s']:.3f}"]

    header = ["the server", "values", "resident after 1,000, MiB", "grown by: anonymous, MiB", "by pages of files, MiB",
              "at most, MiB", "`MLFLOW_EXIT_TIMEOUT`, s", "the end took, s"]
    return table(header, [cells(row) for row in rows])


def costs():
    measured = json.loads((TARGET / "costs.json").read_text())
    for name, part, rows in [
        ("builds", "builds", builds), ("what we add", "builds", dearest), ("idle", "idle", idle),
        ("away", "away", away),
    ]:
        text = rows(measured[part])
        rounds = {1: "one round"}.get(measured["rounds"], f"{measured['rounds']} rounds") if part == "builds" else ""
        machine = f"{measured['machine']}, {rounds}" if rounds else measured["machine"]
        put("PERFORMANCE.md", name, f"Measured on {measured['date']}: {machine}.\n\n{text}")
    return measured


def cost_goals(costs):
    """Returns the goals of the costs with the measured values."""
    builds = {row["name"]: row for row in costs["builds"]}
    ratio = {
        name: row["build_s"] / builds[row["reference"]]["build_s"] for name, row in builds.items() if row["reference"]
    }
    grown = max(row["logged"]["peak"] - row["warm"]["resident"] for row in costs["away"])
    late = max(row["left_s"] - row["timeout_s"] for row in costs["away"])
    return [
        ("memory that ten million values take with the server down, MiB", 64, grown),
        ("an end with the server down, s beyond `MLFLOW_EXIT_TIMEOUT`", 0.5, late),
        ("cold build, of that of `reqwest`, `tokio` and `rusqlite`", 1.3, ratio["mlflow-runtime"]),
        ("cold build with `rest` alone, of that of `reqwest` and `tokio`", 1.1, ratio["mlflow-runtime, `rest` alone"]),
    ]


def growth():
    measured = json.loads((TARGET / "growth.json").read_text())
    series = measured["series"]

    def cells(row):
        away, delivering = row["away"], row["delivering"]
        return [
            number(row["values"]), number(row["keys"]), number(row["threads"]), number(away["cpu_ns"]),
            f"{away['cpu_ns'] / away['reference_ns']:.2g} ×", number(row["caller_ns"]), number(delivering["cpu_ns"]),
            number(row["delivered_per_s"]),
        ]

    header = ["values", "keys", "threads", "a call, ns of the processor", "of `Instant::now`",
              "with what it waited, ns", "while delivering, ns of the processor", "delivered a second"]
    text = table(header, [cells(row) for rows in series.values() for row in rows])
    put("PERFORMANCE.md", "growth", f"Measured on {measured['date']}: {measured['machine']}.\n\n{text}")
    growth_plot(series)


def growth_plot(series):
    figure, (calls, rates) = plt.subplots(2, len(series), figsize=(13, 6), sharey="row")
    for (name, rows), call, rate in zip(series.items(), calls, rates):
        at = [row[name] for row in rows]
        call.plot(at, [row["away"]["cpu_ns"] for row in rows], "o-", color="#1f6f8b", label="a call")
        call.plot(at, [row["away"]["reference_ns"] for row in rows], "o--", color="#b8b8b8", label="Instant::now")
        rate.plot(at, [row["delivered_per_s"] for row in rows], "o-", color="#1f6f8b")
        rate.set_xlabel(name)
        for axes in (call, rate):
            axes.set_xscale("log", base=2 if name == "threads" else 10)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
    for axes in (calls[0], rates[0]):
        axes.set_ylim(bottom=0)
    calls[0].set_ylabel("a call, ns of the processor")
    rates[0].set_ylabel("delivered a second")
    calls[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "growth.svg", metadata={"Date": None})


def reads():
    measured = json.loads((TARGET / "reads.json").read_text())
    history, lists, memory, shipping = (measured[part] for part in ("history", "lists", "memory", "shipping"))

    def milliseconds(seconds):
        return f"{number(seconds * 1000)} ms"

    def row(what, ours, reference, theirs):
        return [what, milliseconds(ours), f"{reference}: {number(theirs)} s", f"{number(theirs / ours)} ×"]

    rows = [
        row("start of the program", measured["start_s"], "`mlflow --version`", measured["python_start_s"]),
        row(f"history of {number(history['points'])} points, as `inspect --summary`", history["ours_s"],
            "`get_metric_history`", history["python_s"]),
        row(f"`runs`, the newest 30 of {number(lists['runs'])}", lists["page_s"], "`mlflow runs list`", lists["python_s"]),
        row(f"`runs --json -n 0`, all {number(lists['runs'])} with 30 values each", lists["all_s"], "`mlflow runs list`",
            lists["python_s"]),
        [f"`runs --json -n 0`, {number(memory['runs'])} runs", milliseconds(memory["all_s"]),
         f"memory: {number(memory['all_mib'])} MiB, of one run {number(memory['one_mib'])} MiB",
         f"+ {number(memory['all_mib'] - memory['one_mib'])} MiB"],
        [f"`sync` of {number(shipping['points'])} values to a file", milliseconds(shipping["sync_s"]),
         f"a process that logs and delivers them: {number(shipping['live_s'])} s",
         f"{number(shipping['sync_s'] / shipping['live_s'])} of its time"],
    ]
    for seen in measured["screen"]:
        rows.append([f"`watch`, {number(seen['points'])} points from {seen['source']}", f"{number(seen['loaded_ms'])} ms",
                     f"first frame {number(seen['first_frame_ms'])} ms, each further {number(seen['frame_ms'])} ms", ""])
    text = table(["reading", "`cargo mlflow`", "reference, in the same run", "ratio"], rows)
    put("PERFORMANCE.md", "reads", f"Measured on {measured['date']}: {measured['machine']}.\n\n{text}")


def artifacts():
    measured = json.loads((TARGET / "artifacts.json").read_text())
    large, small, delayed, images = (measured[part] for part in ("large", "small", "delayed", "images"))

    reference_s = large["cp_s"] + large["curl_s"] + large["rm_s"]
    after_copy_s = large["delivered_s"] - large["blocked_s"]

    def several(folder, where):
        return [f"`log_artifacts` of {number(folder['files'])} files of 1 KiB, {where}", f"{number(folder['ours_s'])} s",
                f"Python's `log_artifacts`: {number(folder['python_s'])} s",
                f"{number(folder['python_s'] / folder['ours_s'])} ×"]

    rows = [
        [f"`log_artifact` of {number(large['mib'])} MiB, until the server has it", f"{number(large['delivered_s'])} s",
         f"`cp`, `curl --upload-file` and `rm`: {number(reference_s)} s",
         f"{number(100 * reference_s / large['delivered_s'])} % of their rate"],
        ["the same, after the copy", f"{number(after_copy_s)} s", f"`curl --upload-file`: {number(large['curl_s'])} s",
         f"{number(100 * large['curl_s'] / after_copy_s)} % of its rate"],
        ["the same, memory", f"+ {number(large['grown_mib'])} MiB", "", ""],
        ["the same, the call", f"{number(large['blocked_s'])} s", f"`cp`: {number(large['cp_s'])} s",
         f"{number(large['blocked_s'] / large['cp_s'])} of its time"],
        several(small, "server on the same machine"),
        several(delayed, f"server {number(delayed['round_trip_ms'])} ms away"),
        ["`log_image_at`, 512 × 512 pixels, the call", f"{number(images['call_ms'])} ms",
         f"`fs::write` of the same bytes: {number(images['write_ms'])} ms",
         f"{number(images['call_ms'] / images['write_ms'])} of its time"],
    ]
    text = table(["artifacts", "`mlflow-runtime`", "reference, in the same run", "ratio"], rows)
    put("PERFORMANCE.md", "artifacts", f"Measured on {measured['date']}: {measured['machine']}.\n\n{text}")


def scale_rates(measured):
    """Returns the rates that the table and the goals compare."""

    def server(workers, processes=1, away=False, program="flushed"):
        wanted = dict(workers=workers, processes=processes, away=away, program=program)
        return next(row["per_s"] for row in measured["servers"] if wanted.items() <= row.items())

    fastest = max(measured["servers"], key=lambda row: row["per_s"])
    return server, fastest


def scale_goals(measured):
    server, fastest = scale_rates(measured)
    points, small, several = measured["points"], measured["runs_to_file"], measured["processes"]
    ours = points["mlflow-runtime"]["per_s"]
    runs = small["mlflow-runtime"]["per_s"]
    processes = next(row["per_s"] for row in measured["straight"] if row["processes"] == fastest["processes"])
    return [
        ("straight into PostgreSQL, of a raw COPY, %", 80, 100 * ours / points["raw COPY"]["per_s"]),
        ("straight into PostgreSQL, of Python's `log_batch`, ×", 15, ours / points["Python's `log_batch`"]["per_s"]),
        ("straight into PostgreSQL, of the fastest client through a server, as many processes, ×", 10,
         processes / fastest["per_s"]),
        ("small runs to SQLite, of Python's client, ×", 100, runs / small["Python's client"]["per_s"]),
        ("a server with four workers, of one with one, one process, ×", 2.5, server(4) / server(1)),
        ("the same, several processes, ×", 2.5, server(4, several) / server(1, several)),
    ]


def scale():
    measured = json.loads((TARGET / "scale.json").read_text())
    server, fastest = scale_rates(measured)
    several, runs = measured["processes"], f"{number(measured['runs'])} small runs"
    programs = {"flushed": "mlflow-runtime", "ready-bodies": "ready-made bodies"}

    def percent(ours, theirs):
        return f"{100 * ours / theirs:.0f} %"

    def times(ours, theirs):
        return f"{number(ours / theirs)} ×"

    def against(where, what, rates, reference, ratio):
        ours, theirs = rates["mlflow-runtime"]["per_s"], rates[reference]["per_s"]
        return [where, what, number(ours), reference, number(theirs), ratio(ours, theirs)]

    points = f"{number(measured['many'])} points"
    straight = "PostgreSQL, straight"
    through = "the fastest client through a server: " + programs[fastest["program"]]
    at_once = next(row["per_s"] for row in measured["straight"] if row["processes"] == fastest["processes"])
    rows = [
        against(straight, points, measured["points"], "raw COPY", percent),
        against(straight, points, measured["points"], "Python's `log_batch`", times),
        [straight, f"points of {fastest['processes']} processes", number(at_once), through, number(fastest["per_s"]),
         times(at_once, fastest["per_s"])],
    ]
    for where, rates in [("SQLite file", measured["runs_to_file"]), (straight, measured["runs_to_postgres"])]:
        for reference in ("Python's client", "Python's client, three calls a run"):
            rows.append(against(where, runs, rates, reference, times))
    for away in (False, True):
        distance = f", {number(measured['round_trip_ms'])} ms away" if away else ""
        for processes in (1, several):
            many, one = (server(workers, processes, away) for workers in (4, 1))
            what = "points of one process" if processes == 1 else f"points of {processes} processes"
            rows.append([f"server, 4 workers{distance}", what, number(many), "the same, 1 worker", number(one),
                         times(many, one)])
    text = table(["to", "what", "mlflow-runtime, a second", "reference, in the same run", "a second", "ratio"], rows)

    def cells(row):
        where = f"{row['workers'] or 'no'} workers" + (f", {number(measured['round_trip_ms'])} ms away" if row["away"] else "")
        program = programs[row["program"]] + (f", {row['processes']} processes" if row["processes"] > 1 else "")
        parts = [number(1000 * row[part]) for part in ("server", "postgres", "programs")]
        where = where.replace("1 workers", "1 worker").replace("no workers", "none, straight into PostgreSQL")
        return [where, program, number(row["per_s"]), *parts, number(row["cores_busy"])]

    header = ["server", "client", "points a second", "processor time for 1,000 points: server, ms", "PostgreSQL, ms",
              "clients, ms", "cores busy"]
    without = [dict(row, workers=0, away=False, program="flushed") for row in measured["straight"]]
    parts = table(header, [cells(row) for row in without + measured["servers"]])
    put("PERFORMANCE.md", "scale", f"Measured on {measured['date']}: {measured['machine']}.\n\n{text}\n\n{parts}")
    return measured


def put_goals(new):
    """Replaces those rows of the table of goals that are measured anew, and adds those that it does not have yet."""
    old = (ROOT / "PERFORMANCE.md").read_text().split("<!-- goals -->\n")[1].split("\n<!-- /goals -->")[0]
    rows = {line.split(" | ")[0]: line for line in old.splitlines()}
    fresh = table(["", "goal", "measured", "reached"], new).splitlines()[2:]
    rows.update({line.split(" | ")[0]: line for line in fresh})
    put("PERFORMANCE.md", "goals", "\n".join(rows.values()))


def call_goals(found):
    """Returns the goals of single calls, which are to be reached from above."""
    return [
        ("`metric!`, ns", 30, found[f"{CALLS}/metric_macro"] / 1000),
        ("`metric!`, × a bare append to mapped memory", 2, found[f"{CALLS}/metric_macro"] / found[MAPPED]),
        ("the same on each of two threads, ns", 60, found[f"{LOOP}/t=2"] / 1000),
        ("`log_metric_at`, ns", 50, found[f"{CALLS}/log_metric_at"] / 1000),
        ("`metric!` without a run, ns", 2, found[f"{CALLS}/metric_macro_without_a_run"] / 1000),
        ("`metric!`, tracking disabled, ns", 2, found[f"{OFF}/metric_macro"]),
        ("first call with a journal, ms", 0.3, first_call_ms()),
        ("`#[tracked]`, start and end, µs", 10, found[f"{TRACKED}/empty"] / 1000),
        ("`#[tracked]`, tracking disabled, ns", 5, found[f"{OFF}/empty"]),
    ]


def at_most(goals):
    return [[what, f"≤ {goal}", number(seen), "yes" if seen <= goal else "**no**"] for what, goal, seen in goals]


def at_least(goals):
    return [[what, f"≥ {goal}", number(seen), "yes" if seen >= goal else "**no**"] for what, goal, seen in goals]


LOGGERS = {
    "mapped-append": ("a bare append to mapped memory", "no checksum, no reader"),
    "mlflow-runtime": ("`metric!`", "a durable point of a run, with its checksum"),
    "ticklog": ("ticklog", "a volatile logger: its thread writes the text later"),
    "walrus": ("walrus, mapped", "a write-ahead log, without `fsync`"),
    "commitlog": ("commitlog", "a log on disk, without `fsync`"),
}


def loggers():
    measured = json.loads((TARGET / "loggers.json").read_text())
    rows = [
        [*LOGGERS[row["name"]], number(row["call_ns"]), number(row["ratio"]), number(row["without_pauses_ns"]),
         f"{number(row['lost'])} of {number(row['calls'])}" if "lost" in row else ""]
        for row in measured["rows"]
    ]
    text = table(["log", "what it is", "a call, ns", "× the bare append", "without pauses, ns", "lost after SIGKILL"], rows)
    put("PERFORMANCE.md", "loggers", f"Measured on {measured['date']}: {measured['machine']}.\n\n{text}")


def goals(rows):
    """Returns the table of goals and measured values."""
    found = medians()
    file, server = json.loads((TARGET / "limits.json").read_text())["rows"]
    costs = json.loads((TARGET / "costs.json").read_text())
    rate = {(row["name"], row["where"]): row["delivered_per_s"] for row in rows}
    python = rate["mlflow-runtime", "SQLite file"] / rate["MLflow Python, log_batch", "SQLite file"]
    most = [*call_goals(found), *cost_goals(costs)]
    least = [
        ("delivered to a server, of ready-made bodies, %", 95, 100 * server["ratio"]),
        ("delivered to SQLite, of a raw insert, %", 80, 100 * file["ratio"]),
        ("delivered to SQLite, of Python's `log_batch`, ×", 15, python),
        *scale_goals(json.loads((TARGET / "scale.json").read_text())),
    ]
    return table(["", "goal", "measured", "reached"], at_most(most) + at_least(least))


def put_pieces(machine):
    day = time.strftime("%Y-%m-%d", time.gmtime((TARGET / "pieces.txt").stat().st_mtime))
    put("PERFORMANCE.md", "pieces", f"Measured on {day}: {machine}.\n\n{pieces()}")
    put("PERFORMANCE.md", "first call", first_calls())


def main():
    results = json.loads((TARGET / "results.json").read_text())
    rows = results["rows"]
    machine = f"Measured on {results['date']}: {results['machine']}."
    put("PERFORMANCE.md", "side by side", f"{machine}\n\n{side_by_side(rows)}")
    put_pieces(results["machine"])
    put("PERFORMANCE.md", "compile time", compile_times())
    limits()
    put("README.md", "side by side", short(rows))
    plot(results)
    costs()
    growth()
    reads()
    artifacts()
    scale()
    put("PERFORMANCE.md", "goals", goals(rows))


# `report.py reads`, `artifacts`, `loggers`, `costs`, `pieces` or `scale` writes that table alone, after its script was called
# by hand.
match sys.argv[1:]:
    case ["reads"]:
        reads()
    case ["loggers"]:
        loggers()
    case ["pieces"]:
        put_pieces(json.loads((TARGET / "costs.json").read_text())["machine"])
        put("PERFORMANCE.md", "compile time", compile_times())
        put_goals(at_most(call_goals(medians())))
    case ["artifacts"]:
        artifacts()
    case ["costs"]:
        put_goals(at_most(cost_goals(costs())))
    case ["scale"]:
        put_goals(at_least(scale_goals(scale())))
    case _:
        main()
