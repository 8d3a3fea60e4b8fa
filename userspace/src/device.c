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
	int err;

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
		err = t->open(name[n] ? name + n + 1 : "", device);
		if (err)
			return err;
		err = kiln_profile_start(*device);
		if (err) {
			kiln_close(*device);
			*device = NULL;
		}
		return err;
	}
	return kiln_error(-EINVAL,
			  "no transport \"%.64s\": there are \"drm\", \"drm:/dev/accel/accelN\", \"sim\" and \"sim:property=value,...\"",
			  name);
}

void kiln_close(struct kiln_device *device)
{
	if (!device)
		return;
	kiln_profile_end(device);
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

int kiln_get_engine_time(struct kiln_device *device, struct kiln_engine_time *time)
{
	if (!device || !time)
		return kiln_error(-EINVAL, "kiln_get_engine_time: an argument is NULL");
	if (!device->transport->engine_time)
		return kiln_error(-EOPNOTSUPP, "kiln_get_engine_time: only a sim card counts that; use transport sim");
	return device->transport->engine_time(device, time);
}

int kiln_set_share(struct kiln_device *device, const struct kiln_share *share)
{
	struct kiln_share s;

	if (!device || !share)
		return kiln_error(-EINVAL, "kiln_set_share: an argument is NULL");
	s = *share;
	if (!s.weight)
		s.weight = KILN_DEFAULT_WEIGHT;
	if (s.weight > KILN_MAX_WEIGHT)
		return kiln_error(-EINVAL, "kiln_set_share: weight %u is above %u",
				  s.weight, KILN_MAX_WEIGHT);
	if ((unsigned int)s.priority > KILN_SHARE_HIGH)
		return kiln_error(-EINVAL, "kiln_set_share: priority %u is not one of enum kiln_share_priority",
				  (unsigned int)s.priority);
	if (s.min_share > KILN_MAX_PROMISE)
		return kiln_error(-EINVAL, "kiln_set_share: min_share %u is above %u thousandths",
				  s.min_share, KILN_MAX_PROMISE);
	return device->transport->share(device, &s);
}
