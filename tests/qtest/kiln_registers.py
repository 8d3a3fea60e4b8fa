#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Each block of the card's registers, and each state of the card and of a queue: what stands there after power-on, what can be written and
how wide, and what becomes of the steps that a state does not allow.

KILN_QEMU is the QEMU to test. With arguments: only the tests whose names contain one of them. Prints TAP.
"""
import random
import struct
import tempfile

from kiln_device import (ADM_NOP, ADMIN, BAR0, BAR2, BAR4, CORES, CTL, CTRL, CTX_CREATE, CTX_DESTROY, DOORBELL, DRV_VERSION, ENABLE,
                         ERROR, EXEC, FAILED, FW_VERSION, GENERATION, HBM_HI, HBM_LO, HEARTBEAT, LOG2, MAGIC, NOP, OFF, ONES,
                         QUEUE_CREATE, QUEUE_DESTROY, READY, RESET, RESETTING, SPIN, SPIN_BYTES, SQ, ST_ABORTED, ST_BAD_COMMAND,
                         ST_BAD_STATE, ST_OK, STATUS, BOOT_VERSION, MiB, Qemu, Ring, command, equal, main, ok, tenant)

CLOCK, SBUF_KIB, PSUM_KIB, FAULTS, LOG_HEAD = 0x20, 0x24, 0x28, 0x144, 0x148
LOG, LOG_BYTES = 0x10000, 8192
CTX_SUSPEND, CTX_RESUME, TLB_FLUSH, QUEUE_CANCEL, CTX_SHARE = 0x43, 0x44, 0x47, 0x4B, 0x4D
ST_CONTEXT = 10
WRITABLE = (DRV_VERSION, SQ, SQ + 4, SQ + 8, SQ + 12, CTL, CTL + 4, LOG2)
CONSTANT = {
    generation: {MAGIC: 0x4E4C494B, 4: 0x10000, GENERATION: number, CORES: 2, HBM_LO: 64 * MiB, HBM_HI: 0, 0x18: 4096, 0x1C: 256,
                 CLOCK: clock, SBUF_KIB: sbuf, PSUM_KIB: 16}
    for generation, number, clock, sbuf in (("trn1", 1, 2800000, 192), ("trn2", 2, 2400000, 224), ("trn3", 3, 2400000, 256))}
# What changes by itself, or by CTRL, and is 0 after power-on.
LIVING = (CTRL, STATUS, ERROR, FW_VERSION, HEARTBEAT, FAULTS, LOG_HEAD)
WORDS = (ONES, 0, 0x55555555, 0xAAAAAAAA, 0x12345678)


def words(q, offsets):
    return {hex(o): q.reg(o) for o in offsets}


def test_identity_block():
    for generation, constant in CONSTANT.items():
        with Qemu(f"kiln,hbm=64M,cores=2,generation={generation}") as q:
            q.place()
            expected = {hex(o): v for o, v in constant.items()}
            equal(words(q, constant), expected, f"{generation}: after power-on")
            for value in WORDS:
                for offset in constant:
                    q.reg(offset, value)
            equal(words(q, constant), expected, "  nothing of it can be written")
            q.boot()
            for offset in constant:
                q.reg(offset, 0)
            equal(words(q, constant), expected, "  nor when the firmware runs")
            q.flr()
            q.place()
            equal(words(q, constant), expected, "  and a reset leaves it")


def test_control_block():
    with Qemu() as q:
        q.place()
        zero = {hex(o): 0 for o in WRITABLE + LIVING}
        equal(words(q, WRITABLE + LIVING), zero, "after power-on all is 0")
        for offset in LIVING[1:]:
            for value in WORDS:
                q.reg(offset, value)
        equal(words(q, LIVING), {hex(o): 0 for o in LIVING}, "what is read-only stays so")
        wrong = [(hex(offset), hex(1 << bit)) for offset in WRITABLE for bit in range(32)
                 if q.reg(offset, 1 << bit) is None and q.reg(offset) != 1 << bit]
        equal(wrong, [], "each bit of what describes the driver can be written")
        for i, offset in enumerate(WRITABLE):
            q.reg(offset, 0x1000 + i)
        equal(words(q, WRITABLE), {hex(o): 0x1000 + i for i, o in enumerate(WRITABLE)}, "each word is by itself")
        q.flr()
        q.place()
        equal(words(q, WRITABLE + LIVING), zero, "FLR: 0 again")
        equal(q.boot(), READY, "the firmware runs")
        before = words(q, WRITABLE)
        for offset in WRITABLE:
            q.reg(offset, ONES)
        equal(words(q, WRITABLE), before, "then none of it can be written")
        q.reg(CTRL, ~(ENABLE | RESET) & ONES | ENABLE)
        equal((q.reg(CTRL), q.reg(STATUS)), (ENABLE, READY), "bits of CTRL that mean nothing read as 0")
        q.reg(CTRL, 0)
        q.leaves(RESETTING)
        equal(words(q, WRITABLE), before, "off by CTRL: it is kept")
        q.reg(DRV_VERSION, 7)
        equal(q.reg(DRV_VERSION), 7, "and can be written again")
        q.reg(CTRL, RESET)
        q.leaves(RESETTING)
        equal(words(q, WRITABLE + LIVING[:-1]), {hex(o): 0 for o in WRITABLE + LIVING[:-1]}, "CTRL_RESET: as after power-on")


def test_reserved():
    """Every word of the first page and samples of the rest."""
    known = set(WRITABLE + LIVING) | set(CONSTANT["trn2"])
    rnd = random.Random(5)
    with Qemu() as q:
        q.place()
        others = [o for o in range(0, 0x1000, 4) if o not in known] + [LOG - 4, LOG + LOG_BYTES, 0xFFFFFC]
        others += [rnd.randrange(LOG + LOG_BYTES, 0x1000000, 4) for _ in range(200)]
        equal([hex(o) for o in others if q.reg(o) != ONES], [], f"{len(others)} words that are none read as ones")
        before = words(q, sorted(known))
        for o in others:
            q.reg(o, rnd.getrandbits(32))
        equal(words(q, sorted(known)), before, "  and to write them changes nothing")
        equal(q.boot(), READY, "  the card boots after it")


def test_widths():
    with Qemu() as q:
        q.place()
        known = sorted(set(WRITABLE + LIVING) | set(CONSTANT["trn2"]))
        ways = [(offset, size) for size in (1, 2, 8) for offset in range(0, 4, 1 if size == 1 else 2)]
        bad = [(hex(r + offset), size) for r in known for offset, size in ways
               if not offset % size and q.r(BAR0 + r + offset, size) != (1 << 8 * size) - 1]
        equal(bad, [], "no register is read but as a whole")
        bad = [hex(r + offset) for r in known for offset in (1, 2, 3) if q.read(BAR0 + r + offset, 4 - offset) != b"\xff" * (4 - offset)]
        equal(bad, [], "nor from its middle")
        before = words(q, known)
        for r in known:
            for offset, size in ways:
                q.w(BAR0 + r + offset, (1 << 8 * size) - 1, size)
            q.write(BAR0 + r + 1, b"\xff\xff\xff")
        equal(words(q, known), before, "none is written but as a whole: not one bit, and nothing boots")


def test_log_block():
    with Qemu() as q:
        q.place()
        text = (lambda: q.read(BAR0 + LOG, 4) and b"".join(struct.pack("<I", q.reg(LOG + i)) for i in range(0, 256, 4)))
        equal(text(), bytes(256), "empty after power-on")
        q.boot()
        head, said = q.reg(LOG_HEAD), text()
        ok(0 < head < 256 and b"ready" in said[:head] and said[head:] == bytes(256 - head), "the firmware says that it is ready",
           f"got {head}: {said!r}")
        for i in range(0, 256, 4):
            q.reg(LOG + i, 0)
        equal(text(), said, "nobody else writes there")
        q.flr()
        q.place()
        equal((q.reg(LOG_HEAD), text()), (head, said), "FLR leaves it")
        q.boot(version=0x20000)
        ok(text().startswith(said[:head]) and b"the driver needs firmware 2.0" in text()[head:], "what is said next stands behind it",
           f"got {text()!r}")
        q.reg(CTRL, RESET)
        q.leaves(RESETTING)
        q.place()
        for _ in range(120):
            q.boot(version=0x20000)
            q.reg(CTRL, RESET)
            q.leaves(RESETTING)
        ok(q.reg(LOG_HEAD) > LOG_BYTES, "it goes round", f"got {q.reg(LOG_HEAD)}")
        last = struct.pack("<I", q.reg(LOG + (q.reg(LOG_HEAD) - 1) % LOG_BYTES // 4 * 4))
        equal(chr(last[(q.reg(LOG_HEAD) - 1) % 4]), "\n", "  its last byte ends a line")


def test_doorbell_block():
    with Qemu() as q:
        q.place()
        pages = (0, 1, 2, 77, 4095)
        equal([hex(q.r(DOORBELL + p * 4096 + o, size)) for p in pages for o, size in ((0, 4), (4092, 4), (0, 1), (2, 2), (0, 8))],
              [hex((1 << 8 * size) - 1) for _ in pages for size in (4, 4, 1, 2, 8)], "doorbells read as ones, by any width")
        for p in pages:
            q.w(DOORBELL + p * 4096, 1)
        equal(q.reg(STATUS), OFF, "a card that is off does not hear them")
        q.boot()
        t = tenant(q)
        for cookie, (offset, size) in enumerate(((0, 1), (0, 2), (2, 2), (0, 8), (1, 1), (4088, 8))):
            q.write(t.sq + t.tail % t.entries * 64, command(NOP, cookie))
            t.tail += 1
            q.w(t.ctl, t.tail)
            q.w(DOORBELL + 4096 + offset, 1, size)
        equal(t.take(0.2), None, "nothing but 4 bytes, aligned, rings")
        q.w(DOORBELL + 4096 + 4092, 0)
        equal([(t.take() or [None])[0] for _ in range(6)], list(range(6)), "any word of the page does, whatever is written")


def test_msix_block():
    with Qemu() as q:
        q.cfg(0x18, 4, BAR2)
        q.cfg(4, 2, 6)
        table = (lambda: [struct.unpack("<QII", q.read(BAR2 + 16 * v, 16)) for v in range(32)])
        equal(table(), [(0, 0, 1)] * 32, "after power-on every vector is masked")
        equal(q.read(BAR2 + 0x800, 8), bytes(8), "and none is pending")
        cap = q.capability(0x11)
        equal(q.cfg(cap + 2, 2), 31, "32 vectors, off")
        equal((q.cfg(cap + 4) & 7, q.cfg(cap + 8) & 7), (2, 2), "table and pending bits are in BAR 2")
        for v in range(32):
            q.write(BAR2 + 16 * v, struct.pack("<QII", 0x1_0000_8000 + v * 4, v, 0))
        equal(table(), [(0x1_0000_8000 + v * 4, v, 0) for v in range(32)], "what is written stands there")
        q.w(BAR2 + 0x800, ONES)
        q.w(BAR2 + 0x804, ONES)
        equal(q.read(BAR2 + 0x800, 8), bytes(8), "pending bits are read-only")
        q.cfg(cap + 2, 2, 0xFFFF)
        equal(q.cfg(cap + 2, 2), 0xC01F, "of the control word two bits can be written")
        q.flr()
        q.cfg(0x18, 4, BAR2)
        q.cfg(4, 2, 6)
        equal([e[2] for e in table()], [1] * 32, "FLR masks them")
        equal(q.cfg(cap + 2, 2), 31, "  and turns MSI-X off")


def test_configuration():
    with Qemu() as q:
        exp, pm = q.capability(0x10), q.capability(1)
        fixed = (0, 2, 8, 0xA, 0xE, 0x2C, 0x2E, 0x34, exp, exp + 2, exp + 4, exp + 0xC, pm, pm + 2)
        before = [q.cfg(o, 2) for o in fixed]
        for value in (0xFFFF, 0):
            for o in fixed:
                q.cfg(o, 2, value)
        equal([q.cfg(o, 2) for o in fixed], before, "what the card is cannot be written")
        q.cfg(4, 2, 0xFFFF)
        equal(q.cfg(4, 2) & 0x6, 6, "memory and bus mastering can be turned on")
        q.cfg(0x30, 4, ONES)
        equal(q.cfg(0x30, 4), 0, "no ROM")
        for bar, mask in ((0, 0x01FFFFF0), (2, 0xFF0), (4, 0x03FFFFF0)):
            q.cfg(0x10 + bar * 4, 4, ONES)
            equal(q.cfg(0x10 + bar * 4) & mask, 0, f"BAR {bar}: the bits below its size stay 0")
        q.cfg(pm + 4, 2, 3)
        equal(q.cfg(pm + 4, 2) & 3, 3, "D3 can be entered")
        q.cfg(pm + 4, 2, 0)
        equal(q.cfg(pm + 4, 2) & 3, 0, "  and left")
        q.cfg(exp + 8, 2, 0x8000)
        equal(q.cfg(exp + 8, 2) & 0x8000, 0, "the bit of FLR reads as 0")
        # Write one to clear: a bit that is not set cannot be set.
        q.cfg(exp + 0xA, 2, 0xF)
        equal(q.cfg(exp + 0xA, 2) & 0xF, 0, "errors of the link cannot be set")
        q.cfg(6, 2, 0xF900)
        equal(q.cfg(6, 2) & 0xF900, 0, "nor those of the bus")


def test_write_one_to_clear():
    """The errors of the bus in PCI's status word are all of the card that is cleared so. None happens here: a card that was saved is
    told that each has."""
    errors = [1 << bit for bit in (8, 11, 12, 13, 14, 15)]
    other = 0x0010  # it has capabilities: that is no error
    with tempfile.TemporaryDirectory() as there:
        path = there + "/card"
        with Qemu() as q:
            q.place()
            command_word = q.cfg(4, 2)
            q.qmp("migrate", uri=f"file:{path}")
            q.until(lambda: q.qmp("query-migrate").get("status") in ("completed", "failed"))
        with open(path, "rb") as f:
            saved = f.read()
        head = struct.pack("<HHHH", 0x1234, 0x4B4C, command_word, other)
        equal(saved.count(head), 1, "the configuration of a card that is saved")
        with open(path, "wb") as f:
            f.write(saved.replace(head, head[:6] + struct.pack("<H", other | sum(errors))))
        with Qemu(extra=("-incoming", f"file:{path}")) as q:
            q.until(lambda: q.qmp("query-status").get("status") != "inmigrate")
            left = other | sum(errors)
            equal(q.cfg(6, 2), left, "  it is loaded, and each error has happened")
            q.cfg(6, 2, 0)
            equal(q.cfg(6, 2), left, "zeros clear none")
            q.cfg(6, 2, other)
            equal(q.cfg(6, 2), left, "nor does another bit")
            for error in errors:
                q.cfg(6, 2, error)
                left &= ~error
                equal(q.cfg(6, 2), left, f"a one clears {error:#06x}, and only that")
            q.cfg(6, 2, ONES & 0xFFFF)
            equal((q.cfg(4, 2), q.cfg(6, 2)), (command_word, other), "none comes back, and its other half is as it was")
        for way, clear in (("a write of command and status together", lambda q: q.cfg(4, 4, sum(errors) << 16 | command_word)),
                           ("a reset", lambda q: q.flr())):
            with Qemu(extra=("-incoming", f"file:{path}")) as q:
                q.until(lambda: q.qmp("query-status").get("status") != "inmigrate")
                clear(q)
                equal(q.cfg(6, 2), other, f"{way} clears all")


def test_card_states():
    """Of what a state does not allow nothing happens."""
    with Qemu() as q:
        q.place()
        step = (lambda value: (q.reg(CTRL, value), q.leaves(RESETTING))[1])
        equal(step(0), OFF, "off: to disable it changes nothing")
        equal((step(RESET), q.reg(CTRL)), (OFF, 0), "off: reset leads to off")
        equal((step(RESET | ENABLE), q.reg(CTRL)), (OFF, 0), "reset and enable at once: reset")
        equal((q.boot(version=0x20000), q.reg(ERROR)), (FAILED, BOOT_VERSION), "failed")
        q.reg(DRV_VERSION, 0x10000)
        equal((step(ENABLE), q.reg(ERROR)), (FAILED, BOOT_VERSION), "failed: enabled already, it does not boot again")
        q.w(DOORBELL, 1)
        equal(q.reg(STATUS), FAILED, "failed: a doorbell does not help")
        equal((step(0), q.reg(ERROR), q.reg(CTRL)), (OFF, 0, 0), "failed: disabled, it is off, and the error is gone")
        equal(q.boot(), READY, "ready")
        equal(q.admin.do(CTX_CREATE, struct.pack("<IIQ", 1, 1, MiB)), ST_OK, "  with a context")
        equal((step(ENABLE), q.admin.do(CTX_CREATE, struct.pack("<IIQ", 1, 1, MiB))), (READY, ST_BAD_STATE),
              "ready: to enable it once more forgets nothing")
        equal(step(0), OFF, "ready: disabled, it is off")
        for offset in (SQ, CTL):
            q.reg(offset, q.reg(offset))
        q.admin.tail = q.admin.head = 0
        q.admin.clear()
        q.reg(CTRL, ENABLE)
        equal((q.leaves(1), q.admin.do(CTX_CREATE, struct.pack("<IIQ", 1, 1, MiB))), (READY, ST_OK), "enabled, it knows no context")
        q.cfg(4, 2, 2)
        q.w(q.admin.ctl, 1)
        q.w(DOORBELL, 1)
        equal(q.leaves(READY), FAILED, "without its memory it fails")
        q.cfg(4, 2, 6)
        equal((step(RESET), q.reg(SQ)), (OFF, 0), "failed: a reset leads to off")


def number(value):
    return struct.pack("<I", value)


def queue(q, number_, context=1, base=ADMIN + 0x10000, **wrong):
    field = {"queue": number_, "context": context, "sq": base, "cq": base + 0x4000, "ctl": base + 0x8000, "log2": 4, "vector": 1,
             "weight": 1, "limit": 1000, **wrong}
    return q.admin.do(QUEUE_CREATE, struct.pack("<IIQQQIIII", *field.values()))


def test_queue_create():
    with Qemu() as q:
        q.place()
        q.boot()
        equal(queue(q, 1), ST_BAD_STATE, "a queue of a context that is not there")
        equal(q.admin.do(CTX_CREATE, struct.pack("<IIQ", 1, 1, MiB)), ST_OK, "a context")
        for name, wrong in (("number 0, the admin queue's", {"queue": 0}), ("number 4096", {"queue": 4096}), ("number 2^32 - 1", {"queue": ONES}),
                            ("2^2 entries", {"log2": 2}), ("2^13", {"log2": 13}), ("2^32 and more", {"log2": ONES}),
                            ("a submission ring across a page", {"sq": ADMIN + 64}), ("a completion ring", {"cq": ADMIN + 2048}),
                            ("a control block", {"ctl": ADMIN + 4}), ("a ring at the end of the addresses", {"sq": (1 << 64) - 4096, "log2": 12}),
                            ("vector 32", {"vector": 32}), ("weight 0", {"weight": 0}), ("weight 1025", {"weight": 1025}),
                            ("limit 0", {"limit": 0}), ("limit 10001", {"limit": 10001})):
            equal(queue(q, 1, **wrong), ST_BAD_COMMAND, name)
        for context in (0, 2, 255, 256, ONES):
            equal(queue(q, 1, context=context), ST_BAD_STATE, f"context {context}")
        equal(queue(q, 1, ctl=0x30_0000_0000), 7, "a control block where no memory is")
        equal([queue(q, 1), queue(q, 1)], [ST_OK, ST_BAD_STATE], "after all that it can be made, once")
        equal(queue(q, 4095, base=ADMIN + 0x20000, log2=3, vector=31, weight=1024, limit=10000), ST_OK, "so can the last one, at every limit")


def test_queue_states():
    with Qemu("kiln,hbm=64M,cores=1,threads=1") as q:
        q.place()
        q.boot()
        a = q.admin
        # free
        for opcode in (QUEUE_DESTROY, QUEUE_CANCEL):
            for n in (1, 4095, 4096, ONES, 0):
                equal(a.do(opcode, number(n)), ST_BAD_STATE, f"free: {opcode:#x} of queue {n}")
        # idle
        t = tenant(q)
        equal(a.do(CTX_DESTROY, number(1)), ST_BAD_STATE, "idle: its context cannot go")
        equal(queue(q, 1), ST_BAD_STATE, "idle: it cannot be made")
        equal(a.do(QUEUE_CANCEL, struct.pack("<IIQ", 1, 0, 99)), ST_OK, "idle: what is not there is cancelled")
        equal(a.do(CTX_RESUME, number(1)), ST_BAD_STATE, "idle: there is nothing to resume")
        # running
        t.post(command(EXEC, 1, SPIN_BYTES, SPIN), command(NOP, 2))
        equal(t.take(0.2), None, "running")
        equal(a.do(CTX_DESTROY, number(1)), ST_BAD_STATE, "running: its context cannot go")
        equal(a.do(QUEUE_CANCEL, struct.pack("<IIQ", 1, 0, 1)), ST_OK, "running: the command is cancelled")
        equal([(t.take() or (0, 0))[:2] for _ in range(2)], [(1, ST_ABORTED), (2, ST_OK)], "  and what is behind it goes on")
        # blocked
        wait = struct.pack("<QQQQ", 0, 0, 3 * MiB, 5)
        q.w(BAR4 + 3 * MiB, 0, 8)
        t.post(command(NOP, 3, 0, wait), command(NOP, 4))
        equal(t.take(0.2), None, "blocked by a value that does not come")
        equal(a.do(QUEUE_CANCEL, struct.pack("<IIQ", 1, 0, 4)), ST_OK, "blocked: what is behind can be cancelled")
        equal((t.take() or (0, 0))[:2], (4, ST_ABORTED), "  before its turn")
        q.w(BAR4 + 3 * MiB, 5, 8)
        equal((t.take() or (0, 0))[:2], (3, ST_OK), "  and the value lets it go on")
        # suspended
        equal([a.do(CTX_SUSPEND, number(1)), a.do(CTX_SUSPEND, number(1))], [ST_OK, ST_OK], "stopped, twice is once")
        t.post(command(NOP, 5), command(EXEC, 6, SPIN_BYTES, SPIN))
        equal(t.take(0.2), None, "stopped: nothing starts")
        equal(queue(q, 2, base=ADMIN + 0x20000), ST_OK, "stopped: a queue can be made")
        equal(a.do(QUEUE_DESTROY, number(2)), ST_OK, "  and go")
        equal([a.do(CTX_RESUME, number(1)), a.do(CTX_RESUME, number(1))], [ST_OK, ST_BAD_STATE], "resumed, once")
        equal((t.take() or (0, 0))[:2], (5, ST_OK), "  it goes on")
        equal(t.take(0.1), None, "  and runs")
        # dying
        a.post(command(QUEUE_DESTROY, 50, 0, number(1)), command(QUEUE_DESTROY, 51, 0, number(1)))
        equal(sorted((a.take() or (0, 0))[:2] for _ in range(2)), [(50, ST_OK), (51, ST_BAD_STATE)], "running: destroyed, once")
        equal((t.take() or (0, 0))[:2], (6, ST_ABORTED), "  with its command")
        # full
        t = Ring(q, 1, ADMIN + 0x10000, 3)
        t.clear()
        equal(queue(q, 1, log2=3), ST_OK, "free again: it can be made")
        head, t.head = t.head, 0
        t.post(*[command(NOP, i) for i in range(8)])
        q.until(lambda: q.r(t.ctl + 72) == 8)
        for i in range(4):
            q.write(t.sq + i * 64, command(NOP, 8 + i))
        q.w(t.ctl, 12)
        q.w(DOORBELL + 4096, 1)
        equal(q.until(lambda: q.r(t.ctl + 72) != 8, 0.2), False, "full: no completion overruns another")
        q.w(t.ctl + 4, 2)
        equal(q.until(lambda: q.r(t.ctl + 72) == 10), True, "full: as many as there is room for")
        equal(a.do(QUEUE_DESTROY, number(1)), ST_OK, "full: it can go")
        t.head = head
        # broken
        t = Ring(q, 1, ADMIN + 0x10000, 4)
        t.clear()
        equal(queue(q, 1), ST_OK, "once more")
        q.w(t.ctl, 17)
        q.w(DOORBELL + 4096, 1)
        equal(a.do(ADM_NOP), ST_OK, "broken: its tail is more than a ring ahead")
        q.w(t.ctl, 1)
        q.w(DOORBELL + 4096, 1)
        equal(t.take(0.2), None, "broken: that can not be taken back")
        equal(queue(q, 1), ST_BAD_STATE, "broken: it cannot be made")
        equal(a.do(QUEUE_CANCEL, struct.pack("<IIQ", 1, 0, 0)), ST_OK, "broken: there is nothing to cancel")
        equal([a.do(QUEUE_DESTROY, number(1)), a.do(QUEUE_DESTROY, number(1))], [ST_OK, ST_BAD_STATE], "broken: it can go, once")
        equal(a.do(CTX_DESTROY, number(1)), ST_OK, "without queues the context can go")
        for opcode in (CTX_DESTROY, CTX_SUSPEND, CTX_RESUME, TLB_FLUSH, CTX_SHARE):
            for n in (0, 1, 255, 256, ONES):
                equal(a.do(opcode, struct.pack("<II", n, 1) if opcode == CTX_SHARE else number(n)), ST_BAD_STATE,
                      f"no context: {opcode:#x} of {n}")
        for n in (0, 256, ONES):
            equal(a.do(CTX_CREATE, struct.pack("<IIQ", n, 1, MiB)), ST_BAD_COMMAND, f"no context can be {n}")


if __name__ == "__main__":
    main(globals())
