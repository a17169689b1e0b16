# Defects on order, in the engine that hosts really run. A function of the running process is overwritten in its memory
# (/proc/PID/mem, which root may write): when it is called next, it panics, or never returns. The program on disk stays
# as it is, so there is nothing in the product that a test could switch on, and any function can be the broken one.
#
#   entry ─► mov rdi, LOCATION; mov rax, core::option::unwrap_failed; jmp rax      as if its caller had unwrapped a None
#   entry ─► pause(); again                                                        until the process is killed

PATCH_BYTES=64

# defect HOST FUNCTION panics|hangs: every copy of the function, a regular expression for all of its name
defect() {
    local host=$1 functions pid base address patch
    functions=$(code_of "$2")
    read -r pid base < <(on "$host" 'pid=$(pgrep -xo understudy); echo $pid $(head -n 1 /proc/$pid/maps | cut -d- -f1)' </dev/null)
    base=$((16#$base))
    on "$host" "kill -STOP $pid; rm -rf /run/defect; mkdir /run/defect"
    for address in $functions; do
        address=$((base + 16#$address))
        case $3 in
            panics) patch=$(panicking_code $address $((base + 16#$(code_of 'core::option::unwrap_failed' 0)))) ;;
            hangs) patch=$HANGING_CODE ;;
        esac
        printf "$patch" | on "$host" "dd if=/proc/$pid/mem of=/run/defect/$address bs=$PATCH_BYTES count=1 skip=$address \
            iflag=skip_bytes status=none && dd of=/proc/$pid/mem bs=$PATCH_BYTES iflag=fullblock seek=$address \
            oflag=seek_bytes conv=notrunc status=none" || fail "the engine's memory on host $host cannot be written"
    done
    on "$host" "kill -CONT $pid"
}

mend() { # mend HOST: the functions are as they were
    on "$1" 'pid=$(pgrep -xo understudy); kill -STOP $pid; cd /run/defect
        for address in *; do
            dd if=$address of=/proc/$pid/mem bs=64 seek=$address oflag=seek_bytes conv=notrunc status=none
        done; kill -CONT $pid'
}

code_of() { # code_of FUNCTION [BYTES_MIN]: where the copies of it are in the program, in hexadecimal digits
    local found
    found=$(nm -CS "${CARGO_TARGET_DIR:-$RIG/../../target}/release/understudy" |
        awk -v name="^$1\$" -v least="${2:-$PATCH_BYTES}" '$3 ~ /^[tT]$/ { size = $2; at = $1; $1 = $2 = $3 = ""; sub(/^ +/, "")
            if ($0 ~ name) print at, size }' |
        while read -r at size; do [ $((16#$size)) -lt "${2:-$PATCH_BYTES}" ] || echo "$at"; done)
    [ -n "$found" ] || fail "the program has no function $1 that is long enough"
    echo "$found"
}

# For printf. A Location follows the code, and the name of its file that.
panicking_code() { # panicking_code ADDRESS PANIC
    printf '\\x48\\xbf%s\\x48\\xb8%s\\xff\\xe0\\x90\\x90' "$(le64 $(($1 + 24)))" "$(le64 "$2")"
    printf '%s%s\\x01\\x00\\x00\\x00\\x01\\x00\\x00\\x00a scenario\\x00' "$(le64 $(($1 + 48)))" "$(le64 10)"
}

HANGING_CODE='\x90\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7'

le64() { printf '%016x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\\x\8\\x\7\\x\6\\x\5\\x\4\\x\3\\x\2\\x\1/'; }
