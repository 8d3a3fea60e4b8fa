#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
_migrate_guest.py ACCEL BOOT ROOT DISK: the machines of migrate_guest_slow.sh. What its guest runs is helper_moving, which
numbers its matmuls and compares bits and cycles of each. So a run that went on is one whose numbers go on, from one
machine's serial line to the next one's.
"""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

QEMU = os.environ["KILN_QEMU"]
BUILD = os.environ["KILN_BUILD"]
CARD = "kiln,hbm=256M,cores=2"
PATIENCE = 120          # seconds, for what takes a few

count = failed = 0


def ok(good, what, *notes):
    global count, failed  # pylint: disable=global-statement
    count += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {count} - {what}", flush=True)
    for note in () if good else notes:
        print("\n".join("# " + line for line in str(note).splitlines()), flush=True)
    return good


def until(what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Machine:
    number = 0

    def __init__(self, there, *extra, card=CARD):
        Machine.number += 1
        base = f"{there}/{Machine.number}"
        self.console, self.errors = base + ".console", base + ".err"
        accel, boot, root, disk = sys.argv[1:5]
        cpu = {"kvm": "max", "tcg": "max,phys-bits=39"}[accel]
        drives = [a for i, f in enumerate((root, f"{boot}/modules.erofs", disk))
                  for a in ("-drive", f"if=none,id=d{i},format=raw,readonly=on,file={f}", "-device", f"virtio-blk-pci,drive=d{i}")]
        with open(self.errors, "w", encoding="utf-8") as err:
            self.proc = subprocess.Popen(  # pylint: disable=consider-using-with
                [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-L", "/usr/share/seabios",
                 "-L", "/usr/share/qemu", "-machine", "q35", "-accel", accel, "-cpu", cpu, "-m", "512M",
                 "-kernel", f"{boot}/vmlinux", "-initrd", f"{boot}/initramfs",
                 "-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off no_timer_check tsc=reliable "
                 "rcupdate.rcu_cpu_stall_timeout=300 watchdog_thresh=60 kiln.disk",
                 "-serial", "file:" + self.console, "-qmp", f"unix:{base}.qmp,server=on,wait=off", *drives,
                 "-device", "pcie-root-port,id=port0,chassis=1,slot=1", "-device", f"{card},id=kiln0,bus=port0", *extra],
                stdin=subprocess.DEVNULL, stderr=err)
        until(lambda: os.path.exists(base + ".qmp") or self.proc.poll() is not None)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(base + ".qmp")
        self.file = self.socket.makefile("r")
        self.file.readline()
        self.qmp("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.proc.kill()
        self.proc.wait()

    def qmp(self, command, **args):
        try:
            self.socket.sendall(json.dumps({"execute": command, "arguments": args}).encode() + b"\n")
            while True:
                answer = json.loads(self.file.readline())
                if "event" not in answer:
                    return answer.get("return", answer.get("error"))
        except (OSError, ValueError):
            return {"desc": "QEMU has ended"}

    def job(self, command, name, **args):
        """A job to its end; what went wrong, or None."""
        answer = self.qmp(command, **{"job-id": name}, **args)
        if answer:
            return answer.get("desc")
        state = {}

        def over():
            state.update(next((j for j in self.qmp("query-jobs") if j["id"] == name), {"status": "gone"}))
            return state["status"] in ("concluded", "gone")
        until(over)
        self.qmp("job-dismiss", id=name)
        return state.get("error") if state["status"] == "concluded" else f"it is {state['status']}"

    def snapshots(self, path, make):
        """A disk for snapshots."""
        self.qmp("blockdev-add", **{"driver": "file", "node-name": "file", "filename": path})
        wrong = self.job("blockdev-create", "make", options={"driver": "qcow2", "file": "file", "size": 1 << 20}) if make else None
        answer = self.qmp("blockdev-add", **{"driver": "qcow2", "node-name": "snapshots", "file": "file"})
        return wrong or answer.get("desc")

    def migrate(self, uri):
        """Live; the state it comes to."""
        self.qmp("migrate-set-capabilities", capabilities=[{"capability": "return-path", "state": True}])
        answer = self.qmp("migrate", uri=uri)
        return answer.get("desc") or self.ended()

    def ended(self):
        until(lambda: self.qmp("query-migrate").get("status") in ("completed", "failed"))
        return self.qmp("query-migrate").get("status")

    def said(self):
        with open(self.console, encoding="utf-8", errors="replace") as f:
            return f.read()

    def err(self):
        with open(self.errors, encoding="utf-8") as f:
            return f.read()

    def turns(self):
        return [int(n) for n in re.findall(r"^turn (\d+)\r?$", self.said(), re.M)]

    def goes_on(self, more=5):
        """Some more turns than there are."""
        have = len(self.turns())
        return until(lambda: len(self.turns()) >= have + more or self.wrong()) and not self.wrong()

    def wrong(self):
        return self.proc.poll() is not None or re.search("^(wrong|Bail|status)|WARNING:|BUG:|Oops|Call Trace", self.said(), re.M)


def joined(*said):
    """The turns that machines one after the other have told of; one may have been in the middle of a line."""
    return [int(n) for n in re.findall(r"^turn (\d+)\r?$", "".join(said), re.M)]


def consecutive(turns):
    return bool(turns) and turns == list(range(turns[0], turns[0] + len(turns)))


def main():
    with tempfile.TemporaryDirectory() as there:
        uri = f"unix:{there}/socket"
        with Machine(there) as first:
            if not ok(until(lambda: len(first.turns()) >= 5 or first.wrong()) and not first.wrong(),
                      "the guest computes on the card", first.said()[-2000:], first.err()):
                return
            sim = subprocess.run([f"{BUILD}/tests/guest/helper_moving", "0"], capture_output=True, text=True, check=False,
                                 env={"LD_LIBRARY_PATH": f"{BUILD}/lib", "KILN_TRANSPORT": "sim"}).stdout
            bits = re.findall(r"first \d (\w+) ", sim)
            ok(len(bits) == 3 and re.findall(r"first \d (\w+) ", first.said()) == bits,
               "with the bits that a card inside a process gives", f"expected {sim}", f"got {first.said()[-500:]}")

            for card, says in ((CARD.replace("cores=2", "cores=4"), "cores= is another number"),
                               (CARD + ",generation=trn3", "generation= is another one"),
                               (CARD.replace("256M", "512M"), "kiln-hbm")):
                with Machine(there, "-incoming", uri, card=card) as other:
                    state = first.migrate(uri)
                    until(lambda m=other: m.proc.poll() is not None)
                    ok(state == "failed" and other.proc.returncode == 1 and says in other.err(),
                       f"a machine with {card} refuses it and says why", f"expected failed, 1, ... {says}",
                       f"got {state}, {other.proc.returncode}, {other.err()[-500:]}")
                    ok(first.goes_on(), "  and the guest goes on where it is", first.said()[-500:])
                    if os.path.exists(f"{there}/socket"):
                        os.unlink(f"{there}/socket")

            with Machine(there, "-incoming", uri) as second:
                first.qmp("migrate-set-parameters", **{"max-bandwidth": 16 << 20})
                first.qmp("migrate-set-capabilities", capabilities=[{"capability": "return-path", "state": True}])
                first.qmp("migrate", uri=uri)
                until(lambda: first.qmp("query-migrate").get("status") == "active")
                ok(first.goes_on() and first.qmp("query-migrate").get("status") == "active", "it computes while memory goes out",
                   first.qmp("query-migrate"))
                first.qmp("migrate-set-parameters", **{"max-bandwidth": 4 << 30, "downtime-limit": 3000})
                state = first.ended()
                info = first.qmp("query-migrate")
                if not ok(state == "completed", "it has moved to another QEMU", info, second.err()):
                    return
                print(f"# {info.get('total-time')} ms, of them {info.get('downtime')} ms stopped; "
                      f"{info['ram']['transferred'] >> 20} MiB sent, {info['ram']['dirty-sync-count']} rounds")
                ok(second.goes_on(20), "it computes there", second.said()[-500:], second.err())
                turns = joined(first.said(), second.said())
                ok(consecutive(turns), f"not one of {len(turns)} matmuls is missing, none has other bits or cycles", turns)

                path = there + "/snapshots"
                with open(path, "wb"):
                    pass
                ok(not second.snapshots(path, True), "a disk for snapshots", second.err())
                wrong = second.job("snapshot-save", "save", tag="moving", vmstate="snapshots", devices=["snapshots"])
                ok(not wrong, "savevm", wrong, second.err())
                ok(second.goes_on(), "  and it goes on", second.said()[-500:])
                before = first.said() + second.said()
            with Machine(there, "-S") as third:
                third.snapshots(path, False)
                wrong = third.job("snapshot-load", "load", tag="moving", vmstate="snapshots", devices=["snapshots"])
                ok(not wrong, "loadvm in a third QEMU", wrong, third.err())
                third.qmp("cont")
                ok(third.goes_on(20), "it computes there", third.said()[-500:], third.err())
                # the first line may have been begun by the one that was saved
                turns = third.turns()
                ok(consecutive(turns) and turns[0] <= joined(before)[-1] + 1, "it goes on from where it was saved, none is missing",
                   f"until {joined(before)[-1]}", turns[:5])
            with Machine(there, "-S", card=CARD.replace("cores=2", "cores=1")) as other:
                other.snapshots(path, False)
                wrong = other.job("snapshot-load", "load", tag="moving", vmstate="snapshots", devices=["snapshots"])
                ok(wrong and "cores= is another number" in other.err(), "a machine with another card does not load it and says why",
                   wrong, other.err())


main()
print(f"1..{count}")
sys.exit(failed != 0)
