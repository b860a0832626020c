package doctor

import (
	"context"
	"io/fs"
	"net/netip"
	"os"
	"sync"

	"hushgate/internal/netenv"
	"hushgate/internal/plan"
)

// Site is what is examined.
type Site struct {
	Plan    *plan.Plan
	Network netenv.Machine
	Says    Says
	// From are the addresses from which servers are asked as a client would ask them: at most one of each family. They must
	// be foreign: no machine here may have them. The default is DefaultFrom.
	From []netip.Addr
	// Files is the file system that /proc and /sys belong to, os.DirFS("/") if it is nil.
	Files fs.FS
}

// Says is what the configuration says beyond the plan.
type Says struct {
	Announce      bool // the gateway answers for service addresses that are on no interface
	Sysctls       bool // it sets the kernel's settings that it needs
	MaxConn       int  // connections in all phases
	ReceiveBuffer int  // of each packet socket, in octets; 0: the default
	Recall        int  // connections that have ended and are remembered
}

// DefaultFrom are addresses that no machine on the Internet has: of the networks for benchmarks (RFC 2544) and for
// documentation (RFC 3849).
var DefaultFrom = []netip.Addr{netip.MustParseAddr("198.18.77.25"), netip.MustParseAddr("2001:db8:77::25")}

// examination is one area.
type examination struct {
	area string
	look func(context.Context, *Site) []Finding
}

// examinations lists all areas in the order of the report: from this machine outwards.
var examinations = [...]examination{
	{"gateway", gateway},
	{"rules", rules},
	{"conntrack", conntrack},
	{"kernel", kernel},
	{"interfaces", interfaces},
	{"addresses", addresses},
	{"next hops", nextHops},
	{"servers", servers},
	{"return path", returnPath},
	{"time", clock},
	{"capacity", capacity},
	{"losses", losses},
}

// Examine runs all examinations at the same time. It reports the findings of each in the order of the areas, as soon as those
// before it are complete.
func Examine(ctx context.Context, s *Site, report func(Finding)) {
	if s.Files == nil {
		s.Files = os.DirFS("/")
	}
	if s.From == nil {
		s.From = DefaultFrom
	}
	results := make([]chan []Finding, len(examinations))
	var group sync.WaitGroup
	for i, e := range examinations {
		results[i] = make(chan []Finding, 1)
		group.Go(func() { results[i] <- e.look(ctx, s) })
	}
	for i, e := range examinations {
		for _, f := range <-results[i] {
			f.Area = e.area
			report(f)
		}
	}
	group.Wait()
}
