#!/bin/sh
# Run the suite in a folder that holds another release of Debian: in_debian.sh SUITE FOLDER [COMMAND...]
#
# debootstrap makes the folder the first time, with the mirror and the certificates that this machine uses; the next
# run reuses it. The command (default: make test) runs in a clone of the last commit. All mounts and processes are in
# namespaces that end with the command.
set -eu

suite=$1 folder=$2
shift 2
[ $# -gt 0 ] || set -- make test

[ "$(id -u)" = 0 ] || { echo "in_debian.sh must run as root: debootstrap and chroot require it" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -q -y --no-install-recommends debootstrap

repository=$(git rev-parse --show-toplevel)
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}

if [ ! -e "$folder/complete" ]; then
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(RELEASE) $(SITE)' "Created-By: Packages" | sed -n "s/^$release //p" | head -n 1)
    debootstrap --variant=minbase --include=ca-certificates,git,make,python3-venv "$suite" "$folder" "$mirror"
    touch "$folder/complete"
fi
mkdir -p "$folder/etc/ssl/certs"
[ ! -e "$certificates" ] || cp -L "$certificates" "$folder/etc/ssl/certs/ca-certificates.crt"
[ ! -e /etc/pip.conf ] || cp -L /etc/pip.conf "$folder/etc/pip.conf"
cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"

# Helpers of the tests that run as nobody read the code, so it is not in the home of root.
checkout="$folder/srv/snapmanage"
[ -e "$checkout/.git" ] || git clone -q --no-checkout "$repository" "$checkout"
git -C "$checkout" fetch -q "$repository" HEAD
git -C "$checkout" checkout -q --force --detach FETCH_HEAD

# The folder becomes the root of the mount namespace: in a chroot, a program that enters a mount namespace (the tests'
# zfs-fuse has one) gets the root of the machine instead. The shell stays the first process, since it reaps orphans.
exec unshare --mount --propagation private --pid --fork --kill-child sh -euc '
    folder=$1
    shift
    mount --bind "$folder" "$folder"
    cd "$folder"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    pivot_root . .
    umount --lazy .
    cd /srv/snapmanage
    env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
        ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} "$@" || exit
' in_debian "$folder" "$@"
