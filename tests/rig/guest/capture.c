/* Captures what one guest sends, wherever it passes on a host: a packet socket on all interfaces there are and will be,
 * of the frames with the guest's address as source. One clock, one order, one file in pcapng on standard output, which
 * says of each frame the interface by name, whether it came in or went out, when (the kernel's stamp, in nanoseconds),
 * and how long it was:
 *
 *   section │ interface 0: lan0 │ frame │ interface 1: vif1.0 │ frame │ frame … │ statistics: lost by the capture
 *
 * The first HEAD_BYTES_MAX bytes of a frame are kept, its VLAN tag among them. Whoever reads the file while it grows is at
 * most a tenth of a second behind. SIGINT ends it. */
#include "rigguest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { HEAD_BYTES_MAX = 128, INTERFACES_MAX = 64, BUFFER_BYTES = 64 << 20, FLUSH_NS = 100000000, TAG_BYTES = 4 };
enum { SECTION = 0x0a0d0d0a, INTERFACE = 1, STATISTICS = 5, FRAME = 6 };
enum { OPTION_NAME = 2, OPTION_RESOLUTION = 9, OPTION_FLAGS = 2, OPTION_DROPPED = 5, CAME_IN = 1, WENT_OUT = 2 };

static volatile sig_atomic_t ended;

static void end(int signal) {
    (void)signal;
    ended = 1;
}

struct block {
    uint8_t bytes[512];
    uint32_t length;
};

static void put(struct block *block, const void *bytes, uint32_t count) {
    memcpy(block->bytes + block->length, bytes, count);
    block->length += count;
    while (block->length % 4) block->bytes[block->length++] = 0;
}

static void put_u32(struct block *block, uint32_t value) { put(block, &value, 4); }

static void put_option(struct block *block, uint16_t code, const void *value, uint16_t count) {
    put(block, (uint16_t[]){code, count}, 4);
    put(block, value, count);
}

static void begin(struct block *block, uint32_t type) {
    block->length = 0;
    put_u32(block, type);
    put_u32(block, 0); /* its length, when it is known */
}

static void finish(struct block *block) {
    put_u32(block, block->length + 4);
    memcpy(block->bytes + 4, &block->length, 4);
    fwrite(block->bytes, 1, block->length, stdout);
}

static void write_section(void) {
    struct block block;
    begin(&block, SECTION);
    put_u32(&block, 0x1a2b3c4d);
    put(&block, (uint16_t[]){1, 0}, 4);                    /* the format's version */
    put(&block, (uint32_t[]){UINT32_MAX, UINT32_MAX}, 8); /* of unknown length */
    finish(&block);
}

/* The interface's place in the file; it is described where it is seen first. */
static uint32_t interface_of(int index) {
    static int known[INTERFACES_MAX];
    static uint32_t count;
    char name[IF_NAMESIZE] = "gone";
    struct block block;
    for (uint32_t i = 0; i < count; i++)
        if (known[i] == index) return i;
    if (count == INTERFACES_MAX) {
        fprintf(stderr, "rigguest: capture: more than %d interfaces\n", INTERFACES_MAX);
        exit(1);
    }
    known[count] = index;
    if_indextoname((unsigned)index, name);
    begin(&block, INTERFACE);
    put(&block, (uint16_t[]){1, 0}, 4); /* Ethernet */
    put_u32(&block, HEAD_BYTES_MAX);
    put_option(&block, OPTION_NAME, name, (uint16_t)strlen(name));
    put_option(&block, OPTION_RESOLUTION, (uint8_t[]){9}, 1);
    put_u32(&block, 0);
    finish(&block);
    return count++;
}

struct sight {
    uint8_t head[HEAD_BYTES_MAX + TAG_BYTES];
    uint32_t kept, length;
    uint64_t ns;
    struct sockaddr_ll place;
};

static void write_frame(const struct sight *sight) {
    struct block block;
    uint32_t interface = interface_of(sight->place.sll_ifindex);
    uint32_t flags = sight->place.sll_pkttype == PACKET_OUTGOING ? WENT_OUT : CAME_IN;
    begin(&block, FRAME);
    put_u32(&block, interface);
    put_u32(&block, (uint32_t)(sight->ns >> 32));
    put_u32(&block, (uint32_t)sight->ns);
    put_u32(&block, sight->kept);
    put_u32(&block, sight->length);
    put(&block, sight->head, sight->kept);
    put_option(&block, OPTION_FLAGS, &flags, 4);
    put_u32(&block, 0);
    finish(&block);
}

static void write_statistics(int tap) {
    struct tpacket_stats stats = {0};
    socklen_t size = sizeof stats;
    struct block block;
    uint64_t dropped;
    getsockopt(tap, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
    dropped = stats.tp_drops;
    begin(&block, STATISTICS);
    put(&block, (uint32_t[]){0, 0, 0}, 12); /* interface 0, at no time */
    put_option(&block, OPTION_DROPPED, &dropped, 8);
    put_u32(&block, 0);
    finish(&block);
}

/* The kernel takes the outermost tag off a frame that comes in: it is put back. */
static void put_tag_back(struct sight *sight, const struct tpacket_auxdata *aux) {
    uint16_t tag[2] = {htons(aux->tp_vlan_tpid), htons(aux->tp_vlan_tci)};
    if (!(aux->tp_status & TP_STATUS_VLAN_VALID) || sight->kept < 12) return;
    memmove(sight->head + 12 + TAG_BYTES, sight->head + 12, sight->kept - 12);
    memcpy(sight->head + 12, tag, TAG_BYTES);
    sight->kept = sight->kept + TAG_BYTES < HEAD_BYTES_MAX ? sight->kept + TAG_BYTES : HEAD_BYTES_MAX;
    sight->length += TAG_BYTES;
}

/* The next frame; 0 when none came for a while. */
static int see(int tap, struct sight *sight) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata)) + CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec room = {sight->head, HEAD_BYTES_MAX};
    struct msghdr message = {.msg_name = &sight->place, .msg_namelen = sizeof sight->place, .msg_iov = &room, .msg_iovlen = 1,
                             .msg_control = &control, .msg_controllen = sizeof control};
    struct tpacket_auxdata aux = {0};
    struct timespec at = {0};
    ssize_t kept = recvmsg(tap, &message, 0);
    if (kept <= 0) return 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level == SOL_PACKET && part->cmsg_type == PACKET_AUXDATA) memcpy(&aux, CMSG_DATA(part), sizeof aux);
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS) memcpy(&at, CMSG_DATA(part), sizeof at);
    }
    sight->kept = (uint32_t)kept;
    sight->length = aux.tp_len;
    sight->ns = (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
    put_tag_back(sight, &aux);
    return 1;
}

/* Hears nothing before its filter is in place. */
static int open_tap(const uint8_t *mac) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(mac[0] << 8 | mac[1]), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 8),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)mac[2] << 24 | (uint32_t)(mac[3] << 16 | mac[4] << 8 | mac[5]), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, HEAD_BYTES_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog filter = {.len = sizeof program / sizeof program[0], .filter = program};
    struct sockaddr_ll everywhere = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    struct timeval patience = {.tv_usec = FLUSH_NS / 1000};
    int tap = socket(AF_PACKET, SOCK_RAW, 0), on = 1, bytes = BUFFER_BYTES;
    if (tap < 0 || setsockopt(tap, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0 ||
        setsockopt(tap, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0 ||
        setsockopt(tap, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0 ||
        setsockopt(tap, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        setsockopt(tap, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) != 0 ||
        bind(tap, (struct sockaddr *)&everywhere, sizeof everywhere) != 0)
        return -1;
    return tap;
}

int capture(const char *address) {
    unsigned parts[6];
    uint8_t mac[6];
    uint64_t flushed_ns = 0;
    struct sigaction action = {.sa_handler = end}; /* without SA_RESTART: a read is interrupted */
    struct sight sight;
    if (sscanf(address, "%x:%x:%x:%x:%x:%x", parts, parts + 1, parts + 2, parts + 3, parts + 4, parts + 5) != 6) return 2;
    for (int i = 0; i < 6; i++) mac[i] = (uint8_t)parts[i];
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int tap = open_tap(mac);
    if (tap < 0) {
        perror("rigguest: capture");
        return 1;
    }
    write_section();
    while (!ended && !ferror(stdout)) {
        int seen = see(tap, &sight);
        if (seen) write_frame(&sight);
        if (seen && now_ns() - flushed_ns < FLUSH_NS) continue;
        fflush(stdout);
        flushed_ns = now_ns();
    }
    write_statistics(tap);
    return fflush(stdout) == 0 ? 0 : 1;
}
