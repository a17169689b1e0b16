/* Sends frames by another card than the one that is served over: of a type nobody knows, numbered, to everyone. */
#include "rigguest.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME_BYTES = 100, FRAME_TYPE = 0x88b6 };

/* Its index once it is up, 0 if there is none. */
static int set_up(int socket, struct ifreq *card) {
    if (ioctl(socket, SIOCGIFFLAGS, card) != 0) return 0;
    card->ifr_flags |= IFF_UP;
    if (ioctl(socket, SIOCSIFFLAGS, card) != 0 || ioctl(socket, SIOCGIFINDEX, card) != 0) return 0;
    return card->ifr_ifindex;
}

void card_answer(FILE *out, const char *query) {
    uint64_t frames = query_number(query, "frames", 10), sent = 0;
    int packets = socket(AF_PACKET, SOCK_RAW, htons(FRAME_TYPE));
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
    unsigned char frame[FRAME_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct ifreq card = {0};
    snprintf(card.ifr_name, sizeof card.ifr_name, "eth%u", (unsigned)query_number(query, "number", 1));
    to.sll_ifindex = set_up(packets, &card);
    if (to.sll_ifindex == 0 || ioctl(packets, SIOCGIFHWADDR, &card) != 0) {
        fprintf(out, "sent 0 card absent\n");
        close(packets);
        return;
    }
    memcpy(frame + 6, card.ifr_hwaddr.sa_data, 6);
    frame[12] = FRAME_TYPE >> 8, frame[13] = FRAME_TYPE & 0xff;
    for (uint64_t number = 0; number < frames; number++) {
        memcpy(frame + 14, &number, sizeof number);
        if (sendto(packets, frame, sizeof frame, 0, (struct sockaddr *)&to, sizeof to) > 0) sent++;
        sleep_ns(query_number(query, "ms", 5) * 1000000u);
    }
    fprintf(out, "sent %llu card present\n", (unsigned long long)sent);
    close(packets);
}
