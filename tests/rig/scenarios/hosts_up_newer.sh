# Both hosts answer on Debian 13, whose Xen is 4.20, and with one of each. This takes images of its own.
. "$RIG/scenarios/hosts_up.sh"
suites=(trixie bookworm:trixie)
ci=()
