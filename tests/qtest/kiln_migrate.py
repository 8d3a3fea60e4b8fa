#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A machine with the card moves while a program runs: live from one QEMU to the next, and through a file. What arrives is
refused if it does not fit, and does no harm if it is broken.

KILN_QEMU is the QEMU to test. With arguments: only the tests whose names contain one of them. Prints TAP.
"""
import os
import random
import struct
import subprocess
import tempfile
import time

from kiln_device import COPY as COPY_MEMORY
from kiln_device import (BAR4, CLEAR, EXEC, FIRMWARE, HEARTBEAT, NOP, PATIENCE, QEMU, READY, ST_OK, STATUS, MiB, Qemu, command,
                         equal, main, ok, tenant)

CARD = "kiln,hbm=64M"
LOOPS = 8_000_000       # of the counting program: about a second
COUNT = 3 * MiB         # its place, in HBM and for the card
COMMANDS = 100          # beside a migration
LINE = 3 * MiB + 65536  # a u64 for each command that signals
CQ_TAIL = 72            # in a ring's control block
COPY = 3 * MiB + 0x30000    # a program that copies a page
COPY_ARGS = COPY + 4096     # from where and to where, for each page
FROM, TO = 3 * MiB + 0x40000, 3 * MiB + 0x80000
PAGES = 50
COPY_TEXT = """
.args 16
.engine sync
	ldarg rd=r1 slot=0
	ldarg rd=r2 slot=1
	dma_copy dst=sbuf.u8[0+16]@0{256} src=dram.u8@r1{256,1} ring=0 post=1:1
	dma_copy dst=dram.u8@r2{256,1} src=sbuf.u8[0+16]@0{256} ring=0 wait=1:1
"""


def counting(loops):
    """Sync counts down from loops to 0, then ends."""
    code = b""
    for op, rd, rs, rt, target, imm in ((3, 1, 0, 0, 0, loops), (5, 1, 1, 0, 0, -1), (8, 0, 1, 0, 1, 0)):
        code += struct.pack("<B15xBBBBIq", op, rd, rs, rt, 0, target, imm).ljust(128, b"\0")
    head = struct.pack("<IHHB3xIII", 0x4752504B, 1, 0, 0, 64 + len(code), 0, 0) + bytes(32)
    return (head + struct.pack("<II", 64, 3)).ljust(64, b"\0") + code


PROGRAM = counting(LOOPS)
COUNTS = struct.pack("<Q", COUNT)


def nop(cookie, line):
    """Does nothing but write its cookie to a line."""
    return command(NOP, cookie, 0, struct.pack("<QQQQQQ", 0, 0, 0, 0, LINE + 8 * line, cookie))


def assemble(text):
    """A program, as bytes."""
    with tempfile.TemporaryDirectory() as there:
        with open(there + "/text", "w", encoding="utf-8") as f:
            f.write(text)
        subprocess.run([os.environ["KILN_BUILD"] + "/bin/kiln", "asm", there + "/text", "-o", there + "/program"], check=True)
        with open(there + "/program", "rb") as f:
            return f.read()


def copying(q):
    """The program that copies pages, its arguments, and what is to be copied; the program's length."""
    code = assemble(COPY_TEXT)
    q.write(BAR4 + COPY, code)
    q.write(BAR4 + COPY_ARGS, b"".join(struct.pack("<QQ", FROM + i * 4096, TO + i * 4096) for i in range(PAGES)))
    q.write(BAR4 + FROM, random.Random(5).randbytes(PAGES * 4096))
    return len(code)


def copy(i, size):
    return command(EXEC, 2000 + i, size | 2 << 24, struct.pack("<QQ", COPY, COPY_ARGS + i * 16))


def completion(ring, seconds=60):
    """(cookie, status, cycles) of the next one."""
    q = ring.q
    if not q.until(lambda: q.r(ring.ctl + CQ_TAIL) != ring.head, seconds):
        return None
    record = q.read(ring.cq + ring.head % ring.entries * 64, 64)
    ring.head += 1
    q.w(ring.ctl + 4, ring.head)
    cookie, status, cycles = struct.unpack_from("<QH14xQ", record)
    return cookie, status, cycles


def source(card=CARD):
    """A machine that runs, with a tenant; the cycles of its counting program when nobody disturbs it."""
    q = Qemu(card)
    q.place()
    equal(q.boot(), READY, "the card boots")
    q.qmp("cont")
    ring = tenant(q)
    # what tenant() maps at 2 MiB is one large page
    q.write(BAR4 + COUNT, PROGRAM)
    q.write(BAR4 + 40 * MiB, random.Random(3).randbytes(3 * 4096))
    ring.post(command(EXEC, 1, len(PROGRAM), COUNTS))
    done = completion(ring)
    equal(done and done[:2], (1, ST_OK), "undisturbed it runs to its end")
    return q, ring, done and done[2]


def running(q, ring, cookie):
    """Have a core count."""
    before = q.r(ring.ctl + CQ_TAIL)
    ring.post(command(EXEC, cookie, len(PROGRAM), COUNTS), nop(cookie + 1, 0))
    time.sleep(0.1)
    equal(q.r(ring.ctl + CQ_TAIL), before, "a program runs")


def moved(q, ring, cycles, cookie):
    """On the other side: it goes on, and all is there."""
    ring.q = q
    equal(completion(ring), (cookie, ST_OK, cycles), "it ends with the cycles of an undisturbed run")
    done = completion(ring)
    equal(done and done[:2], (cookie + 1, ST_OK), "so does what was behind it")
    equal(q.r(BAR4 + LINE, 8), cookie + 1, "and signals")
    equal(q.read(BAR4 + 40 * MiB, 3 * 4096), random.Random(3).randbytes(3 * 4096), "HBM came along")
    ring.post(command(EXEC, 7, len(PROGRAM), COUNTS))
    equal(completion(ring), (7, ST_OK, cycles), "the next program runs as ever")
    beats = q.reg(HEARTBEAT)
    ok(q.until(lambda: q.reg(HEARTBEAT) != beats), "its heart beats")


def ended(q):
    """The state that a migration has come to."""
    q.until(lambda: q.qmp("query-migrate").get("status") in ("completed", "failed"), 60)
    return q.qmp("query-migrate").get("status")


def test_live():
    with tempfile.TemporaryDirectory() as there:
        uri = f"unix:{there}/socket"
        q, ring, cycles = source()
        with q:
            equal(q.qmp("migrate", uri=f"unix:{there}/nobody") is not None and ended(q), "failed",
                  "a migration to nobody fails")
            running(q, ring, 10)
            with Qemu(CARD, extra=("-incoming", uri)) as other:
                # 8 s at the least: commands come in while memory goes out
                q.write(BAR4 + 48 * MiB, random.Random(4).randbytes(8 * MiB))
                size = copying(q)
                for where in (8 * MiB, 9 * MiB):
                    q.write(BAR4 + where, random.Random(6).randbytes(20000))
                    q.write(8 * MiB + where, random.Random(7).randbytes(20000))
                q.qmp("migrate-set-parameters", **{"max-bandwidth": MiB})
                q.qmp("migrate", uri=uri)
                ok(q.until(lambda: q.qmp("query-migrate").get("ram", {}).get("normal", 0) > 500),
                   "what the card is to write has been sent already", str(q.qmp("query-migrate")))
                second = tenant_of(q, 2)
                for i in range(COMMANDS):
                    second.post(nop(1000 + i, 1 + i))
                    done = completion(second)
                    if not done or done[:2] != (1000 + i, ST_OK):
                        equal(done, (1000 + i, ST_OK), "a command beside the migration")
                        break
                for i in range(PAGES):
                    second.post(copy(i, size))
                    done = completion(second)
                    if not done or done[:2] != (2000 + i, ST_OK):
                        equal(done, (2000 + i, ST_OK), "a program beside the migration")
                        break
                status = [q.admin.do(COPY_MEMORY, struct.pack("<QQQII", 8 * MiB + 10, 16 * MiB, 10000, 0, 1)),
                          q.admin.do(CLEAR, struct.pack("<QQQ", 9 * MiB, 0, 10000))]
                equal(status, [ST_OK, ST_OK], "the firmware copies and clears")
                ok(q.qmp("query-migrate").get("status") == "active", "commands and programs run while memory goes out",
                   str(q.qmp("query-migrate")))
                q.qmp("migrate-set-parameters", **{"max-bandwidth": 4096 * MiB})
                equal(ended(q), "completed", "the machine has moved")
                sent = q.qmp("query-migrate")["ram"]["normal"]
                ok(sent < 3000, "what has not changed is sent once: 2048 pages of HBM, some 200 others", f"got {sent}")
                print(f"# {sent} pages sent")
                other.until(lambda: other.qmp("query-status").get("status") != "inmigrate")
                other.qmp("cont")
                moved(other, ring, cycles, 10)
                equal([other.r(BAR4 + LINE + 8 * (1 + i), 8) for i in range(COMMANDS)], [1000 + i for i in range(COMMANDS)],
                      "what the card's firmware wrote meanwhile has arrived")
                was, copied = random.Random(6).randbytes(20000), random.Random(7).randbytes(20000)
                equal(other.read(BAR4 + 8 * MiB, 20000), was[:10] + copied[:10000] + was[10010:], "so has what it copied")
                equal(other.read(BAR4 + 9 * MiB, 20000), bytes(10000) + was[10000:], "and what it cleared")
                equal(other.read(BAR4 + TO, PAGES * 4096), random.Random(5).randbytes(PAGES * 4096),
                      "so has what its programs wrote")


def tenant_of(q, queue):
    """One more queue of context 1."""
    from kiln_device import ADMIN, QUEUE_CREATE, Ring  # pylint: disable=import-outside-toplevel
    ring = Ring(q, queue, ADMIN + 0x10000 * (queue + 1), 4)
    ring.clear()
    equal(q.admin.do(QUEUE_CREATE, struct.pack("<IIQQQIIII", queue, 1, ring.sq, ring.cq, ring.ctl, 4, queue, 1, 10000)),
          ST_OK, "  one more queue")
    return ring


def load(path, card):
    """A QEMU that loads a file, with what it said and its status; None: it lives."""
    with Qemu(card, extra=("-incoming", "defer")) as q:
        try:
            q.qmp("migrate-incoming", uri=f"file:{path}")
            q.until(lambda: q.proc.poll() is not None or
                    q.qmp("query-status").get("status") not in ("inmigrate", "prelaunch"))
        except Exception:  # pylint: disable=broad-except
            pass           # it has ended
        try:
            q.proc.wait(0.5)
        except subprocess.TimeoutExpired:
            return None, q.stderr()
        return q.proc.returncode, q.stderr()


def test_file():
    with tempfile.TemporaryDirectory() as there:
        path = there + "/machine"
        q, ring, cycles = source()
        with q:
            running(q, ring, 20)
            q.qmp("stop")
            q.qmp("migrate", uri=f"file:{path}")
            equal(ended(q), "completed", "the machine is saved")
            # and the one that was saved can go on as well
            q.qmp("cont")
            moved(q, ring, cycles, 20)
        ring.head -= 3
        ring.tail -= 1
        with Qemu(CARD, extra=("-incoming", f"file:{path}")) as other:
            other.until(lambda: other.qmp("query-status").get("status") != "inmigrate")
            other.qmp("cont")
            moved(other, ring, cycles, 20)

        for card, says in ((CARD + ",generation=trn3", "generation= is another one"),
                           (CARD + ",cores=1", "cores= is another number"),
                           (CARD + ",sanitize=on", "sanitize=on"),
                           ("kiln,hbm=128M", "")):
            status, said = load(path, card)
            ok(status == 1 and says in said, f"{card}: refused, {says}", f"status {status}", said[-300:])

        data = open(path, "rb").read()
        at = data.rindex(b"KLKIMAGE") if b"KLKIMAGE" in data else 0
        begin = data.index(b"KLKIMAGE") if at else 0
        ok(0 < begin < at, "the card's state is in the file")
        with open(path + ".new", "wb") as out:
            out.write(data[:begin + 8] + b"\2" + data[begin + 9:])
        status, said = load(path + ".new", CARD)
        ok(status == 1 and "another version of the card" in said, "the state of a newer card is refused and called so",
           f"status {status}", said[-300:])
        seed = int(os.environ.get("KILN_SEED", "1"), 0)
        print(f"# KILN_SEED={seed}")
        rnd = random.Random(seed)
        ends = {"refused": 0, "lives": 0}
        for _ in range(12):
            broken = bytearray(data)
            for _ in range(rnd.randint(1, 6)):
                # half of them in what says which card this is
                where = rnd.choice((rnd.randrange(begin, at), rnd.randrange(begin, begin + 100)))
                broken[where] = rnd.choice((0, 1, 255, rnd.randrange(256)))
            with open(path + ".broken", "wb") as out:
                out.write(broken)
            status, said = load(path + ".broken", CARD)
            if status is None:
                ends["lives"] += 1
            elif status == 1:
                ends["refused"] += 1
            else:
                ok(False, "a broken state ends QEMU in order", f"status {status}", said[-300:])
        ok(ends["refused"] and ends["lives"] + ends["refused"] == 12, f"12 broken states: {ends}")


def test_a_watched_card_stays():
    """sanitize=on: to move it is refused at once, with the reason."""
    with Qemu(CARD + ",sanitize=on") as q:
        said = q.qmp("migrate", uri="file:/dev/null")
        ok("sanitize=on cannot be saved" in said.get("desc", ""), "refused, with the reason", "sanitize=on ...", said)
        equal(q.qmp("query-migrate").get("status"), None, "nothing has begun")


if __name__ == "__main__":
    main(globals())
