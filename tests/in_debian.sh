#!/bin/sh
# Run the suite in a folder that holds another release of Debian: in_debian.sh SUITE FOLDER [make's arguments]
#
# The folder is made by debootstrap where it isn't there yet, with the mirror and the certificates that this machine
# itself uses, and kept for the next run. What is tested is a clone of the last commit. Nothing is mounted afterwards:
# all mounts are in a namespace that ends with the run.
set -eu

suite=$1 folder=$2
shift 2

[ "$(id -u)" = 0 ] || { echo "in_debian.sh must be run as root: debootstrap and chroot need it" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -q -y --no-install-recommends debootstrap

repository=$(git rev-parse --show-toplevel)
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(RELEASE) $(SITE)' "Created-By: Packages" | sed -n "s/^$release //p" | head -n 1)

if [ ! -e "$folder/complete" ]; then
    debootstrap --variant=minbase --include=ca-certificates,git,make,python3-venv "$suite" "$folder" "$mirror"
    touch "$folder/complete"
fi
mkdir -p "$folder/etc/ssl/certs" "$folder/etc/xdg"
[ ! -e "$certificates" ] || cp -L "$certificates" "$folder/etc/ssl/certs/ca-certificates.crt"
[ ! -e /etc/pip.conf ] || cp -L /etc/pip.conf "$folder/etc/pip.conf"
cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"

checkout="$folder/root/snapmanage"
if [ -e "$checkout/.git" ]; then
    git -C "$checkout" fetch -q "$repository" HEAD
    git -C "$checkout" checkout -q --force --detach FETCH_HEAD
else
    git clone -q "$repository" "$checkout"
fi

# The folder becomes a mount of its own, since programs that unshare their mounts (zfs-fuse in the tests) can do so
# only where / is one.
exec unshare --mount --propagation private sh -c '
    folder=$1
    shift
    mount --bind "$folder" "$folder"
    mount -t proc proc "$folder/proc"
    mount --rbind /sys "$folder/sys"
    mount --rbind /dev "$folder/dev"
    exec chroot "$folder" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
        ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} make -C /root/snapmanage "$@"
' in_debian "$folder" "${@:-test}"
