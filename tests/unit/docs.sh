#!/bin/sh
# SPDX-License-Identifier: MIT
# The tables in README and docs/ are what the source says.
cd "$(dirname "$0")/../.." || exit
exec docs/tables.sh --check
