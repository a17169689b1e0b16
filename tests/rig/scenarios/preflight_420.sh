# preflight towards a newer Xen warns, since the guest cannot come back, and towards an older one it refuses.
. "$RIG/scenarios/preflight.sh"
guests=(tpvh)
suites=(bookworm:trixie)
ci=()

scenario() {
    put_understudy
    verdict 0 newer_xen
    on a "xl destroy $guest"
    guest_up "$guest" b
    verdict 3 older_xen b
}
