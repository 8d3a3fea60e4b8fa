// SPDX-License-Identifier: MIT
/*
 * stress SECONDS SEED: tries to break the driver, in a guest whose machine its stdout commands (tests/host/_qmp.py); see
 * tests/stress/run. First every allocation of every call fails once. Then all at once: victims that call the driver in every
 * way and are killed, cards that are reset, pulled out and broken, and good work, whose results are looked at.
 *
 * The last lines are "score NAME VALUE"; status 0: no result was wrong, nothing was lost, the card is idle and works.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <kiln/hw.h>

#include "_stress.h"
#include "guest/_abi.h"

#define VICTIMS		3
#define LIMIT_S		60

static struct stress *s;
static char card[64];

/* ---------------------------------------------------------------- the card -- */

static bool write_file(const char *path, const char *text)
{
	int f = open(path, O_WRONLY);
	bool good = f >= 0 && write(f, text, strlen(text)) == (ssize_t)strlen(text);

	if (f >= 0)
		close(f);
	return good;
}

__attribute__((format(printf, 1, 2)))
static const char *path(const char *format, ...)
{
	static char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return text;
}

static bool comes(const char *what, bool there)
{
	for (int ms = 0; ms < LIMIT_S * 1000; ms += 20) {
		if (!access(what, F_OK) == there)
			return true;
		usleep(20000);
	}
	return false;
}

/* Everybody may open it, and nobody have too much. */
static void admit(void)
{
	glob_t g;

	if (glob("/dev/accel/accel*", 0, NULL, &g))
		return;
	for (size_t i = 0; i < g.gl_pathc; i++)
		chmod(g.gl_pathv[i], 0666);
	globfree(&g);
	if (!write_file(path("/sys/bus/pci/devices/%s/limits/users", card), "65534 hbm=256M system=256M min_share=200\n"))
		printf("# the limits of users cannot be set: %s\n", strerror(errno));
}

static long resets(void)
{
	const char *line = strstr(debugfs("card"), "\nresets ");

	return line ? atol(line + 8) : -1;
}

__attribute__((format(printf, 1, 2)))
static void tell(const char *format, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	/* In one piece: others write, too. */
	if (write(1, text, n) != n)
		exit(1);
}

/* ------------------------------------------------------------------ events -- */

static bool reset(void)
{
	return write_file(path("/sys/bus/pci/devices/%s/reset", card), "1");
}

static void set_inject(const char *fault)
{
	tell("@qmp {\"execute\": \"qom-set\", \"arguments\": {\"path\": \"kiln0\", \"property\": \"inject\", \"value\": \"%s\"}}\n",
	     fault);
}

/*
 * Off the bus and back on it; as a surprise, it reads as all ones before. Not by the hotplug controller: lockdep reports the
 * driver of that (Linux 6.12) when it is used for the first time, and is silent from then on; host/lifetime_slow.sh has it.
 */
static bool unplug(bool surprise, unsigned int us)
{
	char driver[128], device[128];

	snprintf(driver, sizeof(driver), "/sys/bus/pci/drivers/kiln/%s", card);
	snprintf(device, sizeof(device), "/sys/bus/pci/devices/%s", card);
	if (surprise) {
		set_inject("all-ones");
		usleep(us);
	}
	if (!write_file(path("%s/remove", device), "1") || !comes(device, false))
		return false;
	set_inject("none");
	/* It may be looked for before it is back. */
	for (int ms = 0; access(driver, F_OK); ms += 200) {
		if (ms > LIMIT_S * 1000)
			return false;
		write_file("/sys/bus/pci/rescan", "1");
		if (!access(driver, F_OK))
			break;
		usleep(200000);
		if (!access(device, F_OK) && access(driver, F_OK))
			write_file(path("%s/remove", device), "1");
	}
	admit();
	return true;
}

/* Whoever opens the card while it boots is told that it was reset. */
static bool is_ready(void)
{
	unsigned int state;

	return sscanf(debugfs("card"), "state %u", &state) == 1 && state == KILN_STATE_READY;
}

/* The driver has to find out, and to reset the card. */
static bool inject(const char *fault)
{
	long before = resets();

	set_inject(fault);
	for (int ms = 0; ms < LIMIT_S * 1000; ms += 20) {
		if (resets() > before && is_ready())
			return true;
		usleep(20000);
	}
	return false;
}

static void events(struct chance c)
{
	static const char *const faults[] = { "firmware-crash", "bad-completion", "bad-index" };
	static const char *const hangs[] = { "firmware-hang", "stuck-dma" };
	/* resets, unplugs, faults, hangs: the last take the driver long to find out */
	static const char turns[] = "rufhruru";

	for (unsigned int n = 0; !s->stop; n++) {
		char turn = turns[n % (sizeof(turns) - 1)];
		const char *name;
		bool good;

		usleep(below(&c, 1000000));
		if (s->stop)
			break;
		atomic_fetch_add(&s->events, 1);
		if (turn == 'r') {
			name = "function reset";
			good = reset();
			s->resets += good;
		} else if (turn == 'u') {
			name = "unplug";
			good = unplug(once_in(&c, 2), below(&c, 1500000));
			s->unplugs += good;
		} else if (turn == 'f') {
			name = faults[below(&c, 3)];
			good = inject(name);
			s->faults += good;
		} else {
			name = hangs[below(&c, 2)];
			good = inject(name);
			s->hangs += good;
		}
		if (!good) {
			s->failed_events++;
			tell("# %s: nothing came of it within %d s\n", name, LIMIT_S);
		}
		atomic_fetch_add(&s->events, 1);
	}
}

/* -------------------------------------------------------------------- kills -- */

static pid_t start(void (*work)(struct stress *s, struct chance c), struct chance c)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		bail("fork", errno);
	if (!pid) {
		work(s, c);
		_exit(0);
	}
	return pid;
}

static void events_work(struct stress *unused, struct chance c)
{
	(void)unused;
	events(c);
}

static void storm(uint64_t seed, double end)
{
	struct chance c = chance_of(seed, 0);
	pid_t victim[VICTIMS] = { 0 };
	uint64_t number = 1;

	while (now_s() < end) {
		uint32_t killed = once_in(&c, 4) ? VICTIMS : 1 + below(&c, 2);

		for (int i = 0; i < VICTIMS; i++)
			if (!victim[i])
				victim[i] = start(fuzz, chance_of(seed, number++));
		usleep(20000 + below(&c, 500000));
		for (uint32_t i = 0; i < killed; i++) {
			int n = below(&c, VICTIMS);

			if (victim[n])
				kill(victim[n], SIGKILL);
		}
		for (int i = 0; i < VICTIMS; i++) {
			int status;

			/* Those that were told to die do, within bounded time; or the kernel says so. */
			if (waitpid(victim[i], &status, WNOHANG) == victim[i]) {
				if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
					s->kills++;
				else
					s->died++;
				victim[i] = 0;
			}
		}
	}
	for (int i = 0; i < VICTIMS; i++) {
		if (!victim[i])
			continue;
		kill(victim[i], SIGKILL);
		waitpid(victim[i], NULL, 0);
		s->kills++;
	}
}

/* --------------------------------------------------------------------- score -- */

static bool settles(const char *name)
{
	for (int ms = 0; ms < LIMIT_S * 1000; ms += 20) {
		if (!debugfs_rows(name))
			return true;
		usleep(20000);
	}
	return false;
}

static void print(void)
{
	static const char *const names[] = {
#define X(name) #name,
		STRESS_ACTIONS(X)
#undef X
	};
	unsigned long calls = 0, fine = 0;

	printf("\n%-16s %10s %10s\n", "call", "made", "went well");
	for (int i = 0; i < STRESS_NUM_ACTIONS; i++) {
		printf("%-16s %10lu %10lu\n", names[i], s->calls[i], s->fine[i]);
		calls += s->calls[i];
		fine += s->fine[i];
	}
	printf("%-16s %10lu %10lu, %lu with a broken field, %lu with an allocation that fails\n", "all", calls, fine,
	       s->broken, s->failing);
	printf("commands of victims: %lu ended well, %lu ran or waited for too long, %lu ended in another way\n",
	       s->good_ends, s->late_ends, s->other_ends);
	printf("victims: %lu killed, %lu ended by what they had done to themselves\n", s->kills, s->died);
	printf("good work: %lu right, %lu wrong, %lu lost; %lu runs ended by what happened to the card, %lu by nothing (last: %s)\n",
	       s->right, s->wrong, s->lost, s->disturbed, s->unexplained, strerror(-s->last_unexplained));
	printf("score calls %lu\nscore kills %lu\nscore unplugs %lu\nscore resets %lu\n", calls, s->kills, s->unplugs, s->resets);
	printf("score hangs %lu\nscore card_faults %lu\n", s->late_ends + s->hangs, s->faults);
	printf("score hung_cards %lu\nscore right %lu\nscore wrong %lu\nscore lost %lu\n", s->hangs, s->right,
	       s->wrong, s->lost);
	printf("score unexplained %lu\nscore failed_events %lu\n", s->unexplained, s->failed_events);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 60;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	pid_t worker[3];
	bool bad = false;
	int allocations, fd;
	uint64_t used;
	char *name;

	setenv("KILN_TRANSPORT", "drm", 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	name = realpath("/sys/class/accel/accel0/device", NULL);
	if (!name)
		bail("no card", errno);
	snprintf(card, sizeof(card), "%s", strrchr(name, '/') + 1);
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		bail("mmap", errno);

	fd = open_card();
	used = card_info(fd).hbm_used_bytes;
	close(fd);
	allocations = fail_each();
	bad |= allocations < 0;

	admit();
	/* Who kills and breaks must get its turn beside those that are. */
	setpriority(PRIO_PROCESS, 0, -15);
	for (int i = 0; i < 2; i++) {
		worker[i] = fork();
		if (!worker[i]) {
			good(s, i);
			_exit(0);
		}
	}
	worker[2] = start(events_work, chance_of(seed, ~0ull));
	storm(seed, now_s() + seconds);
	s->stop = true;
	waitpid(worker[2], NULL, 0);
	for (int i = 0; i < 2; i++) {
		int status;

		waitpid(worker[i], &status, 0);
		if (status) {
			printf("# good work %d has died, status %#x\n", i, status);
			bad = true;
		}
	}

	print();
	printf("score failed_allocations %d\n", allocations);
	if (!settles("queues") || !settles("contexts")) {
		printf("# the card is not idle, though nobody is left: %d queues, %d contexts\n", debugfs_rows("queues"),
		       debugfs_rows("contexts"));
		bad = true;
	}
	fd = open_card();
	for (int ms = 0; card_info(fd).hbm_used_bytes > used && ms < 10000; ms += 20)
		usleep(20000);
	if (card_info(fd).hbm_used_bytes > used) {
		printf("# HBM is lost: %llu bytes\n", (unsigned long long)(card_info(fd).hbm_used_bytes - used));
		bad = true;
	}
	if (run_nop(fd, make_queue(fd, make_vm(fd), 8, 0))) {
		printf("# the card does not work any more\n");
		bad = true;
	}
	close(fd);
	return bad || s->wrong || s->lost || s->unexplained || s->failed_events;
}
