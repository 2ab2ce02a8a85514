"""What `benchmarks/run` has measured, as tables in PERFORMANCE.md and README.md, and as a plot.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; what is between them is replaced.
"""

import json
import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
# The same figures, the same file.
matplotlib.rcParams["svg.hashsalt"] = "mlflow-rs"
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "side-by-side"
NANOSECONDS = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}

# Row of divan's output, what it is called here, the reference of the same run, and calls in one measurement.
PIECES = [
    ("metric_macro", "`metric!`", "reference_instant_now", 1000),
    ("log_metric_at", "`log_metric_at`", "reference_instant_now", 1000),
    ("bound_handle", "bound handle", "reference_instant_now", 1000),
    ("thousand_metric_macros_on_two_threads", "`metric!`, each of two threads", "reference_instant_now", 1000),
    ("metric_macro_without_a_run", "`metric!` without a run", "reference_instant_now", 1000),
    ("log_param", "`log_param`", None, 1),
    ("empty", "`#[tracked]`, start and end", None, 1),
    ("two_arguments", "`#[tracked]` with two arguments and a metric", None, 1),
    ("metric", "`tracing` event that is a metric", "metric_reference_nothing", 1000),
    ("metric_of_a_spans_run", "the same, of its span's run", "metric_reference_nothing", 1000),
    ("line", "`tracing` event that is a line", "line_reference_fmt_to_a_file", 1000),
    ("ignored", "`tracing` event that is neither", "ignored_reference_nothing", 1000),
]


def number(value, digits=3):
    if value is None:
        return ""
    if value >= 1000:
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
    """By name, the median of each row of divan's output, in nanoseconds; of one that comes twice, the first."""
    found = {}
    row = re.compile(r"[├╰]─ (\w+)\s+[\d.]+ \S+\s+│ [\d.]+ \S+\s+│ ([\d.]+) (ns|µs|ms|s)\s")
    for line in (TARGET / "pieces.txt").read_text().splitlines():
        if match := row.search(line):
            found.setdefault(match[1], float(match[2]) * NANOSECONDS[match[3]])
    return found


def pieces():
    found, rows = medians(), []
    for name, what, reference, calls in PIECES:
        if name not in found:
            continue
        cost = found[name] / calls
        ratio = f"{found[name] / found[reference]:.2g} × {reference}" if reference in found else ""
        rows.append([what, f"{number(cost)} ns", ratio])
    return table(["piece", "median", "against, in the same run"], rows)


def plot(results):
    rows = [row for row in results["rows"] if row.get("p50_us")]
    names = [f"{row['name']} → {row['where']}" for row in rows]
    figure, (calls, rates) = plt.subplots(1, 2, figsize=(13, 0.4 * len(rows) + 1.6), sharey=True)
    colours = ["#1f6f8b" if row["name"] == "mlflow-rs" else "#b8b8b8" for row in rows]
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
    def cells(row):
        kinds = ("build_s", "cpu_s", "bytes")
        ratios = [f"{row[kind] / alone[kind]:.2f}" if row is ours else "" for kind in kinds]
        return [row["name"], number(row["crates"]), number(row["build_s"]), number(row["cpu_s"]),
                number(row["bytes"] / 2**20), *ratios]

    _, alone, ours = rows
    header = ["a hello world with", "crates", "cold build, s", "of the processor, s", "binary, MiB",
              "cold build, ratio", "of the processor", "binary"]
    return table(header, [cells(row) for row in rows])


def dearest(rows):
    """What we add to a build: the crates that take longest, and how long they take in both."""
    _, alone, ours = (row["by_crate"] for row in rows)
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
        put("PERFORMANCE.md", name, f"Measured on {measured['date']}: {measured['machine']}.\n\n{text}")


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


def main():
    results = json.loads((TARGET / "results.json").read_text())
    rows = results["rows"]
    machine = f"Measured on {results['date']}: {results['machine']}."
    put("PERFORMANCE.md", "side by side", f"{machine}\n\n{side_by_side(rows)}")
    put("PERFORMANCE.md", "pieces", f"{machine}\n\n{pieces()}")
    put("README.md", "side by side", short(rows))
    plot(results)
    costs()
    growth()


main()
