// SPDX-License-Identifier: MIT
/*
 * A server's own io_uring takes a command of the card beside what else it waits
 * for: here the read of a request from a pipe, and linked behind it the command.
 * One system call hands over both and waits for both.
 */
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <kiln.h>

enum { REQUEST = 1, COMMAND };

int main(void)
{
	struct kiln_queue_attr attr = { .way = KILN_SUBMIT_CALLER };
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 |
			 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	struct kiln_device *card;
	struct kiln_queue *queue;
	struct kiln_buffer *answer;
	struct io_uring ring;
	struct io_uring_sqe *sqe;
	char request[] = "         ";	/* all of one size: a short read would break the link */
	int in[2], files[2], bad = 0;

	if (kiln_open("drm", &card) || kiln_queue_create(card, &attr, &queue) ||
	    kiln_alloc(card, 4096, KILN_HBM, 0, &answer))
		return puts(kiln_last_error()), 1;
	if (pipe(in) || io_uring_queue_init_params(8, &ring, &params))
		return puts("no ring"), 1;
	files[0] = in[0];
	files[1] = kiln_device_fd(card);
	if (io_uring_register_files(&ring, files, 2))
		return puts("no files"), 1;

	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read(sqe, 0, request, sizeof(request) - 1, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE | IOSQE_IO_LINK);
	io_uring_sqe_set_data64(sqe, REQUEST);

	/* No program: it signals, and that is all. */
	sqe = io_uring_get_sqe(&ring);
	if (kiln_prep_exec(sqe, 1, queue, &(struct kiln_command){
			   .signal_addr = kiln_addr(answer), .signal_value = 42 }))
		return puts(kiln_last_error()), 1;
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data64(sqe, COMMAND);

	if (write(in[1], "how many?", sizeof(request) - 1) != sizeof(request) - 1)
		return puts("no request"), 1;
	io_uring_submit_and_wait(&ring, 2);
	for (int i = 0; i < 2; i++) {
		struct io_uring_cqe *cqe;
		struct kiln_result result;

		if (io_uring_wait_cqe(&ring, &cqe))
			return puts("no completion"), 1;
		kiln_parse_cqe(cqe, &result);
		if (cqe->user_data == COMMAND)
			printf("command: %s, the answer is %d\n", strerror(-result.res),
			       (int)*(volatile uint64_t *)kiln_map(answer));
		else
			printf("request: %s\n", request);
		bad |= cqe->res < 0;
		io_uring_cqe_seen(&ring, cqe);
	}
	kiln_queue_destroy(queue);
	io_uring_queue_exit(&ring);
	kiln_free(answer);
	kiln_close(card);
	return bad;
}
