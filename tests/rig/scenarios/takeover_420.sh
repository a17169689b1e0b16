# The same on Xen 4.20, and from 4.17 to 4.20.
. "$RIG/scenarios/takeover.sh"
suites=(trixie bookworm:trixie)
ci=()
