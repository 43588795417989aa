// A client in C, built with glibc and, static, with musl: client KIND HOST:PORT… prints "HOST:PORT ANSWER" for each.
//   http     one blocking connection
//   threads  sixteen of them at a time
//   daemon   one, made by a process that has left its parents (a double fork)
//   udp      one datagram of an unconnected socket; the answer must come from where the question went
//   mmsg     two datagrams by one call, answers by recvmsg
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOM = 4096, THREADS = 16 };

struct question {
	char host[256], port[16];
	char answer[ROOM];
};

static void say(struct question *q, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(q->answer, ROOM, format, arguments);
	va_end(arguments);
}

// A list of addresses, or NULL and the reason as the answer.
static struct addrinfo *resolve(struct question *q, int type) {
	struct addrinfo hints = {.ai_socktype = type}, *found;
	int error = getaddrinfo(q->host, q->port, &hints, &found);
	if (error != 0) {
		say(q, "error: %s", gai_strerror(error));
		return NULL;
	}
	return found;
}

static void http(struct question *q) {
	struct addrinfo *to = resolve(q, SOCK_STREAM);
	if (to == NULL)
		return;
	int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, to->ai_addr, to->ai_addrlen) != 0) {
		say(q, "error: %s", strerror(errno));
	} else {
		char text[ROOM], *end = text;
		int length = snprintf(text, ROOM, "GET /whoami HTTP/1.0\r\nHost: %s\r\n\r\n", q->host);
		ssize_t n = send(fd, text, length, MSG_NOSIGNAL);
		while (n > 0 && (n = recv(fd, end, text + ROOM - 1 - end, 0)) > 0)
			end += n;
		*end = 0;
		char *body = strstr(text, "\r\n\r\n");
		if (n < 0)
			say(q, "error: %s", strerror(errno));
		else if (body == NULL)
			say(q, "error: no answer");
		else
			say(q, "%.*s", (int)strcspn(body + 4, "\r\n"), body + 4);
	}
	close(fd);
	freeaddrinfo(to);
}

static void *in_thread(void *question) {
	http(question);
	return NULL;
}

static void threads(struct question *q) {
	static struct question each[THREADS];
	pthread_t thread[THREADS];
	for (int i = 0; i < THREADS; i++) {
		each[i] = *q;
		if (pthread_create(&thread[i], NULL, in_thread, &each[i]) != 0)
			abort();
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	*q = each[0];
	for (int i = 1; i < THREADS; i++)
		if (strcmp(q->answer, each[i].answer) != 0)
			say(q, "error: one thread says %.999s and another one %.999s", each[0].answer, each[i].answer);
}

static void in_daemon(struct question *q) {
	int ends[2];
	if (pipe(ends) != 0)
		abort();
	pid_t child = fork();
	if (child == 0) {
		setsid();
		if (fork() != 0)
			_exit(0);
		http(q);
		_exit(write(ends[1], q->answer, ROOM) != ROOM);
	}
	close(ends[1]);
	waitpid(child, NULL, 0);
	size_t got = 0;
	for (ssize_t n; got < ROOM && (n = read(ends[0], q->answer + got, ROOM - got)) > 0; got += n)
		;
	if (got < ROOM)
		say(q, "error: the daemon has said nothing");
	close(ends[0]);
}

// A UDP socket that waits for five seconds.
static int datagrams(int family) {
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 5}, sizeof(struct timeval));
	return fd;
}

// One answer, which must come from that address.
static void receive(struct question *q, int fd, const struct addrinfo *expected, int by_message) {
	struct sockaddr_storage from;
	char text[ROOM];
	struct iovec into = {text, ROOM - 1};
	struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &into, .msg_iovlen = 1};
	ssize_t n = by_message ? recvmsg(fd, &message, 0)
	                       : recvfrom(fd, text, ROOM - 1, 0, (void *)&from, &message.msg_namelen);
	if (n < 0) {
		say(q, "error: %s", strerror(errno));
	} else if (message.msg_namelen != expected->ai_addrlen || memcmp(&from, expected->ai_addr, 8) != 0) {
		say(q, "error: the answer comes from somewhere else");
	} else {
		text[n] = 0;
		say(q, "%s", text);
	}
}

static void udp(struct question *q) {
	struct addrinfo *to = resolve(q, SOCK_DGRAM);
	if (to == NULL)
		return;
	int fd = datagrams(to->ai_family);
	if (sendto(fd, "hello", 5, 0, to->ai_addr, to->ai_addrlen) != 5)
		say(q, "error: %s", strerror(errno));
	else
		receive(q, fd, to, 0);
	close(fd);
	freeaddrinfo(to);
}

static void mmsg(struct question *q) {
	struct addrinfo *to = resolve(q, SOCK_DGRAM);
	if (to == NULL)
		return;
	int fd = datagrams(to->ai_family);
	struct iovec text = {"hello", 5};
	struct mmsghdr both[2];
	memset(both, 0, sizeof both);
	for (int i = 0; i < 2; i++)
		both[i].msg_hdr = (struct msghdr){
		    .msg_name = to->ai_addr, .msg_namelen = to->ai_addrlen, .msg_iov = &text, .msg_iovlen = 1};
	int sent = sendmmsg(fd, both, 2, 0);
	if (sent != 2)
		say(q, "error: %d of 2 sent: %s", sent, strerror(errno));
	else
		for (int i = 0; i < 2 && strncmp(q->answer, "error", 5) != 0; i++)
			receive(q, fd, to, 1);
	close(fd);
	freeaddrinfo(to);
}

static const struct {
	const char *name;
	void (*ask)(struct question *);
} kinds[] = {{"http", http}, {"threads", threads}, {"daemon", in_daemon}, {"udp", udp}, {"mmsg", mmsg}};

int main(int count, char **arguments) {
	for (size_t kind = 0; count > 2 && kind < sizeof kinds / sizeof *kinds; kind++) {
		if (strcmp(arguments[1], kinds[kind].name) != 0)
			continue;
		for (int i = 2; i < count; i++) {
			struct question q = {.answer = ""};
			if (sscanf(arguments[i], "%255[^:]:%15s", q.host, q.port) != 2)
				return 2;
			kinds[kind].ask(&q);
			printf("%s %s\n", arguments[i], q.answer);
		}
		return 0;
	}
	fprintf(stderr, "usage: client http|threads|daemon|udp|mmsg HOST:PORT…\n");
	return 2;
}
