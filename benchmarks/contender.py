"""Runs one Python tracker with the same work as all other trackers: `contender.py NAME URI POINTS`."""

import json
import os
import sys
import time

PARAMS, KEYS = 100, 10
name, uri, points = sys.argv[1], sys.argv[2], int(sys.argv[3])
keys = [f"metric_{key}" for key in range(KEYS)]
durations = []
clock = time.perf_counter_ns


def timed(call, *arguments, **named):
    begun = clock()
    result = call(*arguments, **named)
    durations.append(clock() - begun)
    return result


def logged():
    """Prints the report after the last log call. The caller may kill the process from now on."""
    at = lambda share: sorted(durations)[int((len(durations) - 1) * share)] / 1e3
    report = dict(blocked_s=sum(durations) / 1e9, p50_us=at(0.5), p999_us=at(0.999), calls=len(durations))
    print(json.dumps(report), flush=True)


def mlflow_python(synchronous):
    import mlflow

    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(run_name=name):
        for number in range(PARAMS):
            timed(mlflow.log_param, f"param_{number}", number, synchronous=synchronous)
        for number in range(points):
            timed(
                mlflow.log_metric, keys[number % KEYS], float(number), step=number // KEYS, synchronous=synchronous
            )
        logged()
        if not synchronous:
            mlflow.flush_async_logging()


def mlflow_log_batch():
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(uri)
    run_id = client.create_run("0", run_name=name).info.run_id
    timed(client.log_batch, run_id, params=[Param(f"param_{number}", str(number)) for number in range(PARAMS)])
    for first in range(0, points, 1000):
        now = int(time.time() * 1000)
        batch = [
            Metric(keys[number % KEYS], float(number), now, number // KEYS)
            for number in range(first, min(first + 1000, points))
        ]
        timed(client.log_batch, run_id, metrics=batch)
    logged()
    client.set_terminated(run_id)


def small_runs():
    """Logs as many runs as it was asked for points, each with two params and three points."""
    import mlflow

    mlflow.set_tracking_uri(uri)

    def trial(number):
        with mlflow.start_run(run_name="trial"):
            mlflow.log_params({"number": number, "rate": 0.5})
            for step in range(3):
                mlflow.log_metric("loss", number + 0.5, step=step)

    trial(0)
    for number in range(points):
        timed(trial, number)
    logged()


def small_runs_in_batches():
    """Does the same with the fewest calls that MLflow's client has: three for each run."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(uri)

    def trial(number):
        run_id = client.create_run("0", run_name="trial").info.run_id
        now = int(time.time() * 1000)
        params = [Param("number", str(number)), Param("rate", "0.5")]
        client.log_batch(run_id, params=params, metrics=[Metric("loss", number + 0.5, now, step) for step in range(3)])
        client.set_terminated(run_id)

    trial(0)
    for number in range(points):
        timed(trial, number)
    logged()


def steps(log):
    for step in range(points // KEYS):
        timed(log, {key: float(step * KEYS + number) for number, key in enumerate(keys)}, step=step)
    logged()


def wandb_offline():
    import wandb

    run = wandb.init(mode="offline", project="side-by-side", dir=os.getcwd())
    for number in range(PARAMS):
        timed(run.config.update, {f"param_{number}": number})
    steps(run.log)
    run.finish()


def trackio_local():
    import trackio

    trackio.init(project="side-by-side", config={f"param_{number}": number for number in range(PARAMS)})
    steps(trackio.log)
    trackio.finish()


CONTENDERS = {
    "mlflow": lambda: mlflow_python(True),
    "mlflow-async": lambda: mlflow_python(False),
    "mlflow-log-batch": mlflow_log_batch,
    "small-runs": small_runs,
    "small-runs-in-batches": small_runs_in_batches,
    "wandb-offline": wandb_offline,
    "trackio": trackio_local,
}
CONTENDERS[name]()
