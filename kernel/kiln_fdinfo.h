/* SPDX-License-Identifier: GPL-2.0-only */
/* What an open file says of itself in /proc/PID/fdinfo/FD. */
#ifndef KILN_FDINFO_H
#define KILN_FDINFO_H

struct drm_file;
struct drm_printer;

void kiln_fdinfo_show(struct drm_printer *p, struct drm_file *file);

#endif
