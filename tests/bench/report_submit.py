#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The figures of run-submit as Markdown and as a picture.

    report_submit.py DIR [DOCUMENT]

DIR has submit.txt and submit.json; submit.md and submit.svg are written beside
them. With DOCUMENT (docs/performance.md), what stands there between the marks
"<!-- run -->" and "<!-- end -->" is replaced, and submit.svg copied beside it.
"""
import json
import os
import shutil
import sys
from xml.sax.saxutils import escape

PANELS = [
    ("commands a second, 128 in flight, batches of 32", 1, "", [
        ("uring_nop_qd128_b32", "io_uring NOP"), ("kiln_qd128_b32", "Kiln, io_uring"),
        ("kiln_sqpoll_qd128_b32", "Kiln, SQPOLL"), ("kiln_iopoll_qd128_b32", "Kiln, IOPOLL"),
        ("kiln_ioctl_b32", "Kiln, ioctl (32 in flight)"), ("nvme_qd128_b32", "NVMe passthrough")]),
    ("median latency of one command alone, us", 2, " us", [
        ("uring_nop_qd1", "io_uring NOP"), ("kiln_qd1", "Kiln, io_uring"),
        ("kiln_sqpoll_qd1", "Kiln, SQPOLL"), ("kiln_iopoll_qd1", "Kiln, IOPOLL"),
        ("kiln_ioctl_qd1", "Kiln, ioctl"), ("nvme_qd1", "NVMe passthrough")]),
    ("guest instructions a command", 7, "", [
        ("uring_nop_qd128_b32", "io_uring NOP, 128"), ("kiln_qd128_b32", "Kiln, io_uring, 128"),
        ("kiln_ioctl_b32", "Kiln, ioctl, 32"), ("nvme_qd128_b32", "NVMe passthrough, 128"),
        ("kiln_qd1", "Kiln, io_uring, alone"), ("nvme_qd1", "NVMe passthrough, alone")]),
]
LEFT, WIDTH, ROW = 200, 640, 22


def read_cases(path):
    """Columns of submit.txt by the case's name; a case that failed has none."""
    with open(path) as f:
        rows = [line.split() for line in f]
    return rows[0], {row[0]: row for row in rows[1:] if row and row[1] != "failed:"}


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def bar(y, label, value, most, unit):
    colour = "#2563eb" if label.startswith("Kiln") else "#94a3b8"
    width = max(1, round(value / most * (WIDTH - LEFT - 110)))
    return [f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y + 3}" width="{width}" height="{ROW - 7}" fill="{colour}"/>',
            f'<text x="{LEFT + width + 6}" y="{y + 14}">{value:,.4g}{unit}</text>'
            if value < 1000 else
            f'<text x="{LEFT + width + 6}" y="{y + 14}">{value:,.0f}{unit}</text>']


def picture(cases):
    lines, y = [], 10
    for title, column, unit, bars in PANELS:
        values = [(label, number(cases[name][column])) for name, label in bars if name in cases]
        values = [(label, value) for label, value in values if value is not None]
        if not values:
            continue
        lines.append(f'<text x="8" y="{y + 14}" font-weight="bold">{escape(title)}</text>')
        y += ROW
        for label, value in values:
            lines += bar(y, label, value, max(v for _, v in values), unit)
            y += ROW
        y += 14
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}"'
        f' height="{y}" font-family="sans-serif" font-size="12" fill="#334155">',
        "<!-- SPDX-License-Identifier: MIT -->", '<rect width="100%" height="100%" fill="#ffffff"/>',
        *lines, "</svg>", ""])


def markdown(head, cases, targets):
    lines = ["| | " + " | ".join(["commands/s", "p50 us", "p99 us", *head[5:]]) + " |",
             "| --- |" + " ---: |" * 7]
    lines += ["| " + " | ".join([f"`{name}`", *row[1:]]) + " |" for name, row in cases.items()]
    lines += ["", "| | value | target | |", "| --- | ---: | ---: | --- |"]
    for t in targets:
        value = "-" if t["value"] is None else f"{t['value']:g}"
        wanted = "" if t["target"] is None else f"{t['target']:g}"
        met = {True: "met", False: "missed", None: ""}[t["met"]]
        lines.append(f"| `{t['name']}` ({t['unit']}) | {value} | {wanted} | {met} |")
    return "\n".join(lines) + "\n"


def replace(path, text):
    with open(path) as f:
        before, _, rest = f.read().partition("<!-- run -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not end:
        sys.exit(f"{path} has no <!-- run --> ... <!-- end -->")
    with open(path, "w") as f:
        f.write(f"{before}<!-- run -->\n{text}{end}{after}")


def main():
    where = sys.argv[1]
    head, cases = read_cases(f"{where}/submit.txt")
    with open(f"{where}/submit.json") as f:
        targets = json.load(f)
    with open(f"{where}/submit.svg", "w") as f:
        f.write(picture(cases))
    text = markdown(head, cases, targets)
    with open(f"{where}/submit.md", "w") as f:
        f.write(text)
    if len(sys.argv) > 2:
        replace(sys.argv[2], text)
        shutil.copy(f"{where}/submit.svg", os.path.dirname(sys.argv[2]))


main()
