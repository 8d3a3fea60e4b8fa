// SPDX-License-Identifier: GPL-2.0-only
/* Until 6.13 a symbol namespace was named by a token, since then by a string. */
#include <linux/module.h>

MODULE_IMPORT_NS(DMA_BUF);
