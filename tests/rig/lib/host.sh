# The two hosts: QEMU processes, how they are wired, how they are reached.
#
#   machine ── 127.0.0.1:PORT_a/b ─► ctl0 (QEMU's user network, restricted: nothing leaves it)      ssh
#   machine ◄── 127.0.0.1:PORT+2 ── 10.0.2.100:7400 on ctl0                                         a third party
#   host a  ── repl0 10.9.0.1 ═ unix sockets ═ 10.9.0.2 repl0 ── host b                             replication
#   host a  ── lan0 in xenbr0 10.8.0.1 ═ unix sockets ═ 10.8.0.2 xenbr0 of lan0 ── host b           guests
#
#   $RUN/settings          what this rig was brought up with
#   $RUN/HOST/             pid, disk.qcow2 (overlay), serial.log, qemu.log, cmdline, sockets

# Each feature left out has a reason, and every one is needed (README.md, "The processor").
RIG_CPU=EPYC,+svm,+npt,-smap,-smep,-monitor,-rdtscp,-xsave,-avx,-avx2,-f16c,-fma

rig_port() { # rig_port a|b|third: rigs in different run directories have different ports
    local base offset
    base=$((20000 + $(printf %s "$RUN" | cksum | cut -d' ' -f1) % 3000 * 4))
    case $1 in a) offset=0 ;; b) offset=1 ;; third) offset=2 ;; esac
    echo "$((${UNDERSTUDY_RIG_PORT:-$base} + offset))"
}

check_host() { case ${1:-} in a | b) ;; *) die "the hosts are a and b, not '${1:-}'" ;; esac; }

load_settings() {
    [ -f "$RUN/settings" ] || die "no rig in $RUN: start one with 'rig up'"
    . "$RUN/settings"
}

# The pid of a host's QEMU if it runs. A pid file alone proves nothing: the process must be this rig's.
host_pid() { # host_pid HOST
    local pid
    pid=$(cat "$RUN/$1/pid" 2>/dev/null) || return 1
    { tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$RUN/$1/disk.qcow2"; } 2>/dev/null || return 1
    echo "$pid"
}

host_start() { # host_start HOST [SNAPSHOT]: boots, or loads the snapshot in its disk; does not wait
    local host=$1 snapshot=${2:-} number=1 other=b dir=$RUN/$1
    local image_name=IMAGE_$1 share_name=SHARE_$1 xen_name=XEN_BINARY_$1 image share xen dom0 args
    if [ "$host" = b ]; then number=2 other=a; fi
    image=${!image_name} share=${!share_name}
    ! host_pid "$host" >/dev/null || die "host $host runs already"
    xen="dom0_mem=$DOM0_MIB""M,max:$DOM0_MIB""M com1=115200,8n1 console=com1 noreboot=1 spec-ctrl=no xpti=no"
    xen+=" loglvl=info guest_loglvl=info dom0_max_vcpus=1 sched=credit2 watchdog=0 cpuidle=0 mwait-idle=0"
    dom0="console=hvc0 earlyprintk=xen root=/dev/vda rw mitigations=off rig.host=$host rig.init=${DOM0_INIT:-busybox} net.ifnames=0 audit=0"
    dom0+=" selinux=0 apparmor=0 random.trust_cpu=on raid=noautodetect"
    rm -f "$dir"/{mon,qmp,serial,repl,lan,ssh}.sock
    args=(-name "rig-$host" -nodefaults -no-reboot -display none -machine q35,hpet=off
        -accel tcg,thread=multi,tb-size=512 -cpu "$RIG_CPU" -smp 1 -m "$HOST_MIB"
        -kernel "${!xen_name}" -append "$xen" -initrd "$image/vmlinux ${dom0//,/,,},$image/dom0-initrd"
        -drive "if=none,id=d0,file=$dir/disk.qcow2,format=qcow2,cache=unsafe,discard=unmap"
        -device virtio-blk-pci,drive=d0
        -drive "if=none,id=d1,file=$share/share.img,format=raw,readonly=on" -device virtio-blk-pci,drive=d1
        -netdev "$(control_net "$host")" -device "$(card n0 "$number" 0)"
        -netdev "$(wire n1 "$host" "$other" repl)" -device "$(card n1 "$number" 1)"
        -netdev "$(wire n2 "$host" "$other" lan)" -device "$(card n2 "$number" 2)"
        -chardev "socket,id=s0,path=$dir/serial.sock,server=on,wait=off,logfile=$dir/serial.log" -serial chardev:s0
        -monitor "unix:$dir/mon.sock,server=on,wait=off" -qmp "unix:$dir/qmp.sock,server=on,wait=off")
    [ -z "$snapshot" ] || args+=(-loadvm "$snapshot")
    printf '%q ' qemu-system-x86_64 "${args[@]}" >"$dir/cmdline"
    : >"$dir/serial.log"
    # Not a child of this shell, which may wait for its children.
    (
        setsid qemu-system-x86_64 "${args[@]}" >"$dir/qemu.log" 2>&1 </dev/null 8>&- 9>&- &
        echo $! >"$dir/pid"
    )
}

control_net() { # control_net HOST: ssh in, and out only to the one address of the third party
    echo "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:$(rig_port "$1")-:22,guestfwd=tcp:10.0.2.100:7400-cmd:socat STDIO TCP4:127.0.0.1:$(rig_port third)"
}

wire() { # wire ID HOST OTHER NAME: one cable between the hosts, made of two unix datagram sockets
    echo "dgram,id=$1,local.type=unix,local.path=$RUN/$2/$4.sock,remote.type=unix,remote.path=$RUN/$3/$4.sock"
}

card() { echo "virtio-net-pci,netdev=$1,mac=52:54:00:00:0$2:0$3,romfile="; } # card NETDEV HOST_NUMBER CARD_NUMBER

host_wait() { # host_wait HOST SECONDS: until ssh answers
    local host=$1 until=$((SECONDS + $2))
    while [ "$SECONDS" -lt "$until" ]; do
        sleep 0.3
        host_pid "$host" >/dev/null || { cat "$RUN/$host/qemu.log" >&2; die "the QEMU of host $host ended"; }
        if [ "${3:-}" = resumed ] || grep -q "RIG host$host UP" "$RUN/$host/serial.log"; then
            T=25 host_sh "$host" true 2>/dev/null && return
        fi
    done
    tail -n 20 "$RUN/$host/serial.log" >&2
    die "host $host: ssh does not answer after $2 s (see $RUN/$host/serial.log)"
}

ssh_options() { # ssh_options HOST: sets SSH
    SSH=(-q -F /dev/null -i "$CACHE/keys/id" -p "$(rig_port "$1")" -o StrictHostKeyChecking=no
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=20 -o ServerAliveInterval=5
        -o ServerAliveCountMax=8 -o Ciphers=aes128-gcm@openssh.com -o KexAlgorithms=curve25519-sha256)
}

# One connection per host is kept open. A connection may hang when its host dies, so every command has a time limit:
# T seconds, 120 unless given.
host_sh() { # host_sh HOST COMMAND…
    local host=$1
    shift
    ssh_options "$host"
    timeout -k 5 "${T:-120}" ssh "${SSH[@]}" -o ControlMaster=auto -o "ControlPath=$RUN/$host/ssh.sock" \
        -o ControlPersist=600 root@127.0.0.1 "$@" 8>&- 9>&-
}

host_shell() { # host_shell HOST: a developer's login
    ssh_options "$1"
    exec ssh -t "${SSH[@]}" root@127.0.0.1
}

host_put() { # host_put HOST FILE PATH: replaced whole, even while it runs
    host_sh "$1" "cat >'$3.new' && chmod $(stat -c %a "$2") '$3.new' && mv '$3.new' '$3'" <"$2"
}

host_get() { host_sh "$1" "cat '$2'" </dev/null >"$3"; } # host_get HOST PATH FILE

host_monitor() { # host_monitor HOST COMMAND…: QEMU's answer, without its greeting and its echo of each key
    printf '%s\n' "${*:2}" | timeout 60 socat -t 30 - "UNIX-CONNECT:$RUN/$1/mon.sock" |
        sed -e 's/\r$//' -e '/^QEMU /d' -e '/\x1b\[/d' -e '/^(qemu) $/d'
}

host_stop() { # host_stop HOST SIGNAL: KILL is a power cut, TERM ends QEMU in order; neither shuts dom0 down
    local pid
    ssh -q -O exit -o "ControlPath=$RUN/$1/ssh.sock" rig 2>/dev/null || true
    pid=$(host_pid "$1") || { rm -f "$RUN/$1/pid"; return 0; }
    kill -s "$2" "$pid"
    while host_pid "$1" >/dev/null; do sleep 0.02; done # dead, though perhaps nobody has collected it yet
    rm -f "$RUN/$1/pid"
}
