# Processes that are killed, and files that change, at every moment of a container's life.
processes() { ps -eo pid,args | grep -E "$1" | grep -F "$(look "{{.Id}}")" | awk '{print $1}'; }
export -f processes
kill_sandbox='kill -9 $(look "{{.State.Pid}}")'
kill_gofer='kill -9 $(processes "^ *[0-9]+ runsc-gofer")'
kill_shim='kill -9 $(processes "containerd-shim")'
ended='eventually ended_is; look "{{.State.Status}} {{.State.ExitCode}}"; docker rm $N'
ended_is() { [ "$(look "{{.State.Status}}")" = exited ]; }
# What is left on the host of container $id.
left_of() { ps -eo args | grep -F "$id" | grep -v grep; find /sys/fs/cgroup -type d -path "*/$id*"; grep -F "$id" /proc/mounts; }
nothing_left_of() { [ -z "$(left_of)" ]; }
export -f ended_is left_of nothing_left_of

for victim in sandbox gofer; do
    victims=kill_$victim
    ours "the $victim is killed while the container runs" 'exited 137\nNAME\n.*status 0' "started box sleep 1000; ${!victims}; $ended"
    ours "the $victim is killed while the container is paused" 'exited 137\nNAME\n.*status 0' "started box sleep 1000; docker pause \$N >/dev/null; ${!victims}; $ended"
    ours "the $victim is killed while an exec runs" '137\nexited 137\nNAME\n.*status 0' "started box sleep 1000; docker exec \$N sh -c 'echo up; sleep 1000' >\$T/out & client=\$!; eventually grep up \$T/out; ${!victims}; wait \$client; echo \$?; $ended"
    ours "the $victim is killed while a client is attached" '^137\n.*status 0' "docker run --name \$N --network=none --runtime=\$R box sh -c 'echo up; sleep 1000' >\$T/out & client=\$!; eventually grep up \$T/out; ${!victims}; wait \$client; echo \$?"
done
same "the shim is killed" "started box sleep 1000; export id=\$(look '{{.Id}}'); $kill_shim; $ended; eventually nothing_left_of; left_of"
# OCI containers that wait for `start`, without Docker.
created="mkdir -p \$T/b; cat >\$T/b/config.json <<J
{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": \"/\", \"readonly\": true}, \"process\": {\"args\": [\"/bin/echo\", \"before\"], \"cwd\": \"/\", \"user\": {\"uid\": 0, \"gid\": 0}},
 \"linux\": {\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"mount\"}, {\"type\": \"network\"}]}}
J
oci() { $runsc --root \$T/state --network=none \"\$@\"; }; oci create --bundle \$T/b --pid-file \$T/pid \$N >\$T/said </dev/null"
ours "the sandbox is killed before the start" 'stopped.*refused\n.*status 0' "$created; kill -9 \$(cat \$T/pid); eventually bash -c '! kill -0 \$(cat \$T/pid)'; oci state \$N | grep -o stopped; oci start \$N 2>&1 | grep -q . && echo refused; oci delete \$N"
ours "the gofer is killed before the start" 'refused\n.*status 0' "$created; kill -9 \$(ps -eo pid,args | awk '/runsc-gofer/ && /'\$N'/ && !/awk/ {print \$1}'); oci start \$N 2>&1; eventually bash -c '! kill -0 \$(cat \$T/pid)'; echo refused; oci delete --force \$N"
ours "the bundle changes between create and start" 'before\n.*status 0' "$created; sed -i s/before/after/ \$T/b/config.json; oci start \$N; eventually grep . \$T/said; cat \$T/said; oci delete --force \$N"
ours "the bundle goes between create and start" 'before\n.*status 0' "$created; rm -r \$T/b; oci start \$N; eventually grep . \$T/said; cat \$T/said; oci delete --force \$N"
# Docker itself.
restart_daemon() {
    kill -"$1" "$(cat "$dir/pid")"
    wait "$daemon" 2>/dev/null
    rm -f "$dir/pid"
    try_daemon "${daemon_options[@]}" "${@:2}"
}
restarted() {
    local runtime
    for runtime in runc runsc; do
        R=$runtime N=live-$runtime started box sh -c 'echo up; while [ ! -e /tmp/end ]; do sleep 0.1; done; exit 7'
    done
    restart_daemon "$@" || { report FAILED "dockerd $*" "it does not start again"; return; }
    for runtime in runc runsc; do
        docker exec live-$runtime touch /tmp/end >/dev/null 2>&1
        eventually eval "[ \$(look '{{.State.Status}}' live-$runtime) = exited ]"
        look '{{.State.Status}} {{.State.ExitCode}}' live-$runtime >"$dir/live-$runtime"
        docker logs live-$runtime >>"$dir/live-$runtime" 2>&1
        docker rm -f live-$runtime >>"$dir/live-$runtime" 2>&1
        sed -i "s/$runtime/RUNTIME/" "$dir/live-$runtime"
    done
    if cmp -s "$dir/live-runc" "$dir/live-runsc"; then
        report ok "dockerd gets $1${2:+, $2}: $(head -1 "$dir/live-runsc")" "${verbose:+$(cat "$dir/live-runsc")}"
    else
        report FAILED "dockerd gets $*" "$(diff "$dir/live-runc" "$dir/live-runsc")"
    fi
}
alone restarted KILL --live-restore=true
alone restarted TERM --live-restore=true
alone restarted KILL --live-restore=false
alone restarted TERM --live-restore=false
