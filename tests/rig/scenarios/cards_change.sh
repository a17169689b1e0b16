# Network cards come and go while the guest is protected. A guest whose card cannot be held is refused, and keeps its
# network. Then: a card that is plugged in is held, every frame of it waits for its ack; one that is unplugged is let go;
# with one that cannot be held the guest is unprotected, until it can be. Power fails on a: it goes on at b with both cards.
guests=(tpvh tpv)
limit_s=1500

second_mac=00:16:3e:00:00:99

network() { on a "xl network-$1 $guest $2" </dev/null; }

await_said() { # await_said WORDS: in what host a says of the guest, protected or not
    local until=$((SECONDS + 120))
    until pair_status a | jq -r '.guests[].reason, .waiting[].reason' | grep -q "$1"; do
        [ $SECONDS -lt $until ] || fail "host a does not say '$1' but: $(pair_status a | jq -c '.guests[].reason, .waiting')"
        sleep 1
    done
}

copies() { on a 'grep -c "a new copy is made" /var/tmp/understudy.log || :' </dev/null; }

await_new_copy() { # await_new_copy BEFORE: after the cards have changed the guest is protected with those it has now
    local until=$((SECONDS + 120))
    until [ "$(copies)" -gt "$1" ]; do
        [ $SECONDS -lt $until ] || fail "the change of the cards is not seen"
        sleep 1
    done
    await_field a state protected 300
}

frames_in() { on "$1" "tcpdump -r /var/tmp/$2.pcap --count 2>/dev/null | cut -d' ' -f1" </dev/null; } # frames_in HOST NAME

# frames_by_second_card HOST INTERFACE COUNT: has the guest send frames by it; what it says, and how many left there
frames_by_second_card() {
    local said
    on "$1" "setsid tcpdump -q -U -i $2 -Q out -w /var/tmp/second.pcap ether src $second_mac and ether proto 0x88b6 \
        >/dev/null 2>&1 </dev/null & sleep 2"
    said=$(ask "$address" "card?number=1&frames=$3" 60)
    sleep 3
    on "$1" 'pkill -INT -x tcpdump; while pgrep -x tcpdump >/dev/null; do sleep 0.2; done'
    echo "$said, arrived $(frames_in "$1" second)"
}

refused_and_left_alone() { # a guest that cannot be held keeps its network, and is protected once it can be
    local vif
    vif=vif$(on a "xl domid $guest" </dev/null).0
    on a "ip link add us-$vif type bridge"
    pair_node a --guest "name=$guest"
    await_said "us-$vif exists"
    guest_answers "$address" 30 >/dev/null
    expect "redirects of $vif" "$(on a "tc filter show dev $vif ingress" </dev/null)" ""
    on a "ip link del us-$vif"
    await_protected a 240
}

scenario() {
    local before vif
    pair_secondary
    refused_and_left_alone
    pair_remember

    vif=vif$(on a "xl domid $guest" </dev/null).1
    before=$(copies)
    network attach "mac=$second_mac,bridge=xenbr0"
    await_new_copy "$before"
    on a "ip link show us-$vif" >/dev/null || fail "$vif is not held"
    on a "capture() { setsid tcpdump -q -i \$2 -Q \$3 -U -s 128 --time-stamp-precision=nano -w /var/tmp/second-\$1.pcap \
            ether src $second_mac >/dev/null 2>&1 </dev/null & }
        capture sent us-$vif out; capture released us-$vif in; sleep 2"
    say "the second card: $(frames_by_second_card a lan0 100)"
    for name in sent released; do
        expect "frames of the second card, $name" "$(frames_in a "second-$name")" 100
    done

    before=$(copies)
    network detach 1
    await_new_copy "$before"
    ! on a "ip link show us-$vif" >/dev/null 2>&1 || fail "the queue of $vif is still there"

    on a "ip link add us-$vif type bridge"
    network attach "mac=$second_mac,bridge=xenbr0"
    await_said "$vif cannot be held"
    await_field a protected false 60
    on a "ip link del us-$vif"
    await_protected a 300
    expect "the second card, held again" "$(frames_by_second_card a lan0 50)" "sent 50 card present, arrived 50"

    rig_kill a
    await_runs b 120
    pair_judge
    expect "cards at b" "$(on b "xl network-list $guest | sed 1d | wc -l" </dev/null)" 2
    vif=vif$(on b "xl domid $guest" </dev/null).1
    say "the second card at b: $(frames_by_second_card b lan0 50)"
}
