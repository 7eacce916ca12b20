/* SPDX-License-Identifier: MIT */
/* Joins standard input and output with a Unix socket, until the socket's other end closes. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	struct pollfd fds[2] = { { .fd = s, .events = POLLIN }, { .fd = 0, .events = POLLIN } };
	char buffer[4096];

	if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[1]);
	if (connect(s, (struct sockaddr *)&address, sizeof(address))) {
		perror("connect");
		return 1;
	}
	while (poll(fds, 2, -1) > 0) {
		for (int i = 0; i < 2; i++) {
			ssize_t n;

			if (!fds[i].revents)
				continue;
			n = read(fds[i].fd, buffer, sizeof(buffer));
			if (n <= 0 && !i)
				return 0;
			if (n <= 0)
				fds[1].fd = -1;
			else if (write(i ? s : 1, buffer, (size_t)n) != n)
				return 1;
		}
	}
	return 1;
}
