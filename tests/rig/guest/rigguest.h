/* rigguest: what runs in a guest of the rig to show every lost, repeated or damaged step, and what judges it from a
 * host. One static program:
 *
 *   rigguest serve CHECK_KIB WRITE_KIB    in the guest: HTTP on port 80, one process per connection
 *   rigguest watch ADDRESS EVERY_MS       on a host: reads a stream of numbers and judges it (watch.c)
 *   rigguest capture ETHERNET_ADDRESS     on a host: what a guest sends, wherever it passes (capture.c)
 *
 *   GET /id                      a number drawn at boot, and the uptime: tells a reboot from a takeover
 *   GET /count                   the next number: each is given once
 *   GET /stream?ms=N             1, 2, 3 … on one connection, one every N ms, for ever
 *   GET /memory                  the checker's region, verified now, and all errors it ever saw
 *   GET /writer[?pages=N[&bytes=N]]  the busy writer; sets how many pages a second it changes, and how much of each
 *   GET /gap?ms=N[&over_us=N][&pages=N]  the gaps in a tight loop of N ms
 *   GET /card?number=N[&frames=N][&ms=N]  sends frames by another card, one every so many ms
 *   GET /frames[?per_s=N]        numbered frames of every kind on the wire; sets how many of each a second (frames.c)
 *   GET /balloon[?pages=N[&ms=N]]  gives up to N pages back and takes them again, every so many ms (balloon.c)
 *   GET /crash /reboot /poweroff
 */
#ifndef RIGGUEST_H
#define RIGGUEST_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

enum { PAGE_BYTES = 4096, PAGE_WORDS = PAGE_BYTES / 8, FRAME_KINDS = 8 };

/* What all processes of the guest share: one anonymous mapping, made before the first fork. */
struct shared {
    uint64_t boot_id;
    _Atomic uint64_t count;
    uint64_t *check_pages, *write_pages;
    uint64_t *write_sums; /* of each page of the writer, as it last left it */
    uint64_t check_page_count, write_page_count;
    _Atomic uint64_t check_rounds, check_errors;
    _Atomic uint64_t write_rate, write_bytes, written, write_errors;
    _Atomic uint64_t frames_rate, frames_sent[FRAME_KINDS], frames_refused;
    uint64_t *pool_pages, *pool_sums; /* of the balloonist */
    _Atomic uint64_t balloon_pages, balloon_ms, balloon_works, balloon_rounds, balloon_errors, balloon_refused;
};

extern struct shared *shared;

void *shared_memory(uint64_t bytes);
uint64_t mix(uint64_t word);
uint64_t page_sum(const uint64_t *page);
uint64_t now_ns(void);
void sleep_ns(uint64_t ns);

/* The value of NAME in a query such as "ms=10&pages=3", or OTHERWISE. */
uint64_t query_number(const char *query, const char *name, uint64_t otherwise);

void memory_fill(void);
void memory_check_for_ever(void);
void memory_report(FILE *out);
void writer_fill(void);
void writer_run_for_ever(void);
void writer_answer(FILE *out, const char *query);
void card_answer(FILE *out, const char *query);
void gap_answer(FILE *out, const char *query);
void frames_run_for_ever(void);
void frames_answer(FILE *out, const char *query);
void balloon_prepare(void);
void balloon_run_for_ever(void);
void balloon_answer(FILE *out, const char *query);
void serve_http(void);
int watch(const char *address, const char *every_ms);
int capture(const char *address);

#endif
