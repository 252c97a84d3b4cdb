// TCP_INFO is as long as Linux 6.7 made it, or as long as the caller has room, and tells of a connection.
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

enum { TCP_LEVEL = 6, INFO = 11, STATE = 0, SND_WND = 228, RCV_WND = 232, LENGTH = 248 };

static uint32_t word(const uint8_t *info, int at) {
    uint32_t value;
    memcpy(&value, info + at, sizeof value);
    return value;
}

int main(void) {
    needs_linux(6, 7);
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    CHECK(bind(listener, (void *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (void *)&address, &length) == 0);
    uint8_t info[512];
    length = sizeof info;
    CHECK(getsockopt(client, TCP_LEVEL, INFO, info, &length) == 0 && info[STATE] == 7);
    CHECK(connect(client, (void *)&address, sizeof address) == 0);
    int server = accept(listener, NULL, NULL);
    CHECK(server >= 0 && write(client, "hello", 5) == 5);
    length = sizeof info;
    CHECK(getsockopt(client, TCP_LEVEL, INFO, info, &length) == 0);
    CHECK(length >= LENGTH && info[STATE] == 1);
    CHECK(word(info, SND_WND) >= 4096 && word(info, RCV_WND) >= 4096);
    length = 104;
    CHECK(getsockopt(server, TCP_LEVEL, INFO, info, &length) == 0 && length == 104 && info[STATE] == 1);
    return 0;
}
