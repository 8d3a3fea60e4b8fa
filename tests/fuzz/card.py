#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A guest that writes anything anywhere, against the real device: see tests/fuzz/card, which runs it.

A session is one QEMU under ASan and UBSan, whose CPU is this program (qtest), and is made of runs. A run sets the card up as a
driver does, then does plausible things with something broken in a part of them, and ends with a reset of the function. The guest's RAM
is a sparse file, and what has been given to the card is known: after each run, every page of RAM that has come into being has to
be one of those. Reading makes a page, too. After the reset all of RAM is given back, and none of it may come into being again.

Without an IOMMU, "given" is what registers, commands, page tables and the MSI-X table have ever named. With one it is what the
IOMMU maps, and the guest names whatever it likes.
"""
import argparse
import collections
import ctypes
import json
import mmap
import os
import random
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../qtest"))
from kiln_device import (ADMIN, BAR0, BAR2, BAR4, CTRL, DOORBELL, ONES, READY, ROM, SQ, STATUS, Died, MiB, Qemu,  # noqa: E402
                         Vtd, command, program, spin)

GiB = 1 << 30
LOW = 64 * MiB              # of RAM below 4 GiB
HIGH = 4 * GiB              # the rest begins here, far from what a small number could name
RAM = 1024 * MiB
TOP = HIGH + RAM - LOW
LENT = HIGH + 800 * MiB     # pages that are taken away again, each once
# What the card is told of, each 2 MiB. The rings are the last of RAM: what is too long runs into nothing.
DATA = (HIGH + 720 * MiB, HIGH + 788 * MiB)
RINGS = TOP - 2 * MiB
MSI = TOP - 4096
WINDOWS = DATA + (RINGS,)
ECAM = 0xB0000000
HBM = 64 * MiB
PAGE = 4096

# HBM: a context's page tables, then what its programs work with.
TABLES, PROGRAMS = MiB, 2 * MiB
CONTEXTS, QUEUES = 3, 6
COPIES = 4                          # the first programs: copy.kasm
SMALL, LARGE = 4 * MiB, 6 * MiB     # device addresses: 4 KiB pages from here on; 2 MiB of the host's

WORDS = (0, 1, 2, 3, 4, 7, 8, 63, 64, 255, 256, 4095, 4096, 65535, 1 << 20, 1 << 21, (1 << 31) - 1, 1 << 31, ONES - 1, ONES,
         1 << 32, 1 << 47, 1 << 48, 1 << 52, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1)
# Where there is no memory, or none that DMA may have.
NOWHERE = (0x30_0000_0000, BAR0, BAR0 + 0x100, DOORBELL, BAR2, ROM, 0xFEE00000, 0xFED90000, ECAM, 0xA0000, TOP, TOP + GiB,
           1 << 47, 1 << 52, (1 << 64) - 4096, (1 << 64) - 64)

STATUSES = ("ok", "bad command", "bad program", "illegal", "operand", "memory", "page fault", "bus", "timeout", "deadlock",
            "context stopped", "aborted", "bad state", "no space")

SEEK_DATA, SEEK_HOLE = 3, 4
PUNCH_HOLE = 3              # and keep the size

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Wrong(Exception):
    """The card has done what it must not."""


class Machine(Qemu):
    """QEMU under sanitizers, its RAM in a file of ours, and many commands on their way at once."""

    msi = MSI

    def __init__(self, device, iommu):
        fd, path = tempfile.mkstemp(dir="/dev/shm", prefix="kiln-fuzz.")
        os.unlink(path)
        os.ftruncate(fd, RAM)
        os.set_inheritable(fd, True)
        self.fd = fd
        self.ram = mmap.mmap(fd, RAM)
        self.lines = []
        extra = ["-object", f"memory-backend-file,id=ram,size={RAM},mem-path=/proc/{os.getpid()}/fd/{fd},share=on",
                 "-machine", f"memory-backend=ram,max-ram-below-4g={LOW}"]
        if iommu:
            extra += ["-device", "intel-iommu,aw-bits=48"]
        super().__init__(device, RAM, extra)
        # All of the configuration space, not its first 256 bytes only.
        self.cfg(0x60, 4, ECAM | 1, devfn=0)
        self.cfg(0x64, 4, 0, devfn=0)
        self.ecam = ECAM + (self.devfn << 12)
        self.shadow = bytearray(4096)   # of the MSI-X table

    def __exit__(self, *args):
        super().__exit__(*args)
        self.ram.close()
        os.close(self.fd)

    # RAM, past QEMU: it is the same memory.

    @staticmethod
    def at(addr):
        return addr - HIGH + LOW if addr >= HIGH else addr

    def poke(self, addr, data):
        self.ram[self.at(addr):self.at(addr) + len(data)] = data

    def peek(self, addr, size):
        return self.ram[self.at(addr):self.at(addr) + size]

    def made(self):
        """The pieces of RAM, by guest address, that exist."""
        pieces, at = [], 0
        while True:
            try:
                at = os.lseek(self.fd, at, SEEK_DATA)
            except OSError:
                return pieces
            end = os.lseek(self.fd, at, SEEK_HOLE)
            for begin, stop in ((at, min(end, LOW)), (max(at, LOW), end)):
                if begin < stop:
                    base = HIGH - LOW if begin >= LOW else 0
                    pieces.append((begin + base, stop + base))
            at = end

    def unmake(self, begin, end):
        if libc.fallocate(self.fd, PUNCH_HOLE, self.at(begin), end - begin):
            raise OSError(ctypes.get_errno(), "fallocate")

    # Pipelined: what is sent needs no answer but "OK".

    def send(self, line):
        self.lines.append(line)
        if len(self.lines) >= 100:
            self.flush()

    def flush(self):
        lines, self.lines = self.lines, []
        if not lines:
            return
        try:
            self.proc.stdin.write(("\n".join(lines) + "\n").encode())
            self.proc.stdin.flush()
        except OSError as e:
            raise Died(self.stderr()) from e
        for line in lines:
            answer = self.line(line)
            if not answer.startswith(b"OK"):
                raise Died(f"{line}: {answer}")

    def line(self, asked):
        """One line of the answer."""
        end = time.monotonic() + 60
        while b"\n" not in self.buf:
            if time.monotonic() > end:
                raise Died(f"no answer within a minute to {asked[:60]}")
            data = os.read(self.proc.stdout.fileno(), 65536)
            if not data:
                self.proc.wait()
                raise Died(self.stderr())
            self.buf += data
        line, self.buf = self.buf.split(b"\n", 1)
        return line

    def ask(self, text):
        self.lines.append(text)
        last = self.lines
        self.lines = last[:-1]
        self.flush()
        self.proc.stdin.write(text.encode() + b"\n")
        self.proc.stdin.flush()
        words = self.line(text).split()
        if words[0] != b"OK":
            raise Died(f"{text[:60]}: {words}")
        return words[1].decode() if len(words) > 1 else None

    def put(self, addr, value, size=4):
        self.send(f"write{' bw l   q'[size]} {addr:#x} {value & (1 << 8 * size) - 1:#x}")

    def get(self, addr, size=4):
        self.send(f"read{' bw l   q'[size]} {addr:#x}")


class Queue:
    def __init__(self, number, log2):
        self.number, self.log2 = number, log2
        self.sq = RINGS + number * 0x20000
        self.cq, self.ctl = self.sq + 0x8000, self.sq + 0x10000
        self.tail = self.head = 0


class Run:
    def __init__(self, q, seed, iommu, programs):
        self.q, self.iommu, self.programs = q, iommu, programs
        self.rnd = random.Random(seed)
        self.ops = 0
        self.kinds = collections.Counter()
        self.given = [(MSI, MSI + PAGE)]
        self.rings = {}
        self.lent = 0
        self.lender = Queue(QUEUES + 1, 4)
        self.queues = [Queue(i, self.rnd.choice((3, 4, 5, 8))) for i in range(QUEUES + 1)]
        self.cookie = 0

    # What is given

    def give(self, addr, size):
        """False: it is not to be, the card would write submissions of its own."""
        if self.iommu or not size:
            return True
        end = min(addr + size, 1 << 64)
        for begin, stop in ((0, LOW), (HIGH, TOP)):
            begin, stop = max(begin, addr), min(stop, end)
            if begin < stop:
                if stop > RINGS and begin < MSI:
                    return False
                self.given.append((begin & -PAGE, stop + PAGE - 1 & -PAGE))
        return True

    def give_ring(self, addr, size):
        """Part of a queue, as large as it has ever been."""
        if not self.iommu:
            self.given.append((addr & -PAGE, min(addr + size + PAGE - 1, 1 << 64) & -PAGE))
            self.rings[addr] = max(size, self.rings.get(addr, 0))

    def give_rings(self, queue):
        """What this program itself writes and reads of a queue."""
        self.give_ring(queue.sq, 64 << queue.log2)
        self.give_ring(queue.cq, 64 << queue.log2)
        self.give_ring(queue.ctl, 128)

    def give_command(self, cmd):
        """What a command names. False: not this one."""
        if self.iommu:
            return True
        opcode, param, _, a, b, size, dst_host, src_host = struct.unpack_from("<B3xIQQQQII", cmd)
        if opcode == 0x49 and 0 < size:
            return (dst_host != 1 or self.give(a, size)) and (src_host != 1 or self.give(b, size))
        if opcode in (0x4A, 0x4C):
            return self.give(a, min(size, 4096))
        if opcode == 0x45:
            sq, cq, ctl, log2 = struct.unpack_from("<QQQI", cmd, 24)
            if 3 <= log2 <= 12:
                for addr, bytes_ in ((sq, 64 << log2), (cq, 64 << log2), (ctl, 128)):
                    if addr % PAGE == 0 and addr not in self.own:
                        return False    # a ring over another one's submissions, or over what others write
                    if addr % PAGE == 0:
                        self.give_ring(addr, bytes_)
        return True

    own = frozenset(RINGS + i * 0x20000 + part for i in range(16) for part in (0, 0x8000, 0x10000)) | frozenset(NOWHERE)

    def give_entry(self, entry):
        """A page table entry."""
        if self.iommu or entry & 5 != 5:
            return True
        addr = entry & 0xFFFFFFFFFF000
        return self.give(addr & -2 * MiB, 2 * MiB) if entry & 8 else self.give(addr, PAGE)

    def check(self, when):
        allowed = sorted([(w, w + 2 * MiB) for w in WINDOWS] if self.iommu else self.given)
        merged = []
        for begin, end in allowed + self.q.before:
            merged.append((begin, end))
        merged.sort()
        for begin, end in self.q.made():
            at = begin
            for first, last in merged:
                if first <= at < last:
                    at = last
            if at < end:
                raise Wrong(f"{when}: the card touched guest memory at {at:#x}, which it was not given")
        # Behind a completion ring or a control block nobody writes, in its last page neither.
        for addr, size in self.rings.items():
            if addr >= RINGS and addr % 0x20000 and any(self.q.peek(addr + size, -size % PAGE)):
                raise Wrong(f"{when}: the card wrote behind the {size} bytes of a ring at {addr:#x}")

    # What is written

    def word(self):
        r = self.rnd
        how = r.random()
        if how < 0.3:
            return r.choice(WORDS)
        if how < 0.6:
            return r.getrandbits(r.choice((1, 4, 8, 16, 32)))
        return r.choice(NOWHERE) if how < 0.7 else r.getrandbits(64)

    def host(self):
        """An address of host memory."""
        r = self.rnd
        how = r.random()
        if how < 0.75:
            return r.choice(DATA) + r.choice((0, 0, PAGE, r.randrange(512) * PAGE, r.randrange(2 * MiB)))
        if how < 0.8:
            return r.choice(DATA) + 2 * MiB - r.choice((1, 64, PAGE))
        if how < 0.85:
            return BAR4 + r.choice((0, TABLES, PROGRAMS, HBM - PAGE, HBM - 64, r.randrange(HBM)))
        if how < 0.9 and self.iommu:
            return r.choice((0, HIGH, r.randrange(LOW), HIGH + r.randrange(RAM - LOW), RINGS))
        return r.choice(NOWHERE)

    def break_(self, data):
        """Bytes with something broken."""
        r = self.rnd
        data = bytearray(data)
        for _ in range(r.choice((1, 1, 1, 2, 3))):
            size = r.choice((1, 2, 4, 4, 8, 8))
            at = r.randrange(0, len(data) - size + 1, size)
            how = r.random()
            if how < 0.25:
                data[at] ^= 1 << r.randrange(8)
            elif how < 0.5:
                value = int.from_bytes(data[at:at + size], "little") + r.choice((-1, 1, 8, 64, PAGE, -PAGE))
                data[at:at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            else:
                data[at:at + size] = (self.word() & (1 << 8 * size) - 1).to_bytes(size, "little")
        return bytes(data)

    def exec_(self):
        r = self.rnd
        self.cookie += 1
        which = r.randrange(COPIES) if r.random() < 0.5 else r.randrange(len(self.programs))
        place = PROGRAMS + which * 0x4000
        code, args = self.programs[which]
        wait = signal = 0
        if r.random() < 0.2:
            wait = r.choice((PROGRAMS + 0x100000 + 8 * r.randrange(16), SMALL + PAGE * r.randrange(512), LARGE + 8))
        if r.random() < 0.4:
            signal = r.choice((PROGRAMS + 0x100000 + 8 * r.randrange(16), SMALL + PAGE * r.randrange(512), LARGE + 8))
        body = struct.pack("<QQQQQQ", place, PROGRAMS + 0x110000 + 512 * r.randrange(8) if args else 0, wait, r.randrange(3),
                           signal, r.randrange(4))
        if r.random() < 0.4:
            return command(0, self.cookie, 0, bytes(16) + body[16:])
        return command(1, self.cookie, len(code) | args << 24, body)

    def admin(self):
        r = self.rnd
        self.cookie += 1
        kind = r.choice((0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x45, 0x46, 0x47, 0x47, 0x48, 0x49, 0x49, 0x49, 0x4A, 0x4B, 0x4C, 0x4D))
        context, queue = r.randint(1, CONTEXTS), r.choice(self.queues[1:])
        body, param = b"", 0
        if kind in (0x42, 0x43, 0x44, 0x47):
            body = struct.pack("<I", context)
        elif kind in (0x41, 0x4D):
            body = struct.pack("<IIQII", context, r.choice((1, 7, 1024)), self.root(context) if kind == 0x41 else 0, r.randrange(3),
                               r.choice((0, 0, 100, 900)))
        elif kind == 0x45:
            queue.log2 = r.choice((3, 4, 5, 8))
            self.give_rings(queue)
            body = self.create(queue, context)
        elif kind == 0x46:
            body = struct.pack("<I", queue.number)
        elif kind == 0x48:
            body = struct.pack("<QQQ", r.choice((PROGRAMS + 0x200000, 32 * MiB, r.randrange(8 * MiB, HBM))), 0,
                               r.choice((1, 64, PAGE, 65536, 4 * MiB)))
        elif kind == 0x49:
            size = r.choice((1, 63, 64, PAGE, 8191, 65536, MiB))
            hbm = r.choice((16 * MiB, PROGRAMS + 0x110000, r.randrange(8 * MiB, HBM), HBM - size))
            dst, src, to, from_ = r.choice(((hbm, self.host(), 0, 1), (self.host(), hbm, 1, 0), (hbm, 24 * MiB, 0, 0)))
            body = struct.pack("<QQQII", dst, src, size, to, from_)
        elif kind in (0x4A, 0x4C):
            param = context if kind == 0x4A else 0
            body = struct.pack("<QQQI", self.host(), 0, r.choice((1, 64, 72, 232, PAGE)), 1)
        elif kind == 0x4B:
            body = struct.pack("<IIQ", queue.number, 0, max(0, self.cookie - r.randrange(20)))
        return command(kind, self.cookie, param, body)

    def create(self, queue, context):
        return struct.pack("<IIQQQIIII", queue.number, context, queue.sq, queue.cq, queue.ctl, queue.log2,
                           self.rnd.randrange(32), self.rnd.choice((1, 1024)), self.rnd.choice((1, 3, 20)))

    def root(self, context):
        return TABLES + context * 0x10000

    def post(self, queue, cmd, broken=0.2):
        """A command into a ring, not yet told. One in five is broken."""
        for _ in range(5):
            tried = self.break_(cmd) if self.rnd.random() < broken else cmd
            if self.give_command(tried):
                break
        else:
            tried = command(0x40 if not queue.number else 0)
        self.q.poke(queue.sq + queue.tail % (1 << queue.log2) * 64, tried)
        queue.tail = queue.tail + 1 & ONES

    def tell(self, queue):
        """The tail, and the doorbell. As a driver does, the completions are taken first."""
        r = self.rnd
        if r.random() < 0.9:
            self.take(queue)
        self.q.poke(queue.ctl, struct.pack("<I", queue.tail))
        if r.random() < 0.5:
            self.q.poke(queue.ctl + 8, self.q.peek(queue.ctl + 72, 4))
        self.q.put(DOORBELL + queue.number * 4096, r.getrandbits(32))

    def take(self, queue):
        """The completions; how they have ended tells how deep all this reaches."""
        tail, = struct.unpack("<I", self.q.peek(queue.ctl + 72, 4))
        entries = 1 << queue.log2
        for i in range(queue.head, tail if tail - queue.head <= entries else queue.head):
            status, = struct.unpack("<H", self.q.peek(queue.cq + i % entries * 64 + 8, 2))
            if status < len(STATUSES):
                self.kinds[f"{'tenant' if queue.number else 'admin'}: {STATUSES[status]}"] += 1
        queue.head = tail
        self.q.poke(queue.ctl + 4, struct.pack("<I", tail))

    def entry(self, context, level, index, value):
        if self.give_entry(value):
            self.q.put(BAR4 + self.root(context) + level * 4096 + index * 8, value, 8)

    def register(self, offset, value):
        """Enabling fixes the rings: what has been written is what is given."""
        if offset & -4 == CTRL and not self.iommu:
            where = [self.q.reg(SQ + i * 8) | self.q.reg(SQ + i * 8 + 4) << 32 for i in range(3)]
            if any(w % PAGE == 0 and w not in self.own for w in where):
                return
            for w, size in zip(where, (64 << min(self.q.reg(0x138), 12), 64 << min(self.q.reg(0x138), 12), 128)):
                self.give_ring(w, size)
        self.q.put(BAR0 + offset, value)

    def msix(self, offset, value, size):
        """Where an interrupt goes to is memory that is given."""
        # What is not aligned comes to the table in pieces that are, and those of four bytes count.
        data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        table, at, was = self.q.shadow, 0, bytes(self.q.shadow)
        while at < size:
            piece = min(size - at, offset + at & -(offset + at) or 8, 8)
            piece = 1 << piece.bit_length() - 1
            if piece >= 4 and offset + at + piece <= 512:
                table[offset + at:offset + at + piece] = data[at:at + piece]
                for entry in range(offset + at & -16, offset + at + piece, 16):
                    if not self.give(struct.unpack_from("<Q", table, entry)[0], 4):
                        table[:] = was
                        return
            at += piece
        self.q.put(BAR2 + offset, value, size)

    # The run

    def setup(self):
        r, q = self.rnd, self.q
        q.place()
        for v in range(32):
            self.shadow(v, MSI + 4 * v)
        for queue in self.queues:
            q.poke(queue.ctl, bytes(128))
            self.give_rings(queue)
        for i, (code, _) in enumerate(self.programs):
            q.write(BAR4 + PROGRAMS + i * 0x4000, code)
        for i in range(8):
            q.write(BAR4 + PROGRAMS + 0x110000 + 512 * i, struct.pack(
                "<QQQ", r.choice((SMALL, LARGE)) + r.randrange(2 * MiB), r.choice((SMALL, LARGE, LARGE + 2 * MiB - 2048)) +
                PAGE * r.randrange(8), r.choice((1, 3, 1000))) + bytes(488))
        for context in range(1, CONTEXTS + 1):
            self.tables(context)
        admin = self.queues[0]
        for reg, addr in ((SQ, admin.sq), (SQ + 8, admin.cq), (SQ + 16, admin.ctl)):
            q.put(BAR0 + reg, addr & ONES)
            q.put(BAR0 + reg + 4, addr >> 32)
        q.put(BAR0 + 0x110, 0x10000)
        q.put(BAR0 + 0x138, admin.log2)
        self.register(CTRL, 1)
        if q.leaves(1) != READY:
            raise Wrong(f"with all as it should be, the card does not boot: state {q.reg(STATUS)}, error {q.reg(0x108)}")
        for context in range(1, CONTEXTS + 1):
            self.post(admin, command(0x41, context, 0, struct.pack("<IIQ", context, 1, self.root(context))), 0.02)
        self.tell(admin)
        for queue in self.queues[1:]:
            self.post(admin, command(0x45, queue.number, 0, self.create(queue, queue.number % CONTEXTS + 1)), 0.05)
            self.tell(admin)
            q.reg(STATUS)
        lender = self.lender
        lender.tail = lender.head = 0
        self.tables(lender.number)
        q.poke(lender.ctl, bytes(128))
        self.give_rings(lender)
        self.post(admin, command(0x41, 0, 0, struct.pack("<IIQ", lender.number, 1, self.root(lender.number))), 0)
        self.post(admin, command(0x45, 0, 0, struct.pack("<IIQQQIIII", lender.number, lender.number, lender.sq, lender.cq, lender.ctl,
                                                         lender.log2, 1, 1, 20)), 0)
        self.tell(admin)

    def shadow(self, vector, addr):
        struct.pack_into("<QII", self.q.shadow, 16 * vector, addr, 0x100 + vector, 0)

    def tables(self, context):
        r = self.rnd
        at = [self.root(context) + i * 4096 for i in range(4)]
        self.q.write(BAR4 + at[0], bytes(4 * PAGE))
        for level, index, value in ((0, 0, at[1] | 1), (1, 0, at[2] | 1), (2, 1, PROGRAMS | 11), (2, 2, at[3] | 1),
                                    (2, 3, DATA[1] | 15)):
            self.entry(context, level, index, value)
        for index in range(0, 512, r.choice((8, 16, 64))):
            self.entry(context, 3, index, r.choice((DATA[0] + PAGE * r.randrange(512) | 7, DATA[0] + PAGE * index | 5,
                                                    16 * MiB + PAGE * index | 3, HBM - PAGE | 3)))

    def some_commands(self):
        queue = self.rnd.choice(self.queues[1:])
        for _ in range(self.rnd.choice((1, 1, 2, 5, 9))):
            self.post(queue, self.exec_())
            self.ops += 1
        self.tell(queue)

    def some_admin(self):
        for _ in range(self.rnd.choice((1, 1, 2, 4))):
            self.post(self.queues[0], self.admin())
            self.ops += 1
        self.tell(self.queues[0])

    def ring_lie(self):
        """Control blocks and entries that change while the card looks at them."""
        r = self.rnd
        queue = r.choice(self.queues if r.random() < 0.3 else self.queues[1:])
        how = r.random()
        if how < 0.4:
            field = r.choice((0, 4, 8, 64, 68, 72))
            self.q.poke(queue.ctl + field, struct.pack("<I", r.choice((queue.tail + 1, queue.tail - 1, queue.tail + (1 << queue.log2),
                                                                       self.word())) & ONES))
            if field == 0 and not queue.number and r.random() < 0.8:
                self.q.poke(queue.ctl, struct.pack("<I", queue.tail))   # the card would end here most of the time
        elif how < 0.7:
            old = self.q.peek(queue.sq + r.randrange(1 << queue.log2) * 64, 64)
            new = self.break_(old)
            if self.give_command(new):
                self.q.poke(queue.sq + r.randrange(1 << queue.log2) * 64, new)
        else:
            self.q.poke(queue.cq + r.randrange(8) * 64, r.randbytes(64))
        self.q.put(DOORBELL + queue.number * 4096, 1)

    def page_table(self):
        r = self.rnd
        context = r.randint(1, CONTEXTS)
        value = r.choice((0, r.choice(DATA) + PAGE * r.randrange(512) | r.choice((1, 3, 5, 7, 7, 7, 15)), r.randrange(HBM) & -PAGE | 3,
                          self.root(context) + PAGE * r.randrange(4) | r.choice((1, 3)), HBM | 3, HBM - PAGE | 11, self.host() | 7,
                          self.word(), r.choice(DATA) | 7 | 1 << r.randrange(64)))
        self.entry(context, r.choice((0, 1, 2, 3, 3, 3, 3)), r.choice((0, 1, 2, 3, 8 * r.randrange(64), r.randrange(512))), value)

    def registers(self):
        r = self.rnd
        size = r.choice((1, 2, 4, 4, 4, 8))
        offset = r.choice((r.randrange(0x200), 0x10000 + r.randrange(9000), r.randrange(16 * MiB), 16 * MiB - 8 + r.randrange(16),
                           32 * MiB - 8))
        if r.random() < 0.4:
            self.q.get(BAR0 + offset, size)
            return
        value = r.choice((0, 1, 1, 1, ONES, r.getrandbits(32), self.word())) & ~2
        if offset & -4 == CTRL:
            if r.random() < 0.9:
                return      # most runs shall go on
            if size == 4 and offset == CTRL:
                self.register(CTRL, value)
                return
        if SQ <= offset < 0x138 and r.random() < 0.5:
            value = self.host() >> r.choice((0, 32))
        self.q.put(BAR0 + offset, value, size)

    def doorbells(self):
        r = self.rnd
        addr = DOORBELL + r.choice((r.randrange(QUEUES + 2), r.randrange(4096))) * 4096 + r.choice((0, 0, 4, r.randrange(4096)))
        size = r.choice((1, 2, 4, 4, 4, 8))
        if r.random() < 0.2:
            self.q.get(addr, size)
        else:
            self.q.put(addr, self.word(), size)

    def interrupts(self):
        r = self.rnd
        offset = r.choice((16 * r.randrange(32) + r.choice((0, 4, 8, 12)), r.randrange(512), 0x800 + r.randrange(16), r.randrange(4088)))
        self.msix(offset, r.choice((self.word(), self.host(), 0, 1)), r.choice((1, 2, 4, 4, 4, 8)))

    def config(self):
        """Bus mastering, BARs, power, capabilities: anything, and back soon, or nothing else would be tried."""
        r = self.rnd
        for _ in range(r.choice((1, 2, 4))):
            size = r.choice((1, 2, 4))
            at = r.choice((4, 0x10, 0x14, 0x18, 0x20, 0x24, 0x44, 0x88, r.randrange(0x100), r.randrange(0x1000))) & -size
            self.ops += 1
            if r.random() < 0.3:
                self.q.get(self.q.ecam + at, size)
            elif not (at <= 0x88 + 1 and at + size > 0x88 + 1 and self.rnd.random() < 0.95):    # FLR
                self.q.put(self.q.ecam + at, self.word(), size)
        if r.random() < 0.9:
            self.some_commands()
            self.some_admin()
        self.q.put(self.q.ecam + 0x44, 0, 2)
        for bar, addr in ((0, BAR0), (2, BAR2), (4, BAR4)):
            self.q.put(self.q.ecam + 0x10 + bar * 4, addr)
            if bar != 2:
                self.q.put(self.q.ecam + 0x14 + bar * 4, addr >> 32)
        self.q.put(self.q.ecam + 4, 6, 2)
        self.q.cfg(self.q.capability(0x11) + 2, 2, 0x8000)

    def programs_change(self):
        """A program, or its arguments, while it may run."""
        r = self.rnd
        i = r.randrange(len(self.programs))
        code = self.programs[i][0]
        how = r.random()
        if how < 0.5:
            at = r.randrange(0, len(code), 8)
            self.q.put(BAR4 + PROGRAMS + i * 0x4000 + at, struct.unpack("<Q", self.break_(code[at:at + 8]))[0], 8)
        elif how < 0.7:
            self.q.write(BAR4 + PROGRAMS + i * 0x4000, code)
        else:
            self.q.put(BAR4 + PROGRAMS + 0x110000 + 512 * r.randrange(8) + 8 * r.randrange(3),
                       r.choice((SMALL + r.randrange(2 * MiB), LARGE + r.randrange(2 * MiB), self.word())), 8)

    def memory(self):
        """HBM by any width, beyond its end, too; not the page tables, whose words are counted."""
        r = self.rnd
        offset = r.choice((r.randrange(PROGRAMS + 0x200000, HBM), HBM - r.randrange(8), HBM + r.randrange(PAGE)))
        size = r.choice((1, 2, 4, 8))
        if r.random() < 0.5:
            self.q.get(BAR4 + offset, size)
        else:
            self.q.put(BAR4 + offset, self.word(), size)

    def revoke(self):
        """A page is taken away while a program copies to it: when the flush is done, nobody touches it any more. The context is
        one that keeps to the rules: the others write their own page tables, too."""
        r, q, admin, queue = self.rnd, self.q, self.queues[0], self.lender
        if self.iommu or r.random() < 0.5:
            return
        context, index = queue.number, r.randrange(512)
        page = LENT + self.lent * PAGE
        self.lent += 1
        self.given.append((page, page + PAGE))
        q.put(BAR4 + self.root(context) + 3 * 4096 + index * 8, page | 7, 8)
        args = PROGRAMS + 0x110000 + 512 * 8
        q.write(BAR4 + args, struct.pack("<QQQ", PROGRAMS, SMALL + index * PAGE, 100000))
        self.cookie += 1
        self.post(queue, command(1, self.cookie, len(self.programs[0][0]) | 3 << 24, struct.pack("<QQ", PROGRAMS, args)), 0)
        self.tell(queue)
        q.reg(STATUS)
        q.put(BAR4 + self.root(context) + 3 * 4096 + index * 8, 0, 8)
        q.flush()       # what is poked overtakes what is on its way
        cookie = page   # nobody else's
        self.post(admin, command(0x47, cookie, 0, struct.pack("<I", context)), 0)
        self.tell(admin)
        for _ in range(50):
            if self.ended(admin, cookie):
                q.unmake(page, page + PAGE)
                self.given.remove((page, page + PAGE))
                self.kinds["pages taken away"] += 1
                return
            if q.reg(STATUS) != READY:
                return
            time.sleep(0.001)

    def ended(self, queue, cookie):
        """Has this command succeeded? A driver that has lost count does not know."""
        return any(struct.unpack("<QH", self.q.peek(queue.cq + i * 64, 10)) == (cookie, 0) for i in range(1 << queue.log2))

    def reset(self):
        """In the middle of it, by one of its ways; what comes after meets a card that is off, or boots again."""
        if self.rnd.random() < 0.9:
            return
        self.q.flush()
        how = self.rnd.randrange(3)
        if how == 0:
            self.q.flr()
            self.again()
        elif how == 1:
            self.q.reg(CTRL, 2)
            self.again()
        else:
            self.q.reg(CTRL, 0)
            self.again()

    def again(self):
        """The rings and contexts are set up anew."""
        q = self.q
        if not q.until(lambda: q.reg(STATUS) in (0, ONES), 20):
            raise Wrong(f"the card does not go off: state {q.reg(STATUS)}")
        for queue in self.queues:
            queue.tail = queue.head = 0
        self.setup()

    ACTIONS = ((some_commands, 10), (some_admin, 6), (ring_lie, 5), (page_table, 6), (registers, 5), (doorbells, 4), (interrupts, 2),
               (config, 1), (programs_change, 3), (memory, 2), (revoke, 1), (reset, 1))

    def go(self, ops):
        q = self.q
        self.setup()
        actions = [a for a, weight in self.ACTIONS for _ in range(weight)]
        while self.ops < ops:
            action = self.rnd.choice(actions)
            action(self)
            self.ops += 1
            self.kinds[action.__name__] += 1
            # A card that has stopped, by what the admin queue was told, is no goal.
            if self.ops % 64 == 0 and q.reg(STATUS) != READY:
                self.kinds["booted again"] += 1
                q.reg(CTRL, 2)
                q.place()
                q.reg(CTRL, 2)
                self.again()
        q.flush()
        q.place()
        q.flr()
        self.check("after the reset")
        # From now on the card has nothing: it reads and writes no memory until it is told of some.
        for begin, end in q.made():
            if not any(first <= begin and end <= last for first, last in q.before):
                q.unmake(begin, end)
        q.place()
        for queue in self.queues:
            q.put(DOORBELL + queue.number * 4096, 1)
        q.reg(STATUS)
        self.given, self.rings = [(MSI, MSI + PAGE)], {}
        iommu, self.iommu = self.iommu, False
        self.check("off, after a reset")
        self.iommu = iommu


class Windows(Vtd):
    """Intel's IOMMU, which maps the windows to themselves and nothing else."""

    def __init__(self, q):  # pylint: disable=super-init-not-called
        self.q = q
        root, context, l4, l3, l2 = (self.TABLES + i * 4096 for i in range(5))
        q.write(root, struct.pack("<QQ", context | 1, 0))
        q.write(context + q.devfn * 16, struct.pack("<QQ", l4 | 1, 1 << 8 | 2))
        q.w(l4, l3 | 3, 8)
        q.w(l3 + (HIGH >> 30) * 8, l2 | 3, 8)
        for window in WINDOWS:
            q.w(l2 + (window >> 21 & 511) * 8, window | 3 | 1 << 7, 8)
        q.w(self.BASE + 0x20, root, 8)
        q.w(self.BASE + 0x18, 1 << 30)
        q.w(self.BASE + 0x18, 1 << 31)


def session(seed, ops, programs, totals):
    """One QEMU: which card it has, and all that follows, comes from the seed."""
    rnd = random.Random(seed)
    iommu = bool(rnd.randrange(3) == 0)
    cores = rnd.choice((1, 2, 2, 8))
    device = (f"kiln,hbm=64M,cores={cores},threads={rnd.randint(1, min(2, cores))},generation=trn{rnd.randint(1, 3)}"
              f"{',sanitize=on' if rnd.random() < 0.15 else ''}")
    print(f"# session {seed}: {device}{', behind an IOMMU' if iommu else ''}", flush=True)
    done = 0
    with Machine(device, iommu) as q:
        if iommu:
            Windows(q)
        q.flush()
        q.before = q.made()
        try:
            while done < ops:
                run = Run(q, rnd.getrandbits(32), iommu, programs)
                run.go(min(rnd.choice((500, 1000, 3000)), ops - done))
                done += run.ops
                totals.update(run.kinds)
                totals["runs"] += 1
            q.qmp("quit")
            q.proc.wait(60)
        except (Wrong, Died, OSError, ValueError, TypeError) as e:
            return done, f"{type(e).__name__}: {e}", q.stderr()
        said = q.stderr()
        if q.proc.returncode or "runtime error" in said or "Sanitizer" in said:
            return done, f"QEMU ended with status {q.proc.returncode}", said
    return done, None, ""


def assemble():
    """Programs to start with: those of the manual's pages, and some that reach for the host's memory, with words of arguments."""
    where = os.path.dirname(os.path.abspath(__file__))
    made = []
    build = os.environ["KILN_BUILD"]
    sources = [os.path.join(where, "copy.kasm")] * COPIES
    pages = os.path.join(where, "../../docs/isa")
    sources += [os.path.join(pages, name) for name in sorted(os.listdir(pages))]
    with tempfile.NamedTemporaryFile() as out:
        for source in sources:
            if os.system(f"{build}/bin/kiln asm {source} -o {out.name} >/dev/null 2>&1"):
                continue
            with open(out.name, "rb") as f:
                code = f.read()
            made.append((code, struct.unpack_from("<I", code, 16)[0] // 8))
    if len(made) < 20:
        sys.exit("kiln asm does not assemble the pages of docs/isa")
    return made + [(spin(), 0), (program((1, 0, 0, 0, 0)), 0)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--ops", type=int, default=1000000)
    p.add_argument("--session", type=int, default=20000, help="operations of one QEMU")
    p.add_argument("--seed", type=int, default=1, help="the first session's; the next has the next one")
    p.add_argument("--seconds", type=int, default=0, help="no session begins after so many")
    p.add_argument("--score", help="a file for the result")
    a = p.parse_args()
    programs = assemble()
    start, done, seed, totals = time.monotonic(), 0, a.seed, collections.Counter()
    while done < a.ops and (not a.seconds or time.monotonic() - start < a.seconds):
        n, wrong, said = session(seed, min(a.session, a.ops - done), programs, totals)
        done += n
        if wrong:
            print(f"{wrong}\n{said[-6000:]}\nagain: tests/fuzz/card --seed {seed} --ops {a.session}")
            sys.exit(1)
        seed += 1
    score = {"operations": done, "seed": a.seed, "sessions": seed - a.seed, "seconds": round(time.monotonic() - start),
             **dict(sorted(totals.items()))}
    print(json.dumps(score))
    if a.score:
        with open(a.score, "w", encoding="utf-8") as f:
            json.dump(score, f, indent=1)


if __name__ == "__main__":
    main()
