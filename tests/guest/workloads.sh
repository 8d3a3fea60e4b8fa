#!/bin/sh
# SPDX-License-Identifier: MIT
# What make run shows: the workloads on the card, each checked. The status is 1 if one is wrong.
exec "${KILN_BUILD:-build/tree}/bin/kiln" selftest "$@"
