# What the drills share. A fact is a line: `ok`, `FAILED` or `done`, and what of.
facts=/drill/facts
state=/var/lib/dockseal
export DEBIAN_FRONTEND=noninteractive
dock() { runuser -u dockseal -- dockseal "$@"; }

# $1: what holds where the rest of the line, a command, succeeds.
fact() {
  local what=$1
  shift
  if "$@"; then echo "ok $what" >>"$facts"; else echo "FAILED $what" >>"$facts"; fi
}

not() { ! "$@"; }

# A command is tried for a minute.
soon() {
  for _ in $(seq 240); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.25
  done
  "$@"
}

# $1: a state, $2: so many clips are in it.
clips() { dock status --json | tr -d ' \n' | grep -q "\"state\":\"$1\",\"count\":$2,"; }

# $1: where objects lie; $2: so many sealed clips are there.
objects() { [ "$(find "$1" -name '*.age' -type f | wc -l)" = "$2" ]; }

# A dock with a folder as its bucket. $1: the folder; $2: whom it seals to, as the config says it.
configure() {
  local whom=${2-}
  [ -n "$whom" ] || whom="recipients = [\"$(cat /drill/recipient)\"]"
  cat >/etc/dockseal/dockseal.toml <<CONFIG
dock = "drill-1"
state_dir = "$state"
$whom
[[watch]]
path = "/srv/dock"
settle_seconds = 1
[[bucket]]
name = "primary"
url = "file://$1"
CONFIG
  [ -d /run/systemd/system ] || return 0
  mkdir -p /etc/systemd/system/dockseal.service.d
  printf '[Service]\nReadWritePaths=%s\n' "$(dirname "$1")" \
    >/etc/systemd/system/dockseal.service.d/drill.conf
  systemctl daemon-reload
}

# $1: so many new clips are put into the dock folder, named by $2.
put() {
  for number in $(seq "$1"); do
    head -c 20000 /dev/urandom >"/srv/dock/$2-$number.tmp"
    chmod 0640 "/srv/dock/$2-$number.tmp"
    mv "/srv/dock/$2-$number.tmp" "/srv/dock/$2-$number.mp4"
  done
}

# The custody log is in every bucket: it follows the clips by some seconds.
published() { dock status --json | grep -q '"behind": \[\]'; }
