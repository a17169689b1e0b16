/* The balloonist: gives memory back and takes as much again, over and over, so that the guest has at every look what it
 * had before. What lies in the memory that came is known by the page:
 *
 *   pool     │ page │ page │ page │ …       each holds what its own sum says
 *   a round    pages at random places are let go ─ the kernel gives as many back ─ takes as many ─ they are filled anew
 *              or it takes from what was given back earlier, and gives back what was let go
 *
 * Nobody writes a page between two rounds that choose it, so a page that came without being noticed by those who copy the
 * guest shows for long. Not here: memory that goes for good, which is for the toolstack (`xl mem-set`). */
#include "rigguest.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XEN_MEMORY "/sys/devices/system/xen_memory/xen_memory0/"

enum { PAGE_KIB = PAGE_BYTES / 1024, POOL_PAGES = 768, RESERVE_PAGES = 256, PAGES_MAX = 512, WAIT_MS_MAX = 3000 };

/* Filled when a first round is wanted: until then it takes no memory. */
void balloon_prepare(void) {
    shared->pool_pages = shared_memory(POOL_PAGES * PAGE_BYTES);
    shared->pool_sums = shared_memory(POOL_PAGES * sizeof *shared->pool_sums);
}

static uint64_t number_in(const char *path) {
    char text[32] = "";
    int file = open(path, O_RDONLY);
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return strtoull(text, NULL, 10);
}

/* The kernel is to have this much, and has it when we return; it may be short of memory to give, or Xen may. */
static void have_kib(uint64_t kib) {
    char text[32];
    int file = open(XEN_MEMORY "target_kb", O_WRONLY), length = snprintf(text, sizeof text, "%lu\n", kib);
    if (file < 0 || write(file, text, (size_t)length) != length) shared->balloon_refused++;
    if (file >= 0) close(file);
    for (int ms = 0; number_in(XEN_MEMORY "info/current_kb") != kib; ms++) {
        if (ms == WAIT_MS_MAX) {
            shared->balloon_refused++;
            return;
        }
        sleep_ns(1000000);
    }
}

static uint64_t *pool_page(uint64_t page) { return shared->pool_pages + page * PAGE_WORDS; }

static int page_is_whole(uint64_t page) { return page_sum(pool_page(page)) == shared->pool_sums[page]; }

static void fill_page(uint64_t page, uint64_t seed) {
    for (int i = 0; i < PAGE_WORDS; i++) pool_page(page)[i] = seed = mix(seed);
    shared->pool_sums[page] = page_sum(pool_page(page));
}

/* The memory of a page goes to the kernel; read before it is filled it would be zeros. */
static void let_go(uint64_t page) {
    if (!page_is_whole(page)) shared->balloon_errors++;
    if (madvise(pool_page(page), PAGE_BYTES, MADV_REMOVE) != 0) shared->balloon_refused++;
}

/* `kib` is what the kernel has between two rounds: RESERVE_PAGES less than it could. */
static void balloon_round(uint64_t round, uint64_t pages_max, uint64_t kib) {
    uint64_t count = 1 + mix(round) % pages_max, moved = count < RESERVE_PAGES ? count : RESERVE_PAGES;
    uint64_t first = mix(round ^ 1), step = 6 * (mix(round ^ 2) % 1000) + 1; /* no page twice: the pool is 3 times a power of 2 */
    for (uint64_t i = 0; i < count; i++) let_go((first % POOL_PAGES + i * step) % POOL_PAGES);
    have_kib(round % 2 ? kib - moved * PAGE_KIB : kib + moved * PAGE_KIB);
    have_kib(kib);
    for (uint64_t i = 0; i < count; i++) fill_page((first % POOL_PAGES + i * step) % POOL_PAGES, mix(round) ^ i);
}

void balloon_run_for_ever(void) {
    uint64_t kib = 0, round = 0, pages;
    for (;;) {
        pages = shared->balloon_pages;
        shared->balloon_works = pages != 0;
        if (pages == 0) {
            sleep_ns(20000000);
            continue;
        }
        if (kib == 0) {
            for (uint64_t page = 0; page < POOL_PAGES; page++) fill_page(page, page);
            kib = number_in(XEN_MEMORY "info/current_kb") - RESERVE_PAGES * PAGE_KIB;
            have_kib(kib);
        }
        balloon_round(++round, pages, kib);
        shared->balloon_rounds = round;
        sleep_ns(mix(~round) % (2 * shared->balloon_ms + 1) * 1000000u); /* so that rounds fall anywhere in an epoch */
    }
}

/* With pages=0 it waits for the end of the round, and every page is looked at. */
void balloon_answer(FILE *out, const char *query) {
    uint64_t pages = query_number(query, "pages", shared->balloon_pages), wrong = 0;
    if (pages > PAGES_MAX) {
        fprintf(out, "refused: at most %d pages a round\n", PAGES_MAX);
        return;
    }
    shared->balloon_ms = query_number(query, "ms", shared->balloon_ms);
    shared->balloon_pages = pages;
    if (pages == 0) {
        while (shared->balloon_works) sleep_ns(20000000);
        for (uint64_t page = 0; page < POOL_PAGES && shared->balloon_rounds; page++)
            if (!page_is_whole(page)) wrong++;
    }
    fprintf(out, "errors %lu wrong_pages %lu rounds %lu refused %lu of_pages %d\n", shared->balloon_errors + wrong, wrong,
            shared->balloon_rounds, shared->balloon_refused, POOL_PAGES);
}
