// Package firewall keeps the kernel out of the flows that hushgate serves, by iptables rules in chains of its own: Plan
// says which rules, Firewall installs, verifies, repairs and removes them. It knows addresses, ports and interfaces;
// what they are for is not its affair.
package firewall
