#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A GGUF of llama architecture with seeded random weights and a vocabulary of bytes.

    model.py SIZE TYPE FILE        SIZE 15m, 110m or 1b; TYPE bf16, f16, f32 or q8_0

The same arguments give the same file. Tokens that are not printable ASCII have
logits of 0, so that what such a model says, though it means nothing, can be read.
"""
import os
import struct
import sys

import numpy as np

# width, layers, heads, key-value heads, feed forward
SIZES = {
    "15m": (384, 8, 6, 6, 1024),
    "110m": (768, 18, 12, 4, 1984),
    "1b": (2048, 22, 32, 8, 5632),
}
TYPES = {"f32": (0, 0), "f16": (1, 1), "q8_0": (8, 7), "bf16": (30, 32)}  # of a tensor, of the file
CONTEXT = 4096
ALIGNMENT = 32
SPECIAL = ["<unk>", "<s>", "</s>"]
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"

# Types of values in the header
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def string(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return string(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def entry(key, kind, v):
    if isinstance(v, list):
        body = struct.pack("<IIQ", ARRAY, kind, len(v)) + b"".join(value(kind, x) for x in v)
    else:
        body = struct.pack("<I", kind) + value(kind, v)
    return string(key) + body


def encode(x, kind):
    """fp32 values as the bytes of a tensor of that type"""
    if kind == "f32":
        return x.tobytes()
    if kind == "f16":
        return x.astype(np.float16).tobytes()
    if kind == "bf16":
        bits = x.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes()
    blocks = x.reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
    whole = np.rint(blocks / np.where(scale > 0, scale, 1)).astype(np.int8)
    return np.concatenate([scale.astype(np.float16).view(np.int8).reshape(-1, 2), whole], axis=1).tobytes()


def tensor_bytes(shape, kind):
    n = int(np.prod(shape))
    return {"f32": 4 * n, "f16": 2 * n, "bf16": 2 * n, "q8_0": n // 32 * 34}[kind]


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in SIZES or sys.argv[2] not in TYPES:
        sys.exit(__doc__)
    size, kind, path = sys.argv[1:]
    width, layers, heads, kv_heads, hidden = SIZES[size]
    kv = width // heads * kv_heads
    tokens = SPECIAL + ["<0x%02X>" % i for i in range(256)]
    printable = np.array([False] * len(SPECIAL) + [0x20 <= i < 0x7F for i in range(256)])

    # name, shape (rows, columns), standard deviation; None: a norm's weights, all 1
    tensors = [("token_embd.weight", (len(tokens), width), 1.0)]
    for i in range(layers):
        quiet = (2 * layers) ** -0.5
        for name, shape, std in (
            ("attn_norm", (width,), None),
            ("attn_q", (width, width), width**-0.5),
            ("attn_k", (kv, width), width**-0.5),
            ("attn_v", (kv, width), width**-0.5),
            ("attn_output", (width, width), width**-0.5 * quiet),
            ("ffn_norm", (width,), None),
            ("ffn_gate", (hidden, width), width**-0.5),
            ("ffn_up", (hidden, width), width**-0.5),
            ("ffn_down", (width, hidden), hidden**-0.5 * quiet),
        ):
            tensors.append(("blk.%d.%s.weight" % (i, name), shape, std))
    tensors += [("output_norm.weight", (width,), None), ("output.weight", (len(tokens), width), 3 * width**-0.5)]

    header = [
        entry("general.architecture", STRING, "llama"),
        entry("general.name", STRING, "kiln-random-" + size),
        entry("general.file_type", U32, TYPES[kind][1]),
        entry("llama.block_count", U32, layers),
        entry("llama.context_length", U32, CONTEXT),
        entry("llama.embedding_length", U32, width),
        entry("llama.feed_forward_length", U32, hidden),
        entry("llama.attention.head_count", U32, heads),
        entry("llama.attention.head_count_kv", U32, kv_heads),
        entry("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        entry("llama.rope.dimension_count", U32, width // heads),
        entry("llama.rope.freq_base", F32, 10000.0),
        entry("llama.vocab_size", U32, len(tokens)),
        entry("tokenizer.ggml.model", STRING, "llama"),
        entry("tokenizer.ggml.tokens", STRING, tokens),
        entry("tokenizer.ggml.scores", F32, [0.0] * len(tokens)),
        entry("tokenizer.ggml.token_type", I32, [2, 3, 3] + [6] * 256),
        entry("tokenizer.ggml.unknown_token_id", U32, 0),
        entry("tokenizer.ggml.bos_token_id", U32, 1),
        entry("tokenizer.ggml.eos_token_id", U32, 2),
        entry("tokenizer.ggml.add_bos_token", BOOL, True),
        entry("tokenizer.ggml.add_space_prefix", BOOL, False),
        entry("tokenizer.chat_template", STRING, TEMPLATE),
    ]

    infos, offset = [], 0
    for name, shape, std in tensors:
        stored = kind if std is not None else "f32"
        infos.append(
            string(name)
            + struct.pack("<I", len(shape))
            + struct.pack("<%dQ" % len(shape), *reversed(shape))
            + struct.pack("<IQ", TYPES[stored][0], offset)
        )
        offset += -(-tensor_bytes(shape, stored) // ALIGNMENT) * ALIGNMENT

    random = np.random.Generator(np.random.PCG64(1))
    with open(path + ".new", "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(header)))
        f.write(b"".join(header) + b"".join(infos))
        for name, shape, std in tensors:
            f.write(b"\0" * (-f.tell() % ALIGNMENT))
            if std is None:
                x = np.ones(shape, np.float32)
            else:
                x = random.standard_normal(shape, np.float32) * np.float32(std)
            if name == "output.weight":
                x[~printable] = 0
            f.write(encode(x, kind if std is not None else "f32"))
    os.replace(path + ".new", path)


if __name__ == "__main__":
    main()
