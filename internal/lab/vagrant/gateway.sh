#!/bin/sh
# Makes a Debian machine the gateway: the package, its own configuration with another delay maybe, the service. The
# machine has the addresses that the configuration names: 192.0.2.25 outside, 10.0.0.1 inside.
set -eu
package=${PACKAGE:-/dist/hushgate.deb}
delay=${DELAY:-20s}

export DEBIAN_FRONTEND=noninteractive
command -v iptables >/dev/null || { apt-get update -qq && apt-get install -y -qq iptables; }
dpkg --install --force-confold "$package"
sed -i "s/inspect-delay: .*/inspect-delay: $delay/" /etc/hushgate/hushgate.yaml

echo net.ipv4.ip_forward=1 >/etc/sysctl.d/60-gateway.conf
sysctl -q -p /etc/sysctl.d/60-gateway.conf
hushgate check -f /etc/hushgate/hushgate.yaml
systemctl enable hushgate
systemctl restart hushgate
