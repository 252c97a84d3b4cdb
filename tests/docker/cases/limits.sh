# Limits, and what a guest sees of them.
same "nproc" 'box --cpuset-cpus 0 box nproc'
ours "cpuinfo" '^1\n' 'box --cpuset-cpus 0 box grep -c ^processor /proc/cpuinfo'
ours "nproc by quota" '^1\n' 'box --cpus 1 box nproc'
ours "meminfo" 'MemTotal: *65536 kB' 'box -m 64m box head -1 /proc/meminfo'
same "memory: the program is killed" 'started -m 48m box python3 -c "x = bytearray(200 << 20); print(len(x))"; docker wait $N; docker inspect -f "{{.State.OOMKilled}}" $N'
same "memory: another program is killed" 'box -m 64m box sh -c "python3 -c \"x = bytearray(300 << 20)\" 2>/dev/null; echo \$?"'
same "pids" 'box --pids-limit 20 box sh -c "for i in \$(seq 40); do sleep 5 & done 2>&1 | grep -c -i resource | sed s/[1-9].*/some/"'
ours "cpu quota" '^(0\.[45]|0\.5)' 'box --cpus 0.5 box python3 -c "
import time
start, cpu = time.time(), time.process_time()
while time.time() - start < 4: pass
print(round((time.process_time() - cpu) / (time.time() - start), 2))"'
same "update" 'started -m 64m box sleep 60; docker update --memory 128m --memory-swap 128m --cpus 1 --pids-limit 50 $N | sed s/$N/N/; docker inspect -f "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}" $N'
ours "update is seen inside" 'MemTotal: *131072 kB' 'started -m 64m box sleep 60; docker update --memory 128m --memory-swap 128m $N >/dev/null; docker exec $N head -1 /proc/meminfo'
same "oom event" 'since=$(date +%s.%N); started -m 32m box python3 -c "x = bytearray(200 << 20)"; docker wait $N >/dev/null; sleep 1; docker events --since $since --until $(date +%s.%N) --filter container=$N --format "{{.Action}}" | grep -c oom'
