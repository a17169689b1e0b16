# b takes over from an image in the engine's memory, and has no memory for the guest's domain and no room on its disk, to
# which libxl writes of each domain, and the engine its log. Of a PV guest: what ate both goes after a while, and the guest
# is started without anybody's word. Of a PVH guest: it stays until b has given up, and `status` says what there is to do; a
# person makes room and has the guest back from a file.
guests=(tpvh tpv)
limit_s=1500

script=/etc/xen/scripts/vif-bridge

in_memory() { # what stands by at b is given up, as libxl cannot complete it
    on b "mv $script $script.whole; printf '#!/bin/sh\nexit 1\n' >$script; chmod 755 $script"
    pair_up
    local until=$((SECONDS + 300))
    until on b 'grep -q "No domain stands by; the image is held in memory" /var/tmp/understudy.log' </dev/null; do
        [ $SECONDS -lt $until ] || fail "the image does not go to memory"
        sleep 1
    done
    on b "mv $script.whole $script"
    await_protected a 600 # also where a new copy was needed
}

eat() { # all of b's memory but what the guest lacks, and its disk
    on b 'free=$(xl info free_memory); sed "s/^name = .*/name = \"eater\"/; s/^memory = .*/memory = $((free - 40))/; /^vif/d" \
            /rig/guests/tpvh.cfg >/run/eater.cfg
        xl create -p /run/eater.cfg >/run/eater.log 2>&1 || { cat /run/eater.log; exit 1; }
        mkdir /var/tmp/eaten; number=0
        for size in 1G 256M 64M 16M 4M 1M 64K 4K; do
            while fallocate -l $size /var/tmp/eaten/$number 2>/dev/null; do number=$((number + 1)); done
        done
        echo "$(xl info free_memory) MiB of memory, of its disk: $(df / | tail -n 1)"' </dev/null >"$RUN/eaten" || fail "$(cat "$RUN/eaten")"
    say "b has left $(cat "$RUN/eaten")"
}

state_of_b() { pair_status b | jq -c --arg guest "$guest" '.guests[] | select(.name == $guest) | [.role, .state, .reason]'; }

passes() { # what ate it all goes once the guest could not be started
    on b "setsid sh -c 'until understudy status | grep -q \"tried again\"; do sleep 0.2; done
        rm -r /var/tmp/eaten; xl destroy eater' >/dev/null 2>&1 </dev/null &"
}

gives_up() { # nobody makes room
    await_field b state activation_failed 120
    say "b: $(state_of_b)"
    expect "what runs on host b" "$(domains_of b)" "eater"
    on b 'rm -r /var/tmp/eaten; pkill -TERM -x understudy; while pgrep -x understudy >/dev/null; do sleep 0.1; done'
    say "on b: $(on b 'ls -l /var/lib/xen/*.understudy; tail -n 2 /var/tmp/understudy.log' </dev/null)"
    on b "xl destroy eater; xl restore /var/lib/xen/$guest.understudy"
    pair_node b --guest "name=$guest"
}

scenario() {
    local boot checksum count
    in_memory
    pair_remember
    sleep 5
    eat
    await_protected a 60
    [ "$(type_of "$guest")" != pv ] || passes
    rig_kill a
    [ "$(type_of "$guest")" = pv ] || gives_up
    await_runs b 180
    pair_judge
    nothing_left b "$guest"
}
