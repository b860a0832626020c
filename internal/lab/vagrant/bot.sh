#!/bin/sh
# Makes a Debian machine a bot: who connects to its port 2500 has it try the gateway, and reads how it fared.
set -eu
install -m 755 "${BOT:-/tmp/bot}" /usr/local/bin/bot
cat >/etc/systemd/system/bot.socket <<EOF
[Socket]
ListenStream=2500
Accept=yes
[Install]
WantedBy=sockets.target
EOF
cat >/etc/systemd/system/bot@.service <<EOF
[Service]
ExecStart=/usr/local/bin/bot
StandardInput=socket
StandardOutput=socket
EOF
systemctl daemon-reload
systemctl enable --now bot.socket
