# The Debian package in both dom0s, which boot with systemd and Debian's own scripts for Xen, and on a third machine, a container
# here: the commands of docs/INSTALL.md as they stand there, up to a protected guest of Xen. Links go over TLS on the network
# between the hosts. Then host a is shut down, and its guest is moved to b first.
#
#   a 192.0.2.1 ══ repl0 ══ 192.0.2.2 b        192.0.2.3 is w, by way of ctl0: what is in between has no key
guests=(none)
init=systemd
limit_s=2400

COMMON=$RIG/../common
net=understudy-rig

end_w() { end_container w; ip netns del "$net-w" 2>/dev/null; umount -l "$work" 2>/dev/null; rmdir "$work"; }

third_machine() {
    work=$(mktemp -d)
    trap 'end_w || :; end_one $?' EXIT
    mount -t tmpfs -o mode=755 understudy-rig "$work"
    ip netns del "$net-w" 2>/dev/null || :
    ip netns add "$net-w"
    ip -n "$net-w" link set lo up
    ip -n "$net-w" addr add 192.0.2.3/24 dev lo
    boot_container w
    machine_start to-w socat "TCP-LISTEN:$(rig_port third),bind=127.0.0.1,reuseaddr,fork" \
        EXEC:"ip netns exec $net-w socat STDIO TCP\:192.0.2.3\:7000"
}

addresses() { # addresses HOST NUMBER
    on "$1" "ip addr add 192.0.2.$2/24 dev repl0; ip addr add 192.0.2.3/32 dev lo
        printf '192.0.2.1 a\n192.0.2.2 b\n' >>/etc/hosts
        setsid socat TCP-LISTEN:7000,bind=192.0.2.3,reuseaddr,fork TCP:10.0.2.100:7400 >/dev/null 2>&1 </dev/null &"
}

packages() {
    local package machine
    command -v dh >/dev/null || skip "debhelper is missing"
    package=$("$RIG/../../deploy/build-deb" --binaries "${CARGO_TARGET_DIR:-$RIG/../../target}/release" --into "$RUN/packages" |
        grep '/understudy_[^/]*$') || skip "no package: cargo build --release -p understudy -p understudy-xen"
    for machine in a b; do host_put $machine "$package" "/root/${package##*/}"; done
    mkdir -p "$work/w/root/root"
    inside w sh -c "cat >/root/${package##*/}" <"$package"
}

# What the page leaves to the site: how slow its hosts are.
stand_in() { # stand_in TEXT
    printf %s "${1/$'\nEND\n'/$'\n[timing]\nheartbeat = "500ms"\nsilence_max = "5s"\nlink_grace = "1s"\ntakeover_grace = "3s"\nslow_max = "10s"\nhold_max = "20s"\n[limits]\nstaging = "32M"\nshadow = "64M"\nEND\n'}"
}

run_blocks() { # run_blocks TEXT MACHINE…
    local machine text said
    case $1 in *'unprotect web'*) return 0 ;; esac # of later
    for machine in "${@:2}"; do
        text=$(stand_in "$(completed "$1")")
        case $text in *--exit-code*) await_field a protected true 600 ;; esac
        if [ "$machine" = w ]; then
            said=$(inside w sh -e -c "cd /root; $text" 2>&1) || fail "w: $text: $said"
        else
            said=$(T=300 on "$machine" "$(printf 'sh -e -c %q' "cd /root; $text")" </dev/null 2>&1) || fail "$machine: $text: $said"
        fi
        keep_invitation "$said"
        say "$machine: $(grep -v '^# Xen' <<<"$text" | head -n 1)"
        case $text in *'xl create'*) say "$said"; guest_answers "$address" 120 >/dev/null ;; esac
    done
}

links_of_a() { on a "ss -Htn state established | awk '{ print \$3 \"-\" \$4 }' | grep ':700[012]' | sort" </dev/null; }

scenario() {
    local boot checksum count
    . "$COMMON/containers.sh"
    . "$COMMON/page.sh"
    guest=web address=$(address_of tpvh)
    third_machine
    packages
    addresses a 1
    addresses b 2
    on a "sed 's/^name = .*/name = \"web\"/' /rig/guests/tpvh.cfg >/etc/xen/web.cfg"
    run_page "$RIG/../../docs/INSTALL.md" run_blocks
    say "links of a: $(links_of_a | paste -sd' ')"
    [[ "$(links_of_a)" == *192.0.2.1:*192.0.2.2:* ]] || fail "a and b are not linked at their addresses"
    say "a: $(pair_line a)"
    CLIENT=b pair_remember
    sleep 10
    on a 'systemctl poweroff' </dev/null || :
    await_field b role primary 300
    guest_answers "$address" 120 >/dev/null
    pair_judge
    say "b: $(pair_line b)"
    nothing_left b web
    grep -a "understudy\|xendomains\|Power down" "$RUN/a/serial.log" | tail -n 8 || :
}
