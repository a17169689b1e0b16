# The same for guests with two processors, whose network card has two queues.
. "$RIG/scenarios/takeover.sh"
guests=(tpvh2 tpv2)
ci=()

scenario() {
    local boot checksum count host
    for host in a b; do on $host 'echo 2 >/sys/module/xen_netback/parameters/max_queues'; done
    on a "xl destroy $guest" # it was given one queue
    guest_up "$guest"
    expect "queues of its card at a" "$(queues a)" 2
    taken_over
    expect "processors of the guest at b" "$(on b "xl vcpu-list $guest | sed 1d | grep -cv -- --p" </dev/null)" 2
    expect "queues of its card at b" "$(queues b)" 2
    come_back
}

queues() { # queues HOST: of the guest's card, as the guest has agreed to
    on "$1" "xenstore-read /local/domain/\$(xl domid $guest)/device/vif/0/multi-queue-num-queues" </dev/null
}
