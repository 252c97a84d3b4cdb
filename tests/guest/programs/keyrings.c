// Keys and keyrings: adding, finding, reading, rights, links, life, who inherits them.
#include "check.h"
#include <linux/keyctl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>

typedef int32_t key;
static key add_key(const char *type, const char *name, const void *data, size_t len, key ring) {
    return syscall(SYS_add_key, type, name, data, len, ring);
}
static key request_key(const char *type, const char *name, key ring) {
    return syscall(SYS_request_key, type, name, 0, ring);
}
static long keyctl(int op, long a, long b, long c, long d) {
    return syscall(SYS_keyctl, op, a, b, c, d);
}
static long ctl(int op, long a) { return keyctl(op, a, 0, 0, 0); }
static char buffer[4096];

// Each user who has keys has a line.
static void accounts(void) {
    char line[128];
    int uid = -1, keys = 0, own = 0, max = 0;
    FILE *users = fopen("/proc/key-users", "r");
    while (users && fgets(line, sizeof line, users) && uid != (int)geteuid())
        CHECK(sscanf(line, "%d: %*d %d/%*d %d/%d", &uid, &keys, &own, &max) == 4);
    CHECK(uid == (int)geteuid() && keys > 0 && own > 0 && max >= 200);
    fclose(users);
}

static void basics(key ring) {
    key secret = add_key("user", "test:one", "abc", 3, ring);
    CHECK(secret > 0);
    CHECK(keyctl(KEYCTL_READ, secret, (long)buffer, sizeof buffer, 0) == 3 && !memcmp(buffer, "abc", 3));
    // Too small a buffer is left alone, the length told all the same.
    memset(buffer, 'x', 8);
    CHECK(keyctl(KEYCTL_READ, secret, (long)buffer, 2, 0) == 3 && keyctl(KEYCTL_READ, secret, 0, 0, 0) == 3);
    // The same name: a new payload for the same key.
    CHECK(add_key("user", "test:one", "defgh", 5, ring) == secret);
    CHECK(keyctl(KEYCTL_UPDATE, secret, (long)"xy", 2, 0) == 0);
    CHECK(keyctl(KEYCTL_READ, secret, (long)buffer, sizeof buffer, 0) == 2 && !memcmp(buffer, "xy", 2));
    char expected[128];
    snprintf(expected, sizeof expected, "user;%d;%d;3f010000;test:one", geteuid(), getegid());
    CHECK(keyctl(KEYCTL_DESCRIBE, secret, (long)buffer, sizeof buffer, 0) == (long)strlen(expected) + 1 && !strcmp(buffer, expected));
    CHECK(keyctl(KEYCTL_SEARCH, ring, (long)"user", (long)"test:one", 0) == secret);
    FAILS(keyctl(KEYCTL_SEARCH, ring, (long)"user", (long)"test:none", 0), ENOKEY);
    FAILS(keyctl(KEYCTL_SEARCH, secret, (long)"user", (long)"test:none", 0), ENOTDIR);
    CHECK(request_key("user", "test:one", 0) == secret);
    FAILS(request_key("user", "test:none", 0), ENOKEY);
    FAILS(add_key("no such type", "a", "b", 1, ring), ENODEV);
    FAILS(add_key(".user", "a", "b", 1, ring), EPERM);
    FAILS(add_key("", "a", "b", 1, ring), EINVAL);
    FAILS(add_key("user", "", "b", 1, ring), EINVAL);
    FAILS(add_key("user", "a", "", 0, ring), EINVAL);
    FAILS(add_key("user", "a", (void *)8, 1, ring), EFAULT);
    FAILS(add_key("user", "a", buffer, 1 << 20, ring), EINVAL);
    FAILS(add_key("keyring", "a", "b", 1, ring), EINVAL);
    FAILS(add_key("user", "a", "b", 1, secret), ENOTDIR);
    FAILS(add_key("user", "a", "b", 1, 0), EINVAL);
    FAILS(add_key("user", "a", "b", 1, KEY_SPEC_GROUP_KEYRING), EINVAL);
    FAILS(add_key("user", "a", "b", 1, 0x7fffffff), ENOKEY);
    FAILS(add_key("logon", "nocolon", "b", 1, ring), EINVAL);
    key logon = add_key("logon", "test:logon", "b", 1, ring);
    CHECK(logon > 0);
    FAILS(keyctl(KEYCTL_READ, logon, (long)buffer, 10, 0), EOPNOTSUPP);
    CHECK(keyctl(KEYCTL_READ, ring, (long)buffer, sizeof buffer, 0) == 8);
    key *links = (key *)buffer;
    CHECK((links[0] == secret && links[1] == logon) || (links[1] == secret && links[0] == logon));
    CHECK(keyctl(KEYCTL_UNLINK, logon, ring, 0, 0) == 0);
    FAILS(keyctl(KEYCTL_UNLINK, secret, secret, 0, 0), ENOTDIR);
    FAILS(ctl(999, 0), EOPNOTSUPP);
    FAILS(ctl(KEYCTL_NEGATE, secret), EPERM);
    CHECK(keyctl(KEYCTL_GET_SECURITY, secret, (long)buffer, sizeof buffer, 0) >= 1);
}
static void rights(key ring) {
    key secret = add_key("user", "test:rights", "abc", 3, ring);
    FAILS(keyctl(KEYCTL_SETPERM, secret, 0xffffffff, 0, 0), EINVAL);
    // Nothing but changing attributes and being found.
    CHECK(keyctl(KEYCTL_SETPERM, secret, 0x20000000, 0, 0) == 0);
    FAILS(keyctl(KEYCTL_READ, secret, (long)buffer, 3, 0), EACCES);
    FAILS(keyctl(KEYCTL_DESCRIBE, secret, (long)buffer, 3, 0), EACCES);
    FAILS(keyctl(KEYCTL_LINK, secret, KEY_SPEC_PROCESS_KEYRING, 0, 0), EACCES);
    FAILS(keyctl(KEYCTL_UPDATE, secret, (long)"x", 1, 0), EACCES);
    // Whoever cannot search for it does not possess it either.
    FAILS(keyctl(KEYCTL_SETPERM, secret, 0x3f000000, 0, 0), EACCES);
    CHECK(keyctl(KEYCTL_UNLINK, secret, ring, 0, 0) == 0);
    secret = add_key("user", "test:rights", "abc", 3, ring);
    CHECK(keyctl(KEYCTL_SETPERM, secret, 0x3f3f0000, 0, 0) == 0 && keyctl(KEYCTL_CHOWN, secret, -1, -1, 0) == 0);
    CHECK(ctl(KEYCTL_REVOKE, secret) == 0);
    CHECK(keyctl(KEYCTL_READ, secret, (long)buffer, 3, 0) == -1 && (errno == EKEYREVOKED || errno == ENOKEY));
    // Linux clears such keys away after a while.
    CHECK(request_key("user", "test:rights", 0) == -1 && (errno == EKEYREVOKED || errno == ENOKEY));
    key gone = add_key("user", "test:gone", "abc", 3, ring);
    CHECK(ctl(KEYCTL_INVALIDATE, gone) == 0);
    // Nobody possesses it any more, until it is cleared away.
    CHECK(keyctl(KEYCTL_READ, gone, (long)buffer, 3, 0) == -1 && (errno == ENOKEY || errno == EACCES));
    FAILS(request_key("user", "test:gone", 0), ENOKEY);
    key brief = add_key("user", "test:brief", "abc", 3, ring);
    CHECK(keyctl(KEYCTL_SET_TIMEOUT, brief, 1, 0, 0) == 0);
    while (keyctl(KEYCTL_READ, brief, (long)buffer, 3, 0) == 3) usleep(50000);
    CHECK(errno == EKEYEXPIRED || errno == ENOKEY);
}
static void links(key ring) {
    key outer = add_key("keyring", "test:outer", 0, 0, ring), inner = add_key("keyring", "test:inner", 0, 0, outer);
    CHECK(outer > 0 && inner > 0);
    key deep = add_key("user", "test:deep", "d", 1, inner);
    CHECK(request_key("user", "test:deep", 0) == deep && keyctl(KEYCTL_SEARCH, ring, (long)"user", (long)"test:deep", outer) == deep);
    CHECK(keyctl(KEYCTL_READ, outer, (long)buffer, sizeof buffer, 0) == 8);
    FAILS(keyctl(KEYCTL_LINK, outer, inner, 0, 0), EDEADLK);
    FAILS(keyctl(KEYCTL_LINK, outer, outer, 0, 0), EDEADLK);
    FAILS(keyctl(KEYCTL_LINK, outer, deep, 0, 0), ENOTDIR);
    CHECK(keyctl(KEYCTL_MOVE, deep, outer, ring, 0) == 0);
    FAILS(keyctl(KEYCTL_MOVE, deep, outer, ring, 0), ENOENT);
    CHECK(keyctl(KEYCTL_LINK, deep, outer, 0, 0) == 0);
    FAILS(keyctl(KEYCTL_MOVE, deep, outer, ring, KEYCTL_MOVE_EXCL), EEXIST);
    CHECK(ctl(KEYCTL_CLEAR, outer) == 0 && keyctl(KEYCTL_READ, outer, 0, 0, 0) == 0);
    FAILS(keyctl(KEYCTL_UNLINK, deep, outer, 0, 0), ENOENT);
    // What nothing links to is gone.
    key lone = add_key("user", "test:lone", "l", 1, ring);
    CHECK(keyctl(KEYCTL_UNLINK, lone, ring, 0, 0) == 0);
    for (int i = 0; i < 1000 && keyctl(KEYCTL_DESCRIBE, lone, 0, 0, 0) > 0; i++) usleep(10000);
    FAILS(keyctl(KEYCTL_DESCRIBE, lone, 0, 0, 0), ENOKEY);
    // Nested deeper than searches go: built from the inside out.
    key at = add_key("keyring", "test:nested", 0, 0, ring);
    for (int i = 0; i < 60; i++) {
        char name[64];
        snprintf(name, sizeof name, "test:nested%d", i);
        key around = add_key("keyring", name, 0, 0, ring);
        CHECK(around > 0);
        if (keyctl(KEYCTL_LINK, at, around, 0, 0) == -1) {
            CHECK(errno == ELOOP && i == 7);
            break;
        }
        CHECK(keyctl(KEYCTL_UNLINK, at, ring, 0, 0) == 0);
        at = around;
    }
    CHECK(keyctl(KEYCTL_UNLINK, at, ring, 0, 0) == 0);
    CHECK(ctl(KEYCTL_CLEAR, outer) == 0);
}
static void *in_thread(void *session) {
    // Its maker has one: so has it, another.
    CHECK(keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 0, 0, 0) > 0);
    CHECK(keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0) == *(key *)session);
    return 0;
}
static void whose(void) {
    FAILS(keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 0, 0, 0), ENOKEY);
    key session = keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0);
    key process = keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1, 0, 0);
    key thread = keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 1, 0, 0);
    CHECK(process > 0 && thread > 0 && process != thread);
    pthread_t other;
    pthread_create(&other, 0, in_thread, &session);
    pthread_join(other, 0);
    key shared = add_key("user", "test:shared", "s", 1, KEY_SPEC_SESSION_KEYRING);
    pid_t child = fork();
    if (child == 0) {
        FAILS(keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 0, 0, 0), ENOKEY);
        CHECK(request_key("user", "test:shared", 0) == shared);
        // A session of its own hides the old one.
        CHECK(ctl(KEYCTL_JOIN_SESSION_KEYRING, 0) != session);
        FAILS(request_key("user", "test:shared", 0), ENOKEY);
        FAILS(ctl(KEYCTL_JOIN_SESSION_KEYRING, (long)".name"), EPERM);
        char name[64];
        snprintf(name, sizeof name, "test.%d", getpid());
        key named = ctl(KEYCTL_JOIN_SESSION_KEYRING, (long)name);
        CHECK(named > 0);
        if (getuid() == 0) {
            // Another user finds nothing of ours.
            CHECK(setresuid(12345, 12345, 12345) == 0);
            FAILS(keyctl(KEYCTL_READ, shared, (long)buffer, 1, 0), EACCES);
            key own = keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0, 0, 0);
            CHECK(own > 0 && keyctl(KEYCTL_DESCRIBE, own, (long)buffer, sizeof buffer, 0) > 0);
            CHECK(!strcmp(buffer, "keyring;12345;65534;1f3f0000;_uid.12345"));
            // Enough is enough.
            int made = 0;
            for (; made < 1000; made++) {
                snprintf(name, sizeof name, "test:%d", made);
                if (add_key("user", name, "x", 1, KEY_SPEC_PROCESS_KEYRING) < 0) break;
            }
            CHECK(made > 100 && made < 1000 && errno == EDQUOT);
        }
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(ctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_NO_CHANGE) == KEY_REQKEY_DEFL_DEFAULT);
    CHECK(ctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_USER_KEYRING) == KEY_REQKEY_DEFL_DEFAULT);
    CHECK(ctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_NO_CHANGE) == KEY_REQKEY_DEFL_USER_KEYRING);
    FAILS(ctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_GROUP_KEYRING), EINVAL);
    buffer[0] = 0;
    CHECK(keyctl(KEYCTL_CAPABILITIES, (long)buffer, 8, 0, 0) == 2 && buffer[0] & 1 && !buffer[7]);
}

int main(void) {
    key session = ctl(KEYCTL_JOIN_SESSION_KEYRING, 0);
    if (session < 0 && (errno == ENOSYS || errno == EPERM)) return 0; // not on this host
    CHECK(session > 0);
    basics(session);
    accounts();
    rights(session);
    links(session);
    whose();
    return 0;
}
