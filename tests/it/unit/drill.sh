# The drill of a dock under its own unit. $1: the folder with clips; `facts` is written there.
here=$1
facts=$here/facts
dock() { runuser -u dockseal -- dockseal "$@"; }
say() { echo "$1=$2" >>"$facts"; }
main_pid() { systemctl show --value -p MainPID dockseal; }

# $1: so many clips are erased, within a minute.
erased() {
  for _ in $(seq 120); do
    count=$(dock list --state erased --limit 0 --json | python3 -c \
      'import json, sys; print(len(json.load(sys.stdin)["clips"]))')
    [ "$count" = "$1" ] && return 0
    sleep 0.5
  done
  dock status
  return 1
}

# $1: another process than this one is the daemon, and ready, within half a minute.
restarted() {
  for _ in $(seq 60); do
    [ "$(systemctl is-active dockseal)" = active ] && [ "$(main_pid)" != "$1" ] && return 0
    sleep 0.5
  done
  return 1
}

systemctl start dockseal && say started yes
grep -E '^(Cap|NoNewPrivs|Seccomp:)' "/proc/$(main_pid)/status" | tr -d '\t ' | tr : = >>"$facts"
sed 's/^/probe./; s/: /=/' /run/dockseal/probe >>"$facts"

install -m 0640 -g dockseal "$here"/clips/a* /srv/dock/
erased 2 && say whole-job yes
python3 -c 'import urllib.request
for page in "metrics", "healthz": urllib.request.urlopen("http://127.0.0.1:9464/" + page)' &&
  say answers-a-monitor yes

# Users without any right but the group of one of them.
useradd --groups dockseal-ops olga
useradd otto
as() { user=$1; shift; runuser -u "$user" -- dockseal "$@"; }
as olga status && as olga status --json | grep -q '"verdict": "ok"' && say an-operator-sees yes
as olga pause --for 1h && dock status --json | grep -q '"paused": true' && steers=yes
as olga resume && say an-operator-steers "$steers"
as olga acknowledge 2>&1 | grep -q 'runuser -u dockseal' && say an-operator-gives-nothing-up yes
as otto status 2>&1 | grep -q 'adduser NAME dockseal-ops' && say nobody-else-is-let-in yes
journalctl --no-pager | grep -q "uid $(id -u olga): dockseal pause --for 1h" &&
  say operators-are-named yes

pid=$(main_pid)
kill -KILL "$pid"
restarted "$pid" && say restarted-after-kill yes
install -m 0640 -g dockseal "$here"/clips/b* /srv/dock/
erased 3 && say works-after-kill yes

pid=$(main_pid)
kill -STOP "$pid"
restarted "$pid" && say restarted-by-watchdog yes
install -m 0640 -g dockseal "$here"/clips/c* /srv/dock/
erased 4 && say works-after-watchdog yes

systemctl stop dockseal
say result "$(systemctl show --value -p Result dockseal)"
# What the filter refused would be here.
say refusals "$(journalctl -u dockseal --no-pager | grep -ci 'operation not permitted\|bad system call')"
journalctl -u dockseal --no-pager | tail -n 60
