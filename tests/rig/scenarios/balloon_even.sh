# A protected guest gives memory back and takes as much again, at random places and moments, under load: mostly its host
# sees as many pages as before, and Xen's log says nothing of those that came. Then power fails on a. Every page is known
# (../guest/balloon.c, and the checker's and the writer's), and is looked at on b.
guests=(tpvh tpv)
limit_s=900

balloon() { ask "$address" "balloon?pages=$1&ms=${2:-0}" 60; } # balloon PAGES_A_ROUND [MS]

rounds() { ask "$address" balloon 60 | answer_field rounds; }

copies() { on a 'grep -c " Synchronising " /var/tmp/understudy.log' </dev/null; } # full ones, and those after a flap

balloons_under_one_copy() { # balloons_under_one_copy ROUNDS SECONDS
    local until=$((SECONDS + $2)) copy=0 first=0
    until [ "$(copies)" = "$copy" ] && [ "$(rounds)" -ge $((first + $1)) ] && [ "$(pair_field a protected)" = true ]; do
        [ $SECONDS -lt $until ] || fail "in $2 s there are no $1 rounds under one copy: $(pair_line a)"
        [ "$(copies)" = "$copy" ] || { copy=$(copies) first=$(rounds); }
        sleep 1
    done
    say "$(($(rounds) - first)) rounds: $(pair_line a)"
}

scenario() {
    local boot checksum count said
    # Each time that the guest took memory all of it is looked at in one pause, which takes an emulated host seconds.
    PAIR_TIMES=${PAIR_TIMES/--slow-max 10s --hold-max 20s/--slow-max 60s --hold-max 90s}
    pair_up
    pair_remember
    balloon 300 200 >/dev/null
    sleep 10
    balloon 100 1500 >/dev/null
    balloons_under_one_copy 12 300
    rig_kill a
    await_runs b 120
    pair_judge
    said=$(balloon 0)
    say "$said"
    expect "the number of pages that are not as they were left" "$(answer_field errors <<<"$said")" 0
    expect "what was refused to the guest" "$(answer_field refused <<<"$said")" 0
    nothing_left b "$guest"
}
