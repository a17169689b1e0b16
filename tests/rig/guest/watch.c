/* The judge outside: reads the guest's stream of numbers on one TCP connection, through pauses and takeovers. A number
 * that is missing or comes twice means that the guest's TCP connection and its memory are of different moments, which
 * no network excuses. Prints a line with the first number, then at most every second, and when it is ended (SIGTERM) or
 * the connection ends:
 *
 *   numbers N errors N longest_silence_ms N
 */
#include "rigguest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void end(int signal) {
    (void)signal;
    ended = 1;
}

struct judge {
    uint64_t numbers, errors, longest_silence_ns, heard_ns, told_ns;
};

static void tell(struct judge *judge) {
    printf("numbers %lu errors %lu longest_silence_ms %lu\n", judge->numbers, judge->errors,
           judge->longest_silence_ns / 1000000u);
    fflush(stdout);
    judge->told_ns = now_ns();
}

static void hear(struct judge *judge, uint64_t number) {
    uint64_t now = now_ns();
    if (judge->numbers && now - judge->heard_ns > judge->longest_silence_ns)
        judge->longest_silence_ns = now - judge->heard_ns;
    if (number != judge->numbers + 1) {
        printf("error: %lu after %lu\n", number, judge->numbers);
        judge->errors++;
    }
    judge->numbers = number;
    judge->heard_ns = now;
    if (now - judge->told_ns > 1000000000u) tell(judge);
}

static FILE *connect_to(const char *address, const char *every_ms) {
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(80)};
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (inet_pton(AF_INET, address, &peer.sin_addr) != 1) return NULL;
    if (connect(connection, (struct sockaddr *)&peer, sizeof peer) != 0) return NULL;
    dprintf(connection, "GET /stream?ms=%s HTTP/1.0\r\n\r\n", every_ms);
    return fdopen(connection, "r");
}

int watch(const char *address, const char *every_ms) {
    struct sigaction action = {.sa_handler = end}; /* without SA_RESTART: a read is interrupted */
    struct judge judge = {0};
    char line[256];
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    FILE *stream = connect_to(address, every_ms);
    if (!stream) {
        perror("rigguest: watch");
        return 1;
    }
    while (fgets(line, sizeof line, stream) && line[0] != '\r') {}
    while (!ended && fgets(line, sizeof line, stream)) hear(&judge, strtoull(line, NULL, 10));
    if (!ended) printf("the connection ended: %s\n", ferror(stream) ? strerror(errno) : "end of stream");
    tell(&judge);
    return ended && judge.errors == 0 ? 0 : 1;
}
