#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small GGUF of another family than llama, with seeded random weights in f32 and model.py's vocabulary of bytes.

    family.py FAMILY FILE        FAMILY gpt2, gemma2, bloom, qwen2 or mamba

What they have that a llama has not: gpt2 positions that are learnt, LayerNorm, biases, GELU; gemma2 soft caps, a window,
norms behind attention and feed forward; bloom ALiBi; qwen2 biases and RoPE by halves; mamba a state instead of attention.
"""
import os
import struct
import sys

import numpy as np

import model
from model import BOOL, F32, I32, SPECIAL, STRING, U32, entry

WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 256, 4, 4, 512, 2048
HEAD = WIDTH // HEADS
STATE, CONV, RANK = 16, 4, 16                       # mamba's
KV_HEADS = {"gpt2": HEADS, "bloom": HEADS}          # all others: half of them
LAYER_NORM = ("gpt2", "bloom")
FAMILIES = ("gpt2", "gemma2", "bloom", "qwen2", "mamba")


def tensors_of(family, tokens):
    """(name, shape, standard deviation, mean) of each"""
    kv = KV_HEADS.get(family, HEADS // 2) * HEAD
    found = []

    def norm(name):
        found.append((name + ".weight", (WIDTH,), 0.1, 1))
        if family in LAYER_NORM:
            found.append((name + ".bias", (WIDTH,), 0.1, 0))

    def linear(name, rows, columns, bias=family in LAYER_NORM):
        found.append((name + ".weight", (rows, columns), columns**-0.5, 0))
        if bias:
            found.append((name + ".bias", (rows,), 0.1, 0))

    # gemma2 multiplies it by 16, and its logits are products with it.
    found.append(("token_embd.weight", (tokens, WIDTH), 0.1 if family == "gemma2" else 1, 0))
    if family == "bloom":
        norm("token_embd_norm")
    if family == "gpt2":
        found.append(("position_embd.weight", (CONTEXT, WIDTH), 0.3, 0))
    for i in range(LAYERS):
        at = "blk.%d." % i
        norm(at + "attn_norm")
        if family == "mamba":
            linear(at + "ssm_in", 4 * WIDTH, WIDTH)
            linear(at + "ssm_conv1d", 2 * WIDTH, CONV, True)
            linear(at + "ssm_x", RANK + 2 * STATE, 2 * WIDTH)
            linear(at + "ssm_dt", 2 * WIDTH, RANK, True)
            found.append((at + "ssm_a", (2 * WIDTH, STATE), 0.2, -1))
            found.append((at + "ssm_d", (2 * WIDTH,), 0.1, 1))
            linear(at + "ssm_out", WIDTH, 2 * WIDTH)
            continue
        if family in LAYER_NORM:
            linear(at + "attn_qkv", WIDTH + 2 * kv, WIDTH)
        else:
            for name, rows in (("attn_q", WIDTH), ("attn_k", kv), ("attn_v", kv)):
                linear(at + name, rows, WIDTH, family == "qwen2")
        linear(at + "attn_output", WIDTH, WIDTH)
        norm(at + "ffn_norm")
        if family == "gemma2":
            norm(at + "post_attention_norm")
            norm(at + "post_ffw_norm")
        if family not in LAYER_NORM:
            linear(at + "ffn_gate", HIDDEN, WIDTH)
        linear(at + "ffn_up", HIDDEN, WIDTH)
        linear(at + "ffn_down", WIDTH, HIDDEN)
    norm("output_norm")
    if family != "gemma2":
        found.append(("output.weight", (tokens, WIDTH), 3 * WIDTH**-0.5, 0))
    return found


def header_of(family, tokens):
    keys = [
        ("block_count", U32, LAYERS),
        ("context_length", U32, CONTEXT),
        ("embedding_length", U32, WIDTH),
        ("feed_forward_length", U32, HIDDEN),
        ("attention.head_count", U32, HEADS),
        ("attention.head_count_kv", U32, KV_HEADS.get(family, HEADS // 2)),
        ("attention.layer_norm_epsilon" if family in LAYER_NORM else "attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("vocab_size", U32, len(tokens)),
    ]
    if family == "gemma2":
        keys += [("attention.key_length", U32, HEAD), ("attention.value_length", U32, HEAD),
                 ("attention.sliding_window", U32, 32),
                 ("attn_logit_softcapping", F32, 5.0), ("final_logit_softcapping", F32, 30.0)]
    if family == "bloom":
        keys.append(("attention.max_alibi_bias", F32, 8.0))
    if family == "mamba":
        keys += [("ssm.conv_kernel", U32, CONV), ("ssm.inner_size", U32, 2 * WIDTH), ("ssm.state_size", U32, STATE),
                 ("ssm.time_step_rank", U32, RANK)]
    return [entry("general.architecture", STRING, family), entry("general.file_type", U32, 0)] + [
        entry(family + "." + name, kind, value) for name, kind, value in keys] + [
        entry("tokenizer.ggml.model", STRING, "llama"),
        entry("tokenizer.ggml.tokens", STRING, tokens),
        entry("tokenizer.ggml.scores", F32, [0.0] * len(tokens)),
        entry("tokenizer.ggml.token_type", I32, [2, 3, 3] + [6] * 256),
        entry("tokenizer.ggml.unknown_token_id", U32, 0),
        entry("tokenizer.ggml.bos_token_id", U32, 1),
        entry("tokenizer.ggml.eos_token_id", U32, 2),
        entry("tokenizer.ggml.add_bos_token", BOOL, True),
    ]


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in FAMILIES:
        sys.exit(__doc__)
    family, path = sys.argv[1:]
    tokens = SPECIAL + ["<0x%02X>" % i for i in range(256)]
    tensors, header = tensors_of(family, len(tokens)), header_of(family, tokens)
    infos, offset = [], 0
    for name, shape, _, _ in tensors:
        infos.append(model.string(name) + struct.pack("<I", len(shape)) + struct.pack("<%dQ" % len(shape), *reversed(shape)) +
                     struct.pack("<IQ", 0, offset))
        offset += -(-4 * int(np.prod(shape)) // model.ALIGNMENT) * model.ALIGNMENT
    random = np.random.Generator(np.random.PCG64(7))
    with open(path + ".new", "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(header)) + b"".join(header) + b"".join(infos))
        for _, shape, deviation, mean in tensors:
            f.write(b"\0" * (-f.tell() % model.ALIGNMENT))
            f.write((random.standard_normal(shape, np.float32) * np.float32(deviation) + np.float32(mean)).tobytes())
    os.replace(path + ".new", path)


if __name__ == "__main__":
    main()
