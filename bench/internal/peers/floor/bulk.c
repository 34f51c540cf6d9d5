// The least that a proxy can do on this kernel for streams, and keep "FIN in,
// FIN out": an epoll loop in C for each CPU that moves as many bytes with each
// pair of splices as a pipe takes, holds nothing back, and does nothing else.
// No master to follow, no limits, no time-outs, no counters, no turns: it is
// here to show what is the kernel's, not to be used.
//
// usage: bulk LISTEN-IP LISTEN-PORT MASTER-IP MASTER-PORT

#include "sockets.h"

#include <fcntl.h>
#include <signal.h>

enum { PIPE = 1 << 20, EVENTS = 256 };

// A side is read from while its pipe is empty, and written to while the other's
// is not.
struct side {
	int fd;
	int in, out;  // its pipe; none before its first bytes
	ssize_t held; // bytes in the pipe, which the other side has no room for
	int ended;    // its stream is over
	uint32_t watched;
	struct side *other;
};

struct conn {
	struct side side[2]; // the client's, the master's
	struct conn *next;   // in a list of those that are over
	int over;
};

// watch asks for what s can do next, where that has changed: level-triggered, so
// that no splice is made only to learn that there is nothing.
static void watch(int poller, int op, struct side *s)
{
	struct epoll_event e = {0, {.ptr = s}};
	if (!s->ended && !s->held)
		e.events |= EPOLLIN;
	if (s->other->held)
		e.events |= EPOLLOUT;
	if (op == EPOLL_CTL_MOD && e.events == s->watched)
		return;
	s->watched = e.events;
	if (epoll_ctl(poller, op, s->fd, &e))
		fail("epoll_ctl");
}

// pass moves what from's pipe holds on. A failure on a connection ends it; here
// it is told like the end of a stream.
static void pass(struct side *from)
{
	ssize_t n = splice(from->in, NULL, from->other->fd, NULL, from->held, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	if (n > 0)
		from->held -= n;
	else if (errno != EAGAIN)
		from->held = 0, from->ended = from->other->ended = 1;
}

// take moves bytes of from into its pipe and on.
static void take(struct side *from)
{
	int ends[2];
	if (from->in < 0) {
		if (pipe2(ends, O_NONBLOCK))
			fail("pipe");
		fcntl(ends[1], F_SETPIPE_SZ, PIPE); // smaller where the system says so
		from->in = ends[0];
		from->out = ends[1];
	}
	ssize_t n = splice(from->fd, NULL, from->out, NULL, PIPE, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	if (n > 0) {
		from->held = n;
		pass(from);
	} else if (n == 0) {
		from->ended = 1;
		shutdown(from->other->fd, SHUT_WR);
	} else if (errno != EAGAIN) {
		from->ended = from->other->ended = 1;
	}
}

static void welcome(int poller, int fd, struct conn *c)
{
	int m = dial();
	c->over = 0;
	c->side[0] = (struct side){.fd = fd, .in = -1, .out = -1, .other = &c->side[1]};
	c->side[1] = (struct side){.fd = m, .in = -1, .out = -1, .other = &c->side[0]};
	watch(poller, EPOLL_CTL_ADD, &c->side[0]);
	watch(poller, EPOLL_CTL_ADD, &c->side[1]);
}

static void finish(struct conn *c)
{
	for (int i = 0; i < 2; i++) {
		close(c->side[i].fd);
		if (c->side[i].in >= 0) {
			close(c->side[i].in);
			close(c->side[i].out);
		}
	}
	c->over = 1;
}

// relay does what events say of s can be done.
static void relay(int poller, struct side *s, uint32_t events)
{
	struct side *o = s->other;
	if (o->held && events & EPOLLOUT)
		pass(o);
	if (!s->ended && !s->held && events & (EPOLLIN | EPOLLHUP))
		take(s);
	if (events & EPOLLERR) {
		s->ended = o->ended = 1;
		s->held = o->held = 0;
	}
	watch(poller, EPOLL_CTL_MOD, s);
	watch(poller, EPOLL_CTL_MOD, o);
}

static void *loop(void *listening)
{
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
			struct conn *c = (struct conn *)(s < s->other ? s : s->other); // the client's side comes first in it
			if (c->over) // in this turn
				continue;
			relay(poller, s, events[i].events);
			if (c->side[0].ended && c->side[1].ended && !c->side[0].held && !c->side[1].held) {
				finish(c);
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

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); // splice(2) has no MSG_NOSIGNAL
	return serve(argc, argv, loop);
}
