package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/safchain/ethtool"

	"hushgate/internal/netenv"
)

// links returns the interfaces of both sides, without duplicates.
func (s *Site) links() (list []*netenv.Link) {
	for _, l := range slices.Concat(s.Plan.Chosen.Outside, s.Plan.Chosen.Inside) {
		if !slices.ContainsFunc(list, func(k *netenv.Link) bool { return k.Index == l.Index }) {
			list = append(list, l)
		}
	}
	return list
}

// interfaces examines the interfaces of both sides.
func interfaces(_ context.Context, s *Site) (list []Finding) {
	for _, why := range s.Plan.Chosen.Reasons {
		list = append(list, Finding{Found: why})
	}
	list = append(list, s.mtu()...)
	e, err := ethtool.NewEthtool()
	if err != nil {
		list = append(list, Finding{Grade: Unknown, Subject: "offloads", Found: fmt.Sprintf("ethtool: %v", err)})
	} else {
		defer e.Close()
	}
	for _, l := range s.links() {
		if !l.Up {
			list = append(list, Finding{
				Subject: l.Name, Grade: Warning, Found: "the link is down", Means: "clients that come by it are not heard",
				Mend: fmt.Sprintf("ip link set %s up; then look at the cable or the switch", l.Name),
			})
		}
		if err == nil {
			features, err := e.Features(l.Name)
			list = append(list, offloads(l.Name, features, err))
		}
	}
	return list
}

// offloads judges the features of an interface. hushgate takes super-frames that carry their segment size, as GRO, TSO and
// veth make them. LRO (large receive offload) merges segments beyond restoring.
func offloads(name string, features map[string]bool, err error) Finding {
	switch {
	case err != nil:
		return Finding{Subject: name, Grade: Unknown, Found: fmt.Sprintf("its offloads cannot be read: %v", err)}
	case features["rx-lro"]:
		return Finding{
			Subject: name, Grade: Fault, Found: "large receive offload is on", Means: "merged segments cannot be passed on as they were",
			Mend: "ethtool -K " + name + " lro off",
		}
	}
	return Finding{Subject: name, Found: "large receive offload is off; other offloads do no harm"}
}

// mtu compares the MTU of both sides.
func (s *Site) mtu() (list []Finding) {
	small, large := s.links()[0], s.links()[0]
	var all []string
	for _, l := range s.links() {
		if l.MTU < small.MTU {
			small = l
		}
		if l.MTU > large.MTU {
			large = l
		}
		all = append(all, fmt.Sprintf("%s %d", l.Name, l.MTU))
		if l.MTU < 1280 {
			list = append(list, Finding{
				Subject: l.Name, Grade: Warning, Found: fmt.Sprintf("the MTU is %d", l.MTU), Means: "IPv6 needs 1280 (RFC 8200 section 5)",
				Mend: fmt.Sprintf("ip link set %s mtu 1500", l.Name),
			})
		}
	}
	if small.MTU == large.MTU {
		return append(list, Finding{Subject: "MTU", Found: fmt.Sprintf("is %d on all interfaces", small.MTU)})
	}
	return append(list, Finding{
		Subject: "MTU", Grade: Note, Found: "differs: " + strings.Join(all, ", "),
		Means: "clients are offered what fits both sides, and longer packets are answered with ICMP: such errors must reach clients and servers",
	})
}

// counters are what the kernel counts for an interface, and what a number above 0 means.
var counters = []struct{ file, means string }{
	{"rx_missed_errors", "the card had no room for frames: its ring is too small, or the machine too slow (ethtool -G)"},
	{"rx_errors", "frames arrived damaged: look at the cable and at the duplex mode"},
}

// losses finds frames that this machine has lost since it, or the gateway, was started.
func losses(ctx context.Context, s *Site) (list []Finding) {
	for _, l := range s.links() {
		for _, c := range counters {
			if n, _ := strconv.ParseUint(s.read("sys/class/net/"+l.Name+"/statistics/"+c.file), 10, 64); n > 0 {
				list = append(list, Finding{Subject: l.Name, Grade: Note, Found: fmt.Sprintf("%s is %d since the interface exists", c.file, n), Means: c.means})
			}
		}
	}
	if n := softnet(s.read("proc/net/softnet_stat")); n > 0 {
		list = append(list, Finding{
			Subject: "processors", Grade: Note, Found: fmt.Sprintf("%d frames since the machine was started found no room in a processor's backlog", n),
			Means: "TCP sends them again, later", Mend: "sysctl -w net.core.netdev_max_backlog=10000",
		})
	}
	list = append(list, queueLosses(ctx)...)
	if len(list) == 0 {
		return []Finding{{Found: "no frame was lost on this machine"}}
	}
	return list
}

// softnet adds up the frames dropped by the processors' backlogs: the second column, in hexadecimal, of each line.
func softnet(text string) (sum uint64) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 {
			n, _ := strconv.ParseUint(words[1], 16, 64)
			sum += n
		}
	}
	return sum
}
