# Machines that each run a systemd: systemd-nspawn on this machine's root, below an overlay in memory. Nothing is downloaded or
# left.
#
#   $work/MACHINE/{up,work,root}   $work is a directory in memory, which the caller has mounted
#   $net-MACHINE                   its network namespace, which the caller has made

declare -gA leader=() nspawn=() # by machine

# inside MACHINE COMMAND…: as root there
inside() { nsenter --all --target "${leader[$1]}" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "${@:2}"; }

# The services of this machine do not start there, nor do its timers; and pages of manuals are not indexed.
boot_container() { # boot_container MACHINE
    local root=$work/$1/root
    mkdir -p "$work/$1"/{up,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/$1/up,workdir=$work/$1/work" "$root"
    rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/rc?.d/S* "$root"/var/lib/man-db/auto-update "$root"/usr/sbin/policy-rc.d
    systemd-nspawn --quiet --boot --register=no --keep-unit --link-journal=no --console=pipe --machine="$net-$1" \
        --network-namespace-path="/run/netns/$net-$1" --directory="$root" </dev/null >"$work/$1/console" 2>&1 &
    nspawn[$1]=$!
    disown # its end is not told
    for _ in $(seq 600); do
        leader[$1]=$(first_of "${nspawn[$1]}")
        [ -z "${leader[$1]}" ] || return 0
        sleep 0.05
    done
    cat "$work/$1/console"
    fail "$1 does not boot"
}

# The child that is a machine's process 1; there are others on the way.
first_of() {
    local pid
    for pid in $(pgrep -P "$1"); do
        if [ "$(cat /proc/$pid/comm 2>/dev/null)" = systemd ] && grep -q '^NSpid:.*\s1$' /proc/$pid/status 2>/dev/null; then echo $pid; fi
    done
}

end_container() { # end_container MACHINE
    # A machine ends with its first process, and that with its nspawn.
    kill -KILL ${leader[$1]:-} ${nspawn[$1]:-} 2>/dev/null || true
    umount -l "$work/$1/root" 2>/dev/null || true
}
