"""Measures artifacts beside a reference in the same run: a large file beside `curl` and `cp`, many small files beside
MLflow's Python client, images beside a plain write.

`benchmarks/run` calls this script and builds the measured program. The server runs on the same machine, so it shares the
processor with the program. For many small files over a network, the server is behind a proxy that delays each chunk, at
an address of this machine that is not the loopback: the library sends more files at once over a network.

Memory that a virtual machine touches for the first time is several times slower, so a round that is not counted comes
first, and what a round has stored is removed before the next.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from side_by_side import QUICK, RUST, TARGET, Server, environment, write

LARGE_MIB = 64 if QUICK else 2048
SMALL = 100 if QUICK else 5_000
DELAYED = 50 if QUICK else 1_000
IMAGES = 20 if QUICK else 200
ROUNDS = 1 if QUICK else 3
# Seconds that a request needs to the server, and the same back.
DELAY = 0.0125

PYTHON_FOLDER = """
import sys, time
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run():
    begun = time.perf_counter()
    mlflow.log_artifacts(sys.argv[2])
    print(time.perf_counter() - begun)
"""


class Delay:
    """Proxy that forwards what it gets after a delay, as a network does."""

    def __init__(self, port):
        self.port = port
        address = own_address()
        self.listener = socket.create_server((address, 0))
        self.url = f"http://{address}:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.port))
            for source, sink in [(client, server), (server, client)]:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def pass_on(source, sink):
        try:
            while data := source.recv(1 << 16):
                time.sleep(DELAY)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                end.close()


def own_address():
    """Returns an address of this machine that is not the loopback, or the loopback if there is no other. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


def ours(uri, kind, what, folder):
    done = subprocess.run([str(RUST / "artifacts"), uri, kind, str(what)], cwd=folder, env=environment(folder),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def seconds(command, folder):
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - begun


def python(uri, path, folder):
    command = [str(TARGET / "bin" / "python"), "-c", PYTHON_FOLDER, uri, str(path)]
    done = subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def large(folder, url):
    path = folder / "large.bin"
    with path.open("wb") as file:
        for _ in range(LARGE_MIB):
            file.write(os.urandom(1 << 20))
    target = f"{url}/api/2.0/mlflow-artifacts/artifacts/reference.bin"
    copy = folder / "copy.bin"
    rounds = []
    for _ in range(1 + ROUNDS):
        row = ours(url, "file", path, folder)
        empty(folder / "artifacts")
        # The library copies the file, sends the copy and removes the copy.
        row.update(cp_s=seconds(["cp", str(path), str(copy)], folder),
                   curl_s=seconds(["curl", "--silent", "--fail", "--upload-file", str(copy), target], folder),
                   rm_s=seconds(["rm", str(copy)], folder))
        empty(folder / "artifacts")
        rounds.append(row)
    path.unlink()
    rounds = rounds[1:]
    return dict(mib=LARGE_MIB, **{key: statistics.median(row[key] for row in rounds) for key in rounds[0]})


def empty(folder):
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def small(folder, url, count, name):
    path = folder / name
    path.mkdir()
    for number in range(count):
        (path / f"{number}.txt").write_bytes(os.urandom(1024))
    rounds = [(ours(url, "folder", path, folder)["delivered_s"], python(url, path, folder)) for _ in range(ROUNDS)]
    return dict(files=count, ours_s=statistics.median(row[0] for row in rounds),
                python_s=statistics.median(row[1] for row in rounds))


def main():
    with tempfile.TemporaryDirectory(prefix="artifacts-") as root:
        folder = Path(root)
        # The proxy passes on requests to its own address, which the server takes for a foreign host.
        server = Server(folder, "--allowed-hosts", "*")
        try:
            url = f"http://127.0.0.1:{server.port}"
            measured = dict(
                large=large(folder, url), small=small(folder, url, SMALL, "small"),
                delayed=small(folder, Delay(server.port).url, DELAYED, "delayed") | dict(round_trip_ms=2000 * DELAY),
                images=ours(url, "images", IMAGES, folder),
            )
        finally:
            server.stop()
    print(json.dumps(measured, indent=1))
    write("artifacts.json", **measured)


if __name__ == "__main__":
    main()
