package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hushgate/internal/firewall"
	"hushgate/internal/instance"
	"hushgate/internal/privilege"
)

// read returns the content of a file under /, without white space around it; "" if it cannot be read.
func (s *Site) read(name string) string {
	b, _ := fs.ReadFile(s.Files, name)
	return string(bytes.TrimSpace(b))
}

// gateway finds out whether a hushgate runs here, with what it needs.
func gateway(ctx context.Context, _ *Site) []Finding {
	pid, err := instance.Holder(ctx)
	switch {
	case errors.Is(err, instance.ErrNone):
		return []Finding{{
			Grade: Warning, Found: "no hushgate runs in this network namespace",
			Means: "what follows is about the time when one runs", Mend: "systemctl start hushgate",
		}}
	case err != nil:
		return []Finding{{Grade: Unknown, Found: err.Error()}}
	}
	if err := privilege.CheckProcess(pid); err != nil {
		return []Finding{{Grade: Fault, Subject: fmt.Sprintf("process %d", pid), Found: err.Error(), Means: "it can neither hear clients nor repair its rules", Mend: "systemctl restart hushgate"}}
	}
	return []Finding{{Subject: fmt.Sprintf("process %d", pid), Found: "it runs, with CAP_NET_ADMIN and CAP_NET_RAW"}}
}

// rulesPatience bounds all calls of iptables.
const rulesPatience = 30 * time.Second

// rules compares the rules in force with those that the gateway wants.
func rules(ctx context.Context, s *Site) []Finding {
	_, err := instance.Holder(ctx)
	running := err == nil
	if !s.Plan.Managed {
		return []Finding{{Grade: Unknown, Found: "the configuration says `firewall: {manage: false}`: the rules are yours", Mend: "compare them with `hushgate rules`"}}
	}
	ctx, cancel := context.WithTimeout(ctx, rulesPatience)
	defer cancel()
	wanted := s.Plan.Firewall
	f, err := firewall.New(ctx, wanted)
	if err != nil {
		return []Finding{{Grade: Fault, Found: err.Error(), Means: "hushgate cannot start", Mend: "apt install iptables"}}
	}
	state, err := f.Examine(ctx)
	if err != nil {
		return []Finding{{Grade: Unknown, Found: err.Error(), Mend: "run doctor as root"}}
	}
	list := rulesInForce(&state, running)
	for _, w := range f.Warnings(ctx) {
		list = append(list, advise(w))
	}
	return list
}

// rulesInForce judges what was found of the rules.
func rulesInForce(state *firewall.State, running bool) (list []Finding) {
	switch {
	case len(state.Missing)+len(state.Blind) == state.Wanted && !running:
		return []Finding{{Grade: Note, Found: "none of hushgate's rules is installed; it installs them when it starts"}}
	case !running && len(state.Missing) > 0:
		list = append(list, Finding{Grade: Note, Found: fmt.Sprintf("%d of %d rules are installed, perhaps those of `hushgate fail`",
			state.Wanted-len(state.Missing)-len(state.Blind), state.Wanted)})
	case len(state.Missing) > 0:
		list = append(list, Finding{
			Grade: Fault, Found: fmt.Sprintf("%d of %d rules are not in force, the first: %s", len(state.Missing), state.Wanted, state.Missing[0]),
			Means: "the kernel answers clients or servers itself, with RSTs that end their connections",
			Mend:  "hushgate puts them back within seconds; if they do not stay, look for the program that removes them: nft monitor",
		})
	case state.InForce():
		list = append(list, Finding{Found: fmt.Sprintf("all %d rules are in force, and nothing comes before them", state.Wanted-len(state.Blind))})
	}
	for _, rule := range state.Before {
		list = append(list, Finding{
			Grade: Fault, Found: "a rule before hushgate's may keep packets from it: " + rule,
			Means: "the kernel sees packets of clients that match it, and may answer them", Mend: "put it behind hushgate's: " + strings.Replace(rule, " -A ", " -D ", 1),
		})
	}
	if len(state.Blind) > 0 && running {
		list = append(list, Finding{
			Grade: Note, Found: fmt.Sprintf("%d rules that look into ICMP errors are not installed: this kernel has no match u32", len(state.Blind)),
			Means: "only the guard in nftables keeps such errors from the kernel", Mend: "modprobe xt_u32",
		})
	}
	return list
}

// conntrack finds entries of the kernel's connection tracking about the services.
func conntrack(_ context.Context, s *Site) []Finding {
	n := 0
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			if s.read("proc/sys/net/netfilter/nf_conntrack_count") == "" {
				return []Finding{{Found: "this kernel tracks no connections"}}
			}
			return []Finding{{Grade: Unknown, Found: fmt.Sprintf("the connection tracking cannot be read: %v", err), Mend: "run doctor as root"}}
		}
		for _, f := range flows {
			addr, _ := netip.AddrFromSlice(f.Forward.DstIP)
			if f.Forward.Protocol == unix.IPPROTO_TCP && slices.Contains(s.Plan.Chosen.Services, netip.AddrPortFrom(addr.Unmap(), f.Forward.DstPort)) {
				n++
			}
		}
	}
	list := []Finding{{Found: "it has no entry about a service"}}
	if n > 0 {
		list = []Finding{{
			Grade: Warning, Found: fmt.Sprintf("it has %d entries about the services", n),
			Means: "the kernel has seen clients' packets: before hushgate's rules were there, or past them", Mend: "conntrack -D -p tcp --dport 25",
		}}
	}
	count, _ := strconv.Atoi(s.read("proc/sys/net/netfilter/nf_conntrack_count"))
	most, _ := strconv.Atoi(s.read("proc/sys/net/netfilter/nf_conntrack_max"))
	if most > 0 && count > most/10*9 {
		list = append(list, Finding{
			Grade: Warning, Found: fmt.Sprintf("its table is nearly full: %d of %d entries", count, most),
			Means: "the servers' own connections through this machine fail", Mend: fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*most),
		})
	}
	return list
}

// kernel compares the kernel's settings with what a gateway needs.
func kernel(ctx context.Context, s *Site) (list []Finding) {
	_, err := instance.Holder(ctx)
	later := err != nil && s.Says.Sysctls // hushgate sets them when it starts
	for _, c := range s.Plan.Sysctls {
		switch v, err := c.Get(); {
		case err != nil:
			list = append(list, Finding{Subject: c.Name(), Grade: Unknown, Found: err.Error()})
		case v != c.Want:
			list = append(list, Finding{
				Subject: c.Name(), Grade: sysctlGrade(c.Name(), later), Found: fmt.Sprintf("is %s, should be %s", v, c.Want), Means: c.Why,
				Mend: fmt.Sprintf("sysctl -w %s=%s (in /etc/sysctl.d to keep it, or `firewall: {sysctls: true}`)", c.Name(), c.Want),
			})
		default:
			list = append(list, Finding{Subject: c.Name(), Found: "is " + v})
		}
	}
	for _, w := range s.Plan.Warnings {
		if !strings.Contains(w, ", should be ") { // they were told of above
			list = append(list, advise(w))
		}
	}
	return list
}

// sysctlGrade is the grade of a wrong value. Without forwarding clients' mail still flows; a redirect leads the servers'
// answers past this machine.
func sysctlGrade(name string, later bool) Grade {
	switch {
	case later:
		return Note
	case strings.Contains(name, "forward"):
		return Warning
	}
	return Fault
}

// slowClocks are clock sources that are read through a device.
var slowClocks = []string{"acpi_pm", "hpet", "jiffies", "pit", "refined-jiffies"}

// clock examines the clock source, which is read for each batch of frames, and whether the time is right.
func clock(_ context.Context, s *Site) (list []Finding) {
	source := s.read("sys/devices/system/clocksource/clocksource0/current_clocksource")
	switch {
	case source == "":
		list = append(list, Finding{Subject: "clock source", Grade: Unknown, Found: "it cannot be read"})
	case slices.Contains(slowClocks, source):
		list = append(list, Finding{
			Subject: "clock source", Grade: Warning, Found: "is " + source, Means: "each look at the clock takes about a microsecond",
			Mend: "echo tsc >/sys/devices/system/clocksource/clocksource0/current_clocksource, if available_clocksource there has it",
		})
	default:
		list = append(list, Finding{Subject: "clock source", Found: "is " + source})
	}
	var t unix.Timex
	switch state, err := unix.Adjtimex(&t); {
	case err != nil:
		list = append(list, Finding{Subject: "time of day", Grade: Unknown, Found: fmt.Sprintf("adjtimex: %v", err)})
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		list = append(list, Finding{
			Subject: "time of day", Grade: Note, Found: "the kernel's clock is not synchronised", Means: "log lines cannot be compared with those of the servers",
			Mend: "timedatectl set-ntp true",
		})
	default:
		list = append(list, Finding{Subject: "time of day", Found: "the kernel's clock is synchronised"})
	}
	return list
}
