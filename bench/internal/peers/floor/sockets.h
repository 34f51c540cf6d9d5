// What the two floors share: their addresses, their sockets, and a loop for each CPU.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in at, master;

static int fail(const char *what) { err(1, "%s", what); }

static int listener(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) || // the accepted inherit it
	    bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 65535))
		fail("listen");
	return fd;
}

// dial begins a connection to the master.
static int dial(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
		fail("socket");
	if (connect(fd, (struct sockaddr *)&master, sizeof master) && errno != EINPROGRESS)
		fail("connect");
	return fd;
}

// serve runs a loop on each CPU, each with a listener of its own.
static int serve(int argc, char **argv, void *(*loop)(void *listening))
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (argc != 5)
		errx(2, "usage: %s LISTEN-IP LISTEN-PORT MASTER-IP MASTER-PORT", argv[0]);
	at = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
	master = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[4]))};
	if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1 || inet_pton(AF_INET, argv[3], &master.sin_addr) != 1)
		errx(2, "not an IPv4 address");
	for (long i = 1; i < cpus; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, loop, (void *)(intptr_t)listener()))
			errx(1, "pthread_create");
	}
	loop((void *)(intptr_t)listener());
	return 0;
}
