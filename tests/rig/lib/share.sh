# The read-only disk both hosts mount at /rig: guest kernel and initramfs, guest configurations, the program that
# guests run and that judges them, and what of lib/source.sh is built. Small and quick to build, so that the big
# image does not change with it.
#
#   /rig/guests/{tpvh,tpv,tpvh2,tpv2,thvm,tsvc}.cfg   /rig/guests/{kernel,bzImage,initrd,initrd-services}   /rig/netbuf/
#   /rig/bin/rigguest   /rig/bin/services-client

share_dir() { # share_dir SUITE
    local extras=debian-kernel
    [ ! -d "$(kernel_dir)" ] || extras=$(kernel_dir)
    [ ! -d "$(netbuf_dir)" ] || extras+=" $(netbuf_dir)"
    echo "$CACHE/shares/$1-$(key_of "$(image_dir "$1")" "$extras" "$(services_dir)" "$RIG/lib/share.sh" "$RIG"/guest/* "$RIG"/services/*)"
}

build_share() { # build_share SUITE: build_image has run
    [ -d "$(share_dir "$1")" ] || build_services
    artefact "$(share_dir "$1")" make_share "$(image_dir "$1")"
}

make_share() { # make_share OUT IMAGE
    local out=$1 image=$2 tree=$1/../share
    mkdir -p "$tree"/{guests,bin}
    cc -O2 -static -Wall -Wextra -Werror -o "$tree/bin/rigguest" "$RIG"/guest/*.c
    strip "$tree/bin/rigguest"
    share_kernel "$image" "$tree/guests"
    share_initrd "$image" "$tree" "$out/../guest"
    share_services "$tree" "$out/../guest"
    install -m 755 "$RIG/services/client" "$tree/bin/services-client"
    share_configs "$tree/guests"
    if [ -d "$(netbuf_dir)" ]; then
        cp -r "$(netbuf_dir)" "$tree/netbuf"
        chmod 755 "$tree/netbuf/remus-netbuf-setup"
    fi
    truncate -s 160M "$out/share.img"
    mkfs.ext4 -q -F -O ^has_journal,^metadata_csum -m 0 -L rigshare -d "$tree" "$out/share.img"
}

share_kernel() { # share_kernel IMAGE DIR: ours when it is built, else Debian's
    if [ -d "$(kernel_dir)" ]; then
        cp "$(kernel_dir)/vmlinux" "$2/kernel"
        cp "$(kernel_dir)/bzImage" "$2/bzImage"
    else
        cp "$1/vmlinux" "$2/kernel"
        cp "$1/vmlinuz" "$2/bzImage"
    fi
}

share_initrd() { # share_initrd IMAGE SHARE TREE
    busybox_tree "$3" "$RIG/guest/init"
    cp "$2/bin/rigguest" "$3/bin/"
    if [ -d "$(kernel_dir)" ]; then : >"$3/lib/order"; else cp "$1"/modules/* "$3/lib/"; fi
    pack_initrd "$3" "$2/guests/initrd"
}

share_services() { # share_services SHARE TREE: the tree of the plain guests, and the services
    cp -a "$(services_dir)/tree/." "$2/"
    install -m 755 "$RIG/services/start" "$2/bin/services"
    install -d -m 700 "$2/root" "$2/root/.ssh"
    install -m 600 "$CACHE/keys/id.pub" "$2/root/.ssh/authorized_keys"
    pack_initrd "$2" "$1/guests/initrd-services"
}

share_configs() { # share_configs DIR: Debian's kernel needs more memory than ours
    local pv=64 hvm=80 services=128 file
    [ -d "$(kernel_dir)" ] || { pv=128 hvm=192 services=224; }
    for file in "$RIG"/guest/*.cfg; do
        sed "s/@PV_MIB@/$pv/; s/@HVM_MIB@/$hvm/; s/@SERVICES_MIB@/$services/" "$file" >"$1/$(basename "$file")"
    done
}
