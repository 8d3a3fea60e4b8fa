#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A guest that handles its own machine: tests/machine/guest -- '...' | tests/machine/tree python3 tests/host/_qmp.py

Lines of the guest's output pass, but for these:
    @run NAME                   its directory of this run, from /proc/cmdline
    @qmp {"execute": ...}       is done; an error is said in a comment line
    @get DEVICE PROPERTY        "# DEVICE PROPERTY VALUE" takes its place
    @wait EVENT                 waits for an event of QEMU, 5 minutes at most
"""
import json
import select
import socket
import sys


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb", 0)
        self.events = []
        self.file.readline()
        self.execute({"execute": "qmp_capabilities"})

    def execute(self, command):
        self.socket.sendall(json.dumps(command).encode() + b"\n")
        while True:
            answer = json.loads(self.file.readline())
            if "event" in answer:
                self.events.append(answer["event"])
            else:
                return answer

    def wait(self, event):
        while event not in self.events:
            if not select.select([self.socket], [], [], 300)[0]:
                raise OSError("not within 5 minutes")
            answer = json.loads(self.file.readline())
            if "event" in answer:
                self.events.append(answer["event"])
        self.events.remove(event)


qmp = None
for line in sys.stdin:
    word, _, rest = line.rstrip("\n").partition(" ")
    try:
        if word == "@run":
            qmp = Qmp(f"/kiln/build/guest/{rest}/qmp")
        elif word == "@qmp":
            answer = qmp.execute(json.loads(rest))
            if "error" in answer:
                print(f"# {rest}: {answer['error']['desc']}", flush=True)
        elif word == "@get":
            device, name = rest.split()
            answer = qmp.execute({"execute": "qom-get", "arguments":
                                  {"path": f"/machine/peripheral/{device}", "property": name}})
            print(f"# {rest} {answer['return']}", flush=True)
        elif word == "@wait":
            qmp.wait(rest)
        else:
            print(line, end="", flush=True)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        print(f"# {line.rstrip()}: {error}", flush=True)
