package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/internal/netenv"
)

const (
	probePatience = 3 * time.Second // for the answer to a SYN
	probeAgain    = time.Second     // when it is sent once more
)

// returnPath asks each server for a connection from a foreign address, as a client would, and watches by which interface the
// answer comes back. The SYN is never answered further: an RST ends it, so that the server's program hears nothing of it.
func returnPath(ctx context.Context, s *Site) []Finding {
	ear, err := listen(s.links(), s.From)
	if err != nil {
		return []Finding{{Grade: Unknown, Found: err.Error(), Mend: "run doctor as root"}}
	}
	defer ear.close()
	ids := make([]int, 0, len(s.Plan.Tables.Servers))
	for i := range s.Plan.Tables.Servers {
		ids = append(ids, i)
	}
	results := make([][]Finding, len(ids))
	var group errgroup.Group
	group.SetLimit(serversAtOnce)
	for i, id := range ids {
		group.Go(func() error {
			results[i] = s.returnFrom(ctx, ear, id)
			return nil
		})
	}
	_ = group.Wait()
	var list []Finding
	for _, r := range results {
		list = append(list, r...)
	}
	return list
}

// returnFrom asks one server.
func (s *Site) returnFrom(ctx context.Context, ear *ear, id int) []Finding {
	name, at := s.Plan.Tables.Names.Servers[id], s.Plan.Tables.Servers[id]
	subject := fmt.Sprintf("%s/%s %v", name.Backend, name.Name, at)
	if source := s.Plan.Tables.Shard.Servers[id].Source; source != (dataplane.Source{}) {
		return []Finding{{Subject: subject, Found: fmt.Sprintf("it sees connections from %v, an address of this machine: its answers come back", source.Addr)}}
	}
	from, ok := s.foreign(at.Addr())
	if !ok {
		return []Finding{{Subject: subject, Grade: Unknown, Found: "no foreign address of this family was given to ask from", Mend: "--from ADDRESS"}}
	}
	hop, state := s.resolve(ctx, unspecified(at.Addr()), at.Addr())
	if state != netenv.Resolved {
		return []Finding{{Subject: subject, Grade: Unknown, Found: "it cannot be asked: " + state.String()}}
	}
	seen, err := ear.ask(ctx, hop, from, at)
	if err != nil {
		return []Finding{{Subject: subject, Grade: Unknown, Found: err.Error()}}
	}
	return s.judgePath(subject, from, at, seen)
}

// judgePath judges where the answer to a SYN was seen.
func (s *Site) judgePath(subject string, from netip.Addr, server netip.AddrPort, seen *answer) []Finding {
	switch {
	case seen == nil:
		return []Finding{{
			Subject: subject, Grade: Fault, Found: fmt.Sprintf("its answer to %v did not come back through this machine within %v", from, probePatience),
			Means: "clients wait for the whole delay and then get no banner; or a filter there drops packets from that address (try --from with a client's address)",
			Mend:  s.mendPath(server),
		}}
	case !s.inside(seen.link), !seen.ours:
		where := fmt.Sprintf("by %s", seen.link)
		if !seen.ours {
			where = fmt.Sprintf("on %s, on the way to %v", seen.link, net.HardwareAddr(seen.to[:]))
		}
		return []Finding{{
			Subject: subject, Grade: Fault, Found: fmt.Sprintf("its answer to %v was seen %s, not on its way back through the inside of this machine", from, where),
			Means: "clients get answers with numbers that they do not know, and reset the connection", Mend: s.mendPath(server),
		}}
	case seen.refused:
		return []Finding{{
			Subject: subject, Grade: Warning, Found: fmt.Sprintf("its refusal comes back by %s: no program listens there, or not for %v", seen.link, from),
			Means: "the path is well, and the server gets no clients until a program listens", Mend: fmt.Sprintf("ss -ltn 'sport = :%d' on the server", server.Port()),
		}}
	}
	return []Finding{
		{Subject: subject, Found: fmt.Sprintf("its answers to clients come back by %s, after %v", seen.link, round(seen.after))},
		granted(subject, seen),
	}
}

// inside reports whether an interface belongs to the inside.
func (s *Site) inside(name string) bool {
	for _, l := range s.Plan.Chosen.Inside {
		if l.Name == name {
			return true
		}
	}
	return false
}

// mendPath returns the command that leads a server's answers back here.
func (s *Site) mendPath(server netip.AddrPort) string {
	family := ""
	if server.Addr().Is6() {
		family = " -6"
	}
	for _, l := range s.Plan.Chosen.Inside {
		for _, p := range l.Addrs {
			if p.Masked().Contains(server.Addr()) {
				return fmt.Sprintf("on the server: ip%s route replace default via %v; or, if it needs another default gateway: hushgate rules --for-server", family, p.Addr())
			}
		}
	}
	return "make this machine the default gateway of the server's network, or route by policy: hushgate rules --for-server"
}

// granted describes what a server's TCP grants.
func granted(subject string, seen *answer) Finding {
	f := Finding{Subject: subject, Found: fmt.Sprintf("its TCP grants %v", seen.grants)}
	switch {
	case seen.grants.mss > 0 && seen.grants.mss < 536:
		f.Grade, f.Means = Warning, "an MSS below 536 makes mail slow (RFC 9293 section 3.7.1)"
	case !seen.grants.sack || seen.grants.scale < 0 || !seen.grants.timestamps:
		f.Grade = Note
		f.Means = "clients are offered no more than all servers grant"
		f.Mend = "on the server: sysctl -w net.ipv4.tcp_sack=1 net.ipv4.tcp_window_scaling=1 net.ipv4.tcp_timestamps=1"
	}
	return f
}
