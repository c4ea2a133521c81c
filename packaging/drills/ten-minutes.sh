# docs/operations.md §1, typed as it stands there: from the package to the first stored clip.
. /drill/steps.sh
cd /root
cp /drill/packages/dockseal_*.deb .
mkdir -p /media/authority
head -c 3000000 /dev/urandom >clip.mp4

# The authority, on another machine in the field.
dpkg -i /drill/packages/dockseal-authority_*.deb
authority() { dockseal-authority keyring "$@" --dir /root/authority; }
pin=$(authority init bpol.example | grep -o 'authority = ".*"')
authority add-recipient evidence --new

# The person at the editor: the answers that the document asks for.
cat >/usr/local/bin/editor <<EDITOR
#!/bin/sh
sed -i -e 's|^authority = .*|$pin|' -e 's|^dock = .*|dock = "drill-1"|' \\
  -e 's|^aws_endpoint = .*|aws_endpoint = "http://127.0.0.1:18333"|' \\
  -e 's|^aws_access_key_id = .*|aws_access_key_id = AKDRILL|' \\
  -e 's|^aws_secret_access_key = .*|aws_secret_access_key = drillsecret|' "\$@"
EDITOR
chmod +x /usr/local/bin/editor

# The first block of commands beneath the heading.
commands=$(sed -n '/^### On the dock, eight commands/,/^### /p' /drill/operations.md |
  awk '/^```/ { inside = !inside; next } inside { print }')
count=0
while IFS= read -r line; do
  count=$((count + 1))
  # What a person would not type: the remark behind it.
  command=${line%%  #*}
  echo "\$ $command"
  if eval "$command" >/root/said 2>&1 </dev/null; then
    echo "ok command $count: $command" >>"$facts"
  else
    echo "FAILED command $count: $command" >>"$facts"
  fi
  cat /root/said
  if [[ $command == *"dockseal init" ]]; then
    # The dock's line goes to the authority, and the keyring comes back.
    enrolment=$(grep -o 'dockseal-dock .*' /root/said)
    fingerprint=$(sed -n 's/^ *fingerprint //p' /root/said)
    authority add-dock $enrolment --fingerprint "$fingerprint" && authority sign
    cp /root/authority/keyring /media/authority/keyring
  fi
done <<<"$commands"
fact "it took $count commands, at most 8" test "$count" -ge 4 -a "$count" -le 8
fact 'the clip is stored, and its plaintext erased' soon clips erased 1
fact 'the plaintext is gone' not test -e /srv/dock/clip.mp4
export AWS_ACCESS_KEY_ID=AKDRILL AWS_SECRET_ACCESS_KEY=drillsecret
identity=$(find /root/authority/identities -type f | head -n 1)
dockseal-authority list s3://evidence/region-3 -o aws_endpoint=http://127.0.0.1:18333 \
  --identity "$identity" >/root/listed
cat /root/listed
fact 'the authority finds it in the bucket by its name' grep -q clip.mp4 /root/listed
dock check
fact 'dockseal check finds nothing to mend' test $? -eq 0
fact 'nobody else may read the credential' not runuser -u nobody -- cat /etc/dockseal/primary.credential
fact 'man dockseal' sh -c 'man dockseal | grep -q "EXIT STATUS"'
fact 'man dockseal.toml' sh -c 'man 5 dockseal.toml | grep -q credentials_file'
fact 'bash completes it' bash -ic 'source /usr/share/bash-completion/bash_completion; _completion_loader dockseal; complete -p dockseal'
journalctl -u dockseal --no-pager | tail -n 20
echo "done ten-minutes" >>"$facts"
