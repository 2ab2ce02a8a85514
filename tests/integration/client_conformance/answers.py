"""Answers of MLflow's own Python client, for the suite `client_conformance`.

The script reads requests from stdin and writes answers to stdout, one JSON text a line. A request names a
function of `REQUESTS` and holds its arguments. One process answers all requests of a test program, because
the import of MLflow takes seconds.

Floats are sent as the 16 hex digits of their bits, because JSON knows neither NaN nor the last bit.
"""

import atexit
import json
import math
import os
import random
import shutil
import sqlite3
import struct
import sys
import tempfile
import traceback

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

VIEWS = {
    "ACTIVE_ONLY": ViewType.ACTIVE_ONLY,
    "DELETED_ONLY": ViewType.DELETED_ONLY,
    "ALL": ViewType.ALL,
}
CONTEXT_TAG = "mlflow.data.context"
START = 1_700_000_000_000

# Texts that a filter or a store might take for something else.
TEXTS = [
    "plain",
    "Plain",
    "PLAIN",
    "it's",
    'say "hi"',
    "both ' and \"",
    "back\\slash",
    "ends with \\",
    "\\' risky",
    "100%",
    "under_score",
    "underXscore",
    "",
    "ünï-çødé 日本 🦀",
    "ÜNÏ-ÇØDÉ 日本 🦀",
    "line\nfeed",
    "a; DROP TABLE runs --",
    "(x, y)",
    "[a-z]*?",
    "`ticks`",
    " spaces around ",
    "x" * 6000,
]
RATES = [
    "0.1",
    "0.01",
    "1e-3",
    "-5",
    "+3",
    " 7 ",
    "10",
    "9",
    "abc",
    "",
    "nan",
    "inf",
    "-inf",
    "0",
    ".5",
    "5.",
    "1e400",
    "0x10",
    "1,5",
    "9007199254740993",
]
STATUSES = ["FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED"]


def client_of(uri):
    return MlflowClient(uri, registry_uri=uri)


def bits(number):
    """Returns the bits of a float. All NaN are the same."""
    return struct.pack(">d", math.nan if math.isnan(number) else number).hex()


# Creation of the data.


def create(uri, root):
    """Fills a database with data of every kind. Artifacts go below the directory `root`."""
    client = client_of(uri)
    chance = random.Random(17)

    def experiment(name, **tags):
        location = os.path.join(root, f"experiment-{len(client.search_experiments(ViewType.ALL))}")
        return client.create_experiment(name, artifact_location=location, tags=tags)

    wine = experiment("wine", team="cellar", note="it's")
    odd = experiment("Odd / näme: 50%_'q\" \\", team="Cellar", **{"odd key/a-b.c": "ü", "empty": ""})
    experiment("empty")
    experiment("WINE", note='say "hi"')
    trash = experiment("trash", team="cellar")
    mixed = experiment("mixed", team="attic")

    runs = []

    def start(name, experiment_id, at, user="ada", **tags):
        tags = {"mlflow.user": user, "mlflow.source.name": "train.py"} | tags
        run = client.create_run(experiment_id, start_time=START + at, tags=tags, run_name=name)
        runs.append(run.info.run_id)
        return run.info.run_id

    def end(run_id, index, at):
        status = STATUSES[index % len(STATUSES)]
        if status in ("FINISHED", "FAILED", "KILLED"):
            client.set_terminated(run_id, status, START + at)
        else:
            client.update_run(run_id, status=status)

    for index in range(44):
        # Several runs start at the same time.
        at = (index * 7 % 20) * 1000
        run_id = start(f"run-{index:02}", wine, at, user=["ada", "Ada", "bob", "O'Neil"][index % 4])
        metrics, params, tags = [], [], []

        def points(key, values, step=lambda position: position, time=lambda position: position):
            for position, value in enumerate(values):
                metrics.append(Metric(key, value, START + at + time(position), step(position)))

        if index % 5 != 4:
            last = {6: math.nan, 7: math.inf, 8: -math.inf, 16: math.nan, 17: 0.0, 18: -0.0}
            points("loss", [chance.uniform(0, 2), 0.5, last.get(index, round(chance.uniform(0, 2), 1))])
        if index % 3 == 0:
            points("val/loss", [index / 10, -index / 10], step=lambda position: -position)
        if index % 4 == 0:
            points("val loss", [1.0, 2.0, 3.0], step=lambda _: 5, time=lambda _: 9)
        if index % 4 == 1:
            points("val-loss", [math.nan, 2.0, math.nan], step=lambda _: 5, time=lambda _: 9)
        if index % 6 == 2:
            points("val.loss", [1e-300, 0.1 + 0.2, float(index)], time=lambda position: 50 - position)
        if index % 6 == 3:
            points("größe", [float(index % 12)], step=lambda _: -(2**63))
        if index == 0:
            points("many", [math.nan if n % 50 == 3 else math.sin(n) for n in range(200)])
            points("steps", [1.0, 2.0, 3.0, 4.0], step=lambda p: [2**63 - 1, -1, -(2**40), 0][p])
            points("extremes", [1.7976931348623157e308, 5e-324, -0.0, math.inf, -math.inf, math.nan])
        if index % 7 != 6:
            params.append(Param("lr", RATES[index % len(RATES)]))
        if index % 9 != 8:
            params.append(Param("text", TEXTS[index % len(TEXTS)]))
        if index % 4 == 2:
            params.append(Param("odd key/a-b.c", f"value {index % 8}"))
        if index % 8 != 7:
            tags.append(RunTag("note", TEXTS[(index + 5) % len(TEXTS)]))
        if index % 4 == 3:
            tags.append(RunTag("odd key/a-b.c", f"value {index % 8}"))
        if index % 10 == 1:
            tags.append(RunTag("größe", "groß"))
        client.log_batch(run_id, metrics, params, tags)
        if index in (1, 2, 3, 12):
            inputs = [("train", "d1", "training"), ("test's", "d2", "evaluation"), ("Train", "d%_", None)]
            client.log_inputs(
                run_id,
                datasets=[
                    DatasetInput(
                        Dataset(name, digest, "local", f'{{"uri": "/{name}"}}', schema, profile),
                        [InputTag(CONTEXT_TAG, context)] if context else [InputTag("other", "x")],
                    )
                    for (name, digest, context), schema, profile in list(
                        zip(inputs, ['{"cols": []}', None, None], ['{"rows": 3}', "{}", None])
                    )[: index % 4 or 3]
                ],
            )
        if index in (0, 5):
            files = tempfile.mkdtemp()
            for path, content in {
                "a.txt": b"text\n",
                "empty.bin": b"",
                "folder/b 1.bin": bytes(range(256)) * 300,
                "folder/deep/ünï 日本.txt": "ü".encode(),
                "folder/deep/plus+and&.txt": b"+",
                "other/c.txt": b"c",
            }.items():
                path = os.path.join(files, path)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(content)
            client.log_artifacts(run_id, files)
            shutil.rmtree(files)
        end(run_id, index, at + 500 + index)

    parent = runs[0]
    for index in range(4):
        child = start(f"child-{index}", wine, 30_000 + index, **{"mlflow.parentRunId": parent})
        client.log_batch(child, [Metric("loss", 0.5, START, 0)], [Param("lr", "0.1")])
        end(child, index, 31_000)
    start("grandchild", mixed, 40_000, **{"mlflow.parentRunId": runs[-1]})
    for index in range(8):
        run_id = start(f"mixed-{index}", [mixed, odd][index % 2], 50_000 + index * 500)
        client.log_metric(run_id, "loss", index / 4, START, 3)
        end(run_id, index, 60_000 + index)
    # A name that is only the tag's, and one whose tag was changed later.
    client.set_tag(start("renamed before", mixed, 70_000), "mlflow.runName", "renamed")
    for index in range(3):
        run_id = start(f"deleted-{index}", [wine, mixed, mixed][index], 80_000 + index)
        client.log_metric(run_id, "loss", 0.25, START, 1)
        client.delete_run(run_id)
    for index in range(2):
        client.log_metric(start(f"trash-{index}", trash, 90_000 + index), "loss", 0.125, START, 1)
    client.delete_experiment(trash)

    for name, description, tags in [
        ("model-a", "the *first*", {"stage": "prod", "odd key/a-b.c": "ü"}),
        ("Model B", "", {"stage": "Prod"}),
        ("modell ü%_", None, {"note": "it's"}),
        ("modellXü", None, {}),
        ("it's", None, {"note": 'say "hi"', "stage": "dev"}),
        ("deleted", None, {}),
    ]:
        client.create_registered_model(name, tags, description)
    for index, (name, run, tags) in enumerate(
        [
            ("model-a", 0, {"stage": "prod"}),
            ("model-a", None, {"stage": "dev", "odd key/a-b.c": "ü"}),
            ("Model B", 3, {"stage": "Prod"}),
            ("model-a", 2, {}),
            ("modell ü%_", 0, {"note": "it's"}),
            ("it's", None, {"note": "100%"}),
            ("model-a", 0, {"stage": "prod"}),
        ]
    ):
        client.create_model_version(
            name,
            source=f"s3://bucket/{index}/ü%_{'A' if index % 2 else 'a'}",
            run_id=None if run is None else runs[run],
            tags=tags,
            run_link="http://elsewhere/run" if index == 1 else None,
            description=None if index % 2 else f"version *{index}*",
        )
    client.set_registered_model_alias("model-a", "champion", 2)
    client.set_registered_model_alias("model-a", "Neu-1", 2)
    client.set_registered_model_alias("model-a", "old", 1)
    client.delete_model_version("model-a", 3)
    client.delete_registered_model("deleted")
    client.register_prompt("greeting", "Hello, {{name}}!", commit_message="first", tags={"stage": "prod"})
    client.register_prompt("greeting", "Hi, {{name}}!")


def add_many(database, count):
    """Adds many records to a file, more than fit in a page of any search."""
    client = client_of("sqlite:///" + database)
    many = client.create_experiment("many")
    run = client.create_run(many, start_time=START, run_name="one of many").info.run_id
    client.create_registered_model("many")
    client.create_model_version("many", "s3://bucket/many")
    numbers = range(count)
    times = [START + number // 3 for number in numbers]
    with sqlite3.connect(database) as file:

        def copy(table, where, values, **columns):
            """Inserts copies of one row, in which some columns are replaced."""
            names = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
            taken = [columns.get(name, name) for name in names]
            source = f"SELECT {', '.join(taken)} FROM {table} WHERE {where}"
            file.executemany(f"INSERT INTO {table} ({', '.join(names)}) {source}", values)

        where = f"run_uuid = '{run}'"
        ids = [f"{number:032x}" for number in numbers]
        copy("runs", where, zip(times, ids), start_time="?1", run_uuid="?2")
        copy("tags", where, [(id,) for id in ids], run_uuid="?1")
        copy(
            "experiments",
            f"experiment_id = {many}",
            [(int(many) + 1 + number, f"e{number}", times[number]) for number in numbers],
            experiment_id="?1",
            name="?2",
            creation_time="?3",
            last_update_time="?3",
        )
        models = [(f"m{number}",) for number in numbers]
        copy("registered_models", "name = 'many'", models, name="?1")
        versions = [(number + 2,) for number in numbers]
        copy("model_versions", "name = 'many' AND version = 1", versions, version="?1")


# Answers to searches.


def all_pages(search):
    found, token = [], None
    while True:
        page = search(page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def search(client, query):
    """Returns the ids of the records that a search finds, in its order."""
    subject, view = query["subject"], VIEWS[query["view"]]
    common = dict(filter_string=query["filter"], order_by=query["order_by"] or None)
    if subject == "runs":
        if query["experiments"]:
            found = [client.get_experiment_by_name(name) for name in query["experiments"]]
        else:
            found = all_pages(client.search_experiments)
        ids = [experiment.experiment_id for experiment in found]
        common |= dict(filter_string=query["filter"] or "")
        records = all_pages(
            lambda page_token: client.search_runs(
                ids, run_view_type=view, max_results=5000, page_token=page_token, **common
            )
        )
        identity = lambda record: record.info.run_id
    elif subject == "experiments":
        records = all_pages(
            lambda page_token: client.search_experiments(
                view, max_results=5000, page_token=page_token, **common
            )
        )
        identity = lambda record: record.experiment_id
    elif subject == "registered_models":
        records = all_pages(
            lambda page_token: client.search_registered_models(
                max_results=1000, page_token=page_token, **common
            )
        )
        identity = lambda record: record.name
    else:
        records = all_pages(
            lambda page_token: client.search_model_versions(
                max_results=10_000, page_token=page_token, **common
            )
        )
        identity = lambda record: f"{record.name}/{record.version}"
    return [identity(record) for record in records][: query["limit"]]


def answer(uri, queries):
    client = client_of(uri)
    answers = []
    for query in queries:
        try:
            answers.append(dict(found=search(client, query)))
        except MlflowException as error:
            answers.append(dict(error=error.error_code, message=str(error)))
        except Exception as error:
            # A fault of MLflow; its server answers with an internal error.
            answers.append(dict(error="INTERNAL_ERROR", message=repr(error)))
    return answers


# Records, in the form in which ours are serialized.


def experiment_record(experiment):
    return dict(
        experiment_id=experiment.experiment_id,
        name=experiment.name,
        artifact_location=experiment.artifact_location,
        lifecycle_stage=experiment.lifecycle_stage,
        creation_time_ms=experiment.creation_time,
        last_update_time_ms=experiment.last_update_time,
        tags=experiment.tags,
    )


def point_record(point):
    return dict(step=point.step, value=bits(point.value), timestamp_ms=point.timestamp)


def run_record(run):
    datasets = []
    for given in run.inputs.dataset_inputs if run.inputs else []:
        contexts = [tag.value for tag in given.tags if tag.key == CONTEXT_TAG]
        dataset = given.dataset
        datasets.append(
            dict(
                name=dataset.name,
                digest=dataset.digest,
                source_type=dataset.source_type,
                source=dataset.source,
                schema=dataset.schema,
                profile=dataset.profile,
                context=contexts[0] if contexts else None,
            )
        )
    return dict(
        run_id=run.info.run_id,
        name=run.info.run_name,
        experiment_id=run.info.experiment_id,
        user_id=run.info.user_id or "",
        status=run.info.status,
        start_time_ms=run.info.start_time,
        end_time_ms=run.info.end_time,
        artifact_uri=run.info.artifact_uri,
        lifecycle_stage=run.info.lifecycle_stage,
        metrics={point.key: point_record(point) for point in run.data._metric_objs},
        params=run.data.params,
        tags=run.data.tags,
        datasets=sorted(datasets, key=lambda dataset: (dataset["name"], dataset["digest"])),
    )


def model_record(model):
    return dict(
        name=model.name,
        creation_time_ms=model.creation_timestamp,
        last_updated_time_ms=model.last_updated_timestamp,
        description=model.description or "",
        tags=model.tags,
        aliases={alias: int(version) for alias, version in model.aliases.items()},
    )


def version_record(version):
    return dict(
        name=version.name,
        version=int(version.version),
        creation_time_ms=version.creation_timestamp,
        last_updated_time_ms=version.last_updated_timestamp,
        description=version.description or "",
        user_id=version.user_id or "",
        source=version.source,
        run_id=version.run_id or None,
        status=version.status,
        status_message=version.status_message or "",
        run_link=version.run_link or "",
        tags=version.tags,
        aliases=sorted(version.aliases),
    )


def list_artifacts(client, run_id, folder=None):
    listed = []
    for entry in sorted(client.list_artifacts(run_id, folder), key=lambda entry: entry.path):
        size = None if entry.is_dir else entry.file_size or 0
        listed.append(dict(path=entry.path, is_dir=entry.is_dir, file_size=size))
        if entry.is_dir:
            listed += list_artifacts(client, run_id, entry.path)
    return listed


def read_artifacts(client, run_id, listed):
    contents = {}
    for entry in listed:
        if not entry["is_dir"]:
            with tempfile.TemporaryDirectory() as target:
                path = client.download_artifacts(run_id, entry["path"], target)
                with open(path, "rb") as file:
                    contents[entry["path"]] = file.read().hex()
    return contents


def read(uri):
    """Returns all records of a store."""
    client = client_of(uri)
    experiments = all_pages(
        lambda page_token: client.search_experiments(ViewType.ALL, page_token=page_token)
    )
    runs = [
        client.get_run(run.info.run_id)
        for experiment in experiments
        for run in client.search_runs([experiment.experiment_id], "", ViewType.ALL, max_results=5000)
    ]
    histories, artifacts, contents = {}, {}, {}
    for run in runs:
        run_id = run.info.run_id
        histories[run_id] = {
            key: [point_record(point) for point in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        }
        artifacts[run_id] = list_artifacts(client, run_id)
        contents[run_id] = read_artifacts(client, run_id, artifacts[run_id])
    models = [
        client.get_registered_model(model.name) for model in client.search_registered_models()
    ]
    versions = [
        client.get_model_version(version.name, version.version)
        for version in client.search_model_versions()
    ]
    return dict(
        experiments=[experiment_record(experiment) for experiment in experiments],
        runs=[run_record(run) for run in runs],
        histories=histories,
        artifacts=artifacts,
        contents=contents,
        models=[model_record(model) for model in models],
        versions=[version_record(version) for version in versions],
    )


# Administration.


class Calls:
    """Calls that change a store. The names are those of our client."""

    def __init__(self, client):
        self.client = client
        # Ids of experiments and runs, by name: a script does not know the ids of what it creates.
        self.ids = {}
        for experiment in client.search_experiments(ViewType.ALL):
            self.ids[experiment.name] = experiment.experiment_id
            for run in client.search_runs([experiment.experiment_id], "", ViewType.ALL):
                self.ids[run.info.run_name] = run.info.run_id

    def id(self, name):
        return self.ids.get(name, name)

    def create_experiment(self, name, artifact_location, tags):
        self.ids[name] = self.client.create_experiment(name, artifact_location, tags)

    def rename_experiment(self, experiment, name):
        self.client.rename_experiment(self.id(experiment), name)

    def delete_experiment(self, experiment):
        self.client.delete_experiment(self.id(experiment))

    def restore_experiment(self, experiment):
        self.client.restore_experiment(self.id(experiment))

    def set_experiment_tag(self, experiment, key, value):
        self.client.set_experiment_tag(self.id(experiment), key, value)

    def delete_experiment_tag(self, experiment, key):
        self.client.delete_experiment_tag(self.id(experiment), key)

    def get_experiment(self, experiment):
        self.client.get_experiment(self.id(experiment))

    def create_run(self, experiment, name, start, tags):
        run = self.client.create_run(self.id(experiment), start, tags, name)
        self.ids[run.info.run_name] = run.info.run_id

    def log_batch(self, run, metrics, params, tags):
        points = [Metric(key, float(value), time, step) for key, value, step, time in metrics]
        params = [Param(key, value) for key, value in params.items()]
        tags = [RunTag(key, value) for key, value in tags.items()]
        # More than fits into one of MLflow's requests is logged in several.
        while True:
            self.client.log_batch(self.id(run), points[:700], params[:100], tags[:100])
            points, params, tags = points[700:], params[100:], tags[100:]
            if not (points or params or tags):
                return

    def log_text(self, run, text, path):
        self.client.log_text(self.id(run), text, path)

    def log_file(self, run, text, folder, name):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, name)
            with open(path, "w") as file:
                file.write(text)
            self.client.log_artifact(self.id(run), path, folder)

    def end_run(self, run, status, end):
        self.client.set_terminated(self.id(run), status, end)

    def update_run(self, run, name, status, end_time_ms):
        run_id = self.id(run)
        if end_time_ms is None and status not in ("FINISHED", "FAILED", "KILLED"):
            self.client.update_run(run_id, status, name)
            return
        if name is not None:
            self.client.update_run(run_id, None, name)
        self.client.set_terminated(run_id, status, end_time_ms)

    def delete_run(self, run):
        self.client.delete_run(self.id(run))

    def restore_run(self, run):
        self.client.restore_run(self.id(run))

    def set_tag(self, run, key, value):
        self.client.set_tag(self.id(run), key, value)

    def delete_tag(self, run, key):
        self.client.delete_tag(self.id(run), key)

    def get_run(self, run):
        self.client.get_run(self.id(run))

    def metric_history(self, run, key):
        self.client.get_metric_history(self.id(run), key)

    def create_registered_model(self, name, description, tags):
        self.client.create_registered_model(name, tags, description)

    def get_registered_model(self, name):
        self.client.get_registered_model(name)

    def rename_registered_model(self, name, new_name):
        self.client.rename_registered_model(name, new_name)

    def describe_registered_model(self, name, description):
        self.client.update_registered_model(name, description)

    def delete_registered_model(self, name):
        self.client.delete_registered_model(name)

    def set_registered_model_tag(self, name, key, value):
        self.client.set_registered_model_tag(name, key, value)

    def delete_registered_model_tag(self, name, key):
        self.client.delete_registered_model_tag(name, key)

    def set_registered_model_alias(self, name, alias, version):
        self.client.set_registered_model_alias(name, alias, version)

    def delete_registered_model_alias(self, name, alias):
        self.client.delete_registered_model_alias(name, alias)

    def model_version_by_alias(self, name, alias):
        self.client.get_model_version_by_alias(name, alias)

    def create_model_version(self, name, source, run, run_link, description, tags):
        run_id = None if run is None else self.id(run)
        self.client.create_model_version(name, source, run_id, tags, run_link, description)

    def model_version(self, name, version):
        self.client.get_model_version(name, version)

    def describe_model_version(self, name, version, description):
        self.client.update_model_version(name, version, description)

    def delete_model_version(self, name, version):
        self.client.delete_model_version(name, version)

    def set_model_version_tag(self, name, version, key, value):
        self.client.set_model_version_tag(name, version, key, value)

    def delete_model_version_tag(self, name, version, key):
        self.client.delete_model_version_tag(name, version, key)


def perform(uri, operations):
    """Makes calls one after the other. Returns the error code of each; null for success."""
    calls = Calls(client_of(uri))
    outcomes = []
    for operation in operations:
        arguments = dict(operation)
        call = getattr(calls, arguments.pop("call"))
        try:
            call(**arguments)
            outcomes.append(None)
        except MlflowException as error:
            outcomes.append(f"{error.error_code}: {error}")
    return outcomes


def ids(uri):
    """Returns the ids of experiments and runs, by name."""
    return Calls(client_of(uri)).ids


def float_of(text):
    """Returns the bits of the number that Python reads in a text; null if there is none."""
    try:
        return bits(float(text))
    except ValueError:
        return None


def floats(texts):
    return {text: float_of(text) for text in texts}


def upload(uri, experiment, directory):
    """Uploads a directory to a new run of a server. Returns the id of the run."""
    client = client_of(uri)
    run_id = client.create_run(client.create_experiment(experiment)).info.run_id
    client.log_artifacts(run_id, directory)
    return run_id


REQUESTS = [create, add_many, answer, read, perform, ids, floats, upload]


def main():
    # The directory that holds the files of the tests ends with the test program.
    atexit.register(shutil.rmtree, sys.argv[1], ignore_errors=True)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # MLflow prints to stdout now and then.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    known = {request.__name__: request for request in REQUESTS}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = dict(ok=known[request.pop("request")](**request))
        except Exception:
            result = dict(raised=traceback.format_exc())
        answers.write(json.dumps(result, allow_nan=False) + "\n")
        answers.flush()


main()
