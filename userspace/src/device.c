// SPDX-License-Identifier: MIT
#include <errno.h>
#include <string.h>

#include "transport.h"

static const struct kiln_transport *const transports[] = {
	&kiln_drm_transport,
	&kiln_sim_transport,
};

int kiln_open(const char *name, struct kiln_device **device)
{
	if (!device)
		return kiln_error(-EINVAL, "kiln_open: device is NULL");
	*device = NULL;
	if (!name)
		name = "drm";

	for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++) {
		const struct kiln_transport *t = transports[i];
		size_t n = strlen(t->name);

		if (strncmp(name, t->name, n) || (name[n] && name[n] != ':'))
			continue;
		return t->open(name[n] ? name + n + 1 : "", device);
	}
	return kiln_error(-EINVAL,
			  "no transport \"%.64s\": there are \"drm\", \"drm:/dev/accel/accelN\", \"sim\" and \"sim:property=value,...\"",
			  name);
}

void kiln_close(struct kiln_device *device)
{
	if (!device)
		return;
	kiln_va_fini(&device->va);
	pthread_mutex_destroy(&device->lock);
	device->transport->close(device);
}

int kiln_get_info(struct kiln_device *device, struct kiln_info *info)
{
	if (!device || !info)
		return kiln_error(-EINVAL, "kiln_get_info: an argument is NULL");
	return device->transport->info(device, info);
}

int kiln_get_fault(struct kiln_device *device, struct kiln_fault_info *fault)
{
	if (!device || !fault)
		return kiln_error(-EINVAL, "kiln_get_fault: an argument is NULL");
	return device->transport->fault(device, fault);
}
