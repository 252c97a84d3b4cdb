# What the cases are written with; read by `run`.

start_daemon() {
    cat >"$dir/daemon.json" <<JSON
{"runtimes": {"runsc": {"path": "$runsc", "runtimeArgs": ["--network=none", ${RUNSC_ARGS:-}"--debug-log=$dir/logs/"]}}}
JSON
    # The daemon makes its cgroups below the caller's.
    dockerd --config-file "$dir/daemon.json" -H "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" \
        --pidfile "$dir/pid" --bridge=none --iptables=false >"$dir/dockerd.log" 2>&1 &
    for _ in $(seq 100); do
        docker version >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "dockerd does not start here:"
    tail -5 "$dir/dockerd.log"
    exit 1
}

# An image `box` of programs that every Debian has, with a few files that images have and that are hard to get right.
make_image() {
    local root=$dir/root program
    mkdir -p "$root"/{bin,etc,tmp,root,proc,sys,dev,var/log,home/web,data,srv,mnt}
    ln -s bin "$root/sbin"
    mkdir "$root/usr" && ln -s ../bin "$root/usr/bin" && ln -s ../bin "$root/usr/sbin"
    for program in bash echo pwd cat chmod chown cp cut date dd df env false grep head hostname id kill ln ls mkdir mkfifo mv \
        nproc ps readlink rm sed seq sh sleep sort stat stty sync tail tar tee test timeout touch tr true tty ulimit \
        umask uname wc which mount umount findmnt python3 perl mknod setpriv capsh getpcaps find awk dmesg xargs; do
        add_program "$root" "$program"
    done
    ln -sf bash "$root/bin/sh"
    printf 'root:x:0:0:root:/root:/bin/sh\nweb:x:101:101:web:/home/web:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' \
        >"$root/etc/passwd"
    printf 'root:x:0:\nweb:x:101:\nextra:x:77:web\n' >"$root/etc/group"
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
    for library in $(ldd "$path" 2>/dev/null | grep -o '/[^ ]*'); do
        mkdir -p "$root$(dirname "$library")"
        [ -e "$root$library" ] || cp -L "$library" "$root$library"
    done
}

pass() {
    passed=$((passed + 1))
    echo "ok      $1"
}

fail() {
    failed=$((failed + 1))
    echo "FAILED  $1"
    sed 's/^/        /' <<<"$2"
}

skip() {
    skipped=$((skipped + 1))
    echo "skipped $1: $2"
}

# Runs a command line with $R as the runtime and $N as a container's name; prints its output and status. Names, ids
# and times that differ from run to run are made equal.
attempt() {
    local N=c-$1 output status
    output=$(R=$1 N=$N timeout -s KILL 40 bash -c "$2" 2>&1 </dev/null)
    status=$?
    docker rm -f "$N" >/dev/null 2>&1
    sed -E "s/$N/NAME/g; s/[0-9a-f]{64}/ID/g; s/[0-9a-f]{12}/ID/g" <<<"$output"
    echo "status $status"
}

# same NAME COMMAND: both runtimes print the same.
same() {
    local runc ours
    runc=$(attempt runc "$2")
    ours=$(attempt runsc "$2")
    if [ "$runc" = "$ours" ]; then
        pass "$1"
        [ -z "$verbose" ] || sed 's/^/        /' <<<"$ours"
    else
        fail "$1" "$(diff <(echo "$runc") <(echo "$ours"))"
    fi
}

# ours NAME PATTERN COMMAND: runsc's output with its status matches (extended regular expression over all lines).
ours() {
    local got
    got=$(attempt runsc "$3")
    if grep -Pzoq -- "(?s)$2" <<<"$got"; then
        pass "$1"
        [ -z "$verbose" ] || sed 's/^/        /' <<<"$got"
    else
        fail "$1" "wanted $2, got:
$got"
    fi
}

# box ARGS...: docker run of the test's image, without a network, under $R.
box() {
    docker run --rm --network=none --runtime="$R" "$@"
}

# started ARGS...: a container $N that goes on in the background.
started() {
    docker run -d --network=none --runtime="$R" --name "$N" "$@" >/dev/null
}

export -f box started
export dir

# No process, mount or cgroup of ours outlives its container.
nothing_left() {
    docker ps -aq | xargs -r docker rm -f >/dev/null
    sleep 0.5
    local left
    left=$(ps -eo args | grep -E "^runsc-(sandbox|gofer)" | grep -F "$(basename "$dir")")
    left+=$(grep -F "$dir" /proc/mounts | grep -v " $dir/data ")
    left+=$(find /sys/fs/cgroup -path '*/docker/*' -type d -newer "$dir/daemon.json" 2>/dev/null)
    if [ -z "$left" ]; then pass "nothing is left"; else fail "nothing is left" "$left"; fi
}

finish() {
    [ -f "$dir/pid" ] && kill "$(cat "$dir/pid")" && wait
    [ -n "$keep" ] && { echo "left: $dir"; return; }
    umount "$dir"/data/overlay2/*/merged "$dir"/exec/netns/* "$dir/data" 2>/dev/null
    rm -rf "$dir"
}
