#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Shapes and numbers nobody chose: NumPy makes them, the card computes, NumPy computes again in float64, and each element
# may differ by what rounding explains. KILN_SEED=N repeats a run, KILN_COUNT=N makes it longer.
import os, subprocess, sys, tempfile, time

import numpy as np

KILN = os.path.join(os.environ.get("KILN_BUILD", "build/tree"), "bin/kiln")
TRANSPORT = os.environ.get("KILN_TRANSPORT", "drm")
COUNT = int(os.environ.get("KILN_COUNT", "8"))
SEED = int(os.environ.get("KILN_SEED", time.time()))
DIR = tempfile.TemporaryDirectory()
U = {"f32": 2.0**-24, "bf16": 2.0**-8, "f16": 2.0**-11}
TINY = 2.0**-120  # denormals are zero
rng = np.random.default_rng(SEED)
count = failed = 0
print(f"# again: KILN_SEED={SEED}")


def ok(good, what, expected, got):
    global count, failed
    count += 1
    print(f"{'' if good else 'not '}ok {count} - {what}")
    if not good:
        failed += 1
        print(f"# expected {expected}\n# got {got}")
    sys.stdout.flush()
    return good


def rounded(x, dtype):
    """To the nearest that dtype has, as float64."""
    f = np.asarray(x, np.float32)
    if dtype == "f32":
        return f.astype(np.float64)
    if dtype == "f16":
        return f.astype(np.float16).astype(np.float64)
    u = f.view(np.uint32).astype(np.uint64)
    bits = np.where(np.isnan(f), u | 0x400000, u + 0x7FFF + (u >> 16 & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def run(what, op, files, *args):
    names = []
    for name, array in files.items():
        path = os.path.join(DIR.name, name + ".npy")
        np.save(path, array)
        names += ["--" + name, path]
    out = os.path.join(DIR.name, "out.npy")
    way = () if TRANSPORT != "drm" else ("--submit", ("uring", "ioctl")[count % 2])
    r = subprocess.run([KILN, "run", op, *names, *args, *way, "--out", out, "--transport", TRANSPORT],
                       capture_output=True, text=True, timeout=300)
    if r.returncode:
        ok(False, what, "status 0", f"status {r.returncode}: {r.stderr or r.stdout}".strip())
        return None
    return np.load(out).astype(np.float64)


def compare(what, got, want, allowed):
    if got is None:
        return
    if got.shape != want.shape:
        ok(False, what, f"shape {want.shape}", f"shape {got.shape}")
        return
    with np.errstate(invalid="ignore"):
        good = (np.abs(got - want) <= allowed) | (got == want) | (np.isnan(got) & np.isnan(want))
    if ok(good.all(), what, "", ""):
        return
    at = tuple(int(i) for i in np.argwhere(~good)[0])
    print(f"# {(~good).sum()} of {good.size} are wrong; the first: expected {want[at]:.9g} +- {np.broadcast_to(allowed, want.shape)[at]:.3g}"
          f"\n# got {got[at]:.9g} at {at}")


def numbers(shape, kind):
    x = rng.standard_normal(shape)
    if kind == "wide":
        x *= np.exp2(rng.integers(-30, 31, shape))
    elif kind == "whole":
        x = rng.integers(-3, 4, shape).astype(float)
    elif kind == "sparse":
        x *= rng.random(shape) < 0.1
    elif kind == "positive":
        x = rng.random(shape)
    return x


def size(most):
    """One as likely as most: spread evenly over the logarithm."""
    return int(np.exp(rng.uniform(0, np.log(most + 1))))


def matmul(i):
    kind = ("normal", "wide", "whole", "sparse", "positive")[i % 5]
    dtype = ("bf16", "f32")[i % 2]
    out = dtype if i % 3 else "f32"
    m, n, k, batch = size(500), size(600), size(700), i % 4
    ta, tb = bool(rng.integers(2)), bool(rng.integers(2))
    lead = (batch,) if batch else ()
    a = numbers(lead + ((k, m) if ta else (m, k)), kind).astype("f4")
    b = numbers(lead + ((n, k) if tb else (k, n)), kind).astype("f4")
    flags = ["--trans-a"] * ta + ["--trans-b"] * tb
    what = f"matmul {m}x{n}x{k} batch {batch} {dtype} to {out} {kind} {' '.join(flags)}"
    got = run(what, "matmul", {"a": a, "b": b}, "--dtype", dtype, "--out-dtype", out, *flags)
    a, b = rounded(a, dtype), rounded(b, dtype)
    a, b = a.swapaxes(-1, -2) if ta else a, b.swapaxes(-1, -2) if tb else b
    want = a @ b
    allowed = (k + 1) * U["f32"] * (np.abs(a) @ np.abs(b)) + U[out] * np.abs(want) + TINY
    if kind == "whole" and out == "f32":
        allowed = 0
    compare(what, got, want, allowed)


def attention(i):
    dtype = ("bf16", "f32", "f16")[i % 3]
    batch, kv, group, dim = size(3), size(4), size(4), size(128)
    keys = size(400)
    causal, heads = i % 3 != 0, kv * group
    window = size(keys) if i % 4 == 1 else 0
    queries = size(keys) if causal or window else size(200)
    sharp = 30 if i % 4 == 3 else 1  # scores of some hundreds: all of the weight on one key
    softcap = float(size(50)) if i % 5 == 2 else 0
    q = (numbers((batch, heads, queries, dim), "normal") * sharp).astype("f4")
    k, v = (numbers((batch, kv, keys, dim), "normal").astype("f4") for _ in range(2))
    files, flags = {"q": q, "k": k, "v": v}, ["--causal"] * causal
    if i % 4 > 1:
        files["slopes"] = np.exp2(-8 * np.arange(1, heads + 1) / heads).astype("f4")
    if i % 3 == 1:
        # Any of the dimensions may be one; some rows are hidden altogether.
        shape = [n if rng.integers(2) else 1 for n in (batch, heads, queries, keys)]
        mask = rng.standard_normal(shape)
        mask[rng.random(shape) < 0.3] = -np.inf
        mask[rng.random(shape[:-1]) < 0.1] = -np.inf
        files["mask"] = mask.astype("f4")
    flags += ["--window", str(window)] * (window > 0) + ["--softcap", str(softcap)] * (softcap > 0)
    what = f"attention {batch} x {heads}/{kv} heads {queries}x{keys} d{dim} {dtype} {' '.join(flags)}{' ALiBi' if 'slopes' in files else ''}" \
        f"{' mask ' + str(files['mask'].shape) if 'mask' in files else ''}{' sharp' if sharp > 1 else ''}"
    got = run(what, "attention", files, "--dtype", dtype, *flags)
    q, k, v = rounded(q, dtype), rounded(k, dtype).repeat(group, 1), rounded(v, dtype).repeat(group, 1)
    scale = dim**-0.5
    s = np.einsum("bhid,bhjd->bhij", q, k) * scale
    size_of_s = np.einsum("bhid,bhjd->bhij", np.abs(q), np.abs(k)) * scale
    if softcap:
        s = softcap * np.tanh(s / softcap)
        size_of_s += 4 * softcap
    row, key = np.indices(s.shape[2:])
    far = row + keys - queries - key
    if "slopes" in files:
        away = files["slopes"].astype("f8")[:, None, None] * np.abs(far)
        s, size_of_s = s - away, size_of_s + 4 * away
    if "mask" in files:
        s = s + files["mask"]
        size_of_s = size_of_s + 4 * np.abs(files["mask"])
    if causal:
        s = np.where(far >= 0, s, -np.inf)
    if window:
        s = np.where(np.abs(far) < window, s, -np.inf)
    top = np.maximum(s.max(-1, keepdims=True), -1e300)
    size_of_s = np.where(s > top - 60, size_of_s, 0).max(-1, keepdims=True)
    p = np.exp(s - top)
    p /= np.maximum(p.sum(-1, keepdims=True), 1e-300)  # of a row of nothing: zeros
    want = p @ v
    relative = U["f32"] * (2 * (dim + 8) * np.maximum(size_of_s, 1) + 2 * keys + 16) + (0 if dtype == "f32" else 2 * U[dtype])
    small = keys * 2.0**-24 if dtype == "f16" else 0  # weights that underflow
    compare(what, got, want, relative * (p @ np.abs(v)) + U[dtype] * np.abs(want) + small + TINY)


for case in range(COUNT):
    matmul(case)
for case in range(COUNT):
    attention(case)

# What is no number stays none, and stays in its row and column.
a, b = rng.standard_normal((5, 9)).astype("f4"), rng.standard_normal((9, 6)).astype("f4")
a[1, 2], a[2, 3], b[4, 5] = np.nan, np.inf, -np.inf
for dtype in "f32", "bf16":
    with np.errstate(invalid="ignore"):
        want = rounded(a, dtype) @ rounded(b, dtype)
    compare(f"NaN and infinity, {dtype}", run("", "matmul", {"a": a, "b": b}, "--dtype", dtype), want, 0.2)
big = np.full((2, 3), 3e38, "f4")
for dtype in "f32", "bf16":
    compare(f"a sum too large is infinite, {dtype}", run("", "matmul", {"a": big, "b": np.ones((3, 2), "f4")}, "--dtype", dtype),
            np.full((2, 2), np.inf), 0)

print(f"1..{count}")
sys.exit(1 if failed else 0)
