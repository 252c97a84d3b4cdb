# What the cases are written with; read by `run`.

# Cgroups of the test's containers are below this one.
cgroup=/runsc-docker-$(basename "$dir")

start_daemon() {
    mount --make-rshared /
    ip link set lo up
    cat >"$dir/daemon.json" <<JSON
{"runtimes": {"runsc": {"path": "$runsc", "runtimeArgs": [${RUNSC_ARGS:-}"--debug-log=$dir/logs/"]},
  "runsc-host": {"path": "$runsc", "runtimeArgs": ["--network=host"]}},
 "exec-opts": ["native.cgroupdriver=cgroupfs"], "cgroup-parent": "$cgroup"}
JSON
    network=1
    try_daemon --ip6tables=true --experimental && return
    cp "$dir/dockerd.log" "$dir/dockerd-network.log"
    # Without packet filters there can be no bridge.
    network=
    try_daemon --bridge=none --iptables=false --ip6tables=false && return
    echo "skipped: dockerd does not start here:"
    tail -5 "$dir/dockerd.log"
    exit 0
}

# Starts dockerd and waits for it.
try_daemon() {
    daemon_options=("$@")
    dockerd --config-file "$dir/daemon.json" -H "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" \
        --pidfile "$dir/pid" "$@" >>"$dir/dockerd.log" 2>&1 &
    daemon=$!
    for _ in $(seq 600); do
        docker version >/dev/null 2>&1 && return
        kill -0 $daemon 2>/dev/null || return
        sleep 0.1
    done
    kill -9 $daemon
    return 1
}

# An image `box` of programs that every Debian has, with a few files that images have and that are hard to get right.
make_image() {
    local root=$dir/root program
    mkdir -p "$root"/{bin,etc,tmp,root,proc,sys,dev,run,var/log,home/web,data,srv,mnt}
    ln -s bin "$root/sbin"
    mkdir "$root/usr" && ln -s ../bin "$root/usr/bin" && ln -s ../bin "$root/usr/sbin"
    for program in bash echo pwd cat chmod chown cp cut date dd df env false grep head hostname id kill ln ls mkdir \
        mkfifo mv nproc ps readlink rm sed seq sh sleep sort stat stty sync tail tar tee test timeout touch tr true tty \
        umask uname wc which mount umount findmnt python3 perl mknod setpriv capsh getpcaps find awk dmesg xargs ip ping \
        free; do
        add_program "$root" "$program"
    done
    ln -sf bash "$root/bin/sh"
    printf 'root:x:0:0:root:/root:/bin/sh\nweb:x:101:101:web:/home/web:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' \
        >"$root/etc/passwd"
    printf 'root:x:0:\nweb:x:101:\nextra:x:77:web\n' >"$root/etc/group"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    for library in /lib/x86_64-linux-gnu/libnss_{files,dns}.so.2; do add_file "$root" "$library"; done
    chmod 1777 "$root/tmp"
    chown 101:101 "$root/home/web"
    echo data >"$root/data/file" && chmod 640 "$root/data/file" && chown 101:77 "$root/data/file"
    cp "$root/bin/id" "$root/bin/suid-id" && chmod 4755 "$root/bin/suid-id"
    [ -d /usr/lib/python3 ] && mkdir -p "$root/usr/lib" && cp -a /usr/lib/python3.* "$root/usr/lib/"
    printf '#!/bin/sh\necho script "$@"\n' >"$root/bin/script" && chmod 755 "$root/bin/script"
    echo text >"$root/bin/not-executable"
    printf 'garbage' >"$root/bin/garbage" && chmod 755 "$root/bin/garbage"
    ln -s /../../../etc/passwd "$root/data/escape"
    tar -C "$root" -c . | docker import - box >/dev/null || { echo "no image"; exit 1; }
    rm -rf "$root"
}

# Copies a program and the libraries that it is linked with.
add_program() {
    local root=$1 path library
    path=$(PATH=/usr/bin:/bin:/usr/sbin:/sbin type -P "$2") || return 0
    path=$(realpath "$path")
    [ -e "$root/bin/$2" ] || cp "$path" "$root/bin/$2"
    for library in $(ldd "$path" 2>/dev/null | grep -o '/[^ ]*'); do add_file "$root" "$library"; done
}

add_file() {
    [ -e "$1$2" ] || [ ! -e "$2" ] && return
    mkdir -p "$1$(dirname "$2")"
    cp -L "$2" "$1$2"
}

# Without a container of runc there is nothing to compare with.
try_runc() {
    local said
    said=$(docker run --rm --network=none --runtime=runc box echo works 2>&1)
    [ "$said" = works ] && return
    echo "skipped: runc runs no container here: $(head -1 <<<"$said")"
    exit 0
}

# Whether Docker can set a limit here, by the name that `docker info` gives it.
can() {
    [ "$(docker info -f "{{.$1}}")" = true ]
}

# report RESULT NAME DETAILS: what became of a case; in one piece, whatever else is printed at the moment.
report() {
    local text
    text=$(printf '%-8s %s' "$1" "$2")
    [ -z "$3" ] || text+=$'\n'$(sed 's/^/        /' <<<"$3")
    {
        flock 9
        echo "$1" >>"$dir/results"
        echo "$text"
    } 9>"$dir/report.lock"
}

# How many cases ended so.
count() {
    grep -c "^$1" "$dir/results"
}

# skip NAME WHY
skip() {
    report skipped "$1: $2" ""
}

# Runs a command line with $R as the runtime, $N as a container's name (and the beginning of other names) and $T as a
# directory; prints what it wrote to its standard output, then what to standard error, what it waited for in vain, and
# its status. Names, ids and directories that differ from run to run are made equal. The order of the two streams is
# Docker's business.
attempt() {
    local N=c$2-$1 T=$dir/t/$2-$1 status
    rm -rf "$T" "$T.never" && mkdir -p "$T"
    R=$1 N=$N T=$T timeout -s KILL 300 bash -c "$3" >"$T.out" 2>"$T.err" </dev/null
    status=$?
    docker ps -aq --filter "name=^/?$N" | xargs -r docker rm -f -v >/dev/null 2>&1
    touch "$T.never"
    # An old client says sometimes that it does not wait for a container that did not start.
    sed -E "/error waiting for container: context canceled/d; s#$T#TMP#g; s/$N/NAME/g; s/[0-9a-f]{64}/ID/g
            s/[0-9a-f]{12}/ID/g" "$T.out" "$T.err" "$T.never"
    echo "status $status"
}

cases=0

# Runs a function for a case in the background, when there is room.
begin() {
    cases=$((cases + 1))
    while [ "$(jobs -rp | grep -vcx "$daemon")" -ge "$jobs" ]; do wait -n; done
    "$@" &
}

# Waits for all cases that run.
wait_for_cases() {
    local running
    running=$(jobs -rp | grep -vx "$daemon")
    # shellcheck disable=SC2086
    [ -z "$running" ] || wait $running
}

# alone CASE...: a case that measures, or that touches the daemon: no other runs meanwhile.
alone() {
    wait_for_cases
    "$@"
    wait_for_cases
}

# same NAME COMMAND: both runtimes print the same.
same() {
    begin judge "$1" compare $cases "$2"
}

compare() {
    local runc
    runc=$(attempt runc "$1" "$2")
    got=$(attempt runsc "$1" "$2")
    if [ "$runc" != "$got" ]; then
        why=$(diff <(echo "$runc") <(echo "$got"))
    elif tells_nothing "$got"; then
        why="both say the same, which tells nothing:
$got"
    fi
}

# What tells nothing about either runtime: no output at all, a wait in vain, a program that the image lacks.
tells_nothing() {
    grep -qE '^never: |: command not found|cannot open shared object|^Traceback|SyntaxError' <<<"$1" || [[ $1 != *$'\n'* ]]
}

# ours NAME PATTERN COMMAND: runsc's output with its status matches (extended regular expression over all lines).
ours() {
    begin judge "$1" match $cases "$2" "$3"
}

match() {
    got=$(attempt runsc "$1" "$3")
    if ! grep -Pzoq -- "(?s)$2" <<<"$got" || grep -q '^never: ' <<<"$got"; then
        why="wanted $2, got:
$got"
    fi
}

# judge NAME CHECK ARGS...: reports a case by a check that sets `got`, and `why` where it has failed. What fails is tried
# once more and called unsteady where it passes then, since a busy machine may lose a race that a case leaves open;
# STEADY=1 makes that a failure.
judge() {
    local name=$1 got= why= first=
    shift
    "$@"
    if [ -n "$why" ] && [ -z "${STEADY:-}" ]; then
        first=$why why=
        "$@"
    fi
    if [ -n "$why" ]; then
        report FAILED "$name" "$why"
    elif [ -n "$first" ]; then
        report unsteady "$name" "$first"
    else
        report ok "$name" "${verbose:+$got}"
    fi
}

# box ARGS...: docker run of the test's image, without a network, under $R.
box() {
    docker run --rm --network=none --runtime="$R" --name "$N-$BASHPID-$RANDOM" "$@"
}

# started ARGS...: a container $N that goes on in the background.
started() {
    docker run -d --network=none --runtime="$R" --name "$N" "$@" >/dev/null
}

# eventually COMMAND...: repeats it until it succeeds, for a minute: long enough for a busy machine. A case in which
# something never happens has failed.
eventually() {
    local end=$((SECONDS + 60))
    while [ $SECONDS -lt $end ]; do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "never: $*" >>"${T:-$dir/waits}.never"
    return 1
}

# says TEXT [CONTAINER]: waits until a container has printed something.
says() {
    eventually bash -c 'docker logs "$2" 2>&1 | grep -q -- "$1"' - "$1" "${2:-$N}"
}

# is FORMAT VALUE [CONTAINER]: waits until docker inspect says so.
is() {
    eventually bash -c '[ "$(docker inspect -f "$1" "$3")" = "$2" ]' - "$1" "$2" "${3:-$N}"
}

# What docker inspect says of $N.
look() {
    docker inspect -f "$1" "${2:-$N}"
}

export -f box started eventually says is look
export dir

# No process, mount or cgroup of ours outlives its container.
nothing_left() {
    docker ps -aq | xargs -r docker rm -f >/dev/null
    eventually nothing_is_left || report FAILED "nothing is left" "$(remains)"
    [ -n "$(remains)" ] || report ok "nothing is left" ""
}

nothing_is_left() {
    [ -z "$(remains)" ]
}

remains() {
    ps -eo args | grep -E '^(runsc|containerd-shim)'
    grep -F "$dir" /proc/mounts | grep -vE " $dir/(data|exec/netns/default) "
    # One that was asked for by name stays, with runc too.
    find /sys/fs/cgroup -path "*$cgroup/*" -type d 2>/dev/null | grep -v '/parent$'
}

finish() {
    wait_for_cases
    [ -f "$dir/pid" ] && kill "$(cat "$dir/pid")" 2>/dev/null && wait "$daemon"
    find /sys/fs/cgroup -depth -path "*$cgroup*" -type d -exec rmdir {} + 2>/dev/null
    [ -n "$keep" ] && { echo "left: $dir"; return; }
    umount -l "$dir"/data/overlay2/*/merged "$dir"/exec/netns/* "$dir/data" 2>/dev/null
    rm -rf "$dir"
}
