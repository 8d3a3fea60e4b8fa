// SPDX-License-Identifier: MIT
/*
 * bridge PORT TCP-PORT: what a client of the host sends into a virtio port goes to a
 * server of this guest, and back. A client at a time; the next one waits at the host.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int connect_to(unsigned int port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* What is there to read goes on; 0 at its end. */
static int pass(int from, int to)
{
	char data[16384];
	ssize_t n = read(from, data, sizeof(data));

	for (ssize_t done = 0, wrote; done < n; done += wrote) {
		wrote = write(to, data + done, n - done);
		if (wrote <= 0)
			return 0;
	}
	return n > 0;
}

/* Until one of them ends. POLLHUP of the port: the client has gone. */
static void serve(int port, int server)
{
	struct pollfd fd[2] = { { .fd = port, .events = POLLIN }, { .fd = server, .events = POLLIN } };

	while (poll(fd, 2, -1) > 0) {
		if (fd[1].revents && !pass(server, port))
			return;
		if (fd[0].revents & POLLIN) {
			if (!pass(port, server))
				return;
		} else if (fd[0].revents & POLLHUP) {
			return;
		}
	}
}

int main(int argc, char **argv)
{
	int port;

	if (argc != 3) {
		fputs("usage: bridge PORT TCP-PORT\n", stderr);
		return 2;
	}
	port = open(argv[1], O_RDWR);
	if (port < 0) {
		perror(argv[1]);
		return 1;
	}
	for (;;) {
		struct pollfd fd = { .fd = port, .events = POLLIN };
		int server;

		poll(&fd, 1, -1);
		if (!(fd.revents & POLLIN)) {
			usleep(20000);	/* nobody is there: POLLHUP has no end that can be waited for */
			continue;
		}
		server = connect_to(atoi(argv[2]));
		if (server < 0) {
			perror("bridge: the server does not answer");
			return 1;
		}
		serve(port, server);
		close(server);
	}
}
