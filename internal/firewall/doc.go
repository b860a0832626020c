// Package firewall keeps the kernel from the packets that hushgate serves, with iptables rules in chains of its own. Plan
// says which rules; Firewall installs, verifies, repairs and removes them. The package knows addresses, ports and
// interfaces, but not what they are for.
package firewall
