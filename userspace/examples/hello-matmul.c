// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <kiln_ops.h>

static void done(void *user, const struct kiln_result *result)
{
	*(struct kiln_result *)user = *result;
}

int main(int argc, char **argv)
{
	struct kiln_device *card;
	struct kiln_queue *queue;
	struct kiln_ops *ops;
	struct kiln_buffer *a, *b, *c;
	struct kiln_result result;

	if (kiln_open(argc > 1 ? argv[1] : "drm", &card) ||
	    kiln_queue_create(card, NULL, &queue) || kiln_ops_create(queue, &ops) ||
	    kiln_alloc(card, 64 * 64 * 4, KILN_HBM, 0, &a) ||
	    kiln_alloc(card, 64 * 64 * 4, KILN_HBM, 0, &b) ||
	    kiln_alloc(card, 64 * 64 * 4, KILN_HBM, 0, &c)) {
		fprintf(stderr, "%s\n", kiln_last_error());
		return 1;
	}
	for (int i = 0; i < 64 * 64; i++) {
		((float *)kiln_map(a))[i] = i % 64;
		((float *)kiln_map(b))[i] = i % 65 == 0 ? 2 : 0;	/* twice the identity */
	}
	kiln_matmul(ops, &(struct kiln_matmul){ .type = KILN_TYPE_F32, .m = 64, .n = 64,
		    .k = 64, .a = kiln_addr(a), .b = kiln_addr(b), .c = kiln_addr(c) },
		    done, &result);
	kiln_drain(queue);
	printf("result %d, %llu cycles, c[0][21] = %g\n", result.res,
	       (unsigned long long)result.cycles, ((float *)kiln_map(c))[21]);
}
