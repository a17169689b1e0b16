/* Just enough HTTP for wget and curl: one request per connection, one process per request. */
#include "rigguest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_BYTES_MAX = 1024 };

uint64_t query_number(const char *query, const char *name, uint64_t otherwise) {
    size_t length = strlen(name);
    while (query && *query) {
        if (strncmp(query, name, length) == 0 && query[length] == '=') return strtoull(query + length + 1, NULL, 10);
        query = strchr(query, '&');
        if (query) query++;
    }
    return otherwise;
}

static void answer_id(FILE *out, const char *query) {
    (void)query;
    fprintf(out, "%016lx up_s %lu\n", shared->boot_id, now_ns() / 1000000000u);
}

static void answer_count(FILE *out, const char *query) {
    (void)query;
    fprintf(out, "%lu\n", ++shared->count);
}

static void answer_memory(FILE *out, const char *query) {
    (void)query;
    memory_report(out);
}

static void answer_stream(FILE *out, const char *query) {
    uint64_t ms = query_number(query, "ms", 100);
    for (uint64_t number = 1; fprintf(out, "%lu\n", number) > 0 && fflush(out) == 0; number++) sleep_ns(ms * 1000000u);
}

/* The connection is closed first, or the asker would wait for a guest that is gone. */
static void go_down(FILE *out, void (*how)(void)) {
    fprintf(out, "going down\n");
    fclose(out);
    sleep_ns(300000000);
    how();
    _exit(1);
}

static void crash(void) {
    int trigger = open("/proc/sysrq-trigger", O_WRONLY);
    if (trigger < 0 || write(trigger, "c", 1) != 1) perror("rigguest: sysrq");
}

static void restart(void) { reboot(RB_AUTOBOOT); }

static void power_off(void) { reboot(RB_POWER_OFF); }

static void answer_crash(FILE *out, const char *query) {
    (void)query;
    go_down(out, crash);
}

static void answer_reboot(FILE *out, const char *query) {
    (void)query;
    go_down(out, restart);
}

static void answer_poweroff(FILE *out, const char *query) {
    (void)query;
    go_down(out, power_off);
}

static const struct {
    const char *path;
    void (*answer)(FILE *out, const char *query);
} services[] = {
    {"/id", answer_id},         {"/count", answer_count}, {"/stream", answer_stream}, {"/memory", answer_memory},
    {"/writer", writer_answer}, {"/gap", gap_answer},     {"/frames", frames_answer}, {"/crash", answer_crash},
    {"/reboot", answer_reboot}, {"/poweroff", answer_poweroff}, {"/card", card_answer},
    {"/balloon", balloon_answer},
};

/* Reads up to the end of the request's head; what does not fit is cut off. */
static void read_request(int connection, char *request) {
    size_t have = 0;
    request[0] = 0;
    while (have < REQUEST_BYTES_MAX && !strstr(request, "\r\n\r\n")) {
        ssize_t got = read(connection, request + have, REQUEST_BYTES_MAX - have);
        if (got <= 0) return;
        have += (size_t)got;
        request[have] = 0;
    }
}

static void answer(int connection) {
    char request[REQUEST_BYTES_MAX + 1], *path, *query;
    FILE *out = fdopen(connection, "r+");
    read_request(connection, request);
    if (!out || strncmp(request, "GET ", 4) != 0) return;
    path = request + 4;
    path[strcspn(path, " \r\n")] = 0;
    query = strchr(path, '?');
    if (query) *query++ = 0;
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        if (strcmp(path, services[i].path) != 0) continue;
        fprintf(out, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n");
        services[i].answer(out, query);
        fclose(out);
        return;
    }
    fprintf(out, "HTTP/1.0 404 Not Found\r\n\r\nno such service: %s\n", path);
    fclose(out);
}

void serve_http(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) {
        perror("rigguest: port 80");
        return;
    }
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) continue;
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (fork() == 0) {
            close(listener);
            answer(connection);
            _exit(0);
        }
        close(connection);
    }
}
