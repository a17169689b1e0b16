# The same on Xen 4.20, and from 4.17 to 4.20.
. "$RIG/scenarios/stock_save_restore.sh"
guests=(tpvh thvm)
suites=(trixie bookworm:trixie)
ci=()
