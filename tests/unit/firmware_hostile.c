// SPDX-License-Identifier: MIT
/*
 * A guest that writes anything anywhere it can: rings, control blocks, page
 * tables, timelines of one context, at any moment. The card must stay sound,
 * and the other context's commands must come out right.
 */
#include "fw_harness.h"

#define ROUNDS 4000

static struct fw f;
static unsigned int seed;
static struct fw_ring *bad[2];
static uint64_t bad_tables[8];
static unsigned int table_count;

static uint64_t noise(void)
{
	uint64_t r = (uint64_t)rand_r(&seed) << 40 ^ (uint64_t)rand_r(&seed) << 20 ^ rand_r(&seed);

	switch (rand_r(&seed) % 4) {
	case 0: return r;
	case 1: return r & 0xffff;
	case 2: return FW_VA + (r & 0x3ff8);
	default: return 1ull << (r & 63);
	}
}

static void scribble_command(struct kiln_cmd *cmd)
{
	if (rand_r(&seed) % 3)
		*cmd = rand_r(&seed) % 2 ? fw_nop(noise()) : fw_exec(noise(), FW_GOOD);
	if (rand_r(&seed) % 2)
		((uint64_t *)cmd)[rand_r(&seed) % 8] = noise();
	if (rand_r(&seed) % 4 == 0)
		cmd->exec.wait_addr = FW_LINE(rand_r(&seed) % 16);
	if (rand_r(&seed) % 4 == 0)
		cmd->exec.signal_addr = FW_HOST_LINE(rand_r(&seed) % 16);
}

/* One thing that the guest can do to the card while it is not looking. */
static void scribble(void)
{
	struct fw_ring *r = bad[rand_r(&seed) % 2];
	uint32_t *ctl = (uint32_t *)r->ctl;

	switch (rand_r(&seed) % 8) {
	case 0:
		ctl[rand_r(&seed) % (sizeof(*r->ctl) / 4)] = noise();
		break;
	case 1:
		r->ctl->sq_tail += rand_r(&seed) % 12;
		break;
	case 2:
		r->ctl->cq_head = r->ctl->cq_tail;
		break;
	case 3:
		((uint64_t *)(f.hbm + bad_tables[rand_r(&seed) % table_count]))[rand_r(&seed) % 512] = noise();
		break;
	case 4:
		kiln_sim_doorbell(f.sim, rand_r(&seed) % 3 ? r->id : noise());
		break;
	default:
		scribble_command(&r->sq[rand_r(&seed) % r->entries]);
		break;
	}
}

/* The card reads and stores control words: the guest is at it between each two of them. */
static void between(struct fw *fw, uint64_t addr)
{
	(void)fw;
	(void)addr;
	if (rand_r(&seed) % 3 == 0)
		scribble();
}

static bool fresh_queue(unsigned int i)
{
	memset(bad[i]->ctl, 0, sizeof(*bad[i]->ctl));
	bad[i]->tail = bad[i]->head = 0;
	return fw_admin(&f, fw_queue_cmd(bad[i], 1, 3)) == KILN_ST_OK;
}

int main(int argc, char **argv)
{
	bool good = true, admin = true;
	struct fw_tenant t, victim;
	struct fw_ring *r;

	seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 20261123;
	printf("# seed %u\n", seed);
	fw_boot_card(&f, 2);
	bad_tables[table_count++] = f.hbm_next;
	fw_tenant_new(&f, &t, 1, 64);
	/* what fw_tenant_new() has made: root, code, data, then tables */
	while (bad_tables[0] + table_count * 4096 < f.hbm_next && table_count < 6) {
		bad_tables[table_count] = bad_tables[0] + table_count * 4096;
		table_count++;
	}
	/* a program that does not end would not: there is one thread */
	memset(f.hbm + bad_tables[1] + 512, 0, PROGRAM_BYTES);
	fw_tenant_new(&f, &victim, 2, 64);
	for (unsigned int i = 0; i < 2; i++) {
		bad[i] = fw_ring_new(&f, 1 + i, 3);
		admin &= fresh_queue(i);
	}
	r = fw_queue(&f, 3, 2, 4, 64);
	OK(admin, "made");

	f.stored = between;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct kiln_cmd cmd = i & 1 ? fw_exec(i, FW_GOOD) : fw_nop(i);

		for (unsigned int n = rand_r(&seed) % 8; n; n--)
			scribble();
		cmd.exec.signal_addr = FW_LINE(0);
		cmd.exec.signal_value = i;
		fw_push1(r, cmd);
		/* not until it sleeps: the hostile one may keep it awake */
		for (unsigned int n = 0; n < 40 || r->ctl->cq_tail == r->head; n++) {
			if (n > 10000)
				break;
			fw_turn(&f);
		}
		good &= fw_result(r, i) == KILN_ST_OK && victim.line[0] == i;
		f.clock += rand_r(&seed) % 50 ? MS : 11000 * MS;
		if (rand_r(&seed) % 16 == 0) {
			unsigned int id = rand_r(&seed) % 2;

			admin &= fw_queue_destroy(&f, 1 + id) == KILN_ST_OK;
			admin &= fresh_queue(id);
		}
		if (rand_r(&seed) % 64 == 0)
			admin &= fw_ctx(&f, KILN_ADM_TLB_FLUSH, 1) == KILN_ST_OK;
	}
	f.stored = NULL;
	OK(good, "%u commands of the other context, each right", ROUNDS);
	OK(admin, "each admin command answered");
	OK(f.guest_errors > 100, "%u complaints", f.guest_errors);
	IS(f.sim->context[2].fault.count, 0, "none of them about the other context");
	IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_READY, "the card is sound");
	fw_free(&f);
	return tap_end();
}
