#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A GGUF that says what is not so.

    lie.py LIE FILE NEW        LIE is one of those below, of model.py's FILE
"""
import struct
import sys

HUGE = 1 << 60


def after(data, name, skip=0):
    return data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + skip


# What is written where: the header is magic, version, tensors, keys; a tensor is its name, 2 dimensions, type, offset.
LIES = {
    "magic": lambda d: (0, b"GGUX"),
    "version": lambda d: (4, struct.pack("<I", 99)),
    "tensors": lambda d: (8, struct.pack("<Q", HUGE)),
    "keys": lambda d: (16, struct.pack("<Q", HUGE)),
    "name": lambda d: (24, struct.pack("<Q", HUGE)),
    "rows": lambda d: (after(d, b"output.weight", 12), struct.pack("<Q", HUGE)),
    "negative": lambda d: (after(d, b"output.weight", 4), struct.pack("<q", -1)),
    "type": lambda d: (after(d, b"output.weight", 20), struct.pack("<I", 1000)),
    "offset": lambda d: (after(d, b"output.weight", 24), struct.pack("<Q", 1 << 40)),
    "width": lambda d: (after(d, b"llama.embedding_length", 4), struct.pack("<I", 1024)),
    "layers": lambda d: (after(d, b"llama.block_count", 4), struct.pack("<I", 9)),
    "heads": lambda d: (after(d, b"llama.attention.head_count", 4), struct.pack("<I", 0)),
}


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in LIES:
        sys.exit(__doc__ + "    " + " ".join(LIES))
    with open(sys.argv[2], "rb") as f:
        data = bytearray(f.read())
    at, what = LIES[sys.argv[1]](data)
    data[at:at + len(what)] = what
    with open(sys.argv[3], "wb") as f:
        f.write(data)


main()
