#!/bin/sh
# SPDX-License-Identifier: MIT
# A machine with the card is saved and migrated while a program runs.
exec python3 tests/qtest/kiln_migrate.py
