# `docker exec`.
same "output and status" 'started box sleep 60; docker exec $N sh -c "echo out; echo err >&2; exit 3"'
same "-u, -w, -e" 'started box sleep 60; docker exec -u web -w /data -e A=b $N sh -c "id; pwd; echo \$A"'
same "-i" 'started box sleep 60; echo words | docker exec -i $N cat'
same "-t" 'started box sleep 60; script -qec "docker exec -t $N sh -c \"tty; test -t 0 && echo terminal\"" /dev/null'
same "-it, job control" 'started box sleep 60; (sleep 0.5; printf "sleep 50 &\njobs\nkill %%1\nexit 4\n"; sleep 1) | script -qec "docker exec -it $N bash --norc" /dev/null | grep -c "Running"'
same "-d" 'started box sleep 60; docker exec -d $N sh -c "echo later > /tmp/f"; sleep 0.5; docker exec $N cat /tmp/f'
# Not compared: runc needs all capabilities of the host for it. All but CAP_NET_RAW, as far as the daemon has them.
ours "--privileged" 'CapEff:[^\n]*dfff' 'started box sleep 60; docker exec --privileged $N grep CapEff /proc/self/status'
same "many at once" 'started box sleep 60; for i in 1 2 3 4 5 6; do docker exec $N sh -c "exit $i" & done; for job in $(jobs -p); do wait $job; echo $?; done | sort'
same "sees the first process" 'started box sleep 60; docker exec $N sh -c "tr \"\\0\" \" \" < /proc/1/cmdline"'
same "capabilities of a user" 'started box sleep 60; docker exec -u web $N grep Cap /proc/self/status | grep -v CapBnd'
