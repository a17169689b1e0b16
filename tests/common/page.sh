# A page of commands such as docs/INSTALL.md, read so that its commands can be run as they stand there: "```sh a b" begins what
# is for the machines a and b. How a command gets to a machine is not here.

run_page() { # run_page FILE FUNCTION: FUNCTION TEXT MACHINE… for each block, in order
    local line machines= block=
    while IFS= read -r line <&3; do
        case $line in
            '```sh '*) machines=${line#'```sh '} block= ;;
            '```')
                [ -z "$machines" ] || "$2" "$block" $machines
                machines= ;;
            *) block+=$line$'\n' ;;
        esac
    done 3<"$1"
}

invitation= # fingerprint and token of the last `understudy invite`: what the page has as …

completed() { printf %s "${1//…/$invitation}"; } # completed TEXT

keep_invitation() { # keep_invitation SAID: by a block, if it has invited somebody
    invitation=$(sed -n 's/^ *understudy join [^ ]* [^ ]* //p' <<<"$1" | grep . || echo "$invitation")
}
