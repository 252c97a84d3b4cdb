# What is tried; read by `run`.

same "exit status and output" 'box -- sh -c "echo out; echo err >&2; exit 3" 2>&1 | sort; echo ${PIPESTATUS[0]}'
same "a program that is not there" 'box -- nothing-of-that-name >/dev/null 2>&1; echo $?'
same "standard input, to its end" '
    # Once the program speaks, containerd'"'"'s client knows whom to tell of the end.
    { eventually grep -q ready $T/out; echo line; } | box -- sh -c "echo ready; cat; echo end" >$T/out; cat $T/out'
same "much output" 'box -- sh -c "yes 123456789 | head -c 3000000; echo" | md5sum'
same "a terminal with its size" '
    script -qec "stty rows 33 cols 44; $(declare -f run_box box); box -t -- sh -c '"'"'
        tty; until [ \"\$(stty size 2>&1)\" = \"33 44\" ]; do sleep 0.1; done; echo resized; exit 5'"'"'" /dev/null </dev/null |
        tr -d "\r"; echo ${PIPESTATUS[0]}'
same "exec, its status, its kill" '
    started -- sleep 1000
    run_in sh -c "echo in exec; exit 7"; echo $?
    ctr task exec --exec-id long $N sh -c "echo started; exec sleep 1000" >$T/exec </dev/null & exec=$!
    eventually grep -q started $T/exec
    ctr task kill --exec-id long -s KILL $N; wait $exec; echo $?
    is RUNNING
    ctr task kill -s KILL $N; ended'
same "a handler for a signal" '
    started -- sh -c "trap '"'"'echo bye; exit 5'"'"' TERM; echo up; while :; do sleep 0.1; done"
    says up; ctr task kill $N; ended; cat $T/log'
same "pause and resume" '
    started -- sh -c "while :; do echo tick; sleep 0.1; done"
    says tick; ctr task pause $N; is PAUSED
    ctr task resume $N; is RUNNING; : >$T/log; says tick
    ctr task kill -s KILL $N; ended'
same "processes and metrics" '
    started -- sh -c "sleep 1000 & echo up; wait"
    says up; ctr task ps $N | tail -n +2 | wc -l
    ctr task metrics $N | grep -oE "^(memory.usage[a-z_]*|cpuacct.usage|cpu.usage_usec) +[1-9]" | cut -d " " -f 1
    ctr task kill -a -s KILL $N; ended'
same "a log by a program" '
    printf "#!/bin/sh\nexec 5>&-\necho \$CONTAINER_ID \$1 \$2 >$T/id; cat <&3 >$T/out & cat <&4 >$T/err; wait\n" >$T/logger
    chmod 755 $T/logger
    run_box -d --log-uri "binary://$T/logger?key=a%20b" -- sh -c "echo to a program; echo and this >&2; sleep 1000"
    eventually grep -q program $T/out; eventually grep -q this $T/err
    ctr task kill -s KILL $N; ended; cat $T/id $T/out $T/err'
same "events" '
    ctr events >$T/events & events=$!
    eventually bash -c "ctr images label localhost/box:1 seen=$N >/dev/null; [ -s $T/events ]"
    started -- sleep 1000
    run_in true; ctr task pause $N; ctr task resume $N; ctr task kill -s KILL $N; ended
    eventually grep -q /tasks/delete $T/events
    kill $events; grep -F $N $T/events | grep -o " /tasks/[a-z-]*"'
same "containerd is restarted" '
    started -- sh -c "echo up; sleep 1000"
    says up; kill $(cat $dir/pid); eventually bash -c "! ctr version"
    containerd -c $dir/config.toml >>$dir/log 2>&1 & echo $! >$dir/pid
    eventually ctr version
    is RUNNING; run_in echo still there; ctr task kill -s KILL $N; ended'
ours "the shim is killed" '^gone\nstatus 0' '
    started -- sleep 1000
    kill -9 $(cat $dir/state/io.containerd.runtime.v2.task/test/$N/shim.pid)
    eventually bash -c "! pgrep -f \"^runsc-[a-z]+ .*$N\""
    eventually [ ! -e /run/containerd/runsc/test/$N ]
    eventually bash -c "! grep -q $dir/state.*$N /proc/mounts"
    echo gone; ctr containers delete $N'
ours "options come from a file" 'no such flag.*status 0' '
    printf "[runsc_config]\nno-such-flag = 1\n" >$T/bad.toml
    box --runtime-config-path $T/bad.toml -- true 2>&1 | sed "s/no-such-flag/no such flag/"
    true'
ours "a pod of two containers has one sandbox and one shim" '^1 sandbox, 1 shim\nexit code 4"\nstill here\nexit code 137"\nstatus 0' '
    member() { run_box -d --log-uri file://$T/log --annotation io.kubernetes.cri.sandbox-id=$P "$@"; }
    P=$N
    member --annotation io.kubernetes.cri.container-type=sandbox -- sleep 1000
    N=$P-a; member --annotation io.kubernetes.cri.container-type=container -- sh -c "echo member; exit 4"
    eventually bash -c "ctr task ls | grep -q \"^$N .*STOPPED\""
    echo $(pgrep -fc "^runsc-sandbox") sandbox, $(pgrep -fc -- "-v1 .* -id $P ") shim
    ctr task delete $N 2>&1 | grep -o "exit code.*"; ctr containers delete $N
    N=$P; run_in echo still here
    ctr task kill -s KILL $N; ended'
if command -v crictl >/dev/null; then
    cat >"$dir/pod.json" <<JSON
{"metadata": {"name": "pod", "namespace": "default", "uid": "u"}, "log_directory": "$dir/logs",
 "linux": {"cgroup_parent": "$cgroup", "security_context": {"namespace_options": {"network": 2}},
           "resources": {"cpu_period": 100000, "cpu_quota": 66000}}}
JSON
    cat >"$dir/container.json" <<JSON
{"metadata": {"name": "c"}, "image": {"image": "localhost/box:1"}, "log_path": "c.log", "linux": {},
 "command": ["sh", "-c", "echo logged; sleep 1000"]}
JSON
    mkdir -p "$dir/logs" && : >"$dir/crictl.yaml" # without one crictl warns
    expected='^logged\nsynchronous\nstreamed\nexit code 4\nCONTAINER_RUNNING\n1\n.*CONTAINER_EXITED.*exitCode": 137.*\nstatus 0'
    ours "Kubernetes interface" "$expected" '
        cri() { crictl --config $dir/crictl.yaml --timeout 60s -r unix://$dir/c.sock -i unix://$dir/c.sock "$@" 2>&1; }
        P=$(cri runp --runtime=runsc $dir/pod.json)
        C=$(cri create $P $dir/container.json $dir/pod.json)
        cri start $C >/dev/null; eventually grep -q logged $dir/logs/c.log; cri logs $C
        cri exec -s $C echo synchronous | grep .; cri exec $C sh -c "echo streamed; exit 4" | grep -oE "^streamed|exit code 4"
        cri inspect $C | grep -o CONTAINER_RUNNING
        cat /sys/fs/cgroup{,/cpu}$cgroup/*/cpu.{cfs_quota_us,max} 2>/dev/null | grep -c "^66000"
        cri stop $C >/dev/null; cri inspect $C | grep -oE "CONTAINER_EXITED|exitCode.*" | sort
        cri stopp $P >/dev/null; cri rmp $P >/dev/null; cri pods -q'
else
    skip "Kubernetes interface" "crictl is not installed"
fi
