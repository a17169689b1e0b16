/* Starts the processes of a guest; the list of what it serves is in rigguest.h. */
#include "rigguest.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct shared *shared;

void *shared_memory(uint64_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("rigguest: no memory");
        exit(1);
    }
    return memory;
}

/* The finalizer of splitmix64: every bit of the result depends on every bit of the word. */
uint64_t mix(uint64_t word) {
    word += 0x9e3779b97f4a7c15u;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    return word ^ (word >> 31);
}

/* Depends on each word and on its place. */
uint64_t page_sum(const uint64_t *page) {
    uint64_t sum = 0;
    for (int i = 0; i < PAGE_WORDS; i++) sum = (sum ^ page[i]) * 0x100000001b3u + (sum >> 47);
    return sum;
}

uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void sleep_ns(uint64_t ns) {
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&time, NULL);
}

static void start(void (*work)(void)) {
    if (fork() == 0) {
        work();
        _exit(1);
    }
}

static int serve(uint64_t check_kib, uint64_t write_kib) {
    signal(SIGCHLD, SIG_IGN);
    shared = shared_memory(sizeof *shared);
    shared->boot_id = mix(now_ns() ^ (uint64_t)time(NULL) << 20);
    shared->check_page_count = check_kib * 1024 / PAGE_BYTES;
    shared->write_page_count = write_kib * 1024 / PAGE_BYTES;
    memory_fill();
    writer_fill();
    balloon_prepare();
    start(memory_check_for_ever);
    start(writer_run_for_ever);
    start(frames_run_for_ever);
    start(balloon_run_for_ever);
    serve_http();
    return 1;
}

int main(int count, char **words) {
    if (count == 4 && strcmp(words[1], "serve") == 0) return serve(strtoull(words[2], 0, 10), strtoull(words[3], 0, 10));
    if (count == 4 && strcmp(words[1], "watch") == 0) return watch(words[2], words[3]);
    if (count == 3 && strcmp(words[1], "capture") == 0) return capture(words[2]);
    fprintf(stderr, "rigguest serve CHECK_KIB WRITE_KIB | watch ADDRESS EVERY_MS | capture ETHERNET_ADDRESS\n");
    return 2;
}
