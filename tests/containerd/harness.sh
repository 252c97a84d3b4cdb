# What the cases are written with; read by `run`.

export dir CONTAINERD_ADDRESS=$dir/c.sock CONTAINERD_NAMESPACE=test
# Cgroups of the test's containers are below this one.
export cgroup=/$(basename "$dir")
passed=0 failed=0 skipped=0

# Directories of containerd and of the shim that are our own, and programs by the names that they are searched for.
prepare() {
    mount --make-rprivate / && ip link set lo up
    mkdir -p /run/containerd "$dir/bin" "$dir/t" && mount -t tmpfs run /run/containerd
    ln -s "$runsc" "$dir/bin/runsc" && ln -s "$shim" "$dir/bin/containerd-shim-runsc-v1"
    PATH=$dir/bin:$PATH
    cat >"$dir/runsc.toml" <<TOML
log_level = "debug"
[runsc_config]
network = "none"
TOML
    cat >"$dir/config.toml" <<TOML
version = 2
root = "$dir/root"
state = "$dir/state"
[grpc]
address = "$CONTAINERD_ADDRESS"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/box:1"
disable_tcp_service = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]
runtime_type = "io.containerd.runsc.v1"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc.options]
TypeUrl = "io.containerd.runsc.v1.options"
ConfigPath = "$dir/runsc.toml"
TOML
}

start_containerd() {
    containerd -c "$dir/config.toml" >>"$dir/log" 2>&1 &
    daemon=$!
    echo $daemon >"$dir/pid"
    eventually ctr version
}

stop_containerd() {
    kill "$(cat "$dir/pid")" && wait "$daemon" 2>/dev/null
}

import_image() {
    for space in test k8s.io; do
        ctr -n $space images import "$dir/box.tar" >/dev/null || return 1
    done
}

# Without a container of runc there is nothing to compare with.
try_runc() {
    local said
    said=$(ctr run --rm --runtime io.containerd.runc.v2 localhost/box:1 try echo works 2>&1 </dev/null)
    [ "$said" = works ] && return
    echo "skipped: runc runs no container here: $(head -1 <<<"$said")"
    exit 0
}

# eventually COMMAND...: repeats it until it succeeds, for a minute: long enough for a busy machine. A case in which
# something never happens has failed.
eventually() {
    local end=$((SECONDS + 60))
    while [ $SECONDS -lt $end ]; do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "never: $*"
    return 1
}

# run_box [OPTIONS...] -- COMMAND...: runs the image as container $N under $R.
run_box() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    ctr run --runtime "$R" --cgroup "$cgroup/$N" "${options[@]}" localhost/box:1 "$N" "${@:2}"
}

# box [OPTIONS...] -- COMMAND...: the same, and nothing of it stays.
box() {
    run_box --rm "$@"
}

# started [OPTIONS...] -- COMMAND...: in the background, its output in $T/log.
started() {
    run_box -d --log-uri "file://$T/log" "$@" </dev/null
}

# says TEXT: waits until it has printed that.
says() {
    eventually grep -q -- "$1" "$T/log"
}

# is STATUS: waits until containerd says so of $N.
is() {
    eventually bash -c 'ctr task ls | grep -qE "^$1 +[0-9]+ +$2"' - "$N" "$1"
}

# run_in COMMAND...: a further process in $N.
run_in() {
    ctr task exec --exec-id "x$RANDOM$RANDOM" "$N" "$@" </dev/null
}

# ended: waits for the end of $N, tells its status, and removes it.
ended() {
    is STOPPED
    ctr task delete "$N" 2>&1 | grep -o 'exit code.*'
    ctr containers delete "$N"
}

export -f eventually run_box box started says is run_in ended

# Runs a command line with $R as the runtime, $N as a container's name and $T as a directory; prints what it wrote and
# its status. Names and directories that differ from run to run are made equal.
attempt() {
    local N=c$2-$1 T=$dir/t/$2-$1 status
    rm -rf "$T" && mkdir -p "$T"
    R=io.containerd.$([ "$1" = runc ] && echo runc.v2 || echo runsc.v1) N=$N T=$T \
        timeout -s KILL 400 bash -c "$3" >"$T.out" 2>&1 </dev/null
    status=$?
    clean "$N"
    sed -E "s#$T#TMP#g; s/$N/NAME/g" "$T.out"
    echo "status $status"
}

# Removes what a case has left of its container.
clean() {
    ctr containers ls -q | grep -qx "$1" || return 0
    ctr task kill -s KILL "$1"
    eventually bash -c "! ctr task ls | grep -q '^$1 .*RUNNING'"
    ctr task delete "$1"
    ctr containers delete "$1"
} >/dev/null 2>&1

cases=0

# Whether a case is wanted; counts it.
begin() {
    cases=$((cases + 1)) why=
    [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]
}

report() {
    printf '%-8s %s\n' "$1" "$2"
    [ -z "$3" ] || sed 's/^/        /' <<<"$3"
}

judge() {
    if [ -n "$why" ]; then
        failed=$((failed + 1)) && report FAILED "$1" "$why"
    else
        passed=$((passed + 1)) && report ok "$1" "${verbose:+$got}"
    fi
}

# same NAME COMMAND: both runtimes print the same.
same() {
    local got runc
    begin "$1" || return 0
    runc=$(attempt runc $cases "$2")
    got=$(attempt runsc $cases "$2")
    if [ "$runc" != "$got" ]; then
        why=$(diff <(echo "$runc") <(echo "$got"))
    elif [[ $got != *$'\n'* || $got == *never:* ]]; then
        why="both say the same, which tells nothing: $got"
    fi
    judge "$1"
}

# ours NAME PATTERN COMMAND: runsc's output with its status matches (extended regular expression over all lines).
ours() {
    local got
    begin "$1" || return 0
    got=$(attempt runsc $cases "$3")
    if ! grep -Pzoq -- "(?s)$2" <<<"$got" || grep -q '^never: ' <<<"$got"; then
        why="wanted $2, got:
$got"
    fi
    judge "$1"
}

# skip NAME WHY
skip() {
    skipped=$((skipped + 1)) && report skipped "$1: $2" ""
}

# No process, state, mount, socket or cgroup outlives its container.
nothing_left() {
    why=
    eventually nothing_is_left || why=$(remains)
    judge "nothing is left"
}

nothing_is_left() {
    [ -z "$(remains)" ]
}

remains() {
    ps -eo args | grep -E '^(runsc|[^ ]*containerd-shim-runsc-v1 -namespace)'
    grep -F "$dir/state" /proc/mounts
    find /run/containerd/runsc /run/containerd/s -mindepth 1 -maxdepth 3 ! -name test ! -name k8s.io 2>/dev/null
    find /sys/fs/cgroup -path "*$cgroup/*" -type d 2>/dev/null
}

finish() {
    [ -f "$dir/pid" ] && stop_containerd
    find /sys/fs/cgroup -depth -path "*$cgroup*" -type d -exec rmdir {} + 2>/dev/null
    [ -n "$keep" ] && { echo "left: $dir"; return; }
    rm -rf "$dir"
}
