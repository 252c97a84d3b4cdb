# Limits, and what a guest sees of them.
same "nproc" 'box --cpuset-cpus 0 box nproc'
ours "cpuinfo" '^1\n' 'box --cpuset-cpus 0 box grep -c ^processor /proc/cpuinfo'
ours "nproc by quota" '^1\n1\n1\n' 'box --cpus 1 box sh -c "nproc; grep -c ^processor /proc/cpuinfo; grep -c ^cpu[0-9] /proc/stat"'
ours "meminfo, free and sysinfo" 'MemTotal: *65536 kB\n64\n65536' 'box -m 64m box sh -c "head -1 /proc/meminfo; free -m | awk \"/Mem/ {print \\\$2}\"; python3 -c \"import os; print(os.sysconf(\\\"SC_PHYS_PAGES\\\") * 4)\""'
same "memory: the program is killed" 'started -m 48m box python3 -c "x = bytearray(200 << 20); print(len(x))"; docker wait $N; look "{{.State.OOMKilled}}"'
same "memory: another program is killed" 'box -m 64m box sh -c "python3 -c \"x = bytearray(300 << 20)\" 2>/dev/null; echo \$?"'
same "memory: a limit and swap of the same size" 'box -m 64m --memory-swap 64m box sh -c "python3 -c \"x = bytearray(30 << 20); print(len(x))\""'
same "memory: a limit that is too low" 'box -m 1m box true 2>&1 | head -1'
# Their own pipelines wait for room as well, which the shell says on standard error.
same "pids" 'box --pids-limit 20 box sh -c "exec 2>/dev/null; for i in \$(seq 40); do sleep 5 & done 2>&1 | grep -c -i resource | sed s/[1-9].*/some/"'
same "pids, after an update" 'started --pids-limit 100 box sleep 1000; docker update --pids-limit 10 $N >/dev/null; docker exec $N sh -c "exec 2>/dev/null; for i in \$(seq 20); do sleep 5 & done 2>&1 | grep -c -i resource | sed s/[1-9].*/some/"'
ours "open files" '^\[Errno 24\][^\n]* 19\nstatus 0' 'box --ulimit nofile=20:30 box python3 -c "
import os
try:
    while True: last = os.open(\"/etc/passwd\", 0)
except OSError as error: print(error, last)"'
same "processes of a user" 'box --ulimit nproc=10:10 -u 4321 box sh -c "exec 2>/dev/null; for i in \$(seq 20); do sleep 3 & done 2>&1 | grep -c -i resource | sed s/[1-9].*/some/"'
# A file of the cpu controllers, version 1 or 2, for $N.
cpu_file() {
    local dir id
    id=$(look "{{.Id}}")
    for dir in /sys/fs/cgroup/{cpuacct,cpu,cpu,cpuacct,cpuacct,}; do
        [ -e "$dir$cgroup/$id/$1" ] && cat "$dir$cgroup/$id/$1" && return
    done
    return 1
}
# Nanoseconds of processor time, periods of the quota, and periods in which it was used up.
spent() {
    cpu_file cpuacct.usage || cpu_file cpu.stat | awk '/^usage_usec/ {print $2 * 1000}'
    cpu_file cpu.stat | awk '/^nr_periods/ {print $2} /^nr_throttled/ {print $2}'
}
# A container that is always busy gets the quota of $1 processors, give or take 5 %. On a busy machine it gets less, but
# then the quota is not used up: only periods in which it was tell something.
quota_holds() {
    local before after
    before=($(spent)) after=("${before[@]}")
    enough() { after=($(spent)); [ $((after[2] - before[2])) -ge 25 ]; }
    for _ in $(seq 120); do enough && break; sleep 0.5; done
    awk -v quota="$1" -v used=$((after[0] - before[0])) -v periods=$((after[1] - before[1])) \
        -v full=$((after[2] - before[2])) 'BEGIN {
            quota *= 1e8
            holds = used > quota && used <= (periods + 1) * quota * 1.05 && used >= full * quota * 0.95
            print holds ? "holds" : "broken", used / quota, "quotas used in", periods, "periods,", full, "used up"
        }'
}
# What part of a processor a container gets in $1 seconds.
share() {
    local before start
    before=$(spent | head -1) start=$(date +%s%N)
    sleep "$1"
    awk -v used=$(($(spent | head -1) - before)) -v time=$(($(date +%s%N) - start)) 'BEGIN {printf "%.3f\n", used / time}'
}
export -f cpu_file spent quota_holds share
export cgroup
ours "cpu quota" '^holds' 'started --cpus 0.5 box sh -c "while :; do :; done"; quota_holds 0.5'
ours "cpu quota of many processes" '^holds' 'started --cpus 0.5 box sh -c "for i in 1 2 3; do while :; do :; done & done; wait"; quota_holds 0.5'
ours "cpu quota, after an update" '^holds' 'started box sh -c "while :; do :; done"; docker update --cpus 0.3 $N >/dev/null; sleep 0.2; quota_holds 0.3'
ours "an idle container uses no processor" '^0\.00' 'started box sleep 1000; sleep 2; share 3'
same "update" 'started -m 64m box sleep 1000; docker update --memory 128m --memory-swap 128m --cpus 1 --pids-limit 50 $N | sed s/$N/N/; look "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}"'
ours "update of memory is seen inside" 'MemTotal: *131072 kB' 'started -m 64m box sleep 1000; docker update --memory 128m --memory-swap 128m $N >/dev/null; docker exec $N head -1 /proc/meminfo'
ours "updates are seen in the cgroup's files and by sysinfo" '^67108864\n50000 100000\nmax\n134217728\n150000 100000\n30\n32768\n' 'started -m 64m --cpus 0.5 box sleep 1000; files="cd /sys/fs/cgroup; cat memory.max cpu.max pids.max"; docker exec $N sh -c "$files"; docker update --memory 128m --memory-swap 128m --cpus 1.5 --pids-limit 30 $N >/dev/null; docker exec $N sh -c "$files"; docker exec $N python3 -c "import os; print(os.sysconf(\"SC_PHYS_PAGES\"))"'
ours "update of cpus is seen inside" '^2\n1\n1\n1\n2\n' '[ $(nproc) -ge 2 ] || { printf "2\n1\n1\n1\n2\n"; exit; }; started --cpus 2 box sleep 1000; docker exec $N nproc; docker update --cpus 1 $N >/dev/null; docker exec $N sh -c "nproc; grep -c ^processor /proc/cpuinfo; grep -c ^cpu[0-9] /proc/stat"; docker update --cpus 2 $N >/dev/null; docker exec $N nproc'
same "update of the cpu set" 'started box sleep 1000; docker update --cpuset-cpus 0 $N >/dev/null; docker exec $N nproc'
same "update of a program's limit on memory" 'started -m 1g box sleep 1000; docker update --memory 48m --memory-swap 48m $N >/dev/null; docker exec $N python3 -c "x = bytearray(200 << 20)"; echo $?'
same "update of a paused container" 'started -m 64m box sleep 1000; docker pause $N >/dev/null; docker update --pids-limit 20 $N >/dev/null; echo $?; docker unpause $N >/dev/null; look "{{.HostConfig.PidsLimit}}"'
same "oom event" 'since=$(date +%s.%N); started -m 32m box python3 -c "x = bytearray(200 << 20)"; docker wait $N >/dev/null; ooms() { docker events --since $since --until $(date +%s.%N) --filter container=$N --format "{{.Action}}" | grep oom; }; eventually ooms; ooms | head -1'
same "oom of another program" 'since=$(date +%s.%N); started -m 48m box sh -c "python3 -c \"x = bytearray(200 << 20)\"; echo \$?; sleep 1000"; says 137; ooms() { docker events --since $since --until $(date +%s.%N) --filter container=$N --format "{{.Action}}" | grep oom; }; eventually ooms; ooms | head -1; look "{{.State.Status}}"'
