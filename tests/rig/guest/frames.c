/* Numbered frames of every kind, straight to the wire: what the judge of output commit follows through a host's buffer
 * (../judge-output). Each is written whole, headers and all, so that the guest's kernel needs no IPv6 and no VLANs.
 *
 *   to nobody, from our card │ tags │ headers of its kind │ "rigframe" │ boot │ kind │ number │ filling
 *                                                             8 bytes     8      8       8      every 16th is full
 *
 * Numbers of a kind begin at 1 and each leaves once: one is used up when the kernel has taken its frame. They live in
 * the guest's memory, so a guest that goes on from an older state sends numbers again that others have seen. Nobody
 * answers: no host has the address they go to, and their checksums are 0. */
#include "rigguest.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TICK_MS = 10, PER_S_MAX = 10000, FRAME_BYTES_MAX = 1514, FRAME_BYTES_MIN = 60, PAYLOAD_BYTES = 32 };

static const char *const kind_names[FRAME_KINDS] = {"ipv4-tcp", "ipv4-udp",  "ipv4-icmp",    "ipv6-udp",
                                                    "ipv6-icmp", "arp", "vlan-ipv4-udp", "qinq-ipv6-udp"};

static const uint8_t nobody[6] = {2, 0, 0, 0, 0, 0x99};

struct frame {
    uint8_t bytes[FRAME_BYTES_MAX];
    size_t length;
};

static void put(struct frame *frame, const void *bytes, size_t count) {
    memcpy(frame->bytes + frame->length, bytes, count);
    frame->length += count;
}

static void put_zeros(struct frame *frame, size_t count) {
    memset(frame->bytes + frame->length, 0, count);
    frame->length += count;
}

static void put_u16(struct frame *frame, uint16_t value) { put(frame, &(uint16_t){htons(value)}, 2); }

/* From 10.8.0.250 to 10.8.0.251; room is what comes behind this header. */
static void put_ipv4(struct frame *frame, uint8_t protocol, uint16_t room) {
    put_u16(frame, 0x0800);
    put(frame, (uint8_t[]){0x45, 0}, 2);
    put_u16(frame, 20 + room);
    put(frame, (uint8_t[]){0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 8, 0, 250, 10, 8, 0, 251}, 16);
}

/* From fe80::250 to fe80::251. */
static void put_ipv6(struct frame *frame, uint8_t protocol, uint16_t room) {
    put_u16(frame, 0x86dd);
    put(frame, (uint8_t[]){0x60, 0, 0, 0}, 4);
    put_u16(frame, room);
    put(frame, (uint8_t[]){protocol, 64}, 2);
    put(frame, (uint8_t[]){0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x50}, 16);
    put(frame, (uint8_t[]){0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x51}, 16);
}

static void put_udp(struct frame *frame, uint16_t room) {
    put_u16(frame, 9);
    put_u16(frame, 9);
    put_u16(frame, 8 + room);
    put_u16(frame, 0);
}

static void put_tcp(struct frame *frame) { /* PSH and ACK */
    put_u16(frame, 9);
    put_u16(frame, 9);
    put_zeros(frame, 8);
    put(frame, (uint8_t[]){0x50, 0x18, 0x20, 0, 0, 0, 0, 0}, 8);
}

static void put_echo(struct frame *frame, uint8_t type) {
    put(frame, &type, 1);
    put_zeros(frame, 7);
}

static void put_arp(struct frame *frame, const uint8_t *own) { /* who has 10.8.0.251, says 10.8.0.250 */
    put_u16(frame, 0x0806);
    put(frame, (uint8_t[]){0, 1, 8, 0, 6, 4, 0, 1}, 8);
    put(frame, own, 6);
    put(frame, (uint8_t[]){10, 8, 0, 250}, 4);
    put_zeros(frame, 6);
    put(frame, (uint8_t[]){10, 8, 0, 251}, 4);
}

static void put_tag(struct frame *frame, uint16_t type, uint16_t vlan) {
    put_u16(frame, type);
    put_u16(frame, vlan);
}

static void put_headers(struct frame *frame, int kind, const uint8_t *own, uint16_t room) {
    switch (kind) {
        case 0: put_ipv4(frame, 6, 20 + room); put_tcp(frame); break;
        case 1: put_ipv4(frame, 17, 8 + room); put_udp(frame, room); break;
        case 2: put_ipv4(frame, 1, 8 + room); put_echo(frame, 8); break;
        case 3: put_ipv6(frame, 17, 8 + room); put_udp(frame, room); break;
        case 4: put_ipv6(frame, 58, 8 + room); put_echo(frame, 128); break;
        case 5: put_arp(frame, own); break;
        case 6: put_tag(frame, 0x8100, 7); put_ipv4(frame, 17, 8 + room); put_udp(frame, room); break;
        default: put_tag(frame, 0x88a8, 8); put_tag(frame, 0x8100, 7); put_ipv6(frame, 17, 8 + room); put_udp(frame, room);
    }
}

static void make_frame(struct frame *frame, int kind, uint64_t number, const uint8_t *own) {
    uint64_t payload[4] = {0, shared->boot_id, (uint64_t)kind, number};
    uint16_t room = number % 16 ? PAYLOAD_BYTES : 1400;
    memcpy(payload, "rigframe", 8);
    frame->length = 0;
    put(frame, nobody, 6);
    put(frame, own, 6);
    put_headers(frame, kind, own, room);
    put(frame, payload, PAYLOAD_BYTES);
    put_zeros(frame, room - PAYLOAD_BYTES);
    if (frame->length < FRAME_BYTES_MIN) put_zeros(frame, FRAME_BYTES_MIN - frame->length);
}

/* A socket on the card, and its address; -1 without one. */
static int open_card(uint8_t *own) {
    struct ifreq card = {.ifr_name = "eth0"};
    struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("eth0")};
    int card_socket = socket(AF_PACKET, SOCK_RAW, 0);
    if (card_socket < 0 || ioctl(card_socket, SIOCGIFHWADDR, &card) != 0) return -1;
    if (bind(card_socket, (struct sockaddr *)&place, sizeof place) != 0) return -1;
    memcpy(own, card.ifr_hwaddr.sa_data, 6);
    return card_socket;
}

/* Whether the card is connected. While it is not, as after a takeover, the kernel takes frames and drops them. */
static int is_connected(int card) {
    struct ethtool_value link = {.cmd = ETHTOOL_GLINK};
    struct ifreq request = {.ifr_name = "eth0"};
    request.ifr_data = (void *)&link;
    return ioctl(card, SIOCETHTOOL, &request) == 0 && link.data;
}

/* The next one of each kind. What the kernel has no room for is tried again later. */
static void send_each(int card, const uint8_t *own) {
    struct frame frame;
    for (int kind = 0; kind < FRAME_KINDS; kind++) {
        make_frame(&frame, kind, shared->frames_sent[kind] + 1, own);
        if (send(card, frame.bytes, frame.length, 0) == (ssize_t)frame.length) shared->frames_sent[kind]++;
        else shared->frames_refused++;
    }
}

void frames_run_for_ever(void) {
    uint8_t own[6];
    uint64_t due = 0; /* in frames times ticks of a second */
    int card = open_card(own);
    if (card < 0) {
        perror("rigguest: no packet socket");
        _exit(1);
    }
    for (;;) {
        sleep_ns(TICK_MS * 1000000u);
        for (due += shared->frames_rate; due >= 1000 / TICK_MS; due -= 1000 / TICK_MS)
            if (is_connected(card)) send_each(card, own);
    }
}

void frames_answer(FILE *out, const char *query) {
    uint64_t rate = query_number(query, "per_s", shared->frames_rate), total = 0;
    if (rate > PER_S_MAX) {
        fprintf(out, "refused: at most %d a second of each kind\n", PER_S_MAX);
        return;
    }
    shared->frames_rate = rate;
    for (int kind = 0; kind < FRAME_KINDS; kind++) total += shared->frames_sent[kind];
    fprintf(out, "frames %lu refused %lu per_s %lu", total, shared->frames_refused, rate);
    for (int kind = 0; kind < FRAME_KINDS; kind++) fprintf(out, " %s %lu", kind_names[kind], shared->frames_sent[kind]);
    fprintf(out, "\n");
}
