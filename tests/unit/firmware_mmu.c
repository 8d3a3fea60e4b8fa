// SPDX-License-Identifier: MIT
/* The page walk and the TLB, against tables that are right, wrong, and hostile. */
#include "fw_harness.h"

#define K4	KILN_PAGE_SHIFT
#define M2	KILN_LARGE_SHIFT
#define BIG	(1ull << M2)

static struct fw f;
static struct kiln_memory memory;
static struct kiln_mmu mmu;
static uint64_t root;
static struct kiln_extent extent;
static uint64_t fault;

/* Translate anew, past what the TLB remembers. */
static enum kiln_status at(uint64_t va, uint64_t bytes, bool write)
{
	memset(&extent, 0, sizeof(extent));
	fault = 0;
	kiln_mmu_attach(&mmu, root);
	return kiln_mmu_translate(&mmu, va, bytes, write, &extent, &fault);
}

static void pages(void)
{
	uint64_t page = fw_hbm_alloc(&f, 4096), host = fw_host_alloc(&f, 3 * 4096);

	fw_map(&f, root, 0x1000, page | FW_RW, K4);
	IS(at(0x1000, 4096, true), KILN_ST_OK, "a 4 KiB page");
	OK(extent.hbm == f.hbm + page && extent.bytes == 4096, "lies where it says");
	IS(at(0x1ff8, 64, false), KILN_ST_OK, "its end");
	OK(extent.hbm == f.hbm + page + 0xff8 && extent.bytes == 8, "and no further");
	IS(at(0x2000, 1, false), KILN_ST_PAGE_FAULT, "what lies behind is not mapped");
	IS(fault, 0x2000, "and named");
	IS(at(0xfff, 1, false), KILN_ST_PAGE_FAULT, "nor what lies before");

	fw_map(&f, root, 0x2000, host | FW_RW | KILN_PTE_HOST, K4);
	fw_map(&f, root, 0x3000, (host + 4096) | FW_RW | KILN_PTE_HOST, K4);
	fw_map(&f, root, 0x4000, host | KILN_PTE_VALID | KILN_PTE_HOST, K4);
	IS(at(0x2010, 16384, true), KILN_ST_OK, "host memory");
	OK(!extent.hbm && extent.addr == host + 16, "at its address");
	IS(extent.bytes, 8192 - 16, "neighbours that lie together are one run");
	IS(at(0x1800, 8192, false), KILN_ST_OK, "HBM and host");
	IS(extent.bytes, 0x800, "are not");
	IS(at(0x4000, 8, false), KILN_ST_OK, "a read-only page can be read");
	IS(at(0x4000, 8, true), KILN_ST_PAGE_FAULT, "and not written");
	IS(fault, 0x4000, "the fault says where");
	IS(at(0x3800, 8192, true), KILN_ST_OK, "a run that would go into it");
	IS(extent.bytes, 0x800, "ends before it");

	fw_map(&f, root, 0x5000, page | FW_RW, K4);
	fw_map(&f, root, 0x6000, (page + 8192) | FW_RW, K4);
	fw_map(&f, root, 0x7000, (page + 12288) | FW_RW | KILN_PTE_HOST, K4);
	IS(at(0x5000, 8192, true), KILN_ST_OK, "neighbours that lie apart");
	IS(extent.bytes, 4096, "are two runs");
	IS(at(0x6000, 8192, true), KILN_ST_OK, "the same number in HBM and in host memory");
	IS(extent.bytes, 4096, "is not the same place");

	fw_map(&f, root, 1ull << 30, 4 * BIG | FW_RW | KILN_PTE_LARGE, M2);
	fw_map(&f, root, (1ull << 30) + BIG, 5 * BIG | FW_RW | KILN_PTE_LARGE, M2);
	fw_map(&f, root, (1ull << 30) + 2 * BIG, 6 * BIG | FW_RW, K4);
	IS(at((1ull << 30) + 12345, UINT64_MAX, true), KILN_ST_OK, "2 MiB pages");
	OK(extent.hbm == f.hbm + 4 * BIG + 12345, "lie where they say");
	IS(extent.bytes, 2 * BIG + 4096 - 12345, "two and a small one are one run");
	IS(at((1ull << 30) + 2 * BIG - 1, 1, true), KILN_ST_OK, "their last byte");
	OK(extent.hbm == f.hbm + 6 * BIG - 1, "is the last");

	fw_map(&f, root, (1ull << 48) - 4096, page | FW_RW, K4);
	IS(at((1ull << 48) - 8, 64, true), KILN_ST_OK, "the last page of all");
	IS(extent.bytes, 8, "and nothing behind it");
}

static void refused(void)
{
	static const struct {
		uint64_t pte;
		unsigned int shift;
		const char *name;
	} leaves[] = {
		{ 0, K4, "not valid" },
		{ KILN_PTE_WRITE, K4, "writable but not valid" },
		{ FW_RW | 1 << 4, K4, "reserved bit 4" },
		{ FW_RW | 1 << 11, K4, "reserved bit 11" },
		{ FW_RW | 1ull << 52, K4, "reserved bit 52" },
		{ FW_RW | 1ull << 63, K4, "reserved bit 63" },
		{ FW_RW | KILN_PTE_LARGE, K4, "large in the last level" },
		{ FW_RW | HBM_BYTES, K4, "behind HBM" },
		{ FW_RW | KILN_PTE_ADDR, K4, "far behind HBM" },
		{ FW_RW | KILN_PTE_LARGE | 4096, M2, "large and misaligned" },
		{ FW_RW | KILN_PTE_LARGE | HBM_BYTES, M2, "large and behind HBM" },
		{ FW_RW | KILN_PTE_LARGE | (KILN_PTE_ADDR & -BIG), M2, "large and far behind" },
		{ FW_RW | KILN_PTE_LARGE | KILN_PTE_HOST | 4096, M2, "large, host, misaligned" },
		{ FW_RW | KILN_PTE_LARGE | 1ull << 62, M2, "large, reserved bit 62" },
	};
	static const struct {
		uint64_t bits;
		const char *name;
	} tables[] = {
		{ KILN_PTE_WRITE, "writable" },
		{ KILN_PTE_HOST, "in host memory" },
		{ 1 << 5, "with a reserved bit" },
		{ 1ull << 60, "with a high reserved bit" },
		{ HBM_BYTES, "behind HBM" },
		{ 1ull << 51, "far behind HBM" },
	};
	uint64_t va = 5ull << 39, page = fw_hbm_alloc(&f, 4096), good;
	uint64_t *leaf = fw_map(&f, root, va, page | FW_RW, K4), *entry, table;

	for (unsigned int i = 0; i < sizeof(leaves) / sizeof(*leaves); i++) {
		uint64_t where = leaves[i].shift == K4 ? va : va + BIG;

		fw_map(&f, root, where, leaves[i].pte, leaves[i].shift);
		IS(at(where, 8, false), KILN_ST_PAGE_FAULT, "leaf: %s", leaves[i].name);
	}
	*leaf = page | FW_RW;
	table = root;
	for (unsigned int level = 3; level > 0; level--) {
		entry = (uint64_t *)(f.hbm + table) + (va >> (12 + 9 * level) & 511);
		good = *entry;
		for (unsigned int i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
			*entry = good | tables[i].bits;
			IS(at(va, 8, false), KILN_ST_PAGE_FAULT, "level %u table %s",
			   level, tables[i].name);
		}
		if (level > 1) {
			*entry = FW_RW | KILN_PTE_LARGE;
			IS(at(va, 8, false), KILN_ST_PAGE_FAULT, "large in level %u", level);
		}
		/* a table that is its own parent is only strange */
		*entry = table | KILN_PTE_VALID;
		at(va, 8, false);
		*entry = 0;
		IS(at(va, 8, false), KILN_ST_PAGE_FAULT, "level %u table missing", level);
		*entry = good;
		IS(at(va, 8, false), KILN_ST_OK, "level %u put right", level);
		table = good & KILN_PTE_ADDR;
	}

	fw_map(&f, root, 0, page | FW_RW, K4);
	IS(at(0, 8, false), KILN_ST_PAGE_FAULT, "page 0, though its entry is good");
	IS(at(4095, 8, false), KILN_ST_PAGE_FAULT, "its last byte");
	IS(at(va | 1ull << 48, 8, false), KILN_ST_PAGE_FAULT, "bit 48");
	IS(at(va | 1ull << 63, 8, false), KILN_ST_PAGE_FAULT, "bit 63");
	IS(at(UINT64_MAX, 8, false), KILN_ST_PAGE_FAULT, "the very last address");
	IS(fault, UINT64_MAX, "is named");
	root = HBM_BYTES;
	IS(at(va, 8, false), KILN_ST_PAGE_FAULT, "root behind HBM");
	root = 8;
	IS(at(va, 8, false), KILN_ST_PAGE_FAULT, "root misaligned");
}

static void copies(void)
{
	uint64_t va = 6ull << 39, a = fw_hbm_alloc(&f, 8192), b = fw_host_alloc(&f, 4096);
	uint8_t out[12288 - 20], in[12288 - 20];
	unsigned int seed = 7;

	printf("# seed %u\n", seed);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = rand_r(&seed) >> 8;
	/* scattered: second page of HBM, host, first page of HBM */
	fw_map(&f, root, va, (a + 4096) | FW_RW, K4);
	fw_map(&f, root, va + 4096, b | FW_RW | KILN_PTE_HOST, K4);
	fw_map(&f, root, va + 8192, a | FW_RW, K4);
	kiln_mmu_attach(&mmu, root);
	IS(kiln_mmu_write(&mmu, va + 7, out, sizeof(out), &fault), KILN_ST_OK, "write across three pages");
	IS(kiln_mmu_read(&mmu, va + 7, in, sizeof(in), &fault), KILN_ST_OK, "read it back");
	OK(!memcmp(in, out, sizeof(in)), "the same");
	OK(!memcmp(f.hbm + a + 4096 + 7, out, 4089) &&
	   !memcmp(fw_host_at(&f, b, 4096), out + 4089, 4096) &&
	   !memcmp(f.hbm + a, out + 8185, sizeof(out) - 8185), "and each part in its place");
	IS(kiln_mmu_write(&mmu, va + 8192, out, 4097, &fault), KILN_ST_PAGE_FAULT, "one byte too many");
	IS(fault, va + 12288, "the fault is at that byte");
	IS(kiln_mmu_read(&mmu, va, in, 0, &fault), KILN_ST_OK, "nothing is nothing");
	fw_map(&f, root, va + 4096, 0x7000 | FW_RW | KILN_PTE_HOST, K4);
	kiln_mmu_attach(&mmu, root);
	IS(kiln_mmu_read(&mmu, va + 4000, in, 200, &fault), KILN_ST_BUS, "host memory that does not answer");
	IS(fault, va + 4096, "named");
	IS(kiln_mmu_write(&mmu, va + 4000, out, 200, &fault), KILN_ST_BUS, "nor when written");
	IS(kiln_mmu_read(&mmu, UINT64_MAX - 3, in, 64, &fault), KILN_ST_PAGE_FAULT, "addresses that wrap");
}

/* What a TLB may remember, and when it has to forget. */
static void tlb(void)
{
	uint64_t va = 7ull << 39, page = fw_hbm_alloc(&f, 8192), wanted;
	uint64_t *leaf = fw_map(&f, root, va, page | KILN_PTE_VALID, K4);

	kiln_mmu_attach(&mmu, root);
	IS(kiln_mmu_translate(&mmu, va, 8, false, &extent, &fault), KILN_ST_OK, "known now");
	IS(kiln_mmu_translate(&mmu, va, 8, true, &extent, &fault), KILN_ST_PAGE_FAULT, "read-only");
	*leaf = page | FW_RW;
	IS(kiln_mmu_translate(&mmu, va, 8, true, &extent, &fault), KILN_ST_OK,
	   "a page made writable needs no flush");
	*leaf = (page + 4096) | FW_RW;
	wanted = __atomic_add_fetch(&mmu.flush_wanted, 1, __ATOMIC_ACQ_REL);
	IS(kiln_mmu_translate(&mmu, va, 8, true, &extent, &fault), KILN_ST_OK, "translate");
	OK(mmu.flush_seen != wanted, "does not promise anything: an extent may be in use");
	f.kicks = 0;
	kiln_mmu_poll_flush(&mmu);
	IS(mmu.flush_seen, wanted, "poll does");
	IS(f.kicks, 1, "and tells");
	kiln_mmu_poll_flush(&mmu);
	IS(f.kicks, 1, "once");
	IS(kiln_mmu_translate(&mmu, va, 8, true, &extent, &fault), KILN_ST_OK, "translate again");
	OK(extent.hbm == f.hbm + page + 4096, "the new page");

	/* more pages than entries, twice: each translation is its own */
	bool good = true;
	for (unsigned int i = 0; i < 600; i++)
		fw_map(&f, root, va + (1 << 21) + i * 4096ull,
		       ((i * 7 % 600) * 4096) | FW_RW, K4);
	kiln_mmu_attach(&mmu, root);
	for (unsigned int n = 0; n < 1200; n++) {
		unsigned int i = n * 11 % 600;

		good &= !kiln_mmu_translate(&mmu, va + (1 << 21) + i * 4096ull, 1, false,
					    &extent, &fault) &&
			extent.addr == (i * 7 % 600) * 4096;
	}
	OK(good, "600 pages in a TLB of 256");
}

/* Random tables: whatever they say, an extent lies in HBM or in host memory. */
static void noise(void)
{
	unsigned int seed = 12345, hits = 0;
	bool good = true;

	printf("# seed %u\n", seed);
	for (unsigned int round = 0; round < 200; round++) {
		uint64_t *words = (uint64_t *)f.hbm;

		/* eight pages whose entries point at one another, mostly */
		for (unsigned int i = 0; i < 8 * 512; i++) {
			uint64_t r = (uint64_t)rand_r(&seed) << 31 ^ rand_r(&seed);

			words[i] = (r % 16 ? (r >> 8 & 7) << 12 : r & KILN_PTE_ADDR) |
				   (r % 5 ? KILN_PTE_VALID : 0) |
				   (r % 7 ? 0 : FW_RW) | (r % 11 ? 0 : KILN_PTE_LARGE) |
				   (r % 13 ? 0 : KILN_PTE_HOST) | (r % 97 ? 0 : 1ull << 55);
		}
		root = 0;
		for (unsigned int i = 0; i < 500; i++) {
			uint64_t va = ((uint64_t)rand_r(&seed) << 20 ^ rand_r(&seed)) & ((1ull << 48) - 1);
			uint64_t bytes = rand_r(&seed) % (8 << 20) + 1;

			if (at(va, bytes, i & 1))
				continue;
			hits++;
			good &= extent.bytes && extent.bytes <= bytes;
			if (extent.hbm)
				good &= extent.hbm >= f.hbm &&
					extent.hbm + extent.bytes <= f.hbm + HBM_BYTES;
		}
	}
	OK(good, "no extent leaves its memory");
	OK(hits > 1000, "%u translations succeeded", hits);
}

int main(void)
{
	fw_init(&f, 1);
	memory = f.sim->memory;
	mmu.memory = &memory;
	root = fw_hbm_alloc(&f, 4096);
	pages();
	refused();
	root = fw_hbm_alloc(&f, 4096);
	copies();
	tlb();
	noise();
	fw_free(&f);
	return tap_end();
}
