// SPDX-License-Identifier: MIT
/* kiln top: cores, memory and processes of all cards, again and again. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "card.h"
#include "commands.h"
#include "options.h"
#include "usage.h"

/* What the figures of two samples amount to. */
struct rates {
	double seconds;
	double core[USAGE_CORES];	/* of a card: busy, 0 to 1 */
	double commands;		/* a second */
	uint64_t cycles;
};

static double part(uint64_t ns, double seconds)
{
	double x = seconds > 0 ? (double)ns * 1e-9 / seconds : 0;

	return x < 1 ? x : 1;
}

static double per_second(uint64_t n, double seconds)
{
	return seconds > 0 ? (double)n / seconds : 0;
}

/* A reset starts the counters anew. */
static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

static struct rates card_rates(const struct usage *now, const struct usage *before,
			       const struct usage_card *card)
{
	const struct usage_card *old = usage_find_card(before, card);
	struct rates r = { 0 };

	if (!old)
		return r;
	r.seconds = (double)(now->when_ns - before->when_ns) * 1e-9;
	for (unsigned int i = 0; i < card->cores; i++) {
		r.core[i] = part(since(card->busy_ns[i], old->busy_ns[i]), r.seconds);
		r.cycles += since(card->cycles[i], old->cycles[i]);
	}
	r.commands = per_second(since(card->commands, old->commands), r.seconds);
	return r;
}

/* A client that is new has done everything since the last sample. */
static struct rates client_rates(const struct usage *now, const struct usage *before,
				 const struct usage_card *card, const struct usage_client *client)
{
	const struct usage_client *old = usage_find_client(before, client), none = { 0 };
	struct rates r = { .seconds = (double)(now->when_ns - before->when_ns) * 1e-9 };

	if (!old)
		old = &none;
	r.core[0] = part(since(client->busy_ns, old->busy_ns) / (card->cores ? card->cores : 1),
			 r.seconds);
	r.cycles = since(client->cycles, old->cycles);
	r.commands = per_second(since(client->commands, old->commands), r.seconds);
	return r;
}

/* Of the device time of all that can be seen. */
static double share(const struct usage *now, const struct usage *before,
		    const struct usage_card *card, uint64_t cycles)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < now->client_count; i++)
		if (!strcmp(now->clients[i].pci, card->pci))
			sum += client_rates(now, before, card, &now->clients[i]).cycles;
	return sum ? (double)cycles / (double)sum : 0;
}

/* The busiest first, then the largest. */
static void sort_clients(struct usage *now, const struct usage *before)
{
	for (size_t i = 1; i < now->client_count; i++) {
		struct usage_client c = now->clients[i];
		const struct usage_client *old = usage_find_client(before, &c);
		uint64_t cycles = c.cycles - (old ? old->cycles : 0);
		size_t j = i;

		for (; j; j--) {
			const struct usage_client *d = &now->clients[j - 1];

			old = usage_find_client(before, d);
			if (d->cycles - (old ? old->cycles : 0) > cycles ||
			    (d->cycles - (old ? old->cycles : 0) == cycles && d->hbm >= c.hbm))
				break;
			now->clients[j] = *d;
		}
		now->clients[j] = c;
	}
}

/* ----------------------------------------------------------------- JSON -- */

static void print_json_client(const struct usage *now, const struct usage *before,
			      const struct usage_card *card, const struct usage_client *c)
{
	struct rates r = client_rates(now, before, card, c);

	printf("{\"pid\": %d, \"uid\": %u, \"command\": ", (int)c->pid, (unsigned int)c->uid);
	print_json_string(c->command);
	printf(", \"client\": %" PRIu64 ", \"contexts\": %" PRIu64 ", \"queues\": %" PRIu64
	       ", \"in_flight\": %" PRIu64 ", \"commands\": %" PRIu64 ", \"cycles\": %" PRIu64
	       ", \"busy_ns\": %" PRIu64 ", \"hbm_bytes\": %" PRIu64 ", \"host_bytes\": %" PRIu64
	       ", \"busy\": %.4f, \"share\": %.4f, \"commands_per_s\": %.1f}",
	       c->id, c->contexts, c->queues, c->in_flight, c->commands, c->cycles, c->busy_ns,
	       c->hbm, c->host, r.core[0], share(now, before, card, r.cycles), r.commands);
}

static void print_json_usage(const struct usage *now, const struct usage *before)
{
	printf("{\"hidden\": %zu, \"cards\": [", now->hidden);
	for (size_t i = 0; i < now->card_count; i++) {
		const struct usage_card *card = &now->cards[i];
		struct rates r = card_rates(now, before, card);
		const char *comma = "";

		printf("%s{\"name\": \"%s\", \"pci\": \"%s\", \"generation\": \"%s\", \"firmware\": \"%s\", \"state\": \"%s\", \"resets\": %" PRIu64
		       ", \"uptime_ns\": %" PRIu64 ", \"hbm_bytes\": %" PRIu64
		       ", \"hbm_used_bytes\": %" PRIu64 ", \"commands\": %" PRIu64
		       ", \"faults\": %" PRIu64 ", \"commands_per_s\": %.1f, \"cores\": [",
		       i ? ", " : "", card->name, card->pci, card->generation, card->firmware,
		       card->state, card->resets, card->uptime_ns, card->hbm_total, card->hbm_used,
		       card->commands, card->faults, r.commands);
		for (unsigned int c = 0; c < card->cores; c++)
			printf("%s{\"busy\": %.4f, \"busy_ns\": %" PRIu64 ", \"cycles\": %" PRIu64 "}",
			       c ? ", " : "", r.core[c], card->busy_ns[c], card->cycles[c]);
		printf("], \"processes\": [");
		for (size_t c = 0; c < now->client_count; c++) {
			if (strcmp(now->clients[c].pci, card->pci))
				continue;
			printf("%s", comma);
			print_json_client(now, before, card, &now->clients[c]);
			comma = ", ";
		}
		printf("]}");
	}
	printf("]}\n");
}

/* ----------------------------------------------------------------- text -- */

/* A screen: lines beyond it are not written, longer ones are cut. */
struct screen {
	bool full;			/* of a terminal */
	int rows, columns, row;
};

__attribute__((format(printf, 2, 3)))
static void line(struct screen *s, const char *format, ...)
{
	char text[512];
	va_list args;

	if (s->full && s->row >= s->rows)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (s->full)
		printf("\033[%d;1H%.*s\033[K", ++s->row, s->columns, text);
	else
		puts(text);
}

static const char *bar(double x, char *text, unsigned int width)
{
	unsigned int n = (unsigned int)(x * width + 0.5);

	for (unsigned int i = 0; i < width; i++)
		text[i] = i < n ? '|' : ' ';
	text[width] = 0;
	return text;
}

static const char *size(uint64_t bytes, char *text, size_t n)
{
	static const char units[] = "BKMGT";
	double x = (double)bytes;
	unsigned int u = 0;

	for (; x >= 1000 && u < 4; u++)
		x /= 1024;
	snprintf(text, n, x < 10 && u ? "%.1f%c" : "%.0f%c", x, units[u]);
	return text;
}

static void print_card(struct screen *s, const struct usage *now, const struct usage *before,
		       const struct usage_card *card)
{
	struct rates r = card_rates(now, before, card);
	uint64_t up = card->uptime_ns / 1000000000;
	char text[64], used[16], total[16];

	line(s, "%s  %s  firmware %s  %s  up %" PRIu64 ":%02d:%02d  %.0f cmd/s  %" PRIu64 " faults  %" PRIu64 " resets",
	     card->name, card->generation, card->firmware, card->state, up / 3600,
	     (int)(up / 60 % 60), (int)(up % 60), r.commands, card->faults, card->resets);
	for (unsigned int c = 0; c < card->cores; c++)
		line(s, "  core %u [%s] %3.0f%%", c, bar(r.core[c], text, 40), r.core[c] * 100);
	line(s, "  HBM    [%s] %s of %s",
	     bar(card->hbm_total ? (double)card->hbm_used / (double)card->hbm_total : 0, text, 40),
	     size(card->hbm_used, used, sizeof(used)), size(card->hbm_total, total, sizeof(total)));
}

static void print_client(struct screen *s, const struct usage *now, const struct usage *before,
			 const struct usage_client *c)
{
	struct usage_card key = { 0 };
	const struct usage_card *card;
	const struct passwd *user = getpwuid(c->uid);
	char name[16], hbm[16], host[16];
	struct rates r;

	memcpy(key.pci, c->pci, sizeof(key.pci));
	card = usage_find_card(now, &key);
	if (!card)
		return;
	snprintf(name, sizeof(name), "%u", (unsigned int)c->uid);
	r = client_rates(now, before, card, c);
	line(s, "%7d %-8.8s %-6s %3" PRIu64 " %3" PRIu64 " %4" PRIu64 " %5.1f %6.1f %6.0f %5s %5s %s",
	     (int)c->pid, user ? user->pw_name : name, card->name, c->contexts, c->queues,
	     c->in_flight, r.core[0] * 100, share(now, before, card, r.cycles) * 100, r.commands,
	     size(c->hbm, hbm, sizeof(hbm)), size(c->host, host, sizeof(host)), c->command);
}

static void print_screen(struct screen *s, const struct usage *now, const struct usage *before)
{
	for (size_t i = 0; i < now->card_count; i++)
		print_card(s, now, before, &now->cards[i]);
	line(s, "%s", "");
	line(s, "    PID USER     CARD   CTX QUE FLGT BUSY%% SHARE%%  CMD/S   HBM  HOST COMMAND");
	for (size_t i = 0; i < now->client_count; i++)
		print_client(s, now, before, &now->clients[i]);
	if (now->hidden)
		line(s, "  (processes of other users are not shown: that takes root)");
}

/* ---------------------------------------------------------------- screen -- */

static struct termios saved;
static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
	stop = signal;
}

static void leave(void)
{
	printf("\033[?25h\033[?1049l");
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

static void enter(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct termios raw;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	tcgetattr(STDIN_FILENO, &saved);
	raw = saved;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	printf("\033[?1049h\033[?25l");
}

/* False: the user has had enough. */
static bool wait_for_key(unsigned int period_ms)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char key;

	if (poll(&in, 1, (int)period_ms) <= 0)
		return !stop;
	return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && key != 'Q' && !stop;
}

static void show(struct usage *now, const struct usage *before)
{
	struct winsize size = { 0 };
	struct screen s = { .full = true };

	/* a terminal may not know its size */
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	s.rows = size.ws_row ? size.ws_row : 24;
	s.columns = size.ws_col ? size.ws_col : 80;
	print_screen(&s, now, before);
	printf("\033[J");
	fflush(stdout);
}

static int no_card(void)
{
	fprintf(stderr, "kiln top: there is no Kiln card with a driver: is kiln.ko loaded?\n");
	return 1;
}

static int once(unsigned int period_ms, bool json)
{
	struct timespec period = { period_ms / 1000, period_ms % 1000 * 1000000l };
	struct usage before = { 0 }, now = { 0 };
	struct screen s = { 0 };
	int err;

	err = usage_read(&before);
	if (!err && before.card_count) {
		nanosleep(&period, NULL);
		err = usage_read(&now);
	}
	if (err) {
		fprintf(stderr, "kiln top: %s\n", strerror(-err));
	} else if (!now.card_count) {
		err = no_card();
	} else {
		sort_clients(&now, &before);
		if (json)
			print_json_usage(&now, &before);
		else
			print_screen(&s, &now, &before);
	}
	usage_free(&before);
	usage_free(&now);
	return err ? 1 : 0;
}

static int watch(unsigned int period_ms)
{
	struct usage before = { 0 }, now = { 0 };
	int err = usage_read(&before);

	if (!err && !before.card_count) {
		usage_free(&before);
		return no_card();
	}
	enter();
	show(&before, &before);
	/* the first figures soon */
	for (unsigned int ms = 200; !err && wait_for_key(ms); ms = period_ms) {
		err = usage_read(&now);
		if (!err) {
			sort_clients(&now, &before);
			show(&now, &before);
		}
		usage_free(&before);
		before = now;
	}
	leave();
	usage_free(&before);
	if (err)
		fprintf(stderr, "kiln top: %s\n", strerror(-err));
	return err ? 1 : 0;
}

int command_top(int argc, char **argv)
{
	bool is_once = false, json = false;
	uint32_t period = 1000;
	const struct option table[] = {
		{ .name = "once", .kind = OPTION_FLAG, .value = &is_once },
		{ .name = "json", .kind = OPTION_FLAG, .value = &json },
		{ .name = "period", .kind = OPTION_U32, .value = &period, .min = 10, .max = 3600000 },
		{ 0 },
	};
	int err = options_parse("kiln top", argc, argv, table);

	if (err)
		return err;
	if (json && !is_once)
		return usage_error("kiln top", "--json needs --once");
	if (!is_once && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)))
		return usage_error("kiln top", "this is no terminal: use --once");
	return is_once ? once(period, json) : watch(period);
}
