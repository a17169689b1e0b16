# What both hosts logged, for a person who was not there.

rig_logs() { # rig_logs DIR: DIR/a and DIR/b
    local dir=${1:-} host
    [ -n "$dir" ] || die "logs: which directory?"
    for host in a b; do
        mkdir -p "$dir/$host"
        cp "$RUN/$host"/{serial.log,qemu.log,cmdline} "$dir/$host/" 2>/dev/null || true
        if host_pid $host >/dev/null; then
            host_logs $host "$dir/$host" || echo "host $host does not answer" >"$dir/$host/unreachable"
        else
            echo "host $host is off" >"$dir/$host/off"
        fi
    done
    echo "logs of both hosts are in $dir"
}

host_logs() { # host_logs HOST DIR: logs of xl, libxl, guests' consoles, and the state of hypervisor and kernel
    T=60 host_sh "$1" 'dir=$(mktemp -d); cd "$dir"
        xl list -l >xl-list.json 2>&1; xl list >xl-list; xl dmesg >xen-dmesg; dmesg >dmesg; ps -ef >ps
        xenstore-ls -f >xenstore; ip -s addr >network; cp -r /var/log/xen xen
        mkdir tmp; find /tmp /var/tmp -maxdepth 2 -name "*.log" -exec cp {} tmp/ \;
        tar -c . ; rm -rf "$dir"' </dev/null | tar -C "$2" -x
}
