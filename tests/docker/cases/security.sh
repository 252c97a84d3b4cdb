# What security settings mean inside, as a guest sees it.
same "the hardened case" 'box -u 101 --cap-drop ALL --cap-add NET_BIND_SERVICE --read-only --tmpfs /var/log:size=1m,uid=101,mode=750 --security-opt no-new-privileges box sh -c "id; grep -E \"Cap|NoNewPrivs|Seccomp:\" /proc/self/status; touch /x; head -c 2000000 /dev/zero >/var/log/x; stat -c %u:%s /var/log/x; mount -t tmpfs none /tmp; suid-id -u; cat /data/file"'
same "no-new-privileges" 'box --security-opt no-new-privileges -u web box sh -c "grep NoNewPrivs /proc/self/status; suid-id -u"'
same "seccomp: Docker's default" 'box box sh -c "grep Seccomp: /proc/self/status"'
# A system call's result and error.
call='$! = 0; my @numbers = map { $_ + 0 } @ARGV; my $result = syscall(shift @numbers, @numbers); print $result, " ", $! + 0, "\n"'
export call
# keyctl, add_key, kexec_load, open_by_handle_at, swapon, bpf, perf_event_open, personality(0xffffffff), clone3.
same "seccomp: what Docker's default forbids" 'for number in 250 248 246 304 167 321 298 435; do echo $number $(box box perl -e "$call" $number 0 0 0 0 0); done; for persona in 4294967295 8 1; do box box perl -e "$call" 135 $persona; done'
same "seccomp=unconfined" 'box --security-opt seccomp=unconfined box grep Seccomp: /proc/self/status'
profile() {
    printf '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [%s]}' "$1" >"$T/profile"
    echo "seccomp=$T/profile"
}
export -f profile
same "seccomp: SCMP_ACT_ERRNO" 'box --security-opt $(profile "{\"names\": [\"mkdir\", \"mkdirat\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 38}") box mkdir /tmp/d'
same "seccomp: arguments" 'box --security-opt $(profile "{\"names\": [\"personality\"], \"action\": \"SCMP_ACT_ERRNO\", \"args\": [{\"index\": 0, \"value\": 8, \"op\": \"SCMP_CMP_EQ\"}]}, {\"names\": [\"getpriority\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 77, \"args\": [{\"index\": 1, \"value\": 240, \"valueTwo\": 16, \"op\": \"SCMP_CMP_MASKED_EQ\"}]}") box sh -c "for numbers in \"135 8\" \"135 0\" \"140 0 16\" \"140 0 32\"; do perl -e \"\$0\" \$numbers; done" "$call"' 
for action in KILL KILL_THREAD KILL_PROCESS TRAP; do
    same "seccomp: SCMP_ACT_$action" 'box --security-opt $(profile "{\"names\": [\"sethostname\"], \"action\": \"SCMP_ACT_'$action'\"}") box sh -c "hostname x; echo \$?"'
done
same "seccomp: SCMP_ACT_LOG" 'box --security-opt $(profile "{\"names\": [\"mkdir\", \"mkdirat\"], \"action\": \"SCMP_ACT_LOG\"}") box sh -c "mkdir /tmp/d && echo made"'
ours "seccomp: SCMP_ACT_NOTIFY" 'SCMP_ACT_NOTIFY is not supported.*status 125' 'box --security-opt $(profile "{\"names\": [\"sethostname\"], \"action\": \"SCMP_ACT_NOTIFY\"}") box true'
same "seccomp: a call that nobody knows" 'box --security-opt $(profile "{\"names\": [\"no_such_call\", \"mkdir\", \"mkdirat\"], \"action\": \"SCMP_ACT_ERRNO\"}") box mkdir /tmp/d'
same "seccomp: a broken profile" 'echo "{" >$T/profile; box --security-opt seccomp=$T/profile box true 2>&1 | grep -o "unexpected end of JSON input"'
same "masked paths" 'box box sh -c "for f in kcore keys timer_list sched_debug; do head -c 1 /proc/\$f 2>/dev/null | wc -c; done; ls /proc/scsi /sys/firmware 2>/dev/null | grep -vc :"'
same "systempaths=unconfined" 'box --security-opt systempaths=unconfined box sh -c "echo d.org > /proc/sys/kernel/domainname; cat /proc/sys/kernel/domainname"'
same "read-only paths" 'box box sh -c "echo 1 > /proc/sys/kernel/domainname"'
ours "apparmor=unconfined and label=disable" 'here\nstatus 0' 'box --security-opt apparmor=unconfined --security-opt label=disable box echo here'
ours "an AppArmor profile" 'AppArmor|here\nstatus 0' 'box --security-opt apparmor=some-profile box echo here'
# CAP_NET_RAW is withheld unless the runtime has --net-raw, as in gVisor.
same "capabilities of a user" 'box --cap-drop NET_RAW -u web box grep Cap /proc/self/status'
same "chown needs CAP_CHOWN" 'box --cap-drop CHOWN box chown 5 /data/file'
same "other files need CAP_DAC_OVERRIDE" 'box --cap-drop ALL box cat /data/file'
same "low ports need CAP_NET_BIND_SERVICE" 'for drop in NET_RAW NET_BIND_SERVICE; do box --cap-drop $drop --sysctl net.ipv4.ip_unprivileged_port_start=1024 box python3 -c "import socket; socket.socket().bind((\"127.0.0.1\", 80)); print(\"bound\")" 2>&1 | tail -1; done'
same "mount needs CAP_SYS_ADMIN" 'box box mount -t tmpfs none /mnt'
same "mknod needs CAP_MKNOD" 'box --cap-drop MKNOD box mknod /tmp/null c 1 3'
ours "dmesg is our kernel" 'Ready' 'box box dmesg'
