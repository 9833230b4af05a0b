// What `tc netem` does, for kernels without it: namespaces in a star, each with a link of a rate, and a path between every two
// with a delay and a loss, both ways.
//
//   link MBIT_A_SECOND ONE_WAY_MS LOSS_PERCENT QUEUE_MS NAMESPACE…
//
// The i-th namespace (from 1) gets a TUN device `link0` for 10.77.0.i, which whoever calls this sets up once it says "ready". A
// packet waits for its sender's uplink, may be lost, travels, and waits for its receiver's downlink. A link's queue holds what
// passes in QUEUE_MS. Packets are lost one by one: a TUN device gets them cut to the path's MTU.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MAX_NODES = 16, MAX_PACKET = 1600, BATCH = 64 };
typedef int64_t ns;

struct packet {
    struct packet *next;
    ns due;
    int to, len;
    unsigned char data[];
};
struct fifo {
    struct packet *first, *last;
};
struct node {
    int fd;
    ns up_free, down_free;
    struct fifo travelling, arriving;
};

static struct node nodes[MAX_NODES];
static int count;
static double ns_a_byte;
static ns delay, queue;
static uint64_t lost_below, random_state = 88172645463325252u;

static ns now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static void push(struct fifo *fifo, struct packet *packet) {
    packet->next = NULL;
    if (fifo->first) fifo->last->next = packet;
    else fifo->first = packet;
    fifo->last = packet;
}

static struct packet *pop(struct fifo *fifo) {
    struct packet *packet = fifo->first;
    fifo->first = packet->next;
    return packet;
}

// When a packet that comes to a link at `at` has passed it; -1 if the queue is full.
static ns pass(ns *is_free, ns at, int len) {
    ns begin = *is_free > at ? *is_free : at;
    if (begin - at > queue) return -1;
    return *is_free = begin + (ns)(len * ns_a_byte);
}

static void take(struct node *from, const unsigned char *data, int len, ns at) {
    // Version 4, to 10.77.0.1 and on.
    if (len < 20 || data[0] >> 4 != 4 || data[19] < 1 || data[19] > count) return;
    ns sent = pass(&from->up_free, at, len);
    if (sent < 0 || next_random() < lost_below) return;
    struct packet *packet = malloc(sizeof *packet + (size_t)len);
    if (!packet) err(1, "malloc");
    memcpy(packet->data, data, (size_t)len);
    packet->to = data[19] - 1;
    packet->len = len;
    packet->due = sent + delay;
    push(&from->travelling, packet);
}

// Moves what is due; when something is due next.
static ns move(ns at) {
    for (;;) {
        struct node *earliest = NULL;
        for (int i = 0; i < count; i++) {
            struct packet *head = nodes[i].travelling.first;
            if (head && head->due <= at && (!earliest || head->due < earliest->travelling.first->due)) earliest = &nodes[i];
        }
        if (!earliest) break;
        struct packet *packet = pop(&earliest->travelling);
        struct node *to = &nodes[packet->to];
        packet->due = pass(&to->down_free, packet->due, packet->len);
        if (packet->due < 0) free(packet);
        else push(&to->arriving, packet);
    }
    ns next = INT64_MAX;
    for (int i = 0; i < count; i++) {
        struct node *node = &nodes[i];
        while (node->arriving.first && node->arriving.first->due <= at) {
            struct packet *packet = pop(&node->arriving);
            if (write(node->fd, packet->data, (size_t)packet->len) < 0) { /* an interface that is down */ }
            free(packet);
        }
        if (node->arriving.first && node->arriving.first->due < next) next = node->arriving.first->due;
        if (node->travelling.first && node->travelling.first->due < next) next = node->travelling.first->due;
    }
    return next;
}

static int open_tun(const char *namespace) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int at = open(path, O_RDONLY | O_CLOEXEC);
    if (at < 0 || setns(at, CLONE_NEWNET)) err(1, "%s", path);
    close(at);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strcpy(request.ifr_name, "link0");
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request)) err(1, "/dev/net/tun in %s", namespace);
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 6 || argc - 5 > MAX_NODES) errx(1, "link MBIT_A_SECOND ONE_WAY_MS LOSS_PERCENT QUEUE_MS NAMESPACE…");
    ns_a_byte = 8e3 / atof(argv[1]);
    delay = (ns)(atof(argv[2]) * 1e6);
    lost_below = (uint64_t)(atof(argv[3]) / 100 * 18446744073709549568.0);
    queue = (ns)(atof(argv[4]) * 1e6);
    count = argc - 5;
    struct pollfd fds[MAX_NODES];
    for (int i = 0; i < count; i++) {
        nodes[i].fd = open_tun(argv[5 + i]);
        fds[i] = (struct pollfd){.fd = nodes[i].fd, .events = POLLIN};
    }
    prctl(PR_SET_TIMERSLACK, 1);
    puts("ready");
    fflush(stdout);
    for (;;) {
        ns at = now(), next = move(at);
        struct timespec wait = {0};
        if (next != INT64_MAX && next > at) wait = (struct timespec){(next - at) / 1000000000, (next - at) % 1000000000};
        if (ppoll(fds, (nfds_t)count, next == INT64_MAX ? NULL : &wait, NULL) < 0) err(1, "ppoll");
        at = now();
        for (int i = 0; i < count; i++) {
            if (!(fds[i].revents & POLLIN)) continue;
            unsigned char data[MAX_PACKET];
            for (int packets = 0; packets < BATCH; packets++) {
                ssize_t len = read(nodes[i].fd, data, sizeof data);
                if (len <= 0) break;
                take(&nodes[i], data, (int)len, at);
            }
        }
    }
}
