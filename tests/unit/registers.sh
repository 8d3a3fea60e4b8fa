#!/bin/sh
# SPDX-License-Identifier: MIT
# Each block of registers, each state of the card and of a queue.
exec python3 tests/qtest/kiln_registers.py
