# Networks: Docker's bridge, networks of the user's own with names, published ports, IPv6.
# Prints a page. A new address of version 6 is not used before its time (`man 7 ipv6`, accept_dad), and a proxy of
# Docker's needs a moment: it goes on trying for a minute.
get='import sys, time, urllib.request
end = time.monotonic() + 60
while True:
    try:
        sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode().strip() + chr(10))
        break
    except OSError as error:
        if time.monotonic() > end: sys.exit(str(error))
        time.sleep(0.1)'
# Whether an address can be reached.
reach='import socket, sys
try: print(socket.create_connection((sys.argv[1], 80), 2) and "reached")
except OSError: print("not reached")'
get() { python3 -c "$get" "$1"; }
# On network $1, with the rest as options: a web server $N that serves a file.
server() {
    docker run -d --runtime="$R" --network "$1" --name "$N" "${@:2}" -w /srv box \
        sh -c "echo page >index.html; python3 -m http.server --bind ${bind:-0.0.0.0} 80" >/dev/null
    eventually docker exec "$N" python3 -c "$get" http://localhost/
}
on() { docker run --rm --runtime="$R" --network "$@"; }
export -f get server on
export get reach

same "--network none" 'on none box sh -c "ip -o link | cut -d: -f2 | cut -d@ -f1; ip -4 -o addr | grep -o \"inet .*\" | cut -d\" \" -f2; ip route"'
if [ -z "$network" ]; then
    skip "bridges" "$(grep -o 'error creating.*\|failed to.*' "$dir/dockerd-network.log" | tail -1)"
else
same "the default bridge" 'on bridge box sh -c "ip -o link show eth0 | grep -o \"mtu 1500\"; ip -4 -o addr show eth0 | grep -c 172; ip route | cut -d\" \" -f1"'
same "--mac-address, --ip" 'docker network create --subnet 10.$([ $R = runsc ] && echo 91 || echo 90).0.0/24 $N >/dev/null; net=10.$([ $R = runsc ] && echo 91 || echo 90); on $N --mac-address 02:42:00:00:00:77 --ip $net.0.77 box sh -c "ip -o link show eth0 | grep -o \"ether [^ ]*\"; ip -4 -o addr show eth0" | sed "s/$net/NET/g; s/^[0-9]*:/INDEX:/" | cut -d"\\" -f1; docker network rm $N'
same "a published port" 'server bridge -p 80; get http://$(docker port $N 80 | grep 0.0.0.0); on bridge box python3 -c "$get" http://172.17.0.1:$(docker port $N 80 | head -1 | cut -d: -f2)'
same "containers on a bridge" 'server bridge; on bridge box python3 -c "$get" http://$(look "{{.NetworkSettings.IPAddress}}")'
same "links in /sys" 'on bridge --mac-address 02:42:00:00:00:78 box sh -c "ls /sys/class/net; cd /sys/class/net/eth0/ && grep . addr_len address broadcast carrier duplex flags mtu operstate speed type dev_id; cat ../lo/operstate /sys/class/net/lo/mtu; cat /sys/class/net/lo/speed; ls statistics | grep -c ^.x_bytes; test \$(cat ifindex) = \$(ip -o link show eth0 | cut -d: -f1) && echo same index; readlink -f /sys/class/net/lo"'
same "names on a network" 'docker network create $N >/dev/null; server $N --network-alias other; on $N box sh -c "python3 -c \"$get\" http://$N/; python3 -c \"$get\" http://other/; python3 -c \"import socket; socket.gethostbyname(\\\"nosuch\\\")\" 2>&1 | grep -o gaierror; grep -c 127.0.0.11 /etc/resolv.conf"; docker rm -f $N; docker network rm $N'
same "--add-host, --dns, --dns-search" 'on bridge --add-host some.host:10.1.2.3 --dns 10.9.9.9 --dns-search example.org box sh -c "python3 -c \"import socket; print(socket.gethostbyname(\\\"some.host\\\"))\"; grep -v ^# /etc/resolv.conf"'
same "two networks" 'docker network create $N-1 >/dev/null; docker network create $N-2 >/dev/null; docker create --runtime=$R --network $N-1 --name $N box sh -c "ip -o link | cut -d: -f2 | cut -d@ -f1 | sort; ip -4 -o addr | grep -c inet; ip route | cut -d\" \" -f1,2 | grep -c 1" >/dev/null; docker network connect $N-2 $N; docker start -a $N; docker rm -f $N; docker network rm $N-1 $N-2'
ours "a network connected while the container runs is there from its next start" '^lo\n1\nlo\n2\n.*status 0' 'links() { docker exec $N sh -c "ip -o link | grep -o \" lo\"; ip -o link | grep -c eth" | tr -d " "; }; docker network create $N-1 >/dev/null; docker network create $N-2 >/dev/null; docker run -d --runtime=$R --network $N-1 --name $N box sleep 1000 >/dev/null; docker network connect $N-2 $N; links; docker restart -t 0 $N >/dev/null; links; docker rm -f $N; docker network rm $N-1 $N-2'
same "one network cannot reach another" 'docker network create $N-1 >/dev/null; docker network create $N-2 >/dev/null; server $N-1; address=$(look "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"); for net in $N-1 $N-2; do on $net box python3 -c "$reach" $address; done; docker rm -f $N; docker network rm $N-1 $N-2'
same "IPv6" 'number=$([ $R = runsc ] && echo 6 || echo 7); docker network create --ipv6 --subnet fd00:$number::/64 $N >/dev/null; bind=:: server $N -p 80; on $N box sh -c "ip -6 -o addr show dev eth0 scope global | grep -o fd00.*/64; ip -6 route | grep -c default; python3 -c \"$get\" http://[fd00:$number::2]/" | sed s/fd00:$number/NET/; get http://[::1]:$(docker port $N 80 | tail -1 | sed "s/.*://"); docker rm -f $N; docker network rm $N'
same "ping" 'on bridge --cap-drop NET_RAW box ping -q -c 2 -i 0.2 172.17.0.1 | grep received | cut -d, -f1,2'
same "a large transfer" 'mkdir $T/www; head -c 20000000 /dev/urandom >$T/www/data; server bridge -v $T/www:/srv -p 80; port=$(docker port $N 80 | head -1 | cut -d: -f2); python3 -c "import hashlib, urllib.request; print(hashlib.sha256(urllib.request.urlopen(\"http://127.0.0.1:$port/data\").read()).hexdigest() == hashlib.sha256(open(\"$T/www/data\", \"rb\").read()).hexdigest())"'
same "many connections" 'server bridge -p 80; port=$(docker port $N 80 | head -1 | cut -d: -f2); for _ in $(seq 10); do (for _ in 1 2 3 4 5; do get http://127.0.0.1:$port/; done) & done | sort | uniq -c'
same "after a restart" 'server bridge -p 80; docker restart -t 0 $N >/dev/null; port=$(docker port $N 80 | head -1 | cut -d: -f2); get http://127.0.0.1:$port/'
# Docker gives the host's name space: whether a guest's sockets are the host's is for a flag of the runtime to say.
hosts='on_host() { docker run --rm --network host --runtime=$([ $R = runsc ] && echo runsc-host || echo runc) "$@"; }'
same "--network host, with the runtime's --network=host" "$hosts"'; mkdir $T/www; echo page >$T/www/index.html; python3 -u -m http.server --bind 127.0.0.1 -d $T/www 0 >$T/log 2>&1 & server=$!; eventually grep -q port $T/log; port=$(grep -o "port [0-9]*" $T/log | cut -d" " -f2); on_host box python3 -c "$get" http://127.0.0.1:$port/; on_host box sh -c "ip -o link show docker0 | wc -l"; on_host --entrypoint python3 box -c "$reach" 127.0.0.2; kill $server; wait $server 2>/dev/null'
ours "--network host is a loopback interface otherwise" '^ lo\n.*status 0' 'on host box sh -c "ip -o link | cut -d: -f2"'
ours "the network of another container is refused" 'cannot be shared.*status 125' 'server bridge; on container:$N box true'
same "the network of a container that has none" 'started box sleep 1000; on container:$N box sh -c "ip -o link | cut -d: -f2 | cut -d@ -f1"'
fi
