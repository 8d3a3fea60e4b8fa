#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# kiln run with files: NumPy writes them, reads the result and computes its own. (KILN_TRANSPORT=drm: on the card.)
import json, os, subprocess, sys, tempfile

import numpy as np

BUILD = os.environ.get("KILN_BUILD", "build/tree")
TRANSPORT = os.environ.get("KILN_TRANSPORT", "sim")
DIR = tempfile.TemporaryDirectory()
rng = np.random.default_rng(int(os.environ.get("KILN_SEED", "1")))
count = failed = 0


def ok(good, what, expected="", got=""):
    global count, failed
    count += 1
    print(f"{'' if good else 'not '}ok {count} - {what}")
    if not good:
        failed += 1
        print(f"# expected {expected}\n# got {got}")


def path(name):
    return os.path.join(DIR.name, name + ".npy")


def save(name, array):
    np.save(path(name), array)
    return path(name)


def to_bf16(x):
    """Round to nearest even, as float64 values that bf16 can hold."""
    u = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    u = (u + 0x7FFF + (u >> 16 & 1)) & 0xFFFF0000
    return u.astype(np.uint32).view(np.float32).astype(np.float64)


def bf16_bits(x):
    return (np.asarray(x, np.float32).view(np.uint32) >> 16).astype("<u2")


def kiln(*args):
    return subprocess.run([os.path.join(BUILD, "bin/kiln"), "run", *args, "--transport", TRANSPORT],
                          capture_output=True, text=True, timeout=120)


def run(what, *args):
    r = kiln(*args, "--json", "--check", "--out", path("out"))
    ok(r.returncode == 0, what, "status 0", f"{r.returncode} {r.stdout}{r.stderr}".strip())
    if r.returncode:
        return None
    return json.loads(r.stdout), np.load(path("out"))


def refused(what, words, *args, status=2):
    r = kiln(*args)
    good = r.returncode == status and words in r.stderr and r.stderr.count("\n") == 1 and not r.stdout
    ok(good, what, f"status {status} and one line with '{words}'", f"{r.returncode} {r.stderr}{r.stdout}".strip())


def close(what, got, want, tolerance):
    if got is None:
        return
    error = np.abs(got.astype(np.float64) - want).max() if got.shape == want.shape else np.inf
    ok(got.shape == want.shape and error <= tolerance, what,
       f"shape {want.shape}, error up to {tolerance:.3g}", f"shape {got.shape}, error {error:.3g}")


def matmul(name, a, b, want, tolerance, *args):
    r = run(name, "matmul", "--a", save("a", a), "--b", save("b", b), *args)
    if r:
        close(name + ": result", r[1], want, tolerance)
        ok(r[1].dtype == np.float32, name + ": is written as f4", "float32", r[1].dtype)
    return r


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v, causal=False, scale=None, window=0, softcap=0, slopes=None, mask=0):
    group = q.shape[-3] // k.shape[-3]
    k, v = k.repeat(group, -3), v.repeat(group, -3)
    s = np.einsum("...id,...jd->...ij", q, k) * (scale or q.shape[-1] ** -0.5)
    if softcap:
        s = softcap * np.tanh(s / softcap)
    i, j = np.indices(s.shape[-2:])
    far = i + s.shape[-1] - s.shape[-2] - j
    if slopes is not None:
        s = s - slopes[:, None, None] * np.abs(far)
    s = s + mask
    if causal:
        s = np.where(far >= 0, s, -np.inf)
    if window:
        s = np.where(np.abs(far) < window, s, -np.inf)
    none = np.all(s == -np.inf, -1, keepdims=True)
    return np.where(none, 0, softmax(np.where(none, 0, s))) @ v


a, b = rng.uniform(-1, 1, (37, 61)), rng.uniform(-1, 1, (61, 29))
a32, b32 = a.astype("f4"), b.astype("f4")
matmul("f4 files", a32, b32, a32.astype("f8") @ b32.astype("f8"), 1e-5)
matmul("f8 files", a, b, a32.astype("f8") @ b32.astype("f8"), 1e-5)
matmul("f4 files as bf16", a32, b32, to_bf16(a) @ to_bf16(b), 0.05, "--dtype", "bf16")
matmul("bf16 bits as u2", bf16_bits(to_bf16(a)), bf16_bits(to_bf16(b)), to_bf16(a) @ to_bf16(b), 0.05)
matmul("bf16 bits as V2", bf16_bits(to_bf16(a)).view("V2"), bf16_bits(to_bf16(b)).view("V2"),
       to_bf16(a) @ to_bf16(b), 0.05)
r = matmul("bf16 in, f32 out", a32, b32, to_bf16(a) @ to_bf16(b), 1e-5, "--dtype", "bf16", "--out-dtype", "f32")
matmul("a transposed", a32.T.copy(), b32, a32.astype("f8") @ b32.astype("f8"), 1e-5, "--trans-a")
matmul("both transposed", a32.T.copy(), b32.T.copy(), a32.astype("f8") @ b32.astype("f8"), 1e-5,
       "--trans-a", "--trans-b")
batch = rng.uniform(-1, 1, (5, 20, 30)).astype("f4"), rng.uniform(-1, 1, (5, 30, 40)).astype("f4")
matmul("a batch", *batch, batch[0].astype("f8") @ batch[1].astype("f8"), 1e-5)
matmul("ones", np.ones((3, 1000), "f4"), np.ones((1000, 2), "f4"), np.full((3, 2), 1000.0), 0)
matmul("sizes that agree", a32, b32, a32.astype("f8") @ b32.astype("f8"), 1e-5, "--m", "37", "--k", "61")

# Rounding f8 to bf16 happens once: just above a tie goes up, a tie to even.
tie = np.array([[1 + 2.0**-8, 1 + 2.0**-8 + 2.0**-40, 1 + 3 * 2.0**-8, 1 + 2.0**-8 - 2.0**-40]])
r = run("f8 next to a tie", "matmul", "--a", save("a", tie), "--b", save("b", np.eye(4)), "--dtype", "bf16",
        "--out-dtype", "f32")
if r:
    close("is rounded once", r[1], np.array([[1, 1 + 2.0**-7, 1 + 2 * 2.0**-7, 1]]), 0)

r = run("raw output", "matmul", "--a", save("a", a32), "--b", save("b", b32), "--dtype", "bf16", "--out-raw")
if r:
    ok(r[1].dtype == np.uint16, "raw output is u2", "uint16", r[1].dtype)
    close("raw output are bf16's bits", (r[1].astype("u4") << 16).view("f4"), to_bf16(a) @ to_bf16(b), 0.05)

q, k, v = (rng.uniform(-1, 1, s).astype("f4") for s in ((6, 50, 48), (2, 70, 48), (2, 70, 48)))
files = "--q", save("q", q), "--k", save("k", k), "--v", save("v", v)
for causal in (False, True):
    flag = ("--causal",) if causal else ()
    r = run(f"attention from files{' causal' if causal else ''}", "attention", *files, *flag)
    if r:
        close("its result", r[1], attention(*(x.astype("f8") for x in (q, k, v)), causal), 1e-5)
r = run("attention with a scale, bf16", "attention", *files, "--scale", "0.3", "--dtype", "bf16")
if r:
    close("its result", r[1], attention(*(to_bf16(x) for x in (q, k, v)), False, 0.3), 0.02)

qkv = [rng.uniform(-1, 1, s).astype("f4") for s in ((2, 6, 50, 48), (2, 2, 300, 48), (2, 2, 300, 48))]
files = [x for n, y in zip("qkv", qkv) for x in ("--" + n, save(n + "4", y))]
wide = tuple(x.astype("f8") for x in qkv)
slopes = (2.0 ** -(8 * np.arange(1, 7) / 6)).astype("f4")
hide = np.where(rng.random((2, 1, 50, 300)) < 0.5, -np.inf, 0).astype("f4")
hide[1, 0, 7] = -np.inf  # a row of nothing
for name, args, more in (
    ("window", {"window": 37}, ()), ("causal window", {"window": 37, "causal": True}, ()),
    ("softcap", {"softcap": 0.5}, ()), ("softcap, causal", {"softcap": 2.0, "causal": True}, ()),
    ("ALiBi", {"slopes": slopes}, ()), ("ALiBi, causal", {"slopes": slopes, "causal": True}, ()),
    ("mask", {"mask": hide}, ()), ("mask for heads", {"mask": rng.normal(size=(6, 1, 300)).astype("f4")}, ()),
    ("mask for queries", {"mask": rng.normal(size=(50, 1)).astype("f4")}, ()),
    ("all of it", {"window": 100, "softcap": 3.0, "slopes": slopes, "mask": hide, "causal": True}, ())):
    options = []
    for key, value in args.items():
        if key in ("slopes", "mask"):
            options += ["--" + key, save(key, value)]
        elif value is True:
            options += ["--" + key]
        else:
            options += ["--" + key, str(value)]
    r = run(f"attention with {name}", "attention", *files, *options)
    if r:
        close("its result", r[1], attention(*wide, **args), 1e-5)
r = run("attention, f2", "attention", *(x for n, y in zip("qkv", qkv) for x in ("--" + n, save(n + "h", y.astype("f2")))))
if r:
    close("its result", r[1], attention(*(x.astype("f2").astype("f8") for x in qkv)), 1e-3)

# int8 exactly, also where fp32 would round; fp8 by its bits.
i8 = rng.integers(-128, 128, (37, 5000)).astype("i1"), rng.integers(-128, 128, (5000, 29)).astype("i1")
i8[0][0] = i8[1][:, 0] = -128
r = run("int8", "matmul", "--a", save("a", i8[0]), "--b", save("b", i8[1]))
if r:
    ok(r[1].dtype == np.int32, "is written as i4", "int32", r[1].dtype)
    close("its result", r[1], i8[0].astype("f8") @ i8[1].astype("f8"), 0)
e5m2 = np.array([[0x3C, 0x40, 0xBC, 0x01]], "u1")
r = run("fp8 bits", "matmul", "--a", save("a", e5m2), "--b", save("b", e5m2.T.copy()), "--dtype", "e5m2")
if r:
    close("its result", r[1], np.array([[1 + 4 + 1 + 2.0**-32]]), 1e-6)

x = rng.normal(size=(9, 333)).astype("f4")
y, w, b1 = rng.normal(size=(9, 333)).astype("f4"), rng.normal(size=333).astype("f4"), rng.normal(size=333).astype("f4")
X, Y = ("--x", save("x", x)), save("y", y)
x8, y8 = x.astype("f8"), y.astype("f8")


def op(name, want, tolerance, *args):
    r = run(" ".join(n for n in args if not n.startswith(DIR.name)), *args)
    if r:
        close("its result", r[1], want, tolerance)
    return r


op("softmax", softmax(2.5 * x8), 1e-6, "softmax", *X, "--scale", "2.5")
rms = x8 / np.sqrt((x8**2).mean(-1, keepdims=True) + 1e-5)
norm = (x8 - x8.mean(-1, keepdims=True)) / np.sqrt(x8.var(-1, keepdims=True) + 1e-3)
op("rmsnorm", rms * w, 1e-5, "rmsnorm", *X, "--weight", save("w", w))
op("layernorm", norm * w + b1, 2e-5, "layernorm", *X, "--weight", save("w", w), "--bias", save("b1", b1), "--eps", "1e-3")
op("unary", np.tanh(2 * x8 - 1), 1e-6, "unary", "--func", "tanh", "--scale", "2", "--shift", "-1", *X)
op("silu", x8 / (1 + np.exp(-x8)), 1e-5, "unary", "--func", "silu", *X)
op("glu", x8 / (1 + np.exp(-x8)) * y8, 1e-5, "glu", "--gate", X[1], "--up", Y)
op("binary", x8[:, None] - y8[:4], 1e-6, "binary", "--func", "subtract", "--a", save("a", x[:, None]), "--b", save("b", y[:4]))
op("divide", x8 / w, 1e-2, "binary", "--func", "divide", "--a", X[1], "--b", save("w", w))
index = rng.integers(0, 9, 20).astype("u4")
op("gather", x8[index], 0, "gather", "--table", X[1], "--index", save("i", index))
tokens, angle = rng.normal(size=(20, 3, 16)).astype("f4"), rng.uniform(0, 6, (9, 8))
c, s = np.cos(angle).astype("f4"), np.sin(angle).astype("f4")
t8, c8, s8 = tokens.astype("f8"), c[index][:, None].astype("f8"), s[index][:, None].astype("f8")
op("rope", np.concatenate((t8[..., :8] * c8 - t8[..., 8:] * s8, t8[..., 8:] * c8 + t8[..., :8] * s8), -1), 1e-6, "rope",
   "--x", save("t", tokens), "--cos", save("c", c), "--sin", save("s", s), "--positions", save("i", index))
op("reduce", tokens.astype("f8").mean(1), 1e-6, "reduce", "--func", "mean", "--x", save("t", tokens))
r = op("topk", -np.sort(-x8, -1)[:, :7], 0, "topk", "--k", "7", *X, "--out-indices", path("places"))
if r:
    close("its places", np.load(path("places")), np.argsort(-x8, -1, kind="stable")[:, :7], 0)

refused("a mask that does not broadcast", "not 300 or 1", "attention", *files, "--mask", save("m", np.zeros((50, 299), "f4")))
refused("slopes of other heads", "heads is 5", "attention", *files, "--slopes", save("s5", slopes[:5]))
refused("a window, and more queries than keys", "--window wants", "attention", "--q", path("q4"), "--k", save("ks", qkv[1][:, :, :40]),
        "--v", save("vs", qkv[2][:, :, :40]), "--window", "5")
refused("indices that are none", "indices are", "gather", "--table", X[1], "--index", save("w", w))
refused("whole numbers that are no indices", "only indices", "softmax", "--x", save("i", index))
refused("weights of another width", "width is 332", "rmsnorm", *X, "--weight", save("w", w[:332]))
refused("shapes that do not broadcast", "do not go together", "binary", "--func", "add", "--a", X[1], "--b", save("w", w[:332]))
r = kiln("gather", "--table", save("x4", x[:4]), "--index", save("i", index))
ok(r.returncode == 1 and "FAILED: Exec format error" in r.stdout, "an index too large fails", "status 1, FAILED", f"{r.returncode} {r.stdout}")

A, B = save("a", a32), save("b", b32)
refused("a size that contradicts", "m is 37", "matmul", "--a", A, "--b", B, "--m", "36")
refused("sizes that do not fit", "k is", "matmul", "--a", A, "--b", A)
refused("a batch against none", "dimensions", "matmul", "--a", A, "--b", save("b3", batch[1]))
refused("batch without", "batch is 2", "matmul", "--a", A, "--b", B, "--batch", "2")
refused("one dimension", "1 dimensions", "matmul", "--a", save("a1", a32[0]), "--b", B)
refused("four dimensions", "4 dimensions", "matmul", "--a", save("x4", np.ones((1, 1, 2, 2), "f4")), "--b", B)
refused("an empty array", "not within", "matmul", "--a", save("e", np.ones((0, 61), "f4")), "--b", B)
refused("16 bits as f32", "--dtype bf16", "matmul", "--a", save("h", bf16_bits(a32)), "--b", B, "--dtype", "f32")
refused("Fortran order", "ascontiguousarray", "matmul", "--a", save("f", np.asfortranarray(a32)), "--b", B, status=1)
refused("integers", "'<i8'", "matmul", "--a", save("i", np.ones((37, 61), "i8")), "--b", B, status=1)
refused("big-endian", "'>f4'", "matmul", "--a", save("be", a32.astype(">f4")), "--b", B, status=1)
refused("five dimensions", "more than 4", "matmul", "--a", save("x5", np.ones((1,) * 5, "f4")), "--b", B, status=1)
refused("a file that is not there", "No such file", "matmul", "--a", "/nowhere.npy", "--b", B, status=1)
refused("a directory", "directory", "matmul", "--a", DIR.name, "--b", B, status=1)
with open(path("cut"), "wb") as f:
    f.write(open(A, "rb").read()[:-5])
refused("a file cut short", "bytes of data", "matmul", "--a", path("cut"), "--b", B, status=1)
with open(path("text"), "w") as f:
    f.write("hello, this is no array")
refused("no .npy file", "no .npy", "matmul", "--a", path("text"), "--b", B, status=1)
r = kiln("matmul", "--a", A, "--b", B, "--out", "/nowhere/x.npy")
ok(r.returncode == 1 and "/nowhere/x.npy: No such" in r.stderr, "an --out that cannot be written",
   "status 1 and its name", f"{r.returncode} {r.stderr}".strip())
refused("q and k of different dim", "dim is", "attention", "--q", save("q", q), "--k", save("k2", k[:, :, :40].copy()),
        "--v", path("v"))
refused("kv heads that do not divide", "multiple", "attention", "--q", save("q5", q[:5].copy()), "--k", save("k", k),
        "--v", save("v3", v))

print(f"1..{count}")
sys.exit(1 if failed else 0)
