# A rig's life: up, down, power cuts, snapshots.

# Paths of unix sockets end at 107 bytes, and ssh puts 17 more on the name of its own.
check_run_dir() {
    [ "${#RUN}" -le 75 ] || die "the run directory's path is too long for unix sockets: set UNDERSTUDY_RIG_RUN"
}

need_tools() {
    [ "$(uname -m)" = x86_64 ] || skip "the rig needs an x86-64 machine"
    command -v qemu-system-x86_64 >/dev/null && command -v qemu-img >/dev/null && command -v socat >/dev/null ||
        skip "QEMU or socat is missing: run 'rig packages' as root"
}

rig_up() { # rig_up [--guest NAME] [--suite SUITE] [--suite-b SUITE] [--xen debian|shadow]
    local guest='' suite=bookworm suite_b='' xen='' host
    while [ $# -gt 0 ]; do
        case $1 in
            --guest) guest=$2 ;;
            --suite) suite=$2 ;;
            --suite-b) suite_b=$2 ;;
            --xen) xen=$2 ;;
            *) die "up: unknown option $1" ;;
        esac
        shift 2
    done
    suite_b=${suite_b:-$suite}
    check_run_dir
    for host in a b; do ! host_pid $host >/dev/null || die "host $host runs already: 'rig down' first"; done
    rig_build "$suite" "$suite_b"
    need_tools
    mkdir -p "$RUN"/{a,b}
    write_settings "$suite" "$suite_b" "$xen"
    . "$RUN/settings"
    for host in a b; do host_boot $host; done
    for host in a b; do host_wait $host 180; done
    say "both hosts answer"
    [ -z "$guest" ] || { guest_start a "$guest"; say "guest $guest is up on host a"; }
}

rig_build() { # rig_build SUITE…
    local suite
    for suite in "$@"; do
        build_image "$suite"
        build_share "$suite"
    done
}

write_settings() { # write_settings SUITE_A SUITE_B XEN
    local host suite binary
    {
        for host in a b; do
            if [ $host = a ]; then suite=$1; else suite=$2; fi
            binary=$(xen_binary "$suite" "$3")
            printf '%s=%q\n' "SUITE_$host" "$suite" "IMAGE_$host" "$(image_dir "$suite")" \
                "SHARE_$host" "$(share_dir "$suite")" "XEN_BINARY_$host" "$binary"
        done
        printf '%s=%s\n' HOST_MIB "$(host_mib)" DOM0_MIB 640 DOM0_INIT "${init:-busybox}"
    } >"$RUN/settings"
}

host_mib() { echo "${UNDERSTUDY_RIG_MIB:-1536}"; }

# The hypervisor with shadow paging when it is built and fits the suite, unless one is asked for.
xen_binary() { # xen_binary SUITE [debian|shadow]
    case ${2:-any}:$1 in
        debian:*) echo "$(image_dir "$1")/xen" ;;
        shadow:bookworm | any:bookworm)
            if [ -d "$(shadow_dir)" ]; then echo "$(shadow_dir)/xen"; return; fi
            [ "${2:-any}" = any ] || die "the hypervisor with shadow paging is not built: rig build-shadow"
            echo "$(image_dir "$1")/xen" ;;
        any:*) echo "$(image_dir "$1")/xen" ;;
        *) die "there is no hypervisor '$2' for $1" ;;
    esac
}

host_boot() { # host_boot HOST: from a fresh disk
    local image=IMAGE_$1
    rm -f "$RUN/$1/disk.qcow2"
    qemu-img create -q -f qcow2 -b "${!image}/root.img" -F raw "$RUN/$1/disk.qcow2"
    host_start "$1"
}

rig_boot() { # rig_boot HOST: the host comes back after a power cut, with an empty disk
    load_settings
    host_boot "$1"
    host_wait "$1" 180
}

rig_down() { # their disks are of no more use, so nothing is shut down
    local host
    for host in a b; do host_stop $host KILL; done
}

rig_kill() { host_stop "$1" KILL; }

# QEMU's TCG cannot load a snapshot that was taken while the processor was inside a PVH or HVM guest, so guests are
# paused in it.
rig_snap() { # rig_snap TAG: keeps both hosts as they are, and stops them
    local tag=$1 snap=$RUN/snap/$1 host answer
    load_settings
    rm -rf "$snap"
    mkdir -p "$snap"
    for host in a b; do
        T=30 host_sh $host "$PAUSE_GUESTS" >"$snap/paused-$host" </dev/null
        [ -z "${RESUMED:-}" ] || host_monitor $host "delvm $RESUMED" >/dev/null # it would only take room
        answer=$(host_monitor $host "savevm $tag")
        ! grep -qi error <<<"$answer" || die "host $host: $answer"
    done
    for host in a b; do host_stop $host TERM; done # their disks are written out
    for host in a b; do mv "$RUN/$host/disk.qcow2" "$snap/$host.qcow2"; done
    { grep -v '^RESUMED=' "$RUN/settings"; echo "RESUMED=$tag"; } >"$snap/settings"
}

# On a host: pauses the guests that are not paused, and prints their names.
PAUSE_GUESTS='xl list | sed "1d; /^Domain-0 /d" | while read -r name _ _ _ state _; do
    case $state in *p*) ;; *) xl pause "$name" && echo "$name" ;; esac; done'

rig_resume() { # rig_resume TAG: both hosts as rig_snap kept them; a running rig is cut off
    local snap=$RUN/snap/$1 host
    [ -f "$snap/settings" ] || die "no snapshot '$1' in $RUN/snap: make it with 'rig snap'"
    need_tools
    for host in a b; do host_stop $host KILL; done
    cp "$snap/settings" "$RUN/settings"
    . "$RUN/settings"
    for host in a b; do cp --sparse=always "$snap/$host.qcow2" "$RUN/$host/disk.qcow2"; done
    for host in a b; do host_start $host "$1"; done
    for host in a b; do host_wait $host 60 resumed; done
    # Their clocks stand at the time of the snapshot, which certificates made since would not survive.
    for host in a b; do
        host_sh $host "date -s @$(date +%s) >/dev/null; while read -r name; do xl unpause \$name; done" <"$snap/paused-$host"
    done
}

rig_status() {
    local host pid
    [ -f "$RUN/settings" ] || { echo "no rig in $RUN"; return; }
    . "$RUN/settings"
    for host in a b; do
        if pid=$(host_pid $host); then
            printf 'host %s  runs, pid %s, ssh port %s, %s MiB resident\n' $host "$pid" "$(rig_port $host)" \
                "$(($(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status") / 1024))"
            T=10 host_sh $host 'xl list' || echo '  (does not answer)'
        else
            echo "host $host  is off"
        fi
    done
    echo "snapshots: $(ls "$RUN/snap" 2>/dev/null | paste -sd' ')"
}

guest_start() { # guest_start HOST NAME: creates the guest and waits until it serves
    T=150 host_sh "$1" "xl create /rig/guests/$2.cfg >/tmp/create.log 2>&1 || { cat /tmp/create.log; exit 1; }
        address=\$(sed -n 's/.*gip=\([0-9.]*\).*/\1/p' /rig/guests/$2.cfg); tries=0
        until timeout 2 busybox wget -qO- http://\$address/id >/dev/null 2>&1; do
            tries=\$((tries + 1)); [ \$tries -lt 400 ] || { echo 'the guest does not answer'; exit 1; }; sleep 0.2
        done" || die "guest $2 does not come up on host $1"
}
