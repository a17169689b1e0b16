# Both hosts answer, each on its own hypervisor, and reach each other over both networks.
suites=(bookworm)
ci=(none)

scenario() {
    local host other version
    for host in a b; do
        if [ $host = a ]; then other=2; else other=1; fi
        version=$(on $host 'xl info | sed -n "s/^xen_version *: //p"')
        say "host $host runs Xen $version"
        on $host "ping -c 1 -W 2 10.9.0.$other && ping -c 1 -W 2 10.8.0.$other" >/dev/null
        nothing_left $host
    done
}
