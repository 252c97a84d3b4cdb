# A container from start to end, and what is done to it meanwhile.
same "start, stop, start again" 'docker create --network=none --runtime=$R --name $N box sh -c "echo run >> /data/runs; wc -l < /data/runs" >/dev/null; for _ in 1 2; do docker start -a $N; done'
same "restart" 'started box sh -c "echo run >> /data/runs; echo up \$(wc -l < /data/runs); sleep 1000"; says "up 1"; docker restart -t 0 $N; says "up 2"; docker logs $N'
same "stop" 'started --init box sleep 1000; docker stop $N; look "{{.State.ExitCode}} {{.State.Status}}"'
same "stop of a program that heeds no signal" 'started box sleep 1000; docker stop -t 1 $N; look "{{.State.ExitCode}} {{.State.Status}}"'
same "pause and unpause" 'started box sh -c "while :; do echo x >> /tmp/x; sleep 0.02; done"; docker pause $N; a=$(look "{{.State.Status}}"); docker exec $N true >/dev/null 2>&1; echo $? $a; docker unpause $N; docker exec $N test -s /tmp/x'
same "a paused program stands still" 'started -v $T:/v box sh -c "while :; do echo x >> /v/x; sleep 0.02; done"; eventually test -s $T/x; docker pause $N; a=$(wc -l < $T/x); sleep 1; b=$(wc -l < $T/x); [ $((b - a)) -le 1 ] && echo still; docker unpause $N; grown() { [ $(wc -l < $T/x) -gt $((b + 2)) ]; }; eventually grown && echo again'
same "stop of a paused container" 'started --init box sleep 1000; docker pause $N >/dev/null; docker rm -f $N'
same "wait" 'started box sh -c "sleep 0.5; exit 7"; docker wait $N'
same "top" 'started box sh -c "sleep 61; true"; docker top $N | head -1 | tr -s " " | cut -d" " -f1'
ours "top shows the sandbox" 'runsc-sandbox' 'started box sh -c "sleep 61; true"; docker top $N'
same "stats" 'started box sleep 1000; docker stats --no-stream --format "{{.PIDs}}" $N | grep -c "[1-9]"; docker stats --no-stream --format "{{.MemUsage}}" $N | grep -c iB; docker stats --no-stream --format "{{.MemUsage}}" $N | grep -c "^0B"'
same "stats of what works" 'started box sh -c "x=\$(head -c 20000000 /dev/zero | tr \"\\0\" x); echo up; while :; do :; done"; says up; busy() { docker stats --no-stream --format "{{.CPUPerc}} {{.MemUsage}}" $N | grep -E "^([1-9]|[0-9]{2,})[0-9.]*% [1-9][0-9.]*MiB"; }; eventually busy && echo busy'
same "stats of a limit" 'started -m 64m box sleep 1000; docker stats --no-stream --format "{{.MemUsage}}" $N | cut -d/ -f2'
same "logs -f" 'started box sh -c "for i in 1 2 3; do echo \$i; sleep 0.2; done"; timeout 60 docker logs -f $N'
same "logs --tail, --since, --timestamps" 'started box sh -c "for i in 1 2 3; do echo \$i; done"; docker wait $N; docker logs --tail 2 $N; docker logs --since 1h --timestamps $N | wc -l'
same "attach" 'docker run -di --network=none --runtime=$R --name $N box sh -c "read line; echo got \$line" >/dev/null; echo typed | docker attach $N >/dev/null; docker wait $N; docker logs $N'
same "attach to what runs" 'started box sh -c "trap \"echo caught; exit 3\" TERM; while :; do echo tick; sleep 0.1; done"; docker attach --no-stdin $N >$T/out & eventually grep tick $T/out; docker kill -s TERM $N >/dev/null; wait $!; echo $?; grep caught $T/out'
# By Docker's interface: its client asks for a new size when it likes.
resize='import http.client, socket, sys
client = http.client.HTTPConnection("docker")
client.sock = socket.socket(socket.AF_UNIX)
client.sock.connect(sys.argv[1])
client.request("POST", "/containers/%s/resize?h=40&w=120" % sys.argv[2])
print(client.getresponse().status)'
export resize
same "a terminal that is resized" 'docker run -dit --network=none --runtime=$R --name $N box sh -c "trap \"stty size; exit\" WINCH; echo up; while :; do sleep 0.05; done" >/dev/null; says up; python3 -c "$resize" ${DOCKER_HOST#unix://} $N; says "40 120"; docker logs $N | grep -o "40 120"'
same "rename and inspect" 'started box sleep 1000; docker rename $N $N-other; look "{{.State.Running}} {{.HostConfig.Runtime}} {{.Name}}" $N-other | sed s/runsc/runc/'
same "events" 'since=$(date +%s.%N); started box sh -c "exit 3"; docker wait $N >/dev/null; events() { docker events --since $since --until $(date +%s.%N) --filter container=$N --format "{{.Action}} {{index .Actor.Attributes \"exitCode\"}}"; }; died() { events | grep die; }; eventually died; events | sort'
same "many exits at once" '{ for i in 1 2 3 4 5; do (box box sh -c "exit $i"; echo $?) & done; wait; } | sort'
same "--rm" 'box --name $N box true; docker inspect $N 2>&1 | grep -c "No such"'
same "orphans are reaped" 'started --init box sh -c "(sleep 0.1 & exec true); sleep 0.5; (sleep 0.2 &); sleep 1; ps -e | grep -c defunct"; docker wait $N; docker logs $N'
