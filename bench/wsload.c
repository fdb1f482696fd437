/* Load for WebSocket servers on 127.0.0.1 (RFC 6455), cheap enough that the server is what is measured.
 *
 *     wsload MODE PORT CONNECTIONS BYTES SECONDS DEPTH
 *
 * MODE echo: each connection sends a binary message and, as soon as it is back, the next one.
 * MODE mirror: one more connection sends text messages, of which DEPTH may be on their way at once, to a
 * server that passes each on to all; counted is what the CONNECTIONS others receive.
 * MODE idle: each connection has one echo; then they are held until SIGTERM.
 *
 * One thread, epoll; neither a subprotocol nor an extension is offered.  On stdout idle says "held", the others
 * a line of five numbers: messages, seconds, and how many microseconds a message took at the median, at the
 * 99th percentile and at most (echo: there and back; mirror: until the last one has it).
 * On a fault: exit code 1, a line on stderr.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { FIN = 0x80, MASKED = 0x80 };
enum { LONGEST_HEADER = 14, LONGEST_CONTROL = 125, HEAD_BYTES = 4096, BLOCK = 1 << 18, EVENTS = 256 };
enum { SILENCE_SECONDS = 20 }; /* without a single byte from the server: it is taken for stuck */

static const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d};

struct connection {
    int fd;
    bool wants_out;              /* epoll watches for room to write */
    size_t sent, to_send;        /* of the frame that is going out */
    unsigned char head[LONGEST_HEADER];
    unsigned head_has;           /* bytes of the frame header that have come */
    bool in_payload;
    uint64_t left;               /* bytes of this frame's payload still to come */
    uint64_t message;            /* payload bytes of this message so far */
    unsigned char control[LONGEST_CONTROL];
    unsigned control_has;
    uint64_t got;                /* messages received */
    double began;                /* when the message that is on its way was sent */
};

static struct connection *connections;
static unsigned count;              /* of connections that receive */
static struct connection *sender;   /* mirror only */
static int epoll_fd;
static unsigned char *frame;        /* what is sent, again and again */
static size_t frame_size;
static unsigned char *payload;      /* the same, not masked */
static size_t payload_size;
static unsigned char block[BLOCK];

static double *took;                /* seconds, of each message */
static size_t took_count, took_room;
static uint64_t received;           /* messages, by all */

static unsigned depth;              /* mirror: the messages that may be on their way */
static double *sent_at;             /* of the last `depth` messages */
static unsigned *missing;           /* how many receivers are still without it */
static uint64_t sent_messages, done_messages;

static _Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(size_t items, size_t size)
{
    void *memory = calloc(items ? items : 1, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void note(double seconds)
{
    if (took_count == took_room) {
        took_room = took_room ? 2 * took_room : 1 << 16;
        took = realloc(took, took_room * sizeof *took);
        if (!took)
            fail("out of memory");
    }
    took[took_count++] = seconds;
}

/* Frames. */

static size_t write_frame(unsigned char *to, unsigned char first, const unsigned char *data, size_t length)
{
    size_t at = 2;
    int bytes = length < 126 ? 0 : length < 65536 ? 2 : 8;
    to[0] = first;
    to[1] = MASKED | (bytes == 0 ? (unsigned char)length : bytes == 2 ? 126 : 127);
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        to[at++] = (unsigned char)(length >> shift);
    memcpy(to + at, MASK, sizeof MASK);
    at += sizeof MASK;
    for (size_t i = 0; i < length; i++)
        to[at + i] = data[i] ^ MASK[i % 4];
    return at + length;
}

static void make_frame(unsigned char opcode)
{
    uint32_t random = 2463534242u; /* xorshift: the same bytes in each run, without a pattern */
    payload = allocate(payload_size, 1);
    for (size_t i = 0; i < payload_size; i++) {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        payload[i] = (unsigned char)(opcode == TEXT ? 'a' + random % 26 : random);
    }
    frame = allocate(LONGEST_HEADER + payload_size, 1);
    frame_size = write_frame(frame, (unsigned char)(FIN | opcode), payload, payload_size);
}

/* Sending. */

static void watch(struct connection *c, int operation, bool out)
{
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
    c->wants_out = out;
}

/* Go on with what is to be sent.  It may be several times the frame, one after the other. */
static void flush(struct connection *c)
{
    while (c->sent < c->to_send) {
        size_t at = c->sent % frame_size;
        ssize_t wrote = send(c->fd, frame + at, frame_size - at, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EAGAIN) {
            if (!c->wants_out)
                watch(c, EPOLL_CTL_MOD, true);
            return;
        }
        if (wrote < 0)
            fail("the server closed the connection: %s", strerror(errno));
        c->sent += (size_t)wrote;
    }
    c->sent = c->to_send = 0;
    if (c->wants_out)
        watch(c, EPOLL_CTL_MOD, false);
}

static void send_message(struct connection *c)
{
    c->began = now();
    c->to_send += frame_size;
    flush(c);
}

static void mirror_more(void)
{
    while (sent_messages - done_messages < depth) {
        sent_at[sent_messages % depth] = now();
        missing[sent_messages % depth] = count;
        sent_messages++;
        send_message(sender);
    }
}

/* Receiving. */

static void message_came(struct connection *c)
{
    if (c->message != payload_size)
        fail("a message of %llu bytes came instead of %zu", (unsigned long long)c->message, payload_size);
    c->message = 0;
    c->got++;
    if (c == sender)
        return;
    received++;
    if (!sender) {
        note(now() - c->began);
        return;
    }
    /* The server must keep the order, so the n-th message of each receiver is the n-th of the sender. */
    uint64_t number = c->got - 1;
    if (number >= sent_messages)
        fail("more messages came than were sent");
    if (--missing[number % depth] == 0) {
        note(now() - sent_at[number % depth]);
        done_messages = number + 1;
    }
}

static void control_came(struct connection *c, int opcode)
{
    if (opcode == CLOSE)
        fail("the server closed with code %d",
             c->control_has < 2 ? 1005 : c->control[0] << 8 | c->control[1]);
    if (opcode == PING && c->sent % frame_size == 0) { /* never in the middle of a frame of ours */
        unsigned char pong[LONGEST_HEADER + LONGEST_CONTROL];
        size_t size = write_frame(pong, FIN | PONG, c->control, c->control_has);
        if (send(c->fd, pong, size, MSG_NOSIGNAL) != (ssize_t)size)
            fail("no room for a pong");
    }
}

static bool echo_on; /* send the next message when one came */

static void frame_ended(struct connection *c)
{
    int opcode = c->head[0] & 15;
    c->in_payload = false;
    c->head_has = 0;
    if (opcode >= CLOSE)
        control_came(c, opcode);
    else if (c->head[0] & FIN) {
        message_came(c);
        if (echo_on)
            send_message(c);
    }
}

/* How long the header is, going by what has come of it. */
static unsigned header_size(const struct connection *c)
{
    if (c->head_has < 2)
        return 2;
    unsigned length = c->head[1] & 127;
    return length < 126 ? 2 : length == 126 ? 4 : 10;
}

static void header_came(struct connection *c)
{
    unsigned bytes = header_size(c) - 2;
    if (c->head[1] & MASKED || c->head[0] & 0x70)
        fail("a frame is masked or has reserved bits");
    c->left = c->head[1] & 127;
    for (unsigned i = 0; i < bytes; i++)
        c->left = (i ? c->left << 8 : 0) | c->head[2 + i];
    if ((c->head[0] & 15) >= CLOSE && c->left > LONGEST_CONTROL)
        fail("a control frame is too long");
    c->control_has = 0;
    c->in_payload = true;
    if (c->left == 0)
        frame_ended(c);
}

static void payload_came(struct connection *c, const unsigned char *data, size_t size)
{
    if ((c->head[0] & 15) >= CLOSE) {
        memcpy(c->control + c->control_has, data, size);
        c->control_has += (unsigned)size;
    } else {
        /* The first message of each connection is compared, the others are only counted. */
        if (c->got == 0 && (c->message + size > payload_size || memcmp(payload + c->message, data, size)))
            fail("another message came than the one sent");
        c->message += size;
    }
    c->left -= size;
    if (c->left == 0)
        frame_ended(c);
}

static void take(struct connection *c, const unsigned char *data, size_t size)
{
    size_t at = 0;
    while (at < size) {
        if (c->in_payload) {
            size_t part = size - at < c->left ? size - at : (size_t)c->left;
            at += part;
            payload_came(c, data + at - part, part);
            continue;
        }
        c->head[c->head_has++] = data[at++];
        if (c->head_has >= 2 && c->head_has == header_size(c))
            header_came(c);
    }
}

static void receive(struct connection *c)
{
    ssize_t size = recv(c->fd, block, sizeof block, 0);
    if (size < 0 && errno == EAGAIN)
        return;
    if (size <= 0)
        fail("the server closed a connection: %s", size ? strerror(errno) : "end of the stream");
    take(c, block, (size_t)size);
}

/* Opening: one connection after the other, waiting in the kernel. */

static void shake_hands(struct connection *c, int port)
{
    char text[HEAD_BYTES];
    int length = snprintf(text, sizeof text,
                          "GET / HTTP/1.1\r\nHost: localhost:%d\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: d3Nsb2FkLXdzbG9hZC13cw==\r\n\r\n", port);
    if (send(c->fd, text, (size_t)length, MSG_NOSIGNAL) != length)
        fail("the request cannot be sent: %s", strerror(errno));
    size_t has = 0;
    char *end = NULL;
    while (!end) {
        ssize_t size = recv(c->fd, text + has, sizeof text - 1 - has, 0);
        if (size <= 0)
            fail("no answer to the handshake: %s", size ? strerror(errno) : "end of the stream");
        has += (size_t)size;
        text[has] = 0;
        end = strstr(text, "\r\n\r\n");
    }
    if (strncmp(text, "HTTP/1.1 101 ", 13))
        fail("the handshake was refused: %.*s", (int)strcspn(text, "\r"), text);
    end += 4;
    take(c, (unsigned char *)end, has - (size_t)(end - text));
}

static void open_connection(struct connection *c, int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = SILENCE_SECONDS};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address))
        fail("cannot connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    shake_hands(c, port);
}

/* Modes. */

static void turn(double until)
{
    struct epoll_event events[EVENTS];
    int wait = until > 0 ? SILENCE_SECONDS * 1000 : -1;
    int ready = epoll_wait(epoll_fd, events, EVENTS, wait);
    if (ready < 0 && errno != EINTR)
        fail("epoll_wait: %s", strerror(errno));
    if (ready == 0)
        fail("nothing came for %d seconds", SILENCE_SECONDS);
    for (int i = 0; i < ready; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            flush(c);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            receive(c);
    }
}

static int by_size(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void report(double seconds)
{
    if (!took_count)
        fail("no message came in %.1f seconds", seconds);
    qsort(took, took_count, sizeof *took, by_size);
    printf("%llu %.6f %.1f %.1f %.1f\n", (unsigned long long)received, seconds, took[took_count / 2] * 1e6,
           took[took_count * 99 / 100] * 1e6, took[took_count - 1] * 1e6);
}

static void run(double seconds)
{
    double began = now(), at = began;
    echo_on = !sender;
    for (unsigned i = 0; echo_on && i < count; i++)
        send_message(&connections[i]);
    while (at - began < seconds || !took_count) {
        if (sender)
            mirror_more();
        turn(seconds);
        at = now();
    }
    report(at - began);
}

/* One echo each, then wait; pings are answered. */
static void hold(void)
{
    for (unsigned i = 0; i < count; i++) {
        send_message(&connections[i]);
        while (!connections[i].got)
            turn(1);
    }
    puts("held");
    fflush(stdout);
    for (;;)
        turn(0);
}

static long number(const char *text, long least)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || end == text || value < least)
        fail("no number from %ld on: %s", least, text);
    return value;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        fail("usage: wsload echo|mirror|idle PORT CONNECTIONS BYTES SECONDS DEPTH");
    const char *mode = argv[1];
    int port = (int)number(argv[2], 1);
    bool mirror = !strcmp(mode, "mirror");
    if (!mirror && strcmp(mode, "echo") && strcmp(mode, "idle"))
        fail("no such mode: %s", mode);
    count = (unsigned)number(argv[3], 1);
    payload_size = (size_t)number(argv[4], 0);
    depth = (unsigned)number(argv[6], 1);
    sent_at = allocate(depth, sizeof *sent_at);
    missing = allocate(depth, sizeof *missing);
    make_frame(mirror ? TEXT : BINARY);
    epoll_fd = epoll_create1(0);
    connections = allocate(count + 1, sizeof *connections);
    for (unsigned i = 0; i < count + mirror; i++)
        open_connection(&connections[i], port);
    if (mirror)
        sender = &connections[count];
    for (unsigned i = 0; i < count + mirror; i++) {
        fcntl(connections[i].fd, F_SETFL, O_NONBLOCK);
        watch(&connections[i], EPOLL_CTL_ADD, false);
    }
    if (!strcmp(mode, "idle"))
        hold();
    run(strtod(argv[5], NULL));
    return 0;
}
