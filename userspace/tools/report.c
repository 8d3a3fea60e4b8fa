// SPDX-License-Identifier: MIT
/*
 * The page of a profile: how busy the engines were, what was moved, what bounds
 * it, a roofline, when which engine worked, and a row for each program. It holds
 * all that it shows: no script, no style or font from elsewhere.
 *
 * It is read from the trace, whose events and sums are a line each
 * (userspace/src/profile.c). A trace that ends early, or is another version's or
 * somebody else's, is refused.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chips.h"
#include "report.h"

#define HEADER		"{\"displayTimeUnit\":\"ns\",\"otherData\":{\"kiln\":\"trace "
#define VERSION		2
#define STAND		"{\"name\":\"stand\",\"ph\":\"M\","
#define CUT		"{\"name\":\"cut\",\"ph\":\"M\","
#define UNITS		5	/* PE, Vector, Scalar, GpSimd, DMA */
#define STEPS		240	/* of the picture over time */
#define MAX_LINE	4096
#define MAX_POINTS	60	/* of the roofline */

static const char *const unit_names[UNITS] = { "PE", "Vector", "Scalar", "GpSimd", "DMA" };

struct sums {
	char name[32];
	unsigned int program_bytes;
	unsigned long long commands, failed, hbm, sbuf, psum;
	double host, seconds, busy[UNITS], operations, at_peak;
};

struct profile {
	char transport[16];
	unsigned int generation, cores;
	bool engines;			/* somebody watched inside */
	double wall;
	unsigned long long dropped;
	bool cut;			/* the command was killed */
	struct sums total, *rows;
	unsigned int count;
	/* of core 0 */
	double end;			/* us of what the events show */
	double when[UNITS][STEPS];	/* us */
	double step;			/* us */
};

/* -------------------------------------------------------------------- read -- */

struct reader {
	const char *command, *path;
	FILE *file;
	unsigned int number;
	char line[MAX_LINE];
};

__attribute__((format(printf, 2, 3)))
static bool broken(const struct reader *r, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: %s, line %u: ", r->command, r->path, r->number);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return false;
}

static bool next_line(struct reader *r)
{
	r->number++;
	if (!fgets(r->line, sizeof(r->line), r->file) || (!strchr(r->line, '\n') && feof(r->file)))
		return broken(r, "the trace ends here: its command was killed before it closed the card, or the file was cut");
	if (!strchr(r->line, '\n'))
		return broken(r, "this is no line of a trace");
	return true;
}

static bool read_header(struct reader *r)
{
	unsigned int version;

	r->number = 1;
	if (!fgets(r->line, sizeof(r->line), r->file))
		return broken(r, "the file is empty");
	if (sscanf(r->line, HEADER "%u\"},\"traceEvents\":[", &version) != 1) {
		if (!strncmp(r->line, "{\"displayTimeUnit\"", 18))
			return broken(r, "a trace of an older kiln, or of another program: make it again with kiln profile");
		return broken(r, "this is no trace of kiln profile");
	}
	if (version != VERSION)
		return broken(r, "a trace of version %u, this kiln reads %u: make it again with kiln profile",
			      version, VERSION);
	return true;
}

/* From one step of the picture to the next, wider ones when it gets long. */
static void count_time(struct profile *p, unsigned int unit, double start, double us, double share)
{
	while (start + us > p->step * STEPS) {
		for (unsigned int u = 0; u < UNITS; u++) {
			for (unsigned int i = 0; i < STEPS; i++)
				p->when[u][i] = i < STEPS / 2 ? p->when[u][2 * i] +
								p->when[u][2 * i + 1] : 0;
		}
		p->step *= 2;
	}
	if (start + us > p->end)
		p->end = start + us;
	while (us > 0) {
		unsigned int i = start / p->step;
		double rest = (i + 1) * p->step - start, part = us < rest ? us : rest;

		if (i >= STEPS || !(part > 0))
			break;
		p->when[unit][i] += part * share;
		start += part;
		us -= part;
	}
}

/* An event's line; false: it is none. */
static bool read_event(struct profile *p, const char *line)
{
	unsigned int pid, tid;
	double ts, dur;
	char name[40], ph;
	int n;

	if (sscanf(line, "{\"name\":\"%39[^\"]\",\"ph\":\"%c\",%n", name, &ph, &n) != 2)
		return false;
	if (ph == 'M' || ph == 'b' || ph == 'e')
		return true;
	if (ph != 'X' || sscanf(line + n, "\"pid\":%u,\"tid\":%u,\"ts\":%lf,\"dur\":%lf", &pid, &tid,
				&ts, &dur) != 4 ||
	    !isfinite(ts) || !isfinite(dur) || ts < 0 || dur < 0 || ts + dur > 1e15)
		return false;
	if (pid || !strcmp(name, "wait"))
		return true;
	if (tid >= 1 && tid <= 4)
		count_time(p, tid - 1, ts, dur, 1);
	else if (tid >= 10)
		count_time(p, UNITS - 1, ts, dur, 1);
	return true;
}

static bool read_sums(const struct reader *r, const char *text, struct sums *s)
{
	double sync;

	if (sscanf(text, "{\"name\":\"%31[^\"]\",\"program_bytes\":%u,\"commands\":%llu,\"failed\":%llu,\"host_s\":%lf,\"device_s\":%lf,\"busy_s\":[%lf,%lf,%lf,%lf,%lf],\"dma_s\":%lf,\"hbm_bytes\":%llu,\"sbuf_bytes\":%llu,\"psum_bytes\":%llu,\"operations\":%lf,\"at_peak_s\":%lf}",
		   s->name, &s->program_bytes, &s->commands, &s->failed, &s->host, &s->seconds,
		   &s->busy[0], &s->busy[1], &s->busy[2], &s->busy[3], &sync, &s->busy[4], &s->hbm,
		   &s->sbuf, &s->psum, &s->operations, &s->at_peak) != 17)
		return broken(r, "these are no sums of a program");
	return true;
}

static bool read_trace(struct reader *r, struct profile *p)
{
	int engines;

	p->step = 1. / 64;
	if (!read_header(r))
		return false;
	while (next_line(r) && strcmp(r->line, "],\n")) {
		if (!read_event(p, r->line))
			return broken(r, "this is no event");
		p->cut |= !strncmp(r->line, CUT, strlen(CUT));
	}
	if (strcmp(r->line, "],\n") || !next_line(r))
		return false;
	if (sscanf(r->line, "\"kiln\":{\"transport\":\"%15[^\"]\",\"generation\":%u,\"cores\":%u,\"engines\":%d,\"wall_s\":%lf,\"dropped\":%llu,",
		   p->transport, &p->generation, &p->cores, &engines, &p->wall, &p->dropped) != 6 ||
	    p->generation < 1 || p->generation > GENERATIONS)
		return broken(r, "this does not say what card it was");
	p->engines = engines;
	if (!next_line(r) || strncmp(r->line, "\"total\":", 8) || !read_sums(r, r->line + 8, &p->total))
		return broken(r, "the sums are missing");
	if (!next_line(r))
		return false;
	while (next_line(r) && strcmp(r->line, "]}}\n")) {
		struct sums *rows = realloc(p->rows, (p->count + 1) * sizeof(*rows));

		if (!rows)
			return broken(r, "no memory");
		p->rows = rows;
		if (!read_sums(r, r->line, &rows[p->count]))
			return false;
		p->count += rows[p->count].commands != 0;
	}
	return !strcmp(r->line, "]}}\n");
}

/* ------------------------------------------------------------------- write -- */

static const char *bound_by(const struct profile *p, const struct sums *s)
{
	unsigned int most = 0;

	if (!p->engines || !(s->seconds > 0))
		return "-";
	for (unsigned int u = 1; u < UNITS; u++)
		if (s->busy[u] > s->busy[most])
			most = u;
	return s->busy[most] < s->seconds / 2 ? "latency" : unit_names[most];
}

static double percent(double part, double of)
{
	return of > 0 ? 100 * part / of : 0;
}

static const char style[] =
"body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em;color:#222;background:#fff}"
"h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}"
"table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
"th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}"
"th:first-child,td:first-child{text-align:left}th{font-weight:600;background:#f5f5f5}"
".wide table{font-size:13px}.wide th,.wide td{padding:.25em .35em}.wide th{white-space:normal;vertical-align:bottom}"
".big{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5em,1fr));gap:.8em}.big div{background:#f5f5f5;border-radius:6px;padding:.6em 1em}"
".big b{display:block;font-size:1.3em}.note{color:#666}.wide{overflow-x:auto}"
"svg{width:100%;min-width:40em;height:auto;display:block}svg text{font:12px system-ui,sans-serif;fill:#222;stroke:#fff;stroke-width:3px;paint-order:stroke}"
"@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}th,.big div{background:#2a2a2a}"
"th,td{border-color:#444}svg text{fill:#ddd;stroke:#1b1b1b}.note{color:#aaa}}";

static void write_time_of(FILE *f, double seconds, const char *what)
{
	if (seconds < 1e-3)
		fprintf(f, "<div><b>%.1f us</b>%s</div>", seconds * 1e6, what);
	else if (seconds < 1)
		fprintf(f, "<div><b>%.2f ms</b>%s</div>", seconds * 1e3, what);
	else
		fprintf(f, "<div><b>%.2f s</b>%s</div>", seconds, what);
}

static void write_head(FILE *f, const struct profile *p)
{
	const struct sums *t = &p->total;
	double dollars = cost_of(p->generation, t->seconds);

	fprintf(f, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
		"<meta name=\"viewport\" content=\"width=device-width\"><title>kiln profile</title><style>%s</style></head><body>\n",
		style);
	fprintf(f, "<h1>kiln profile: trn%u, %u core%s, transport %s</h1>\n<div class=\"big\">", p->generation,
		p->cores, p->cores == 1 ? "" : "s", p->transport);
	fprintf(f, "<div><b>%llu</b>commands, %llu failed</div>", t->commands, t->failed);
	write_time_of(f, t->seconds, "device time");
	write_time_of(f, p->wall, "the card was open, on the host");
	if (p->engines)
		fprintf(f, "<div><b>%.1f %%</b>of the array's peak</div><div><b>%s</b>bounds it</div>",
			percent(t->at_peak, t->seconds), bound_by(p, t));
	fprintf(f, "<div><b>%.3g</b>device-seconds</div>", t->seconds);
	if (dollars > 0)
		fprintf(f, "<div><b>$%.3g</b>at $%g for an hour of %u cores</div>", dollars,
			chips[p->generation - 1].dollars, chips[p->generation - 1].cores);
	fputs("</div>\n", f);
	if (p->dropped)
		fprintf(f, "<p class=\"note\">The trace was full: %llu events were left out of it and of the picture over time. The sums have them.</p>\n",
			p->dropped);
	if (p->cut)
		fputs("<p class=\"note\">The command was killed: this is how it stood shortly before.</p>\n", f);
	if (!p->engines)
		fputs("<p class=\"note\">A card behind the driver cannot be watched inside: there are its commands and their device time. "
		      "The same command with <code>--transport sim</code> takes the same cycles and shows engines, memories and roofline.</p>\n", f);
}

static void write_generations(FILE *f, const struct profile *p, const double seconds[GENERATIONS])
{
	double here = seconds[p->generation - 1];

	if (!(here > 0))
		return;
	fputs("<h2>On each generation</h2>\n<div class=\"wide\"><table><tr><th>chip</th><th>device time</th><th>against this one</th><th>device-seconds</th><th>$</th></tr>\n", f);
	for (unsigned int g = 0; g < GENERATIONS; g++) {
		double dollars = cost_of(g + 1, seconds[g]);

		if (!(seconds[g] > 0))
			continue;
		fprintf(f, "<tr><td>trn%u%s</td><td>%.3f us</td><td>%.2f x</td><td>%.3g</td>", g + 1,
			g + 1 == p->generation ? " (this run)" : "", seconds[g] * 1e6,
			seconds[g] / here, seconds[g]);
		if (dollars > 0)
			fprintf(f, "<td>%.3g</td></tr>\n", dollars);
		else
			fputs("<td>no price</td></tr>\n", f);
	}
	fputs("</table></div>\n<p class=\"note\">All cards of the command together; for the others it was run once more each, with programs made for them.</p>\n", f);
}

static void write_busy(FILE *f, const struct profile *p)
{
	const struct sums *t = &p->total;

	fputs("<h2>How busy</h2>\n<div class=\"wide\"><svg viewBox=\"0 0 900 160\" role=\"img\" aria-label=\"busy shares\">\n", f);
	for (unsigned int u = 0; u < UNITS; u++) {
		double share = percent(t->busy[u], t->seconds);
		unsigned int y = 8 + 30 * u;

		fprintf(f, "<text x=\"0\" y=\"%u\">%s</text><text x=\"100\" y=\"%u\" text-anchor=\"end\">%.1f %%</text>"
			"<rect x=\"112\" y=\"%u\" width=\"780\" height=\"20\" fill=\"#8882\"/>"
			"<rect x=\"112\" y=\"%u\" width=\"%.1f\" height=\"20\" fill=\"#2a78d6\"/>\n",
			y + 15, unit_names[u], y + 15, share, y, y, fmin(share, 100) * 7.8);
	}
	fputs("</svg></div>\n", f);
}

static void write_bytes(FILE *f, const struct profile *p)
{
	const struct sums *t = &p->total;
	const struct {
		const char *name;
		unsigned long long bytes;
	} level[] = { { "HBM", t->hbm }, { "SBUF", t->sbuf }, { "PSUM", t->psum } };
	double share = t->hbm / t->seconds * 1e-9 / chips[p->generation - 1].hbm;

	fputs("<h2>What was moved</h2>\n<div class=\"wide\"><table><tr><th>memory</th><th>MB read and written</th><th>GB/s</th><th>of a core's share</th></tr>\n", f);
	for (unsigned int i = 0; i < 3; i++) {
		fprintf(f, "<tr><td>%s</td><td>%.3f</td><td>%.1f</td>", level[i].name,
			level[i].bytes * 1e-6, level[i].bytes / t->seconds * 1e-9);
		if (i)
			fputs("<td></td></tr>\n", f);
		else
			fprintf(f, "<td>%.1f %%</td></tr>\n", 100 * share);
	}
	fputs("</table></div>\n", f);
}

/* Of the roofline: 10^-2 to 10^4 operations a byte, 10^-2 to 10^3 TFLOP/s. */
static double plot_x(double intensity)
{
	return 70 + (log10(fmin(fmax(intensity, 1e-2), 1e4)) + 2) * 130;
}

static double plot_y(double tflops)
{
	return 370 - (log10(fmin(fmax(tflops, 1e-2), 1e3)) + 2) * 70;
}

/* Where text stands in the plot: what would lie over other text is left out, the point says it. */
struct labels {
	struct {
		double x, y, width;
	} at[MAX_POINTS + 3];
	unsigned int count;
};

static bool free_for(struct labels *l, double x, double y, double width)
{
	for (unsigned int i = 0; i < l->count; i++)
		if (x < l->at[i].x + l->at[i].width && l->at[i].x < x + width &&
		    fabs(y - l->at[i].y) < 14)
			return false;
	l->at[l->count].x = x;
	l->at[l->count].y = y;
	l->at[l->count++].width = width;
	return true;
}

static void write_name(FILE *f, const struct sums *s, struct labels *l)
{
	double x = plot_x(s->operations / s->hbm), y = plot_y(s->operations / s->seconds * 1e-12) + 4;
	double width = 7.0 * strlen(s->name);

	if (free_for(l, x + 9, y, width))
		fprintf(f, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 9, y, s->name);
	else if (free_for(l, x - 9 - width, y, width))
		fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", x - 9, y, s->name);
}

static void write_point(FILE *f, const struct sums *s, const char *color, double radius)
{
	double x = s->operations / s->hbm, y = s->operations / s->seconds * 1e-12;

	fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\" fill-opacity=\"0.8\"><title>%s (%u KiB): %.3g operations a byte, %.3g TFLOP/s</title></circle>\n",
		plot_x(x), plot_y(y), radius, color, s->name, (s->program_bytes + 1023) / 1024, x, y);
}

/* A point of the plot: its product moved something. */
static bool has_point(const struct sums *s)
{
	return s->operations > 0 && s->hbm && s->seconds > 0;
}

static void write_roofline(FILE *f, const struct profile *p)
{
	const struct chip *chip = &chips[p->generation - 1];
	double ridge = chip->peak * 1e3 / chip->hbm;
	struct labels labels = { .count = 0 };
	unsigned int points = 0;

	if (!has_point(&p->total))
		return;
	fputs("<h2>Roofline</h2>\n<div class=\"wide\"><svg viewBox=\"0 0 900 420\" role=\"img\" aria-label=\"roofline\">\n", f);
	for (int e = -2; e <= 4; e++)
		fprintf(f, "<path d=\"M%.0f 20V370\" stroke=\"#8884\"/><text x=\"%.0f\" y=\"388\" text-anchor=\"middle\">%g</text>\n",
			plot_x(pow(10, e)), plot_x(pow(10, e)), pow(10, e));
	for (int e = -2; e <= 3; e++)
		fprintf(f, "<path d=\"M70 %.0fH850\" stroke=\"#8884\"/><text x=\"62\" y=\"%.0f\" text-anchor=\"end\">%g</text>\n",
			plot_y(pow(10, e)), plot_y(pow(10, e)) + 4, pow(10, e));
	fprintf(f, "<path d=\"M%.1f %.1fL%.1f %.1fH850\" fill=\"none\" stroke=\"#c0392b\" stroke-width=\"2\"/>\n",
		plot_x(1e-1), plot_y(1e-4 * chip->hbm), plot_x(ridge), plot_y(chip->peak));
	fprintf(f, "<text x=\"848\" y=\"%.1f\" text-anchor=\"end\">%.1f TFLOP/s, bf16</text><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.1f GB/s of HBM</text>\n",
		plot_y(chip->peak) - 8, chip->peak, plot_x(2) - 10, plot_y(2e-3 * chip->hbm), chip->hbm);
	fputs("<text x=\"460\" y=\"412\" text-anchor=\"middle\">operations for each byte of HBM</text>"
	      "<text x=\"14\" y=\"195\" text-anchor=\"middle\" transform=\"rotate(-90 14 195)\">TFLOP/s</text>\n", f);
	free_for(&labels, 848 - 130, plot_y(chip->peak) - 8, 130);
	free_for(&labels, plot_x(2) - 140, plot_y(2e-3 * chip->hbm), 130);
	for (unsigned int i = 0; i < p->count && points < MAX_POINTS; i++) {
		if (!has_point(&p->rows[i]))
			continue;
		write_point(f, &p->rows[i], "#2a78d6", 5);
		points++;
	}
	/* Names over all points, the most important one first. */
	if (points > 1) {
		write_point(f, &p->total, "#e67e22", 7);
		write_name(f, &p->total, &labels);
	}
	for (unsigned int i = 0; i < p->count && points; i++) {
		if (!has_point(&p->rows[i]))
			continue;
		write_name(f, &p->rows[i], &labels);
		points--;
	}
	fputs("</svg></div>\n<p class=\"note\">Products only, and of points that lie together only one says its name: the mouse tells it of all. What Vector, Scalar and GpSimd compute is not counted.</p>\n", f);
}

static void write_time(FILE *f, const struct profile *p)
{
	unsigned int steps = ceil(p->end / p->step);

	if (!(p->end > 0))
		return;
	if (steps > STEPS)
		steps = STEPS;
	fprintf(f, "<h2>When</h2>\n<div class=\"wide\"><svg viewBox=\"0 0 900 190\" role=\"img\" aria-label=\"busy over time\">\n");
	for (unsigned int u = 0; u < UNITS; u++) {
		unsigned int y = 8 + 30 * u;

		fprintf(f, "<text x=\"0\" y=\"%u\">%s</text>\n", y + 16, unit_names[u]);
		for (unsigned int i = 0; i < steps; i++) {
			double share = fmin(p->when[u][i] / p->step, 1);

			if (share >= 0.005)
				fprintf(f, "<rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"24\" fill=\"#2a78d6\" fill-opacity=\"%.2f\"/>",
					80 + 810. * i / steps, y, 810. / steps, share);
		}
		fputc('\n', f);
	}
	fprintf(f, "<text x=\"80\" y=\"178\">0</text><text x=\"890\" y=\"178\" text-anchor=\"end\">%.3f us</text></svg></div>\n",
		steps * p->step);
	fputs("<p class=\"note\">Core 0, device time; the darker, the busier. DMA: any ring has something under way.</p>\n", f);
}

static void write_rows(FILE *f, const struct profile *p)
{
	fputs("<h2>Programs</h2>\n<div class=\"wide\"><table><tr><th>program</th><th>commands</th><th>failed</th><th>device us</th><th>of all</th><th>us on the host</th>", f);
	if (p->engines)
		fputs("<th>PE</th><th>Vector</th><th>Scalar</th><th>GpSimd</th><th>DMA</th><th>HBM MB</th><th>SBUF MB</th><th>PSUM MB</th><th>TFLOP/s</th><th>of peak</th><th>bound by</th>", f);
	if (chips[p->generation - 1].dollars > 0)
		fputs("<th>$</th>", f);
	fputs("</tr>\n", f);
	for (unsigned int i = 0; i < p->count; i++) {
		const struct sums *s = &p->rows[i];

		fprintf(f, "<tr><td>%s (%u KiB)</td><td>%llu</td><td>%llu</td><td>%.3f</td><td>%.1f %%</td><td>%.1f</td>",
			s->name, (s->program_bytes + 1023) / 1024, s->commands, s->failed,
			s->seconds * 1e6, percent(s->seconds, p->total.seconds), s->host * 1e6);
		for (unsigned int u = 0; p->engines && u < UNITS; u++)
			fprintf(f, "<td>%.1f %%</td>", percent(s->busy[u], s->seconds));
		if (p->engines)
			fprintf(f, "<td>%.3f</td><td>%.3f</td><td>%.3f</td><td>%.2f</td><td>%.1f %%</td><td>%s</td>",
				s->hbm * 1e-6, s->sbuf * 1e-6, s->psum * 1e-6,
				s->seconds > 0 ? s->operations / s->seconds * 1e-12 : 0,
				percent(s->at_peak, s->seconds), bound_by(p, s));
		if (chips[p->generation - 1].dollars > 0)
			fprintf(f, "<td>%.3g</td>", cost_of(p->generation, s->seconds));
		fputs("</tr>\n", f);
	}
	fputs("</table></div>\n<p class=\"note\">Host time runs from submission to completion, each command's; commands of a queue overlap there.</p>\n</body></html>\n", f);
}

static bool write_page(const struct profile *p, const char *command, const char *path,
		       const double seconds[GENERATIONS])
{
	FILE *f = fopen(path, "wx");
	bool good;

	if (!f) {
		fprintf(stderr, "%s: %s: %s\n", command, path, strerror(errno));
		return false;
	}
	write_head(f, p);
	write_generations(f, p, seconds);
	if (p->engines && p->total.seconds > 0) {
		write_busy(f, p);
		write_bytes(f, p);
		write_roofline(f, p);
		write_time(f, p);
	}
	write_rows(f, p);
	good = !ferror(f);
	good &= !fclose(f);
	if (!good) {
		fprintf(stderr, "%s: %s: it could not be written: %s\n", command, path, strerror(errno));
		unlink(path);
	}
	return good;
}

/* The {...} behind what in this line; NULL: there is none. */
static const char *braces_behind(const char *line, const char *what, int *length)
{
	const char *at = strstr(line, what), *end;

	if (!at)
		return NULL;
	at += strlen(what);
	end = strchr(at, '}');
	*length = end ? (int)(end + 1 - at) : 0;
	return end ? at : NULL;
}

int report_mend(const char *command, const char *trace)
{
	struct reader r = { .command = command, .path = trace };
	struct profile *p = calloc(1, sizeof(*p));
	char *last = NULL;
	const char *card, *sums;
	int length, status = 1;
	long end = 0;
	bool whole = false, good;

	r.file = p ? fopen(trace, "r+") : NULL;
	if (!r.file) {
		fprintf(stderr, "%s: %s: %s\n", command, trace, strerror(errno));
		free(p);
		return 1;
	}
	p->step = 1;
	good = read_header(&r);
	/* Lines up to the first that is not a whole event with others behind it. */
	while (good && fgets(r.line, sizeof(r.line), r.file)) {
		size_t n = strlen(r.line);

		if (n > 2 && !strcmp(r.line + n - 2, "}\n"))	/* the last event, if it goes on so */
			whole = fgets(r.line, sizeof(r.line), r.file) && !strcmp(r.line, "],\n");
		if (whole || n < 3 || strcmp(r.line + n - 3, "},\n") || !read_event(p, r.line))
			break;
		end = ftell(r.file);
		if (strncmp(r.line, STAND, strlen(STAND)))
			continue;
		free(last);
		last = strdup(r.line);
	}
	card = last ? strstr(last, "\"transport\"") : NULL;
	sums = last ? braces_behind(last, "\"total\":", &length) : NULL;
	if (!good || whole) {
		status = !good;
	} else if (!card || !sums) {
		fprintf(stderr, "%s: %s: the command was killed before its card did anything\n", command, trace);
	} else if (fseek(r.file, end, SEEK_SET) || ftruncate(fileno(r.file), end) ||
		   fprintf(r.file, CUT "\"pid\":100,\"args\":{}}\n],\n\"kiln\":{%.*s,\n\"total\":%.*s,\n\"programs\":[\n%.*s\n]}}\n",
			   (int)(strstr(last, ",\"total\"") - card), card, length, sums, length, sums) < 0 ||
		   fflush(r.file)) {
		fprintf(stderr, "%s: %s: its end cannot be written: %s\n", command, trace, strerror(errno));
	} else {
		fprintf(stderr, "%s: %s: the command was killed; the trace has what was until then\n", command,
			trace);
		status = 0;
	}
	fclose(r.file);
	free(last);
	free(p);
	return status;
}

unsigned int report_seconds(const char *command, const char *trace, double seconds[GENERATIONS])
{
	struct reader r = { .command = command, .path = trace };
	struct profile *p = calloc(1, sizeof(*p));
	unsigned int generation = 0;

	r.file = p ? fopen(trace, "r") : NULL;
	if (!r.file) {
		fprintf(stderr, "%s: %s: %s\n", command, trace, strerror(errno));
	} else {
		if (read_trace(&r, p)) {
			generation = p->generation;
			seconds[generation - 1] += p->total.seconds;
		}
		fclose(r.file);
	}
	free(p ? p->rows : NULL);
	free(p);
	return generation;
}

int report_page(const char *command, const char *trace, const char *page)
{
	static const double none[GENERATIONS];

	return report_pages(command, trace, page, none);
}

int report_pages(const char *command, const char *trace, const char *page,
		 const double seconds[GENERATIONS])
{
	struct reader r = { .command = command, .path = trace };
	struct profile *p = calloc(1, sizeof(*p));
	bool good;

	r.file = p ? fopen(trace, "r") : NULL;
	if (!r.file) {
		fprintf(stderr, "%s: %s: %s\n", command, trace, strerror(errno));
		free(p);
		return 1;
	}
	good = read_trace(&r, p) && write_page(p, command, page, seconds);
	fclose(r.file);
	free(p->rows);
	free(p);
	return good ? 0 : 1;
}
