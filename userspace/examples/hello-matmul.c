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
	struct kiln_buffer *mem;
	struct kiln_result r = { .res = 1 };

	if (kiln_open(argc > 1 ? argv[1] : "drm", &card) ||
	    kiln_queue_create(card, NULL, &queue) || kiln_ops_create(queue, &ops) ||
	    kiln_alloc(card, 3 * 16384, KILN_HBM, 0, &mem))
		return puts(kiln_last_error()), 1;
	float *a = kiln_map(mem), *b = a + 4096, *c = b + 4096;
	for (int i = 0; i < 4096; i++) {
		a[i] = i % 64;
		b[i] = i % 65 ? 0 : 2;	/* twice the identity */
	}
	kiln_matmul(ops, &(struct kiln_matmul){ .type = KILN_TYPE_F32, .m = 64, .n = 64, .k = 64,
		    .a = kiln_addr(mem), .b = kiln_addr(mem) + 16384,
		    .c = kiln_addr(mem) + 32768 }, done, &r);
	kiln_drain(queue);
	printf("result %d, %d cycles, c[0][21] = %g\n", r.res, (int)r.cycles, c[21]);
	return r.res != 0;
}
