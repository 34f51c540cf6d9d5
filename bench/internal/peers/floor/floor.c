// The least that a proxy can do on this kernel and keep "FIN in, FIN out":
// an epoll loop in C for each CPU, the fewest system calls, and nothing else.
// No master to follow, no limits, no time-outs, no counters, no backpressure:
// it is here to show what is the kernel's, not to be used.
//
// usage: floor LISTEN-IP LISTEN-PORT MASTER-IP MASTER-PORT

#include "sockets.h"

#include <poll.h>

enum { BUFFER = 64 << 10, EVENTS = 256 };

struct side {
	int fd;
	int readable, writable, ended; // ended: its stream is over
	struct conn *conn;
};

struct conn {
	struct side side[2]; // the client's, the master's
	struct conn *next;   // in a list of those that are over
};

static void watch(int poller, struct side *s, struct conn *c, int fd)
{
	struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = s}};
	*s = (struct side){.fd = fd, .conn = c};
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e))
		fail("epoll_ctl");
}

// A failure on a connection ends it; here it is told like the end of a stream.
static void send_all(int fd, const char *b, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, b, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EAGAIN) { // no backpressure here
			struct pollfd p = {fd, POLLOUT, 0};
			poll(&p, 1, -1);
			continue;
		}
		if (sent < 0)
			return;
		b += sent;
		n -= sent;
	}
}

static void move(struct side *from, struct side *to, char *buffer)
{
	while (from->readable && to->writable && !from->ended) {
		ssize_t n = recv(from->fd, buffer, BUFFER, MSG_DONTWAIT);
		if (n > 0) {
			if (n < BUFFER && from->readable != 2)
				from->readable = 0; // a short read has emptied the socket
			send_all(to->fd, buffer, n);
		} else if (n < 0 && errno == EAGAIN) {
			from->readable = 0;
		} else {
			from->ended = 1;
			if (!to->ended)
				shutdown(to->fd, SHUT_WR);
		}
	}
}

static struct conn *welcome(int poller, int fd, struct conn *c)
{
	int m = dial();
	watch(poller, &c->side[0], c, fd);
	watch(poller, &c->side[1], c, m);
	return c;
}

static void *loop(void *listening)
{
	static __thread char buffer[BUFFER];
	int l = (int)(intptr_t)listening, poller = epoll_create1(0);
	struct epoll_event events[EVENTS], e = {EPOLLIN, {.ptr = NULL}};
	struct conn *idle = NULL;
	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, l, &e))
		fail("epoll");
	for (;;) {
		struct conn *over = NULL;
		int n = epoll_wait(poller, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct side *s = events[i].data.ptr;
			if (!s) {
				for (int fd, k = 0; k < 32 && (fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0; k++) {
					struct conn *c = idle ? idle : malloc(sizeof *c);
					idle = idle ? idle->next : NULL;
					welcome(poller, fd, c);
				}
				continue;
			}
			struct conn *c = s->conn;
			if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) && s->readable != 2)
				s->readable = events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) ? 2 : 1; // 2: the end is to be read
			if (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
				s->writable = 1;
			if (s->fd < 0) // closed in this turn
				continue;
			move(&c->side[0], &c->side[1], buffer);
			move(&c->side[1], &c->side[0], buffer);
			if (c->side[0].ended && c->side[1].ended) {
				close(c->side[0].fd);
				close(c->side[1].fd);
				c->side[0].fd = c->side[1].fd = -1;
				c->next = over;
				over = c;
			}
		}
		while (over) { // only now: events of this turn may name them
			struct conn *c = over;
			over = c->next;
			c->next = idle;
			idle = c;
		}
	}
	return NULL;
}

int main(int argc, char **argv) { return serve(argc, argv, loop); }
