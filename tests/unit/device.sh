#!/bin/sh
# SPDX-License-Identifier: MIT
# The card as a PCI device: registers, rings, DMA, reset, hot-unplug, properties.
exec python3 tests/qtest/kiln_device.py
