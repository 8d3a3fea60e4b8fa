// SPDX-License-Identifier: MIT
/*
 * A server whose one io_uring has its sockets and the card's commands: server SOCKET [CARD].
 *
 * A client of the unix socket sends 128 floats, as often as it likes, and gets their sigmoid each
 * time. With the driver, commands are entries of the ring like all others. A simulated card has
 * no commands for rings: its queue's descriptor is polled by the same ring. SIGTERM ends it.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <kiln.h>
#include <kiln_asm.h>

enum { CLIENTS = 16, BYTES = 128 * sizeof(float) };
enum what { ACCEPTED = 1, RECEIVED, COMPUTED, COMPLETED, SENT, STOPPED };

/* What a client has in memory that the card reaches, too. */
struct slot {
	uint64_t args[2];	/* of the program: where the other two are */
	char request[BYTES], answer[BYTES];
};

static const char text[] =
	".engine sync\n"
	"	ldarg rd=r1 slot=0\n"
	"	ldarg rd=r2 slot=1\n"
	"	dma_copy dst=sbuf.f32[0+1]@0{128} src=dram.f32@r1{0,1} ring=0 post=1:1\n"
	"	dma_copy dst=dram.f32@r2{0,1} src=sbuf.f32[0+1]@512{128} ring=0 wait=2:1\n"
	".engine scalar\n"
	"	activation dst=sbuf.f32[0+1]@512{128} src=sbuf.f32[0+1]@0{128} func=sigmoid "
	"scale=1 bias=0 wait=1:1 post=2:1\n";

static struct io_uring ring;
static struct kiln_queue *queue;
static struct kiln_program *program;
static struct kiln_buffer *memory;
static struct slot *slots;
static int sockets[CLIENTS], listener, card_fd, queue_fd;
static bool accepting;

static void must(bool good, const char *why)
{
	if (good)
		return;
	fprintf(stderr, "server: %s\n", why);
	exit(1);
}

/* The ring has room for all that can be under way. */
static struct io_uring_sqe *entry(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	must(sqe, "the ring is full");
	return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum what what, unsigned int client)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)what << 8 | client);
}

/* Who finds no free slot waits until there is one. */
static void accept_one(void)
{
	struct io_uring_sqe *sqe;

	for (unsigned int i = 0; i < CLIENTS && !accepting; i++) {
		if (sockets[i] >= 0)
			continue;
		sqe = entry();
		io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
		tag(sqe, ACCEPTED, i);
		accepting = true;
	}
}

static void receive(unsigned int client)
{
	struct io_uring_sqe *sqe = entry();

	io_uring_prep_recv(sqe, sockets[client], slots[client].request, BYTES, MSG_WAITALL);
	tag(sqe, RECEIVED, client);
}

static void answer(unsigned int client)
{
	struct io_uring_sqe *sqe = entry();

	io_uring_prep_send(sqe, sockets[client], slots[client].answer, BYTES,
			   MSG_NOSIGNAL | MSG_WAITALL);
	tag(sqe, SENT, client);
}

static void leave(unsigned int client)
{
	close(sockets[client]);
	sockets[client] = -1;
	accept_one();
}

static void computed(unsigned int client, const struct kiln_result *result)
{
	if (!result->res)
		return answer(client);
	fprintf(stderr, "server: a command failed: %s\n", strerror(-result->res));
	leave(client);
}

static void done(void *user, const struct kiln_result *result)
{
	computed((struct slot *)user - slots, result);
}

static void compute(unsigned int client)
{
	struct kiln_command command = {
		.program = program, .args_bytes = sizeof(slots->args),
		.args = kiln_addr(memory) + client * sizeof(*slots) + offsetof(struct slot, args),
	};
	struct io_uring_sqe *sqe;

	if (queue_fd < 0) {
		sqe = entry();
		must(!kiln_prep_exec(sqe, card_fd, queue, &command), kiln_last_error());
		tag(sqe, COMPUTED, client);
	} else {
		command.done = done;
		command.user = &slots[client];
		must(!kiln_submit(queue, &command, 1, NULL), kiln_last_error());
	}
}

static void watch(int fd, enum what what)
{
	struct io_uring_sqe *sqe = entry();

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	tag(sqe, what, 0);
}

static void open_card(const char *name)
{
	struct kiln_queue_attr attr = { .way = KILN_SUBMIT_CALLER, .depth = CLIENTS };
	struct kiln_device *card;
	char error[200];
	size_t bytes;
	void *code;

	must(!kiln_open(name, &card), kiln_last_error());
	card_fd = kiln_device_fd(card);
	must(!kiln_queue_create(card, &attr, &queue), kiln_last_error());
	queue_fd = card_fd < 0 ? kiln_queue_fd(queue) : -1;
	must(!kiln_asm_parse(text, &code, &bytes, error, sizeof(error)), error);
	must(!kiln_program_load(card, code, bytes, &program), kiln_last_error());
	free(code);
	must(!kiln_alloc(card, CLIENTS * sizeof(*slots), KILN_HOST, 0, &memory), kiln_last_error());
	slots = kiln_map(memory);
	must(slots, kiln_last_error());
	for (unsigned int i = 0; i < CLIENTS; i++) {
		uint64_t at = kiln_addr(memory) + i * sizeof(*slots);

		slots[i].args[0] = at + offsetof(struct slot, request);
		slots[i].args[1] = at + offsetof(struct slot, answer);
		sockets[i] = -1;
	}
}

static void complete(const struct io_uring_cqe *cqe, bool *stop)
{
	unsigned int client = cqe->user_data & 0xff;
	struct kiln_result result;

	switch ((enum what)(cqe->user_data >> 8)) {
	case ACCEPTED:
		accepting = false;
		sockets[client] = cqe->res;
		if (cqe->res >= 0)
			receive(client);
		accept_one();
		break;
	case RECEIVED:
		/* Gone, or gone in the middle of a request. */
		if (cqe->res != BYTES)
			leave(client);
		else
			compute(client);
		break;
	case COMPUTED:
		kiln_parse_cqe(cqe, &result);
		computed(client, &result);
		break;
	case COMPLETED:
		must(kiln_wait(queue, 0, 0) >= 0, kiln_last_error());
		watch(queue_fd, COMPLETED);
		break;
	case SENT:
		if (cqe->res != BYTES)
			leave(client);
		else
			receive(client);
		break;
	case STOPPED:
		*stop = true;
		break;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 };
	struct io_uring_cqe *cqe;
	bool stop = false;
	sigset_t signals;

	if (argc < 2 || strlen(argv[1]) >= sizeof(name.sun_path))
		return fprintf(stderr, "usage: server SOCKET [drm|sim]\n"), 2;
	strcpy(name.sun_path, argv[1]);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	/* Before the simulated card's threads are there, so that none of them takes the signal. */
	sigprocmask(SIG_BLOCK, &signals, NULL);

	open_card(argc > 2 ? argv[2] : "drm");
	must(!io_uring_queue_init_params(4 * CLIENTS, &ring, &params), "no io_uring here");
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&name, sizeof(name)) || listen(listener, 64))
		must(false, strerror(errno));
	watch(signalfd(-1, &signals, SFD_CLOEXEC), STOPPED);
	if (queue_fd >= 0)
		watch(queue_fd, COMPLETED);
	accept_one();

	while (!stop) {
		int err = io_uring_submit_and_wait(&ring, 1);

		must(err >= 0 || err == -EINTR, strerror(-err));
		while (!io_uring_peek_cqe(&ring, &cqe)) {
			complete(cqe, &stop);
			io_uring_cqe_seen(&ring, cqe);
		}
	}
	unlink(argv[1]);
	return 0;
}
