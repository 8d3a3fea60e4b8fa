#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What tests/serve/bench has measured, as a table and against the targets.

    report.py DIR [DOCUMENT]

DIR has serve.{host,card,guest}, lines of llama-batched-bench, and serve*.stats, lines
of the plug-in; serve.txt and serve.json are written beside them. With DOCUMENT
(docs/performance.md), what stands there between the marks "<!-- serve -->" and
"<!-- end serve -->" is replaced. P, N, GUEST_P, GUEST_N, SIZE, TYPE, CORES as the bench had them.
"""
import json
import os
import sys

from model import SIZES, tensor_bytes

BATCHES = (1, 8)
UBATCH = 512  # tokens that llama.cpp puts into a graph at most
# name, clock of the array in Hz, a core's share of the chip's HBM in bytes/s (docs/time.md)
CHIPS = (("trn1", 2.8e9, 820e9 / 2), ("trn2", 2.4e9, 2900e9 / 8), ("trn3", 2.4e9, 4800e9 / 8))
TARGETS = (("guest_cpu", "guest", 20, 20), ("host_cpu", "host", 1.2, 0.8))


def env(name):
    return int(os.environ[name])


def rates(path):
    """(prefill, decode) tokens a second by batch: of several rounds, the best"""
    best = {}
    with open(path) as f:
        for run in map(json.loads, filter(str.strip, f)):
            prefill, decode = best.get(run["pl"], (0, 0))
            best[run["pl"]] = (max(prefill, run["speed_pp"]), max(decode, run["speed_tg"]))
    missing = [b for b in BATCHES if b not in best]
    if missing:
        sys.exit(f"{path} has no line for {missing} sequences: see serve.log beside it")
    return best


def seconds_per_token(path, batch):
    """of decoding, over all rounds"""
    with open(path) as f:
        runs = [run for run in map(json.loads, filter(str.strip, f)) if run["pl"] == batch]
    return sum(run["t_tg"] for run in runs) / sum(run["tg"] * run["pl"] for run in runs)


def graphs(path, prompt):
    """
    [prefill, decode] by batch: lists of (tokens, commands, cycles, ns). Batches take turns, each
    begins with its prompts; the first graph of all warms up.
    """
    found = {b: ([], []) for b in BATCHES}
    turn, left = len(BATCHES) - 1, 0
    with open(path) as f:
        next(f)
        for line in f:
            graph = tuple(int(x) for x in line.split()[1:])
            if not left and graph[0] > BATCHES[turn]:
                turn = (turn + 1) % len(BATCHES)
                left = prompt * BATCHES[turn]
            found[BATCHES[turn]][0 if left else 1].append(graph)
            left = max(0, left - graph[0])
    return found


def total(graphs, column):
    return sum(g[column] for g in graphs)


def roofline(batch, prompt, context, clock, bandwidth):
    """Tokens a second that the array's peak and a core's share of HBM leave: prefill, decode"""
    width, layers, heads, kv_heads, hidden = SIZES[os.environ["SIZE"]]
    kv = width // heads * kv_heads
    layer = 2 * width * (width + kv) + 3 * width * hidden
    weights = layers * layer + 259 * width
    moved = tensor_bytes((weights // 32, 32), os.environ["TYPE"])
    peak = 2 * 128 * 128 * clock / (4 if os.environ["TYPE"] == "f32" else 1)

    tokens = min(UBATCH, prompt * batch)
    operations = 2 * layers * layer * tokens + 2 * layers * width * tokens * prompt
    prefill = tokens / max(operations / peak, moved / bandwidth)
    operations = batch * (2 * weights + 4 * layers * width * context)
    moved += batch * 4 * layers * kv * context
    decode = batch / max(operations / peak, moved / bandwidth)
    return prefill, decode


def main():
    where = sys.argv[1] + "/serve"
    prompt, tokens = env("P"), env("N")
    speed = {name: rates(f"{where}.{name}") for name in ("card", "guest", "host")}
    lines = [["tokens/s"] + [f"{what}, batch {b}" for b in BATCHES for what in ("prefill", "decode")]]

    def row(name, figures):
        lines.append([name] + [f"{x:.1f}" if isinstance(x, float) else x for x in figures])

    cores = env("CORES")
    row(f"card, {cores} core{'s'[:cores > 1]}", [x for b in BATCHES for x in speed["card"][b]])
    row(f"guest CPU ({env('GUEST_P')} and {env('GUEST_N')} tokens)", [x for b in BATCHES for x in speed["guest"][b]])
    row(f"host CPU, {cores} thread{'s'[:cores > 1]}", [x for b in BATCHES for x in speed["host"][b]])
    for name, clock, bandwidth in CHIPS:
        figures = []
        for b, (prefill, decode) in graphs(f"{where}.{name}.stats", prompt).items():
            limits = roofline(b, prompt, prompt + 4, clock, bandwidth)
            for part, limit in zip((prefill, decode), limits):
                rate = total(part, 0) / (total(part, 2) / clock)
                figures.append(f"{rate:.0f} ({100 * rate / limit:.0f} %)")
        row(f"a core of {name}, predicted (of roofline)", figures)

    results = []

    def result(name, value, unit, target=None):
        met = None if target is None else value >= target
        results.append({"name": name, "value": round(value, 3), "unit": unit, "target": target, "met": met})

    for b in BATCHES:
        for name, peer, *targets in TARGETS:
            for part, target in enumerate(targets):
                result(("prefill", "decode")[part] + "_vs_" + name + (f"_batch{b}" if b > 1 else ""),
                       speed["card"][b][part] / speed[peer][b][part], "ratio", target)
    card = graphs(where + ".stats", prompt)
    for b in BATCHES:
        decode = card[b][1]
        suffix = f"_batch{b}" if b > 1 else ""
        result("commands_per_token" + suffix, total(decode, 1) / total(decode, 0), "1/token")
        result("cycles_per_token" + suffix, total(decode, 2) / total(decode, 0), "cycles/token")
        result("host_us_per_token" + suffix,
               1e6 * seconds_per_token(where + ".card", b) - total(decode, 3) / total(decode, 0) / 1e3, "us/token")

    said = [f"{os.environ['SIZE']} {os.environ['TYPE']}, {prompt} prompt and {tokens} generated tokens a sequence", ""]
    said += ["%-42s" % line[0] + "".join("%18s" % x for x in line[1:]) for line in lines] + [""]
    for r in results:
        target = "" if r["target"] is None else f", target: at least {r['target']:g}" + ("" if r["met"] else " MISSED")
        said.append(f"{r['name']:34}{r['value']:12g} {r['unit']}{target}")
    print("\n".join(said))
    with open(where + ".txt", "w") as f:
        f.write("\n".join(said) + "\n")
    with open(where + ".json", "w") as f:
        f.write("[" + ",\n ".join(json.dumps(r) for r in results) + "]\n")

    if len(sys.argv) > 2:
        text = ["| " + " | ".join(lines[0]) + " |", "| --- |" + " ---: |" * (len(lines[0]) - 1)]
        text += ["| " + " | ".join(line) + " |" for line in lines[1:]]
        text += ["", "| | value | target | |", "| --- | ---: | ---: | --- |"]
        for r in results:
            target = "" if r["target"] is None else f"{r['target']:g}"
            met = {True: "met", False: "missed", None: ""}[r["met"]]
            text.append(f"| `{r['name']}` ({r['unit']}) | {r['value']:g} | {target} | {met} |")
        with open(sys.argv[2]) as f:
            before, start, rest = f.read().partition("<!-- serve -->\n")
        _, end, after = rest.partition("<!-- end serve -->")
        if not end:
            sys.exit(f"{sys.argv[2]} has no <!-- serve --> ... <!-- end serve -->")
        with open(sys.argv[2], "w") as f:
            f.write(before + start + "\n".join(text) + "\n" + end + after)


main()
