/* The busy writer: changes pages at a set rate, and before it changes one looks whether the page is as it left it.
 * The sums it compares with lie in other pages, so pages of different epochs put together are found here. */
#include "rigguest.h"

#include <unistd.h>

enum { TICK_MS = 10, PAGES_PER_S_MAX = 1000000 };

void writer_fill(void) {
    shared->write_pages = shared_memory(shared->write_page_count * PAGE_BYTES);
    shared->write_sums = shared_memory(shared->write_page_count * sizeof *shared->write_sums);
    shared->write_bytes = PAGE_BYTES;
    for (uint64_t page = 0; page < shared->write_page_count; page++)
        shared->write_sums[page] = page_sum(shared->write_pages + page * PAGE_WORDS);
}

static int page_is_whole(uint64_t page) {
    return page_sum(shared->write_pages + page * PAGE_WORDS) == shared->write_sums[page];
}

static void change_page(uint64_t page, uint64_t step) {
    uint64_t *words = shared->write_pages + page * PAGE_WORDS, word = mix(step);
    uint64_t count = shared->write_bytes / 8;
    if (!page_is_whole(page)) shared->write_errors++;
    for (uint64_t i = 0; i < count; i++) words[i] = word = mix(word);
    shared->write_sums[page] = page_sum(words);
}

void writer_run_for_ever(void) {
    uint64_t step = 0, due = 0; /* due: in pages times ticks of a second */
    if (nice(10) == -1) _exit(1);
    for (;;) {
        sleep_ns(TICK_MS * 1000000u);
        for (due += shared->write_rate; due >= 1000 / TICK_MS; due -= 1000 / TICK_MS) {
            change_page(mix(step) % shared->write_page_count, step);
            shared->written = ++step;
        }
    }
}

/* While the writer is in the middle of a page this page does not match its sum, so only its own errors count. */
void writer_answer(FILE *out, const char *query) {
    uint64_t rate = query_number(query, "pages", shared->write_rate);
    uint64_t bytes = query_number(query, "bytes", shared->write_bytes);
    if (rate > PAGES_PER_S_MAX || bytes < 8 || bytes > PAGE_BYTES) {
        fprintf(out, "refused: pages at most %d a second, bytes from 8 to %d\n", PAGES_PER_S_MAX, PAGE_BYTES);
        return;
    }
    shared->write_rate = rate;
    shared->write_bytes = bytes;
    fprintf(out, "errors %lu written %lu pages_per_s %lu bytes %lu of_pages %lu\n", shared->write_errors, shared->written,
            rate, bytes, shared->write_page_count);
}
