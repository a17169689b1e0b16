# An engine that is wrong on purpose lets output out at its cut, before the ack (the feature mutant-releases-early of
# understudy-netbuf). The judge finds it by the captures and the log of host a; and when host a then stops reaching b
# and loses its power, by the numbers alone, since the guest that goes on at b sends again what its clients have seen.
guests=(tpvh)
limit_s=3000

scenario() {
    local seen=0 said
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$RIG/../../target}/mutant
    (cd "$RIG/../.." && cargo build --quiet --locked --release --package understudy --features understudy-netbuf/mutant-releases-early)
    PAIR_TIMES=${PAIR_TIMES/--silence-max 5s/--silence-max 30s} # a is not to be taken for dead before it is
    pair_up
    judge_begin 20
    sleep 10
    said=$(judge_verdict) || seen=$?
    say "$said"
    expect "what the judge says of a mutant" $seen 3
    [ "$(columns_of early <<<"$said")" -gt 100 ] || fail "the judge did not see what left early"

    judge_begin 20
    sleep 5
    rig_link cut a-b
    sleep 2 # of epochs that b never has
    rig_kill a
    await_runs b 240
    sleep 5
    seen=0
    said=$(judge_verdict) || seen=$?
    say "$said"
    expect "what the judge says of a mutant that lost its power" $seen 3
    [ "$(sed -n 's/.*numbered frames: \([0-9]*\) came again.*/\1/p' <<<"$said")" -gt 0 ] || fail "no number came again"
}

columns_of() { # columns_of NAME <VERDICT: that column's sum for host a
    awk -v name="$1" '$1 == "host" { for (i = 3; i <= NF; i++) if ($i == name) at = i - 1 } $1 == "all" { print $at; exit }'
}
