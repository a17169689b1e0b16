/* The memory checker: a region whose every word follows from the boot's number, the page and its place, and which
 * nobody writes again. What a checkpoint loses or damages of pages that did not change is found here. */
#include "rigguest.h"

#include <unistd.h>

static uint64_t page_seed(uint64_t page) { return mix(shared->boot_id ^ mix(page)); }

void memory_fill(void) {
    shared->check_pages = shared_memory(shared->check_page_count * PAGE_BYTES);
    for (uint64_t page = 0; page < shared->check_page_count; page++) {
        uint64_t word = page_seed(page);
        for (int i = 0; i < PAGE_WORDS; i++, word += 0x9e3779b97f4a7c15u)
            shared->check_pages[page * PAGE_WORDS + i] = word;
    }
}

static int page_is_whole(uint64_t page) {
    uint64_t word = page_seed(page);
    for (int i = 0; i < PAGE_WORDS; i++, word += 0x9e3779b97f4a7c15u)
        if (shared->check_pages[page * PAGE_WORDS + i] != word) return 0;
    return 1;
}

/* One page every 5 ms, at the lowest priority: it takes little of an emulated processor. */
void memory_check_for_ever(void) {
    if (nice(19) == -1) _exit(1);
    for (;;) {
        for (uint64_t page = 0; page < shared->check_page_count; page++) {
            if (!page_is_whole(page)) shared->check_errors++;
            sleep_ns(5000000);
        }
        shared->check_rounds++;
    }
}

void memory_report(FILE *out) {
    uint64_t sum = 0, errors = 0;
    for (uint64_t page = 0; page < shared->check_page_count; page++) {
        sum = mix(sum ^ page_sum(shared->check_pages + page * PAGE_WORDS));
        if (!page_is_whole(page)) errors++;
    }
    fprintf(out, "errors %lu checksum %016lx pages %lu rounds %lu\n", errors + shared->check_errors, sum,
            shared->check_page_count, shared->check_rounds);
}
