#!/bin/bash
# workloads.sh SCALE [NAME...]: whole programs. Prints "name nanoseconds" for each, or "name - why" for one that does
# not work here. SCALE is 1, or 4 for a quick look, which does a quarter of the work of the longer ones.
#
# Each workload is a function pair: prepare_NAME, which is not measured, and run_NAME. It has an empty directory in
# memory as its working directory.
export PATH=/usr/bin:/bin:$PATH # before programs that find a version of themselves first
scale=$1
shift
quarter() { echo $(($1 / scale)); }
need() { command -v "$1" >/dev/null || { echo "no $1 here"; return 1; }; }

prepare_shell_loop() { :; }
run_shell_loop() { for ((i = 0; i < $(quarter 300); i++)); do /bin/true; done; }

prepare_python_start() { need python3; }
run_python_start() { for ((i = 0; i < $(quarter 20); i++)); do python3 -S -c pass; done; }

prepare_python_imports() { need python3; }
run_python_imports() { python3 -c 'import asyncio, json, http.client, email, sqlite3, unittest'; }

prepare_compile() {
    need cc || return
    for ((i = 0; i < 12; i++)); do
        printf '#include <stdio.h>\nint f%d(int x) { printf("%%d", x); return x * %d; }\n' $i $i >f$i.c
    done
}
run_compile() { for ((i = 0; i < $(quarter 12); i++)); do cc -O1 -c f$i.c; done; }

prepare_make() {
    need make && prepare_compile || return
    printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\n%%.o: %%.c\n\tcc -O1 -c $<\n' >Makefile
}
run_make() { make -s -j2; }

prepare_git() {
    need git || return
    git config --global user.email bench@example.org && git config --global user.name bench || return
    git init -q . && mkdir src && for ((i = 0; i < $(quarter 400); i++)); do echo "line $i" >src/file$i; done
}
run_git() {
    git add . && git commit -qm one && git status --short
    for file in src/*0; do echo more >>"$file"; done
    git status --short && git diff --stat && git commit -qam two && git log --stat && git checkout -q HEAD~1
}

prepare_sqlite() { need sqlite3 && sqlite3 db 'create table t(a integer primary key, b text)'; }
run_sqlite() {
    for ((i = 0; i < $(quarter 400); i++)); do echo "insert into t(b) values('value $i');"; done | sqlite3 db
}

prepare_tree() {
    for ((i = 0; i < $(quarter 200); i++)); do
        mkdir -p tree/$i && (cd tree/$i && for ((j = 0; j < 100; j++)); do echo "text $i $j" >$j; done)
    done
    find tree -type f | tail -1
}
prepare_walk() { prepare_tree; }
run_walk() { find tree -type f | wc -l; }
prepare_search() { prepare_tree; }
run_search() { grep -r 'text 7 77' tree; }
prepare_pack() { need tar && prepare_tree; }
run_pack() { tar cf tree.tar tree && mkdir out && tar xf tree.tar -C out; }

prepare_dd() { :; }
run_dd() { dd if=/dev/zero of=file bs=1M count="$(quarter 256)" 2>&1; }

all=(shell_loop python_start python_imports compile make git sqlite walk search pack dd)
# Natively and in runc memory is this one; a sandbox may have better.
base=${BENCH_TMPFS:-/tmp}
export HOME=$base/bench-home-$$
mkdir -p "$HOME"
for name in "${all[@]}"; do
    [[ $# -eq 0 || " $* " == *" $name "* ]] || continue
    dir=$base/bench-$$-$name
    mkdir "$dir" && cd "$dir" || exit
    if ! why=$(prepare_$name 2>&1); then
        echo "$name - ${why##*$'\n'}"
    else
        start=${EPOCHREALTIME/./}
        why=$(run_$name 2>&1 </dev/null)
        status=$?
        end=${EPOCHREALTIME/./}
        if ((status)); then echo "$name - ${why##*$'\n'}"; else echo "$name $((end - start))000"; fi
    fi
    cd / && rm -rf "$dir"
done
rm -rf "$HOME"
