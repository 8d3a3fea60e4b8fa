// SPDX-License-Identifier: MIT
/*
 * helper_uevent PREFIX: says "ready", and then, of the first uevent with a line that begins so, this line and
 * the event's DEVNAME. Status 1 if there is none within a minute. Others make it happen; alone, it has nothing to test.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The value of the first line that begins with prefix, in lines that end in 0. */
static const char *find(const char *lines, size_t bytes, const char *prefix)
{
	for (const char *line = lines; line < lines + bytes; line += strlen(line) + 1)
		if (!strncmp(line, prefix, strlen(prefix)))
			return line;
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int sock = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	struct pollfd fd = { .fd = sock, .events = POLLIN };
	time_t end = time(NULL) + 60;
	char event[8192];

	if (argc != 2) {
		fprintf(stderr, "usage: helper_uevent PREFIX\n");
		return 2;
	}
	if (sock < 0 || bind(sock, (struct sockaddr *)&kernel, sizeof(kernel))) {
		perror("uevents");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (time(NULL) < end) {
		ssize_t bytes = poll(&fd, 1, 1000) == 1 ? recv(sock, event, sizeof(event) - 1, 0) : 0;
		const char *line, *name;

		if (bytes <= 0)
			continue;
		event[bytes] = 0;
		line = find(event, bytes, argv[1]);
		name = find(event, bytes, "DEVNAME=");
		if (line) {
			printf("%s %s\n", line, name ? name : "");
			return 0;
		}
	}
	return 1;
}
