#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The card as a PCI device, without a guest: QEMU's qtest protocol plays the CPU.

KILN_QEMU is the QEMU to test. With arguments: only the tests whose names contain
one of them. Prints TAP.
"""
import base64
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

QEMU = os.environ.get("KILN_QEMU")
FIRMWARE = ["-L", "/usr/share/seabios", "-L", "/usr/share/qemu"]
PATIENCE = 20  # seconds, for what takes milliseconds on an idle machine

MiB = 1 << 20
RAM = 256 * MiB

# Where this "BIOS" puts things.
BAR0, BAR2, BAR4 = 0xE0000000, 0xE4000000, 0x4000000000
DOORBELL = BAR0 + 0x1000000
MSI = 0x8000                    # vector v writes its data, 0x100 + v, to MSI + 4 * v
ADMIN = 0x200000                # the admin queue's rings, 64 KiB apart from the others'
ROM = 0xFFFC0000

# hw.h
MAGIC, HW_VERSION, GENERATION, CORES, HBM_LO, HBM_HI = 0, 4, 8, 0xC, 0x10, 0x14
MAX_QUEUES, MAX_CONTEXTS, CLOCK_KHZ = 0x18, 0x1C, 0x20
CTRL, STATUS, ERROR, FW_VERSION, DRV_VERSION = 0x100, 0x104, 0x108, 0x10C, 0x110
SQ, CQ, CTL, LOG2, HEARTBEAT = 0x120, 0x128, 0x130, 0x138, 0x140
ENABLE, RESET = 1, 2
OFF, BOOTING, READY, FAILED, RESETTING = range(5)
BOOT_VERSION, BOOT_RING, BOOT_DMA = 1, 2, 3
NOP, EXEC = 0, 1
ADM_NOP, CTX_CREATE, CTX_DESTROY, QUEUE_CREATE, QUEUE_DESTROY = 0x40, 0x41, 0x42, 0x45, 0x46
CLEAR, COPY, STATS = 0x48, 0x49, 0x4C
ST_OK, ST_BAD_COMMAND, ST_PAGE_FAULT, ST_BUS, ST_TIMEOUT, ST_ABORTED, ST_BAD_STATE = 0, 1, 6, 7, 8, 11, 12
ONES = 0xFFFFFFFF


class Tap:
    count = failed = 0

    @classmethod
    def ok(cls, good, name, *notes):
        cls.count += 1
        cls.failed += not good
        print(f"{'ok' if good else 'not ok'} {cls.count} - {name}", flush=True)
        if not good:
            for note in notes:
                print(f"# {note}", flush=True)

    @classmethod
    def equal(cls, got, expected, name):
        show = (lambda v: hex(v) if isinstance(v, int) else repr(v))
        cls.ok(got == expected, name, f"expected {show(expected)}", f"got {show(got)}")


ok, equal = Tap.ok, Tap.equal


class Died(Exception):
    pass


class Qemu:
    """A QEMU whose CPU is this program."""

    iova = 0    # added to addresses in memory that the card is told
    msi = MSI

    def __init__(self, device="kiln,hbm=64M", ram=RAM, extra=(), accel="qtest"):
        self.dir = tempfile.TemporaryDirectory()
        qmp = self.dir.name + "/qmp"
        self.err = open(self.dir.name + "/err", "w+")
        devices = ["-device", device + ",id=card,addr=4"] if device else []
        self.proc = subprocess.Popen(
            [QEMU, *FIRMWARE, "-machine", "q35", "-accel", accel, "-S", "-m", str(ram // MiB), "-nodefaults",
             "-display", "none", "-qtest", "stdio", "-qtest-log", "/dev/null",
             "-qmp", f"unix:{qmp},server=on,wait=off", *extra, *devices],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err)
        self.buf = b""
        self.events = []
        self.devfn = 4 << 3
        self.bus = 0
        for _ in range(PATIENCE * 50):
            if os.path.exists(qmp) or self.proc.poll() is not None:
                break
            time.sleep(0.02)
        self.mon = socket.socket(socket.AF_UNIX)
        try:
            self.mon.connect(qmp)
        except OSError as e:
            raise Died(self.stderr()) from e
        self.mon.settimeout(PATIENCE)
        self.monfile = self.mon.makefile("r")
        self.monfile.readline()
        self.qmp("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.mon.close()
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                ok(False, "QEMU ends when it is asked to")
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.err.close()
        self.dir.cleanup()

    def stderr(self):
        self.err.flush()
        self.err.seek(0)
        return self.err.read()

    def qmp(self, command, **args):
        self.mon.sendall(json.dumps({"execute": command, "arguments": args}).encode() + b"\n")
        while True:
            answer = json.loads(self.monfile.readline() or "{}")
            if not answer:
                raise Died(self.stderr())
            if "event" in answer:
                self.events.append(answer["event"])
            else:
                return answer.get("return", answer.get("error"))

    def told(self, event):
        """Does this event come? It is forgotten with all before it."""
        came = self.until(lambda: event in self.events or not self.qmp("query-status") or event in self.events)
        self.events.clear()
        return came

    def ask(self, text):
        try:
            self.proc.stdin.write(text.encode() + b"\n")
            self.proc.stdin.flush()
        except OSError as e:
            raise Died(self.stderr()) from e
        while b"\n" not in self.buf:
            if not select.select([self.proc.stdout], [], [], PATIENCE)[0]:
                raise Died(f"no answer to {text[:60]}")
            data = os.read(self.proc.stdout.fileno(), 65536)
            if not data:
                raise Died(self.stderr())
            self.buf += data
        line, self.buf = self.buf.split(b"\n", 1)
        words = line.decode().split()
        if words[0] != "OK":
            raise Died(f"{text[:60]}: {line}")
        return words[1] if len(words) > 1 else None

    def r(self, addr, size=4):
        return int(self.ask(f"read{' bw l   q'[size]} {addr:#x}"), 0)

    def w(self, addr, value, size=4):
        self.ask(f"write{' bw l   q'[size]} {addr:#x} {value:#x}")

    def read(self, addr, size):
        return base64.b64decode(self.ask(f"b64read {addr:#x} {size}"))

    def write(self, addr, data):
        self.ask(f"b64write {addr:#x} {len(data)} {base64.b64encode(data).decode()}")

    # Configuration space, by the old ports: its first 256 bytes are enough here.

    def cfg(self, offset, size=4, value=None, devfn=None, bus=None):
        bus = self.bus if bus is None else bus
        devfn = self.devfn if devfn is None else devfn
        self.ask(f"outl 0xcf8 {0x80000000 | bus << 16 | devfn << 8 | offset & ~3:#x}")
        port = 0xCFC + (offset & 3)
        if value is None:
            return int(self.ask(f"in{' bw l'[size]} {port:#x}"), 0)
        return self.ask(f"out{' bw l'[size]} {port:#x} {value:#x}")

    def capability(self, wanted):
        pos = self.cfg(0x34, 1)
        while pos and self.cfg(pos, 1) != wanted:
            pos = self.cfg(pos + 1, 1)
        return pos

    def place(self):
        """Give the card addresses, memory, bus mastering and unmasked MSI-X vectors."""
        for bar, addr in ((0, BAR0), (2, BAR2), (4, BAR4)):
            self.cfg(0x10 + bar * 4, 4, addr & ONES)
            if bar != 2:
                self.cfg(0x14 + bar * 4, 4, addr >> 32)
        self.cfg(4, 2, 0x6)
        self.cfg(self.capability(0x11) + 2, 2, 0x8000)
        for v in range(32):
            self.write(BAR2 + 16 * v, struct.pack("<QII", self.msi + 4 * v, 0x100 + v, 0))
        self.write(self.msi, bytes(128))

    def reg(self, offset, value=None):
        return self.r(BAR0 + offset) if value is None else self.w(BAR0 + offset, value)

    def flr(self):
        cap = self.capability(0x10)
        self.cfg(cap + 8, 2, self.cfg(cap + 8, 2) | 0x8000)

    def until(self, what, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True

    def leaves(self, state):
        """The state after this one."""
        self.until(lambda: self.reg(STATUS) != state)
        return self.reg(STATUS)

    def boot(self, version=0x10000, log2=4, sq=ADMIN, cq=ADMIN + 0x4000, ctl=ADMIN + 0x8000):
        self.admin = Ring(self, 0, ADMIN, min(log2, 8))
        self.admin.clear()
        self.reg(DRV_VERSION, version)
        for reg, addr in ((SQ, sq), (CQ, cq), (CTL, ctl)):
            self.reg(reg, addr + self.iova & ONES)
            self.reg(reg + 4, addr + self.iova >> 32 & ONES)
        self.reg(LOG2, log2)
        self.reg(CTRL, ENABLE)
        return self.leaves(BOOTING)

    def interrupted(self, vector, seconds=PATIENCE):
        came = self.until(lambda: self.r(self.msi + 4 * vector) == 0x100 + vector, seconds)
        self.w(self.msi + 4 * vector, 0)
        return came

    def process(self):
        """Of the QEMU process: CPU seconds, threads, resident bytes."""
        stat = open(f"/proc/{self.proc.pid}/stat").read().rsplit(")", 1)[1].split()
        status = open(f"/proc/{self.proc.pid}/status").read()
        rss = int(status.split("VmRSS:")[1].split()[0]) * 1024
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"), int(stat[17]), rss


def command(opcode, cookie=0, param=0, body=b""):
    return struct.pack("<BBHIQ", opcode, 0, 0, param, cookie) + body.ljust(48, b"\0")


class Ring:
    """A queue from the driver's side: entries, completions, control block."""

    def __init__(self, q, queue, base, log2):
        self.q, self.queue, self.log2, self.entries = q, queue, log2, 1 << log2
        self.sq, self.cq, self.ctl = base, base + 0x4000, base + 0x8000
        self.tail = self.head = 0

    def clear(self):
        self.q.write(self.ctl, bytes(128))
        self.q.write(self.cq, bytes(self.entries * 64))

    def post(self, *commands):
        for c in commands:
            self.q.write(self.sq + self.tail % self.entries * 64, c)
            self.tail = self.tail + 1 & ONES
        self.q.w(self.ctl, self.tail)
        self.q.w(DOORBELL + self.queue * 4096, 1)

    def take(self, seconds=PATIENCE):
        """The next completion as (cookie, status, engine, instruction, fault_addr); None: none comes."""
        if not self.q.until(lambda: self.q.r(self.ctl + 72) != self.head, seconds):
            return None
        record = self.q.read(self.cq + self.head % self.entries * 64, 64)
        self.head = self.head + 1 & ONES
        self.q.w(self.ctl + 4, self.head)
        cookie, status, _, engine, instruction, fault = struct.unpack_from("<QHBBIQ", record)
        return cookie, status, engine, instruction, fault

    def do(self, opcode, body=b"", param=0):
        """One command and its status."""
        self.post(command(opcode, 0xC0 + self.tail, param, body))
        done = self.take()
        return done and done[1]


def tenant(q, context=1, queue=1, base=ADMIN + 0x10000, limit=10000):
    """
    A context with a queue. Its page table is at 1 MiB of HBM and maps 2 MiB to 2 MiB of HBM, where spin() is, and
    4 MiB to ADMIN in the host's memory.
    """
    table = [MiB + i * 4096 for i in range(4)]
    for i, index, entry in ((0, 0, table[1]), (1, 0, table[2]), (2, 1, 2 * MiB | 2 | 8),
                            (2, 2, ADMIN + q.iova | 2 | 4 | 8)):
        q.w(BAR4 + table[i] + index * 8, entry | 1, 8)
    q.write(BAR4 + 2 * MiB, spin())
    status = q.admin.do(CTX_CREATE, struct.pack("<IIQ", context, 1, table[0]))
    ring = Ring(q, queue, base, 4)
    ring.clear()
    status |= q.admin.do(QUEUE_CREATE, struct.pack("<IIQQQIIII", queue, context, ring.sq + q.iova, ring.cq + q.iova,
                                                   ring.ctl + q.iova, 4, queue % 32, 1, limit))
    equal(status, ST_OK, "  context and queue are made")
    return ring


def spin():
    """A program that never ends: Sync sets r1 = 1, then branches to where it is as long as r1 != r0."""
    return program((3, 1, 0, 0, 1), (8, 0, 1, 1, 0))


def program(*instructions):
    """Of the Sync engine: (opcode, rd, rs, target, imm) each."""
    code = b"".join(struct.pack("<B15xBBBBIII", op, rd, rs, 0, 0, target, imm, 0).ljust(128, b"\0")
                    for op, rd, rs, target, imm in instructions)
    head = struct.pack("<IHHB3xIII", 0x4752504B, 1, 0, 0, 64 + len(code), 0, 0) + bytes(32)
    return (head + struct.pack("<II", 64, len(instructions))).ljust(64, b"\0") + code


SPIN = struct.pack("<Q", 2 * MiB)
SPIN_BYTES = len(spin())
HALT = program((1, 0, 0, 0, 0))


def test_identity():
    for generation, number, clock in (("trn1", 1, None), ("trn2", 2, None), ("trn3", 3, None)):
        with Qemu(f"kiln,generation={generation},cores={number + 1},hbm=128M") as q:
            if number == 1:
                equal(q.cfg(0), 0x4B4C1234, "vendor and device")
                equal(q.cfg(8) >> 8, 0x120000, "class: processing accelerator")
                ok(q.capability(0x10) and q.capability(0x11) and q.capability(1), "PCI Express, MSI-X, power")
                equal(q.cfg(q.capability(0x10) + 4) >> 28 & 1, 1, "FLR capability")
                sizes = []
                for bar in range(0, 6, 2):
                    q.cfg(0x10 + bar * 4, 4, ONES)
                    q.cfg(0x14 + bar * 4, 4, ONES)
                    value = q.cfg(0x10 + bar * 4) | (q.cfg(0x14 + bar * 4) << 32 if bar != 2 else 0xFFFFFFFF << 32)
                    sizes.append((-(value & ~15) & (1 << 64) - 1, value & 15))
                equal(sizes, [(32 * MiB, 4), (4096, 0), (128 * MiB, 12)], "BARs: size and type")
            q.place()
            equal([q.reg(r) for r in (MAGIC, HW_VERSION, GENERATION, CORES, HBM_LO, HBM_HI, MAX_QUEUES, MAX_CONTEXTS)],
                  [0x4E4C494B, 0x10000, number, number + 1, 128 * MiB, 0, 4096, 256],
                  f"{generation}: identity registers")
            ok(100000 < q.reg(CLOCK_KHZ) < 10000000, f"{generation}: a clock between 0.1 and 10 GHz")
            equal(q.reg(STATUS), OFF, f"{generation}: off after power-on")


def test_hbm():
    with Qemu("kiln,hbm=16G") as q:
        q.place()
        equal(q.reg(HBM_HI), 4, "16 GiB: the high word of the size")
        data = random.Random(1).randbytes(5000)
        for addr in (0, 3 * 1024 * MiB - 77, 16 * 1024 * MiB - 5000):
            q.write(BAR4 + addr, data)
            equal(q.read(BAR4 + addr, 5000), data, f"HBM at {addr:#x} keeps what is written")
        equal(q.read(BAR4 + 8 * MiB, 4096), bytes(4096), "HBM is zero at power-on")
        _, _, rss = q.process()
        ok(rss < 128 * MiB, "16 GiB of HBM, hardly touched, cost less than 128 MiB", f"got {rss >> 20} MiB resident")


def test_odd_accesses():
    with Qemu() as q:
        q.place()
        equal([q.r(BAR0, 1), q.r(BAR0 + 2, 2), q.r(BAR0, 8)], [0xFF, 0xFFFF, (1 << 64) - 1],
              "reads that are not 4 bytes wide give ones")
        equal(q.read(BAR0 + 1, 2), b"\xff\xff", "so do unaligned ones")
        equal(q.reg(0x3F0), ONES, "an undefined register gives ones")
        equal(q.reg(0xFFFFFC), ONES, "so does the last one")
        equal(q.r(DOORBELL + 5 * 4096), ONES, "so does a doorbell")
        for size, offset in ((1, 0), (2, 0), (8, 0), (1, 3), (2, 2)):
            q.w(BAR0 + CTRL + offset, ENABLE if not offset else 0xFF, size)
        equal([q.reg(CTRL), q.reg(STATUS)], [0, OFF], "writes that are not 4 bytes wide are ignored")
        for addr in (MAGIC, STATUS, GENERATION, HEARTBEAT, 0x3F0, 0xFFFFFC):
            q.reg(addr, 0x12345678)
        equal([q.reg(MAGIC), q.reg(STATUS), q.reg(GENERATION)], [0x4E4C494B, OFF, 2],
              "so are those to read-only registers")
        rnd = random.Random(2)
        for _ in range(3000):
            size = rnd.choice((1, 2, 4, 4, 8))
            addr = rnd.choice((BAR0 + rnd.randrange(0x200), BAR0 + rnd.randrange(32 * MiB - 8),
                               DOORBELL + rnd.randrange(8) * 4096))
            if rnd.random() < 0.5:
                q.r(addr, size)
            else:
                q.w(addr, rnd.choice((0, 1, 2, 3, ONES, rnd.getrandbits(32))), size)
        q.flr()
        q.place()
        equal(q.boot(), READY, "after 3000 random accesses and an FLR it boots")


def test_boot():
    with Qemu() as q:
        q.place()

        def fails(reason, name, **args):
            state = q.boot(**args)
            equal((state, q.reg(ERROR)), (FAILED, reason), name)
            ok(q.interrupted(0), "  and an interrupt tells so")
            q.reg(CTRL, RESET)
            equal(q.until(lambda: q.reg(STATUS) == OFF) and q.reg(CTRL), 0, "  CTRL_RESET turns it off")

        fails(BOOT_VERSION, "a driver that wants a newer firmware", version=0x10002)
        fails(BOOT_VERSION, "a driver that wants another major version", version=0x20000)
        fails(BOOT_RING, "a misaligned admin ring", sq=ADMIN + 64)
        fails(BOOT_RING, "a ring that is too large", log2=13)
        fails(BOOT_RING, "a ring of 2^40 entries", log2=40)
        fails(BOOT_DMA, "a ring where there is no memory", sq=0x30_0000_0000)
        fails(BOOT_DMA, "a ring at the end of the address space", cq=(1 << 64) - 4096)
        fails(BOOT_DMA, "a ring in the card's own registers", sq=BAR0)
        fails(BOOT_DMA, "a control block in ROM", ctl=ROM)
        q.cfg(4, 2, 0x2)
        equal((q.boot(), q.reg(ERROR)), (FAILED, BOOT_DMA), "bus mastering is off")
        q.cfg(4, 2, 0x6)
        q.reg(CTRL, 0)
        q.until(lambda: q.reg(STATUS) == OFF)
        q.interrupted(0, 0.2)

        equal(q.boot(), READY, "good rings")
        ok(q.interrupted(0), "  and an interrupt tells so")
        equal(q.reg(FW_VERSION), 0x10001, "  firmware's version")
        q.reg(SQ, 0x5000)
        equal(q.reg(SQ), ADMIN, "  the ring's address is fixed from now on")
        equal(q.admin.do(ADM_NOP), ST_OK, "  admin NOP")
        beat = q.reg(HEARTBEAT)
        ok(q.until(lambda: q.reg(HEARTBEAT) != beat), "  its heart beats")
        q.reg(CTRL, 0)
        ok(q.until(lambda: q.reg(STATUS) == OFF), "CTRL_ENABLE = 0 turns it off")
        equal(q.reg(SQ), ADMIN, "  and keeps the ring's address")
        equal(q.boot(), READY, "it boots again")
        equal(q.admin.do(ADM_NOP), ST_OK, "  admin NOP")


def test_rings():
    with Qemu() as q:
        q.place()
        equal(q.boot(log2=3), READY, "boots")
        q.interrupted(0)
        a = q.admin
        equal([a.do(ADM_NOP) for _ in range(40)], [ST_OK] * 40, "five times round the ring")
        a.post(*[command(ADM_NOP, 1000 + i) for i in range(8)])
        equal([(a.take() or [None])[0] for _ in range(8)], list(range(1000, 1008)), "a full ring, in order")
        equal(a.do(0x7F), ST_BAD_COMMAND, "an unknown command")
        equal(a.do(ADM_NOP, param=1), ST_BAD_COMMAND, "a reserved field")
        for queue in (1, 77, 4095):
            q.w(DOORBELL + queue * 4096, ONES)
        q.w(DOORBELL + 4095 * 4096 + 4092, 1)
        equal(a.do(ADM_NOP), ST_OK, "doorbells of queues that do not exist are ignored")

        q.interrupted(0, 0.2)
        q.w(a.ctl + 8, a.head + 1 & ONES)
        a.do(ADM_NOP)
        ok(not q.interrupted(0, 0.2), "no interrupt before cq_event is passed")
        a.do(ADM_NOP)
        ok(q.interrupted(0), "one when it is")
        q.w(BAR2 + 12, 1)
        q.w(a.ctl + 8, a.head)
        a.do(ADM_NOP)
        ok(q.until(lambda: q.r(BAR2 + 0x800) & 1), "a masked vector becomes pending")
        ok(not q.interrupted(0, 0.1), "  and is not raised")
        q.w(BAR2 + 12, 0)
        ok(q.interrupted(0), "  until it is unmasked")

        t = tenant(q)
        t.post(*[command(NOP, i) for i in range(16)])
        equal([t.take() for _ in range(16)], [(i, ST_OK, 0, 0, 0) for i in range(16)], "sixteen NOPs of a tenant")
        ok(q.interrupted(1), "its own vector")
        t.post(command(EXEC, 5, 256, struct.pack("<Q", 0x40000000)))
        done = t.take()
        equal(done and done[:2], (5, ST_PAGE_FAULT), "a program that is not mapped")
        equal(done and done[4] & ~0xFFFF, 0x40000000, "  its address")
        t.post(command(NOP, 6))
        equal(t.take(), (6, ST_OK, 0, 0, 0), "  the context goes on")
        q.w(t.ctl, t.tail + 100)
        q.w(DOORBELL + 4096, 1)
        equal(q.admin.do(ADM_NOP), ST_OK, "a tail beyond the ring harms nobody else")
        equal([a.do(QUEUE_DESTROY, struct.pack("<I", 1)), a.do(CTX_DESTROY, struct.pack("<I", 1))], [ST_OK] * 2,
              "queue and context go")
        equal(a.do(QUEUE_DESTROY, struct.pack("<I", 1)), ST_BAD_STATE, "  and are gone")


def test_dma():
    with Qemu() as q:
        q.place()
        equal(q.boot(), READY, "boots")
        copy = (lambda *a: q.admin.do(COPY, struct.pack("<QQQII", *a)))
        data = random.Random(3).randbytes(100001)
        q.write(0x1000003, data)
        equal(copy(4 * MiB + 5, 0x1000003, len(data), 0, 1), ST_OK, "host to HBM, odd addresses")
        equal(q.read(BAR4 + 4 * MiB + 5, len(data)), data, "  the bytes")
        equal(copy(0x2000001, 4 * MiB + 5, len(data), 1, 0), ST_OK, "HBM to host")
        equal(q.read(0x2000001, len(data)), data, "  the bytes")
        equal(copy(BAR4 + 8 * MiB, 4 * MiB + 5, len(data), 1, 0), ST_OK, "HBM to the card's own BAR")
        equal(q.read(BAR4 + 8 * MiB, len(data)), data, "  the bytes")
        for name, addr in (("no memory", 0x30_0000_0000), ("registers", BAR0), ("ROM", ROM),
                           ("MSI-X table", BAR2), ("interrupt controller", 0xFEE00000), ("past RAM's end", RAM - 4096)):
            equal(copy(addr, 0, 8192, 1, 0), ST_BUS, f"to {name}")
        equal(q.read(RAM - 4096, 4096) == bytes(4096) and copy(0, 0x30_0000_0000, 64, 0, 1), ST_BUS, "from no memory")
        equal(q.admin.do(ADM_NOP), ST_OK, "the card goes on")
        q.admin.post(command(ADM_NOP, 1))
        q.admin.take()
        q.cfg(4, 2, 0x2)
        q.admin.post(command(ADM_NOP, 2))
        equal(q.leaves(READY), FAILED, "bus mastering taken away from a running card")
        q.cfg(4, 2, 0x6)
        q.flr()
        q.place()
        equal(q.boot(), READY, "  FLR brings it back")


def spinning(q):
    """Boot, and have one command that never ends on each of two queues."""
    equal(q.boot(), READY, "  boots")
    rings = []
    for i in (1, 2):
        rings.append(tenant(q, i, i, ADMIN + 0x10000 * i))
        rings[-1].post(command(EXEC, 70 + i, SPIN_BYTES, SPIN))
    time.sleep(0.05)
    return rings


def alive(q, name):
    q.place()
    equal(q.reg(STATUS), OFF, f"  {name}: off")
    equal([q.reg(SQ), q.reg(DRV_VERSION), q.reg(CTRL)], [0, 0, 0], f"  {name}: registers as after power-on")
    equal(q.boot() == READY and q.admin.do(ADM_NOP), ST_OK, f"  {name}: boots again, admin NOP")


def test_reset():
    for cores, threads in ((2, 2), (2, 1), (1, 0)):
        with Qemu(f"kiln,hbm=64M,cores={cores},threads={threads}") as q:
            print(f"# {cores} cores, {threads} threads")
            q.place()
            q.flr()
            equal(q.cfg(4, 2) & 6, 0, "FLR, off: memory and bus mastering are off")
            alive(q, "FLR, ready")
            q.flr()
            q.place()
            equal(q.boot(version=0x20000), FAILED, "failed boot")
            q.flr()
            alive(q, "FLR, failed")
            q.flr()
            q.place()
            rings = spinning(q)
            ok(rings[0].take(0.2) is None, "two commands that never end")
            start = time.monotonic()
            q.flr()
            ok(time.monotonic() - start < 2, "  FLR takes less than 2 s", f"got {time.monotonic() - start:.2f} s")
            alive(q, "FLR, computing")
            q.flr()
            q.place()
            rings = spinning(q)
            equal(q.admin.do(ADM_NOP), ST_OK, "  admin commands go on while all cores compute")
            q.reg(CTRL, RESET)
            ok(q.until(lambda: q.reg(STATUS) == OFF), "CTRL_RESET, computing: off")
            alive(q, "CTRL_RESET, computing")
            q.flr()
            q.place()
            spinning(q)
            q.qmp("system_reset")
            ok(q.told("RESET"), "system reset, computing")
            alive(q, "system reset")


def test_watchdog():
    with Qemu("kiln,hbm=64M,cores=1,threads=1") as q:
        q.place()
        equal(q.boot(), READY, "boots")
        t = tenant(q, limit=300)
        start = time.monotonic()
        t.post(command(EXEC, 9, SPIN_BYTES, SPIN), command(NOP, 10))
        done = t.take()
        took = time.monotonic() - start
        equal(done and done[:2], (9, ST_TIMEOUT), "a command past its limit of 300 ms is ended, all threads computing")
        ok(0.25 < took < 1.5, "  in time", f"got {took:.2f} s")
        t.take()
        t.post(command(NOP, 11))
        equal(t.take(), (11, ST_OK, 0, 0, 0), "the queue goes on")
        t.post(command(EXEC, 12, SPIN_BYTES, SPIN))
        time.sleep(0.05)
        equal(q.admin.do(QUEUE_DESTROY, struct.pack("<I", 1)), ST_OK, "destroying a queue ends its command")


def test_idle():
    with Qemu("kiln,hbm=8G,cores=8,threads=8") as q:
        q.place()
        equal(q.boot(), READY, "boots")
        q.admin.do(ADM_NOP)
        before, threads, _ = q.process()
        time.sleep(2)
        after, _, rss = q.process()
        ok(after - before < 0.1, "a card with nothing to do does nothing", f"got {after - before:.2f} s of CPU in 2 s")
        ok(rss < 128 * MiB, "8 cores and 8 GiB, idle, cost less than 128 MiB", f"got {rss >> 20} MiB resident")
    with Qemu(None) as q:
        _, without, _ = q.process()
        equal(threads - without, 9, "as many threads as asked for, and one")


def test_unplug():
    with Qemu(None, extra=["-device", "pcie-root-port,id=slot1,chassis=1,slot=1,addr=3"]) as q:
        q.cfg(0x18, 4, 0x00010100, devfn=3 << 3)
        # What the bridge passes on: memory below 4 GiB, prefetchable memory at BAR4.
        q.cfg(0x20, 4, 0xE7F0E000, devfn=3 << 3)
        q.cfg(0x24, 4, 0x0FF10001, devfn=3 << 3)
        q.cfg(0x28, 4, BAR4 >> 32, devfn=3 << 3)
        q.cfg(0x2C, 4, BAR4 >> 32, devfn=3 << 3)
        q.cfg(4, 2, 0x6, devfn=3 << 3)
        q.bus, q.devfn = 1, 0
        start = None
        for turn in range(6):
            reply = q.qmp("device_add", driver="kiln", id="card", bus="slot1", hbm=64 * MiB)
            equal(reply, {}, f"turn {turn}: plugged in")
            q.place()
            if turn % 2:
                spinning(q)
            else:
                equal(q.boot(), READY, "  boots")
            q.qmp("device_del", id="card")
            # The guest agrees: ACPI's eject register of the bus with this number.
            q.ask("outl 0xcd0 0x0")
            for selector in range(4):
                q.ask(f"outl 0xcd0 {selector:#x}")
                q.ask("outl 0xcc8 0x1")
            ok(q.told("DEVICE_DELETED"), "  unplugged")
            _, threads, rss = q.process()
            start = start or threads
            equal(threads, start, "  no thread is left")
        ok(rss < 128 * MiB, "no memory is left", f"got {rss >> 20} MiB resident")


class Vtd:
    """The one thing that Intel's IOMMU is to do here: 2 MiB of I/O addresses to ADMIN."""
    BASE, TABLES, IOVA = 0xFED90000, 0x600000, 0x7_4000_0000

    def __init__(self, q):
        self.q = q
        root, context, l4, l3, l2 = (self.TABLES + i * 4096 for i in range(5))
        q.write(root, struct.pack("<QQ", context | 1, 0))
        q.write(context + q.devfn * 16, struct.pack("<QQ", l4 | 1, 1 << 8 | 2))
        q.w(l4, l3 | 3, 8)
        q.w(l3 + (self.IOVA >> 30) * 8, l2 | 3, 8)
        q.w(l2 + (self.IOVA >> 21 & 511) * 8, ADMIN | 3 | 1 << 7, 8)
        for reg, value in ((0x38, 0), (0x3C, 0x400), (0x40, 0xFEE00000)):  # faults raise an NMI
            q.w(self.BASE + reg, value)
        q.w(self.BASE + 0x20, root, 8)
        q.w(self.BASE + 0x18, 1 << 30)
        q.w(self.BASE + 0x18, 1 << 31)

    def faulted(self):
        status = self.q.r(self.BASE + 0x34)
        return bool(status & 2)


def test_iommu():
    with Qemu(extra=["-device", "intel-iommu,aw-bits=48"], accel="tcg") as q:
        q.place()
        equal(q.boot() == READY and q.admin.do(ADM_NOP), ST_OK, "with translation off")
        q.flr()
        q.place()
        vtd = Vtd(q)
        equal((q.boot(), q.reg(ERROR)), (FAILED, BOOT_DMA), "translation on: memory's own addresses are not mapped")
        ok(vtd.faulted(), "  and the IOMMU has reported it")
        q.flr()
        q.place()
        q.iova = vtd.IOVA - ADMIN
        equal(q.boot() == READY and q.admin.do(ADM_NOP), ST_OK, "it boots with rings at I/O addresses")
        copy = (lambda *a: q.admin.do(COPY, struct.pack("<QQQII", *a)))
        data = random.Random(4).randbytes(70001)
        q.write(ADMIN + MiB, data)
        equal(copy(8 * MiB, vtd.IOVA + MiB, len(data), 0, 1), ST_OK, "copy from an I/O address")
        equal(q.read(BAR4 + 8 * MiB, len(data)), data, "  the bytes")
        equal(copy(vtd.IOVA + 2 * MiB - 64, 8 * MiB, 128, 1, 0), ST_BUS, "beyond what is mapped")
        # Cores fetch their programs themselves, here from the host's memory at 4 MiB.
        rings = [tenant(q, i, i, ADMIN + 0x10000 * i) for i in (1, 2)]
        q.write(ADMIN + MiB, HALT)
        for turn in range(20):
            for r in rings:
                r.post(*[command(EXEC, i, len(HALT), struct.pack("<Q", 5 * MiB)) for i in range(10)])
            if turn % 4 == 3:
                time.sleep(turn * 0.0001)
                q.flr()
                q.place()
                if turn == 19:
                    break
                equal(q.boot(), READY, "  FLR while the cores fetch; it boots again")
                rings = [tenant(q, i, i, ADMIN + 0x10000 * i) for i in (1, 2)]
            else:
                equal([(r.take() or (0, 0))[:2] for i in range(10) for r in rings],
                      [(i, ST_OK) for i in range(10) for r in rings], "programs in the host's memory run")
        alive(q, "at the end")


def test_many():
    """Nothing is forgotten: a command that nobody was woken for would wait for the next heartbeat, 500 ms."""
    for cores, threads in ((1, 1), (2, 2), (4, 2), (8, 3)):
        with Qemu(f"kiln,hbm=64M,cores={cores},threads={threads}") as q:
            q.place()
            equal(q.boot(), READY, f"{cores} cores, {threads} threads")
            rings = [tenant(q, i, i, ADMIN + 0x10000 * i) for i in range(1, 9)]
            q.write(BAR4 + 2 * MiB, HALT)
            rnd = random.Random(cores)
            slow = wrong = 0
            for _ in range(150):
                some = rnd.sample(rings, rnd.randint(1, 8))
                start = time.monotonic()
                for r in some:
                    r.post(*[command(*rnd.choice(((NOP, 3), (EXEC, 3, len(HALT), SPIN))))
                             for _ in range(rnd.randint(1, 6))])
                for r in some:
                    while r.head != r.tail:
                        done = r.take()
                        wrong += not done or done[:2] != (3, ST_OK)
                        if not done:
                            raise Died("a command did not complete")
                slow += time.monotonic() - start > 0.25
                time.sleep(rnd.choice((0, 0, 0, 0.002)))
            # A round in a hundred may be the machine's, which has other things to do.
            equal((wrong, slow // 5), (0, 0), "  all commands end, and nearly all soon: wrong, slow in fives")


def test_properties():
    for device, words in (
            ("cores=0", "cores must be 1 to 8, not 0"),
            ("cores=9", "cores must be 1 to 8, not 9"),
            ("cores=4294967295", "cores must be 1 to 8"),
            ("hbm=3", "hbm must be a power of two from 64M to 256G, not 3 bytes"),
            ("hbm=0", "hbm must be a power of two"),
            ("hbm=6G", "hbm must be a power of two"),
            ("hbm=32M", "from 64M"),
            ("hbm=1T", "to 256G"),
            ("generation=foo", "generation must be trn1, trn2 or trn3, not 'foo'"),
            ("generation=", "generation must be trn1, trn2 or trn3, not ''"),
            ("threads=9", "threads must be 0"),
            ("inject=fire", "inject must be of none, firmware-crash, firmware-hang, lost-irq, stuck-dma, "
             "bad-completion, bad-index, all-ones, not 'fire'"),
            ("inject=lost-irq+", "not ''"),
            ("inject=lost-irq:before=3", "after 'lost-irq:' comes after=N, a number of commands, not 'before=3'"),
            ("inject=lost-irq:after=x", "not 'after=x'"),
            ("nonsense=1", "nonsense")):
        done = subprocess.run([QEMU, *FIRMWARE, "-machine", "q35", "-accel", "qtest", "-nodefaults", "-display", "none",
                               "-S", "-device", f"kiln,{device}"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60)
        text = done.stderr.strip()
        ok(done.returncode and words in text and "\n" not in text, f"{device}: refused in one line",
           f"expected ... {words}", f"got {text!r}, status {done.returncode}")


def main(names):
    """Run what is called test_... of these, and end."""
    if not QEMU:
        sys.exit("KILN_QEMU is not set: the QEMU to test")
    wanted = sys.argv[1:]
    for name, test in list(names.items()):
        if not name.startswith("test_") or wanted and not any(w in name for w in wanted):
            continue
        print(f"# {name}", flush=True)
        try:
            test()
        except Died as e:
            ok(False, f"{name}: QEMU answers", *str(e).strip().splitlines()[-5:])
        except Exception as e:  # pylint: disable=broad-except
            ok(False, f"{name}: runs to its end", f"{type(e).__name__}: {e}",
               f"line {e.__traceback__.tb_next and e.__traceback__.tb_next.tb_lineno}")
    print(f"1..{Tap.count}")
    sys.exit(Tap.failed != 0)


if __name__ == "__main__":
    main(globals())
