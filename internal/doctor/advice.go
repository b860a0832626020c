package doctor

import (
	"regexp"
	"strings"

	"hushgate/health"
)

// advice says what a warning of another package means, and what mends it. The warning is one text, as `check` prints it.
// Its pattern matches all of it, and the group `found` is what remains as the finding; means and mend may name groups.
type advice struct {
	pattern     *regexp.Regexp
	grade       Grade
	means, mend string
}

// advices are about every warning of netenv, plan, config and firewall that is not a finding of its own.
var advices = []advice{
	{
		regexp.MustCompile(`^(?P<found>rp_filter is strict on \S+, and .+?): (?P<why>the kernel drops .+) \((?P<setting>\S+)=2 lets (?:it|them) pass\)$`),
		Warning, "$why", "sysctl -w $setting=2 (in /etc/sysctl.d to keep it)",
	},
	{
		regexp.MustCompile(`^(?P<found>(?P<setting>net\.bridge\.\S+) is 1 and \S+ is a bridge): (?P<why>.+) \(set it to 0\)$`),
		Fault, "$why", "sysctl -w $setting=0 (in /etc/sysctl.d to keep it)",
	},
	{
		regexp.MustCompile(`^(?P<found>the service address (?P<addr>\S+) is on no interface): (?P<why>.+); with .+$`),
		Warning, "$why", "`announce: true`, and hushgate answers for $addr; or give the address to an outside interface (ip address add)",
	},
	// Whether servers answer this way is what the examination of the return path proves.
	{regexp.MustCompile(`^(?P<found>outside and inside are one interface): (?P<why>.+)$`), Note, "$why", ""},
	{regexp.MustCompile(`^(?P<found>the server \S+ is behind the router \S+): (?P<why>.+)$`), Note, "$why", ""},
	{
		regexp.MustCompile(`^(?P<found>there is no route to the server (?P<addr>\S+))$`),
		Fault, "it gets no clients", "ip route replace $addr via ROUTER, or an address of its network for the inside (ip address add)",
	},
	{
		regexp.MustCompile(`^(?P<found>the route to the server (?P<addr>\S+) leaves by (?P<link>\S+), which is not the inside)$`),
		Fault, "hushgate does not hear the answers that come by $link", "name $link as `inside`, or lead the route by the inside: ip route replace $addr dev INSIDE",
	},
	{
		regexp.MustCompile(`^(?P<found>servers and a service address share the network \S+): (?P<why>.+)$`),
		Warning, "$why", "give the servers a network of their own, or have hushgate connect from its own address (`source`)",
	},
	{
		regexp.MustCompile(`^(?P<found>clients of \S+ come in by .+, and the default route leaves by \S+): (?P<why>answers .+ address)\. To have .+?: (?P<how>ip rule .+)$`),
		Warning, "$why", "$how",
	},
	{
		regexp.MustCompile(`^(?P<found>the default route for answers from \S+ leaves by .+?): (?P<why>clients .+? get no answer)\. (?P<how>.+)$`),
		Fault, "$why", "$how",
	},
	{
		regexp.MustCompile(`^(?P<found>the default route for answers from (?P<addr>\S+) leaves by .+?): (?P<why>clients .+? get no answer)$`),
		Fault, "$why", "give $addr a default route by an outside interface (ip rule add from $addr lookup 100, and the route in that table)",
	},
	{
		regexp.MustCompile(`^(?P<found>the policy rule of priority (?P<n>\d+) \(ip rule\) is not followed): (?P<why>.+)$`),
		Warning, "what hushgate sends may leave by another way than the kernel's packets: $why", "ip rule show priority $n; choose the table by addresses there (from, to), or give each service address such a rule before it",
	},
	{
		regexp.MustCompile(`^(?P<found>the server-side address (?P<addr>\S+) towards the server \S+ is not an address of this machine), which does (?P<why>.+)$`),
		Warning, "the machine does $why", "ip address add $addr dev INSIDE, or a route to this machine at the server's router",
	},
	{
		regexp.MustCompile(`^(?P<found>the server-side address \S+ overlaps with ports .+\(net\.ipv4\.ip_local_port_range\)): (?P<why>.+)$`),
		Warning, "$why", "sysctl -w net.ipv4.ip_local_port_range=\"LOW HIGH\" outside these ports, or other ports in `source`",
	},
	{
		regexp.MustCompile(`^(?P<found>half-open \d+ is more than a quarter of .+): (?P<why>.+)$`),
		Warning, "$why", "raise `maxconn`, or lower `half-open` to what is said there",
	},
	{
		regexp.MustCompile(`^(?P<found>the policy of (?P<tool>\S+)'s FORWARD chain is DROP): (?P<why>.+) unless rules .+$`),
		Warning, "$why, unless rules of your own accept it", "`firewall: {forward: true}`, or rules of your own: $tool -A FORWARD -i INSIDE -j ACCEPT, and the way back",
	},
	{
		regexp.MustCompile(`^(?P<found>the nftables table (?P<table>\S+ \S+) decides on forwarding too \(chain .+\)): (?P<why>.+)$`),
		Warning, "$why", "nft list table $table; have it accept what comes from and goes to the servers",
	},
	{
		regexp.MustCompile(`^(?P<found>\d+ rules of (?P<tool>\S+) are in force beside those of .+): \S+-save shows them$`),
		Warning, "the kernel applies both, and each tool shows its own alone", "$tool-save shows them; move them to the other tool, or flush them",
	},
}

// advise makes a finding of a warning of another package.
func advise(text string) Finding {
	for _, a := range advices {
		if at := a.pattern.FindStringSubmatchIndex(text); at != nil {
			say := func(template string) string { return string(a.pattern.ExpandString(nil, template, text, at)) }
			return Finding{Grade: a.grade, Found: say("${found}"), Means: say(a.means), Mend: say(a.mend)}
		}
	}
	return Finding{Grade: Warning, Found: text, Mend: "see \"What check and the start warn of\" in deployment.md"}
}

// consequences say what a warning about a server means, and what mends it.
var consequences = map[health.Concern]struct{ means, mend string }{
	health.Pipeconnect: {
		"Exim clients that believe it talk before the banner, and are refused as early talkers",
		"`hide-pipeconnect: true` here, or pipelining_connect_advertise_hosts = (empty) in the server's Exim",
	},
	health.LateGreeting: {
		"nodemailer and Exim's callouts give up before they see the banner", "a shorter inspect-delay, or no greet delay at the server",
	},
	health.SlowGreeting: {
		"its checks fail, and it gets no clients", "permit this machine in postscreen_access_list, or raise `timeout check` above the server's delay",
	},
	health.PlainCheck: {
		"Postfix and Exim log each check as a lost connection", "`smtpchk: HELO NAME` (option smtpchk HELO NAME)",
	},
}

// concern makes a finding of a warning about a server.
func concern(subject string, w health.Warning) Finding {
	c := consequences[w.Concern]
	found, _, _ := strings.Cut(w.Text, ": ")
	return Finding{Subject: subject, Grade: Warning, Found: found, Means: c.means, Mend: c.mend}
}
