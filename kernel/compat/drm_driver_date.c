// SPDX-License-Identifier: GPL-2.0-only
/* struct drm_driver had a date until 6.14. */
#include <drm/drm_drv.h>

char *probe(struct drm_driver *driver)
{
	return driver->date;
}
