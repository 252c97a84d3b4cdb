# What security settings mean inside, as a guest sees it.
same "the hardened case" 'box -u 101 --cap-drop ALL --cap-add NET_BIND_SERVICE --read-only --tmpfs /var/log:size=1m --security-opt no-new-privileges box sh -c "id; grep -E \"Cap|NoNewPrivs|Seccomp:\" /proc/self/status; (touch /x; touch /var/log/x && echo log) 2>&1"'
same "no-new-privileges" 'box --security-opt no-new-privileges -u web box sh -c "grep NoNewPrivs /proc/self/status; suid-id -u"'
same "seccomp: Docker's default" 'box box sh -c "grep Seccomp: /proc/self/status"'
same "seccomp=unconfined" 'box --security-opt seccomp=unconfined box grep Seccomp: /proc/self/status'
cat >"$dir/seccomp.json" <<'J'
{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
 {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
 {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
 {"names": ["sethostname"], "action": "SCMP_ACT_KILL"}]}
J
same "seccomp=FILE" 'box --security-opt seccomp=$dir/seccomp.json box sh -c "mkdir /tmp/d; python3 -c \"import ctypes; c=ctypes.CDLL(None, use_errno=True); print(c.personality(8), ctypes.get_errno(), c.personality(0))\"; hostname x; echo \$?"'
same "masked paths" 'box box sh -c "for f in /proc/kcore /proc/keys; do test -e \$f && wc -c < \$f; done; ls /sys/firmware | wc -l"'
same "read-only paths" 'box box sh -c "echo 1 > /proc/sys/kernel/domainname"'
ours "apparmor and label" 'status (0|125)' 'box --security-opt apparmor=unconfined --security-opt label=disable box true'
# CAP_NET_RAW is withheld unless the runtime has --net-raw, as in gVisor.
same "capabilities of a user" 'box --cap-drop NET_RAW -u web box grep Cap /proc/self/status'
same "chown needs CAP_CHOWN" 'box --cap-drop CHOWN box chown 5 /data/file'
same "mount needs CAP_SYS_ADMIN" 'box box mount -t tmpfs none /mnt'
ours "dmesg is our kernel" 'Ready' 'box box dmesg'
