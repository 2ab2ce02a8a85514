"""Prints the number of points in a `.wandb` file: a header of seven bytes, then records in LevelDB's log format."""

import struct
import sys

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32 * 1024, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(data):
    at, parts = 7, []
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + HEADER : at + HEADER + length]
        if kind not in (FULL, FIRST, MIDDLE, LAST) or len(body) < length:
            return
        at += HEADER + length
        parts.append(body)
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []


count = 0
for body in records(open(sys.argv[1], "rb").read()):
    record = wandb_internal_pb2.Record()
    record.ParseFromString(body)
    if record.WhichOneof("record_type") == "history":
        names = ("/".join(item.nested_key) or item.key for item in record.history.item)
        count += sum(name.startswith("metric_") for name in names)
print(count)
