#!/bin/sh
# The first process of a guest.  The serial ports: ttyS0 is the kernel's console, ttyS1 has what the job prints, and on
# ttyS2 are the results, line by line, of which the last is the job's exit status.
#
# What a machine has that just booted is mounted, and no more: neither tracefs nor bpffs.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
mount -t devtmpfs dev /dev
exec </dev/null >/dev/console 2>&1
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
ip link set lo up
sysctl -q -w kernel.perf_event_paranoid=2  # as without Debian's patches, which make it 3
depmod  # the index that modprobe reads; busybox, with which the image was made, does not write that
modprobe -a drop_monitor nf_conntrack veth  # for their types
hostname guest
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo

cd /checkout
{ sh /job 2>&1; echo "{\"exit\": $?}" >/run/exit; } | cat >/dev/ttyS1
cat /run/exit >/dev/ttyS2
sync
poweroff -f
