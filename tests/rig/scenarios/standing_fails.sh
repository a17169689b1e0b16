# libxl cannot complete the domain that stands by at b: the hotplug script of its card fails. The image goes to memory and
# the guest stays protected, without a new copy. The script is mended, power fails on a: b builds the guest from memory.
guests=(tpvh tpv)
limit_s=900

script=/etc/xen/scripts/vif-bridge

said() { on "$1" "grep -c '$2' /var/tmp/understudy.log || :" </dev/null; } # said HOST WORDS: how many lines of its log

scenario() {
    local boot checksum count until=$((SECONDS + 300))
    on b "mv $script $script.whole; printf '#!/bin/sh\nexit 1\n' >$script; chmod 755 $script"
    pair_up
    until [ "$(said b 'No domain stands by; the image is held in memory')" = 1 ]; do
        [ $SECONDS -lt $until ] || fail "it is not noticed that libxl has failed"
        sleep 1
    done
    say "$(on b 'grep "No domain stands by" /var/tmp/understudy.log' </dev/null)"
    pair_remember
    judge_begin
    sleep 5
    expect "whether the guest is protected" "$(pair_field a protected)" true
    expect "what stands by on host b" "$(standing_on b)" ""
    expect "what runs on host b" "$(domains_of b)" ""
    on b "mv $script.whole $script"
    rig_kill a
    await_runs b 180
    pair_judge
    judge_end
    nothing_left b "$guest"
}
