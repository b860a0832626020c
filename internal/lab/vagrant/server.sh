#!/bin/sh
# Makes a Debian machine a mail server behind the gateway: Postfix, which takes mail for example.com, and the gateway as
# default gateway. A refusal says whom it refuses, so that clients learn which address of theirs the server sees.
set -eu
gateway=${GATEWAY:-10.0.0.1}

export DEBIAN_FRONTEND=noninteractive
if ! command -v postconf >/dev/null; then
	echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends postfix
fi
cat >/etc/postfix/main.cf <<EOF
compatibility_level = 3.6
myhostname = $(hostname).example.com
mydestination = example.com
mynetworks = 127.0.0.0/8
inet_interfaces = all
inet_protocols = ipv4
alias_maps =
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_reject_footer = \c (mail from \$client_address, says $(hostname))
EOF
systemctl enable postfix
systemctl restart postfix
ip route replace default via "$gateway"
