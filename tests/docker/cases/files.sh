# Volumes, and the commands that look at a container's files from outside.
volume='mkdir $T/vol; echo host >$T/vol/file; chown 5:6 $T/vol/file'
same "-v" "$volume"'; box -v $T/vol:/v box sh -c "cat /v/file; stat -c %u:%g:%a /v/file; echo guest > /v/new; chown 7:8 /v/new; chmod 604 /v/new; echo more >> /v/new"; cat $T/vol/new; stat -c %u:%g:%a $T/vol/new'
same "-v ro" "$volume"'; box -v $T/vol:/v:ro box sh -c "touch /v/x 2>&1; cat /v/file"'
same "-v of a file" "$volume"'; box -v $T/vol/file:/etc/single box sh -c "cat /etc/single; echo changed > /etc/single"; cat $T/vol/file'
same "-v makes a missing directory" 'box -v $T/made:/v box ls -d /v; ls -d $T/made'
same "-v with a socket" 'python3 -c "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])" $T/socket; box -v $T/socket:/tmp/socket box stat -c %F /tmp/socket'
same "-v over a volume" "$volume"'; mkdir $T/below; echo below >$T/below/file; box -v $T/vol:/v -v $T/below:/v/below box sh -c "cat /v/file /v/below/file"; ls $T/vol'
for how in private rprivate slave rslave shared rshared; do
    same "propagation: $how" "$volume"'; box -v $T/vol:/v:'$how' box cat /v/file'
done
same "mounts of the host that come later are not seen with rprivate" 'mkdir -p $T/vol/sub; started -v $T/vol:/v:rprivate box sleep 1000; mount -t tmpfs none $T/vol/sub; echo fresh >$T/vol/sub/file; docker exec $N ls -A /v/sub; docker exec $N ls /v; umount $T/vol/sub'
ours "mounts of the host that come later are seen with rslave" 'fresh\n.*status 0' 'mkdir -p $T/vol/sub; started -v $T/vol:/v:rslave box sleep 1000; mount -t tmpfs none $T/vol/sub; echo fresh >$T/vol/sub/file; eventually docker exec $N cat /v/sub/file; docker exec $N cat /v/sub/file; docker rm -f $N >/dev/null; umount $T/vol/sub'
same "mounts of the host that were there are seen" 'mkdir -p $T/vol/sub; mount -t tmpfs none $T/vol/sub; echo there >$T/vol/sub/file; box -v $T/vol:/v box cat /v/sub/file; umount $T/vol/sub'
same "--mount bind and volume" "$volume"'; box --mount type=bind,source=$T/vol,destination=/v,readonly --mount type=volume,source=$N-v,destination=/w box sh -c "cat /v/file; touch /v/x 2>&1; touch /w/x && ls /w"; docker volume rm $N-v'
same "files in a volume" "$volume"'; box -v $T/vol:/v box sh -c "cd /v; mkdir d; ln -s file l; ln file h; mkfifo p; mv d e; ls -l | tr -s \" \" | cut -d\" \" -f1,2,9- ; rm -r e l h p"'
same "10,000 files" "$volume"'; box -v $T/vol:/v box sh -c "mkdir /v/many; cd /v/many; seq 10000 | xargs touch; ls | wc -l; rm -r /v/many"; ls $T/vol'
same "host changes are seen" "$volume"'; started -v $T/vol:/v box sleep 1000; docker exec $N cat /v/new 2>&1; echo fresh > $T/vol/new; eventually docker exec $N cat /v/new; docker exec $N cat /v/new; rm $T/vol/new; docker exec $N ls /v'
same "a volume vanishes" "$volume"'; started -v $T/vol:/v box sh -c "cd /v; echo up; while [ ! -e /tmp/go ]; do sleep 0.05; done; ls; cat file; touch x; echo \$?"; says up; rm -r $T/vol; docker exec $N touch /tmp/go; docker wait $N; docker logs $N 2>/dev/null'
same "a volume is gone at the start" "$volume"'; docker create --network=none --runtime=$R --name $N --mount type=bind,source=$T/vol,destination=/v box true >/dev/null; rm -r $T/vol; docker start $N 2>&1 | grep -o "does not exist" | head -1'
same "a named volume" 'docker volume create $N-v >/dev/null; box -v $N-v:/data box sh -c "cat /data/file; stat -c %u:%g:%a /data/file; echo two > /data/two"; box -v $N-v:/data box cat /data/two; docker volume rm $N-v >/dev/null'
same "--volumes-from" 'started -v /data box sleep 1000; docker exec $N sh -c "echo shared > /data/new"; box --volumes-from $N box cat /data/new'
same "cp out" 'started box sh -c "echo inside > /tmp/made; echo up; sleep 1000"; says up; docker cp $N:/tmp/made - | tar -xO'
same "cp out of a directory" 'started box sh -c "mkdir -p /tmp/d/e; echo one > /tmp/d/f; ln -s f /tmp/d/l; chmod 600 /tmp/d/f; echo up; sleep 1000"; says up; docker cp $N:/tmp/d $T/d 2>/dev/null; cd $T/d; find . | sort; readlink l; stat -c %a f'
same "cp in" 'started box sleep 1000; echo outside > $T/out; chmod 640 $T/out; docker cp $T/out $N:/tmp/in 2>/dev/null; docker exec $N sh -c "cat /tmp/in; stat -c %a /tmp/in"'
same "cp in of a directory" 'started box sleep 1000; mkdir -p $T/d/e; echo one >$T/d/e/f; docker cp $T/d $N:/tmp 2>/dev/null; docker exec $N sh -c "cd /tmp; find d | sort; cat d/e/f"'
same "cp over" 'started box sh -c "cat /data/file; echo up; sleep 1000"; says up; echo outside > $T/out; docker cp $T/out $N:/data/file 2>/dev/null; docker exec $N cat /data/file'
same "cp in, before the start" 'docker create --network=none --runtime=$R --name $N box cat /tmp/in >/dev/null; echo early >$T/out; docker cp $T/out $N:/tmp/in 2>/dev/null; docker start -a $N'
same "diff" 'started box sh -c "echo x > /tmp/made; rm /data/file; mkdir /srv/d; chmod 700 /mnt; echo up; sleep 1000"; says up; docker diff $N | sort'
same "commit" 'started box sh -c "echo kept > /data/kept; rm /data/file; chmod 4711 /bin/id; echo up; sleep 1000"; says up; docker commit $N $N-image >/dev/null; box $N-image sh -c "cat /data/kept; ls /data; stat -c %a /bin/id"; docker rmi $N-image >/dev/null'
same "commit of what a volume hides" "$volume"'; started -v $T/vol:/data box sh -c "echo in-volume > /data/new; echo in-layer > /srv/new; echo up; sleep 1000"; says up; docker commit $N $N-image >/dev/null; box $N-image sh -c "ls /data; cat /srv/new"; docker rmi $N-image >/dev/null'
same "cp through a volume" "$volume"'; started -v $T/vol:/v box sleep 1000; docker cp $N:/v/file - | tar -xO; echo outside >$T/out; docker cp $T/out $N:/v/in 2>/dev/null; docker exec $N cat /v/in'
same "export" 'started box sh -c "echo kept > /data/kept; echo up; sleep 1000"; says up; docker export $N | tar -xO data/kept'
same "the layer after the end" 'started box sh -c "echo kept > /data/kept"; docker wait $N; docker cp $N:/data/kept - 2>/dev/null | tar -xO'
same "system df" 'started box sh -c "head -c 5000000 /dev/zero > /tmp/large; echo up; sleep 1000"; says up; docker ps -s --filter name=$N --format "{{.Size}}" | cut -d" " -f1; docker system df >/dev/null; echo $?'
same "set-user-ID" 'box -u web box suid-id -u'
same "a link out of the tree" 'box box cat /data/escape'
same "owners and modes of the image" 'box box stat -c "%n %u:%g:%a %F" /data/file /home/web /tmp /bin/suid-id /etc/passwd'
# An image of two layers with everything that is hard about layers.
odd_image() {
    local root=$T/root
    mkdir -p "$root"/layers/{gone,opaque,many}
    (cd "$root/layers" && touch gone/file opaque/old 'a name with spaces' $'new\nline' $'\xff\xfe' ./-dash '*' && seq 10000 | sed 's#^#many/#' | xargs touch)
    mknod "$root/layers/null" c 1 3
    mknod "$root/layers/disk" b 8 0
    mkfifo "$root/layers/pipe"
    ln -s ../../../../../../etc/passwd "$root/layers/out"
    ln -s loop "$root/layers/loop"
    ln "$root/layers/gone/file" "$root/layers/hard"
    cp /bin/true "$root/layers/suid" && chmod 6755 "$root/layers/suid"
    setfattr -n user.some -v value "$root/layers/hard" 2>/dev/null
    docker create --name "$N-odd" box true >/dev/null
    tar -C "$root" -c layers | docker cp -a - "$N-odd:/"
    docker commit "$N-odd" "$N-one" >/dev/null
    docker rm "$N-odd" >/dev/null
    # Whiteouts: a file, a directory, and one that is there again with other contents.
    docker run --name "$N-odd" --runtime=runc --network=none "$N-one" sh -c 'cd /layers; rm -r gone opaque; mkdir opaque; touch opaque/new; rm many/77' >/dev/null
    docker commit "$N-odd" "$N-two" >/dev/null
    docker rm "$N-odd" >/dev/null
}
export -f odd_image
same "odd layers" 'odd_image; box --user 0 $N-two bash -c "cd /layers; ls -b; ls opaque; ls many | wc -l; stat -c \"%n %F %a %t:%T %h\" null disk pipe suid hard loop; cat out | head -1; cat loop 2>&1; echo x > null; cat null; ls -b | wc -l; find . -name \"new*\" | wc -l; rm -r many opaque hard; ls | wc -l"; docker rmi -f $N-two $N-one >/dev/null'
