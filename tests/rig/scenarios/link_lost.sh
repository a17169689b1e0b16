# The link between the hosts is cut, both ways and then one way, while both reach the witness: one of them has the guest
# then, whichever asked first, and after the cut it is protected again.
guests=(tpvh tpv)
limit_s=900

scenario() {
    local boot checksum count cut
    pair_up
    pair_remember
    judge_begin
    for cut in both a-b b-a; do
        sleep 5
        rig_link cut $cut
        sleep 15
        say "cut $cut: a: $(pair_line a); b: $(pair_line b)"
        rig_link heal
        await_one_protected 240
        pair_judge
        watch_start "$address" 20
    done
    watch_end >/dev/null
    judge_end
}

await_one_protected() { # await_one_protected SECONDS: the guest runs once, protected, and the other host holds the copy
    local until=$((SECONDS + $1)) here=a there=b
    until case "$(pair_field a state) $(pair_field b state)" in "protected standing" | "standing protected") ;; *) false ;; esac; do
        [ $SECONDS -lt $until ] || fail "not protected after $1 s: a: $(pair_line a); b: $(pair_line b)"
        sleep 1
    done
    [ "$(pair_field a role)" = primary ] || { here=b there=a; }
    await_gone $there 30
    nothing_left $here "$guest"
    say "runs on $here"
}
