#!/bin/bash
# The lab: real Debian hosts (systemd as PID 1, in systemd-nspawn) for the tests of `make lab`. Needs root.
#
#   lab.sh with CMD...        up, CMD in the control namespace, down again whatever happened; exits as CMD did
#   lab.sh up | down          the same by hand
#   lab.sh exec CMD...        CMD in the control namespace, from where the hosts can be reached
#   lab.sh run HOST CMD...    CMD inside HOST, as root
#   lab.sh put HOST FROM TO   copies a file or folder into HOST (TO is its new name there)
#   lab.sh wait HOST          until HOST has booted
#   lab.sh reset HOST         HOST ends at once, as in a power cut (what it wrote stays), and boots again
#   lab.sh freeze | thaw HOST none of HOST's processes runs, but its kernel answers; and on again
#   lab.sh status             what is there
#
# Rules: nothing is attached to the machine's own network. Everything of one lab is beneath one cgroup, one tmpfs and
# namespaces that begin with its prefix, so that labs with different LAB_PREFIX run side by side and `down` can't miss or
# touch anything else. Every wait ends. The root filesystem is made once for each package list and kept in LAB_CACHE,
# which may be deleted whenever no lab is up.
set -euo pipefail

PREFIX=${LAB_PREFIX:-writ}
CACHE=${LAB_CACHE:-/var/cache/writ-lab}
MIRROR=${LAB_MIRROR:-}                    # empty: deb.debian.org with updates and security
HOSTS=(host1 host2 host3 host4)                 # a host's address is NET.11 and up, in this order
NET=100.64.7
PACKAGES=(
  systemd systemd-sysv dbus iproute2 procps
  nginx-light                             # a service to act on
  python3 python3-venv                    # what an agent runs on; venv carries the wheels of pip, so it works offline
  openssh-server restic btrfs-progs
  fish                                    # with bash and dash, which are always there: login shells
  sudo polkitd                            # two ways in which a plain user may do what root does
)
SHELLS=(sh bash dash fish)                # of each there is a user login-SHELL
VOLUME=/srv/volume VOLUME_SIZE=512M       # on each host a btrfs of its own, in a file
BUILD_SECONDS=900 BOOT_SECONDS=90 STOP_SECONDS=20

STATE=/run/writ-lab/$PREFIX
KEYS=$STATE/keys                          # user, which all hosts let in, and host1, host2, …: their own; each with .pub
CONTROL=$PREFIX-control

say() { echo "lab $PREFIX: $*" >&2; }
die() { say "$@"; exit 1; }
address_of() { local i; for i in "${!HOSTS[@]}"; do [ "${HOSTS[i]}" = "$1" ] && echo "$NET.$((11 + i))" && return 0; done; die "no host $1 (there is: ${HOSTS[*]})"; }
starttime_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 !~ /[ZX]/ {print $20}'; }   # pid and start time name a process for good

# The cgroup trees that systemd in a host has to find itself in: v2, and v1's name=systemd where a machine still has it.
cgroup_trees() { awk '$3 == "cgroup2" {print $2} $3 == "cgroup" && $4 ~ /name=systemd/ {print $2}' /proc/mounts | sort -u; }
cgroup_v2() { awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts; }
join_cgroup() { local tree; for tree in $(cgroup_trees); do mkdir -p "$tree/$1"; echo "${2:-$BASHPID}" > "$tree/$1/cgroup.procs"; done; }

need_machine() {
  [ "$(id -u)" = 0 ] || die "needs root"
  local tool; for tool in mmdebstrap systemd-nspawn ip nsenter flock findmnt losetup mkfs.btrfs ssh-keygen; do
    command -v $tool >/dev/null || die "$tool is missing: apt-get install btrfs-progs iproute2 mmdebstrap mount openssh-client systemd-container util-linux"
  done
  [ -n "$(cgroup_v2)" ] || die "no cgroup2 filesystem is mounted"
}

# --- the root filesystem, made once -------------------------------------------------------------------------------

build_rootfs() {
  local tree=$1
  timeout "$BUILD_SECONDS" mmdebstrap -q --variant=minbase --include="$(IFS=,; echo "${PACKAGES[*]}")" \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    trixie "$tree" ${MIRROR:+"$MIRROR"}
  : > "$tree/etc/machine-id"              # each host gets its own at its first boot
  : > "$tree/etc/resolv.conf"             # no way out of the lab
  rm -rf "$tree"/etc/apt/sources.list "$tree"/etc/apt/sources.list.d/* "$tree"/etc/ssh/ssh_host_*
  printf '%s\n' 'HostKey /etc/ssh/ssh_host_ed25519_key' 'AuthorizedKeysFile /etc/ssh/lab_keys' 'PasswordAuthentication no' \
    'PermitRootLogin prohibit-password' 'UseDNS no' > "$tree/etc/ssh/sshd_config.d/lab.conf"
  local shell; for shell in "${SHELLS[@]}"; do chroot "$tree" useradd --create-home --shell "/bin/$shell" "login-$shell"; done
  mkdir "$tree$VOLUME"
  local unit; for unit in systemd-modules-load.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
  done
}
rootfs() { # prints the path of a root filesystem that is complete
  local key; key=$( { echo "${PACKAGES[*]} ${SHELLS[*]} $VOLUME $MIRROR"; declare -f build_rootfs; } | sha256sum | cut -c1-12)
  local tree=$CACHE/root-$key
  mkdir -p "$CACHE"
  exec 9> "$CACHE/lock"
  flock -w "$BUILD_SECONDS" 9 || die "another lab has been building a root filesystem for $BUILD_SECONDS s"
  if [ ! -d "$tree" ]; then
    say "building the root filesystem (once)"
    rm -rf "$tree.part"
    build_rootfs "$tree.part" > "$CACHE/build-$key.log" 2>&1 || { tail -n 20 "$CACHE/build-$key.log" >&2; die "the root filesystem could not be built ($CACHE/build-$key.log)"; }
    mv "$tree.part" "$tree"
  fi
  touch "$tree"
  find "$CACHE" -maxdepth 1 -name 'root-*' -mtime +7 -exec rm -rf {} +   # of package lists that nobody uses any more
  exec 9>&-
  echo "$tree"
}

# --- up ------------------------------------------------------------------------------------------------------------

up() { # $1: pid of the run that this lab belongs to; a lab without one stays until somebody says `down`
  need_machine
  local v2; v2=$(cgroup_v2)
  if [ -d "$v2/$PREFIX-lab" ]; then
    orphaned || die "is already up: '$0 down', or choose another LAB_PREFIX"
    say "taking down what a run that was killed left behind"; down
  fi
  local started=$EPOCHREALTIME tree host
  tree=$(rootfs)
  mkdir "$v2/$PREFIX-lab" 2>/dev/null || die "is being started by somebody else"
  trap 'say "did not come up"; down' EXIT
  mkdir -p "$STATE"; mount -t tmpfs -o mode=0755 writ-lab "$STATE"
  [ -z "${1:-}" ] || echo "$1 $(starttime_of "$1")" > "$STATE/owner"
  mkdir -m 0700 "$KEYS"; make_key user
  ip netns add "$CONTROL"; ip -n "$CONTROL" link set lo up
  ip -n "$CONTROL" link add bridge0 type bridge; ip -n "$CONTROL" addr add $NET.1/24 dev bridge0; ip -n "$CONTROL" link set bridge0 up
  for host in "${HOSTS[@]}"; do start_host "$host" "$tree"; done
  for host in "${HOSTS[@]}"; do wait_host "$host"; done
  trap - EXIT
  say "up after $(awk "BEGIN {printf \"%.1f\", $EPOCHREALTIME - $started}") s"
}
orphaned() { # its owner is dead, or nothing lives in it
  local pid start; grep -q 'populated 0' "$(cgroup_v2)/$PREFIX-lab/cgroup.events" && return 0
  read -r pid start 2>/dev/null < "$STATE/owner" && [ "$(starttime_of "$pid")" != "$start" ]
}

make_key() { ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$KEYS/$1"; }
make_volume() { # FOLDER: an image in it, mounted beside it
  truncate --size="$VOLUME_SIZE" "$1/volume.image"
  mkfs.btrfs --quiet "$1/volume.image"
  mount -o loop "$1/volume.image" "$1/volume"
}

start_host() {
  local host=$1 tree=$2 dir=$STATE/$1 ns=$PREFIX-$1 other
  ip netns add "$ns"; ip -n "$ns" link set lo up
  ip -n "$CONTROL" link add "v-$host" type veth peer name host0 netns "$ns"
  ip -n "$CONTROL" link set "v-$host" master bridge0 up
  ip -n "$ns" addr add "$(address_of "$host")/24" dev host0; ip -n "$ns" link set host0 up
  mkdir -p "$dir"/{upper,work,root,volume}
  make_volume "$dir"
  mount -t overlay -o "lowerdir=$tree,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root"
  echo "$host" > "$dir/root/etc/hostname"
  { echo "127.0.0.1 localhost $host"; echo "$NET.1 control"; for other in "${HOSTS[@]}"; do echo "$(address_of "$other") $other.lab.internal"; done; } > "$dir/root/etc/hosts"
  make_key "$host"
  install -m 0600 "$KEYS/$host" "$dir/root/etc/ssh/ssh_host_ed25519_key"
  install -m 0644 "$KEYS/$host.pub" "$dir/root/etc/ssh/ssh_host_ed25519_key.pub"
  install -m 0644 "$KEYS/user.pub" "$dir/root/etc/ssh/lab_keys"
  keep_host "$host" < /dev/null > "$dir/console" 2>&1 & disown
}
# Stays for as long as the host does. nspawn exits 133 when the host asked for a reboot.
keep_host() {
  local host=$1 dir=$STATE/$1 code
  trap - EXIT
  join_cgroup "$PREFIX-lab/keeper"
  while [ ! -e "$STATE/stopping" ]; do
    code=0; (join_cgroup "$PREFIX-lab/$host"; nspawn "$host") || code=$?
    [ $code = 133 ] || [ -e "$dir/reset" ] || exit $code
    rm -f "$dir/reset"
  done
}
nspawn() {
  export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
  exec setsid systemd-nspawn -q --register=no --keep-unit --kill-signal=SIGRTMIN+3 -D "$STATE/$1/root" -M "$PREFIX-$1" --capability=all \
    --network-namespace-path="/run/netns/$PREFIX-$1" --resolv-conf=off --timezone=off --link-journal=no --console=pipe \
    --bind="$STATE/$1/volume:$VOLUME" -b
}

# --- inside --------------------------------------------------------------------------------------------------------

pid1_of() { # the host's PID 1 as seen from here; fails while there is none
  local pid
  while read -r pid; do
    grep -q '^NSpid:.*[[:space:]]1$' "/proc/$pid/status" 2>/dev/null && echo "$pid" && return 0
  done 2>/dev/null < "$(cgroup_v2)/$PREFIX-lab/$1/payload/init.scope/cgroup.procs"
  return 1
}
enter_host() { # HOST CMD...: in all namespaces of the host, with an environment of its own
  local pid; pid=$(pid1_of "$1") || return 125
  shift
  # A shell of the host forks the command into its PID namespace. nsenter itself would stop with a command that systemd stops at a
  # shutdown, and then never wait for it, so that the namespace and the host could not end.
  nsenter --target "$pid" --all --no-fork --wdns=/root env -i PATH=/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8 sh -c '"$@"; exit $?' sh "$@"
}
run() { address_of "$1" > /dev/null; pid1_of "$1" > /dev/null || die "$1 is not running"; enter_host "$@"; }
put() { # by a stream: a path under the overlay's upper folder is not the host's to see
  local host=$1 from=$2 to=$3
  tar -C "$(dirname "$from")" -cf - --transform "s,^$(basename "$from"),$(basename "$to"),S" --owner=0 --group=0 "$(basename "$from")" | run "$host" tar -C "$(dirname "$to")" -xf -
}
wait_host() {
  local host=$1 end=$((SECONDS + BOOT_SECONDS)) state=
  while [ $SECONDS -lt $end ]; do
    state=$(enter_host "$host" timeout "$BOOT_SECONDS" systemctl is-system-running --wait 2>/dev/null) || true
    case $state in
      running) return 0;;
      degraded) say "$host is degraded: $(enter_host "$host" systemctl list-units --failed --plain --no-legend | cut -d' ' -f1 | paste -sd' ')"; return 0;;
    esac
    sleep 0.1
  done
  tail -n 20 "$STATE/$host/console" >&2 || true
  die "$host did not boot within $BOOT_SECONDS s (state: ${state:-none}); its console is above"
}
reset() {
  local pid; address_of "$1" > /dev/null; pid=$(pid1_of "$1") || die "$1 is not running"
  touch "$STATE/$1/reset"; kill -KILL "$pid"
}
freeze() { address_of "$1" > /dev/null; echo "$2" > "$(cgroup_v2)/$PREFIX-lab/$1/payload/cgroup.freeze"; }
control() {
  [ -e "/run/netns/$CONTROL" ] || die "is not up: '$0 up'"
  join_cgroup "$PREFIX-lab/control"        # so that `down` ends what a test forgot
  local host all=; for host in "${HOSTS[@]}"; do all+="$host=$(address_of "$host") "; done
  export LAB_PREFIX=$PREFIX LAB_CONTROL=$NET.1 LAB_HOSTS=${all% } LAB_KEYS=$KEYS
  nsenter --net="/run/netns/$CONTROL" "$@"
}

# --- down ----------------------------------------------------------------------------------------------------------

down() { # never stops half-way; says what it could not remove. (In a trap a bare `return` would mean the code of the exit.)
  set +e
  local host pid tree top end; top=$(cgroup_v2)/$PREFIX-lab
  grep -q "/$PREFIX-lab/" /proc/self/cgroup && die "down: not from inside the lab"
  [ -d "$STATE" ] && touch "$STATE/stopping"
  # A host whose PID 1 is killed is gone at once, and nspawn then removes what it had made.
  for host in "${HOSTS[@]}"; do pid=$(pid1_of "$host") && kill -KILL "$pid"; done
  end=$((SECONDS + STOP_SECONDS))
  while [ -n "$(cat "$top"/keeper/cgroup.procs 2>/dev/null)" ] && [ $SECONDS -lt $end ]; do sleep 0.05; done
  [ -e "$top/cgroup.kill" ] && echo 1 > "$top/cgroup.kill"
  while grep -qs 'populated 1' "$top/cgroup.events" && [ $SECONDS -lt $end ]; do sleep 0.05; done
  set -e
  end=$((SECONDS + STOP_SECONDS))          # however long all that took
  # The kernel takes its time over namespaces, and another lab that starts a host has a copy of our mounts for a moment: again until all is gone.
  while remove_rest; [ -n "$(leftovers)" ] && [ $SECONDS -lt $end ]; do sleep 0.1; done
  local left; left=$(leftovers); [ -z "$left" ] || die "down, but this is left: $left"
}
remove_rest() { # what can be removed by now
  local host tree
  for host in "${HOSTS[@]}"; do
    unmount "$STATE/$host/root"; unmount "$STATE/$host/volume"; ip netns del "$PREFIX-$host" 2>/dev/null || true
    unmount "/run/systemd/nspawn/unix-export/$PREFIX-$host"
    rmdir "/run/systemd/nspawn/unix-export/$PREFIX-$host" "/run/systemd/nspawn/propagate/$PREFIX-$host" 2>/dev/null || true
  done
  ip netns del "$CONTROL" 2>/dev/null || true
  for tree in $(engine_networks); do ip netns del "$tree" || true; done
  unmount "$STATE"; rmdir "$STATE" 2>/dev/null || true
  for tree in $(cgroup_trees); do [ ! -d "$tree/$PREFIX-lab" ] || remove_cgroup "$tree/$PREFIX-lab"; done
  for tree in $(engine_leftovers); do case $tree in /sys/*) remove_cgroup "$tree";; *) rm -rf "$tree";; esac; done
}
unmount() { ! mountpoint -q "$1" || umount "$1" 2>/dev/null || true; }
remove_cgroup() { find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true; }
leftovers() { # cgroups with their processes, namespaces with their bridge and links, mounts, loop devices, folders
  local tree
  for tree in $(cgroup_trees); do [ ! -d "$tree/$PREFIX-lab" ] || echo "$tree/$PREFIX-lab"; done
  ip netns list 2>/dev/null | cut -d' ' -f1 | grep -E "^$PREFIX-(control|host[0-9]+)$" || true
  engine_networks
  findmnt -rno TARGET | grep -E -e "^$STATE(/|\$)" -e "nspawn/unix-export/$PREFIX-host[0-9]+\$" || true   # not those of a prefix that is longer
  losetup --noheadings --output NAME,BACK-FILE | grep -F -e "$STATE/" -e "$STATE (" || true
  ls -d "$STATE" /run/systemd/nspawn/*/"$PREFIX"-host? 2>/dev/null || true
  engine_leftovers
}
engine_networks() { ip netns list 2>/dev/null | cut -d' ' -f1 | grep -E "^$PREFIX-engine-[0-9]+$" || true; }   # engine_network.py
engine_leftovers() { # of a container engine (engine.py) whose test run was killed: its processes have ended with the namespace
  ls -d /sys/fs/cgroup/"$PREFIX"-engine-* /sys/fs/cgroup/*/"$PREFIX"-engine-* /var/tmp/"$PREFIX"-lab-* 2>/dev/null || true
}

with() {
  up $$
  trap down EXIT; trap 'exit 130' INT; trap 'exit 143' TERM
  local code=0; (control "$@") & wait $! || code=$?
  exit $code
}

command=${1:-}; [ $# = 0 ] || shift
case $command in
  with | up | down | wait | reset | freeze | thaw | run | put | exec | status) ;;
  *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2;;
esac
case $command in
  with) with "$@";;
  up) up;;
  down) need_machine; down;;
  exec) control "$@";;
  run | put | reset) "$command" "$@";;
  freeze) freeze "$1" 1;;
  thaw) freeze "$1" 0;;
  wait) address_of "$1" > /dev/null; wait_host "$1";;
  status) leftovers;;
esac
