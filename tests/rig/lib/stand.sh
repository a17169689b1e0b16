# Where scenarios begin: a stand is a snapshot of both hosts, with or without a guest running on host a. It is made
# once and kept until something that goes into it changes; a scenario then begins 3 to 5 seconds later.

# rig_stand SUITES GUEST XEN: both hosts stand there. SUITES is bookworm, trixie or, of host a and b, bookworm:trixie;
# GUEST may be none; XEN is any, debian or shadow (lib/lifecycle.sh). With init=systemd dom0 boots with systemd.
rig_stand() {
    local suites=$1 guest=$2 xen=$3 tag
    rig_build "${suites%:*}" "${suites#*:}"
    tag=$(stand_tag "$suites" "$guest" "$xen")
    if [ ! -f "$RUN/snap/$tag/settings" ]; then
        prune_stands "$suites-$guest-$xen${init:+-$init}"
        make_stand "$suites" "$guest" "$xen"
        rig_snap "$tag"
    fi
    rig_resume "$tag"
}

make_stand() { # make_stand SUITES GUEST XEN
    if [ "$2" = none ]; then
        rig_down
        rig_up --suite "${1%:*}" --suite-b "${1#*:}" --xen "${3#any}"
    else
        rig_stand "$1" none "$3"
        guest_start a "$2"
    fi
}

stand_tag() { # stand_tag SUITES GUEST XEN
    echo "stand-${1/:/-}-$2-$3${init:+-$init}-$(key_of "$(share_dir "${1%:*}")" "$(share_dir "${1#*:}")" "$(qemu-system-x86_64 --version)" \
        "$(xen_binary "${1%:*}" "${3#any}")" "$(xen_binary "${1#*:}" "${3#any}")" "$RIG/lib/host.sh" "$(host_mib)")"
}

prune_stands() { # prune_stands WHAT: those of the same kind that were made of older parts
    rm -rf "$RUN/snap/stand-${1/:/-}"-????????????
}
