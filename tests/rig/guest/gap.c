/* The gap meter: a tight loop that has the processor for itself reads the time-stamp counter; where two readings lie
 * far apart the guest did not run. It may change pages meanwhile, at a set rate, as the load of what is measured.
 *
 * The counter goes on while a guest is suspended, which the kernel's monotonic clock may not: pauses are taken from
 * the counter, and the clock's largest gap is told beside it. A takeover by another host moves the counter.
 *
 * A loop that has the processor for itself also keeps it from the kernel thread that suspends the guest: no checkpoint
 * is made meanwhile. With `fifo=0` the loop is only preferred to other programs, and sees checkpoints. */
#include "rigguest.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <x86intrin.h>

enum { GAPS_MAX = 65536, LOAD_PAGES_MAX = 4608 };

struct gaps {
    uint64_t tsc[GAPS_MAX], count, loops, tsc_max, clock_max_ns;
};

struct load {
    uint64_t *pages, page_count, changed;
    double pages_per_tsc;
};

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Ticks of the counter per nanosecond, over 20 ms. */
static double tsc_per_ns(void) {
    uint64_t began_ns = now_ns(), began = __rdtsc(), ns;
    while ((ns = now_ns() - began_ns) < 20000000) {}
    return (double)(__rdtsc() - began) / (double)ns;
}

static void change_due_pages(struct load *load, uint64_t tsc_since_start) {
    uint64_t due = (uint64_t)((double)tsc_since_start * load->pages_per_tsc);
    /* What a pause left undone is not made up for: the load is a rate of the running guest. */
    if (due > load->changed + 64) load->changed = due - 1;
    for (; load->changed < due; load->changed++)
        load->pages[load->changed % load->page_count * PAGE_WORDS] = load->changed;
}

static void measure(struct gaps *gaps, struct load *load, uint64_t tsc_wanted, uint64_t tsc_over) {
    uint64_t began = __rdtsc(), last = began, clock_last = now_ns();
    while (last - began < tsc_wanted) {
        uint64_t tsc = __rdtsc(), clock = now_ns();
        if (tsc - last > gaps->tsc_max) gaps->tsc_max = tsc - last;
        if (clock - clock_last > gaps->clock_max_ns) gaps->clock_max_ns = clock - clock_last;
        if (tsc - last > tsc_over && gaps->count < GAPS_MAX) gaps->tsc[gaps->count++] = tsc - last;
        if (load->pages) change_due_pages(load, tsc - began);
        gaps->loops++;
        last = tsc;
        clock_last = clock;
    }
}

void gap_answer(FILE *out, const char *query) {
    uint64_t ms = query_number(query, "ms", 2000), over_us = query_number(query, "over_us", 500);
    uint64_t pages_per_s = query_number(query, "pages", 0);
    struct gaps *gaps = calloc(1, sizeof *gaps);
    struct load load = {.page_count = LOAD_PAGES_MAX};
    struct sched_param priority = {.sched_priority = 1};
    int fifo = query_number(query, "fifo", 1) != 0;
    if (!gaps || ms > 600000) {
        fprintf(out, "refused: at most 600000 ms\n");
        return;
    }
    if (pages_per_s) load.pages = shared_memory(LOAD_PAGES_MAX * PAGE_BYTES);
    if (fifo) sched_setscheduler(0, SCHED_FIFO, &priority);
    else setpriority(PRIO_PROCESS, 0, -10);
    double scale = tsc_per_ns();
    load.pages_per_tsc = (double)pages_per_s / (scale * 1e9);
    measure(gaps, &load, (uint64_t)((double)ms * 1e6 * scale), (uint64_t)((double)over_us * 1e3 * scale));
    priority.sched_priority = 0;
    if (fifo) sched_setscheduler(0, SCHED_OTHER, &priority);
    qsort(gaps->tsc, gaps->count, sizeof gaps->tsc[0], ascending);
    uint64_t last = gaps->count ? gaps->count - 1 : 0;
    double us = 1.0 / (scale * 1e3);
    fprintf(out, "gaps %lu median_us %.0f p99_us %.0f max_us %.0f clock_max_us %.0f loops %lu pages %lu\n", gaps->count,
            (double)gaps->tsc[last / 2] * us, (double)gaps->tsc[last * 99 / 100] * us, (double)gaps->tsc_max * us,
            (double)gaps->clock_max_ns / 1e3, gaps->loops, load.changed);
    for (uint64_t i = 0; i < gaps->count && query_number(query, "list", 0); i++)
        fprintf(out, "%.0f\n", (double)gaps->tsc[i] * us);
}
