package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/drive"
	"hushgate/internal/evidence"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/recall"
	"hushgate/internal/wire"
)

// Explain implements admin.Viewer.
func (c control) Explain(ctx context.Context, client netip.Prefix, limit int) (admin.Explanation, error) {
	end, err := c.explaining.take(ctx)
	if err != nil {
		return admin.Explanation{}, err
	}
	defer end()
	now := c.inForce()
	v := admin.Explanation{
		Client: client.String(), Verdicts: map[string]uint64{}, Connections: []admin.PastConnection{}, Next: []admin.Outlook{},
		Lists: []string{}, DNSAnswers: []admin.DNSAnswer{}, Passes: []admin.Pass{}, Offenders: []admin.Offender{}, Clients: []admin.ClientUsage{},
		BecameOffender: []admin.BecameOffender{},
	}
	if client.IsSingleIP() {
		v.Client = client.Addr().String()
		err = c.explainClient(ctx, now, client.Addr(), &v, c.latestSignature(client))
	} else {
		err = c.explainNetwork(ctx, client, limit, &v)
	}
	if err != nil {
		return admin.Explanation{}, err
	}
	c.remembered(now, client, limit, &v)
	return v, nil
}

// remembered adds what became of the latest connections.
func (c control) remembered(now inForce, client netip.Prefix, limit int, v *admin.Explanation) {
	found := c.bygone.Find(client, limit)
	v.Remembered = admin.Remembered{Size: now.cfg.Global.Recall, Connections: found.Kept, Capture: now.cfg.Global.Capture.File}
	if found.Since != 0 {
		v.Remembered.Since = moment(c.clock.Wall(found.Since))
	}
	for verdict, n := range found.Verdicts {
		v.Verdicts[verdict.String()] = n
	}
	shelf := c.shelf(now.cfg)
	for i := range found.Latest {
		v.Connections = append(v.Connections, c.past(&found.Latest[i], shelf))
	}
}

// latestSignature returns the signature that an address had lately, if that is remembered.
func (c control) latestSignature(client netip.Prefix) policy.Signature {
	if found := c.bygone.Find(client, 1); len(found.Latest) > 0 {
		return found.Latest[0].Event.Signature
	}
	return policy.Signature{}
}

// shelf returns what the files of captures cover. Without any, no connection's packets are found.
func (c control) shelf(cfg *config.Config) *evidence.Shelf {
	if cfg.Global.Capture.File == "" {
		return &evidence.Shelf{}
	}
	s, err := evidence.Look(cfg.Global.Capture.File)
	if err != nil {
		c.log.Warn("explain: the captures cannot be read", "err", err)
		return &evidence.Shelf{}
	}
	return s
}

// past describes a connection that has ended.
func (c control) past(p *recall.Ended, shelf *evidence.Shelf) admin.PastConnection {
	e := &p.Event
	v := admin.PastConnection{
		Connection: c.verdict(&entry{*e, p.Names}), Accepted: e.Accepted, DNSLists: list(e.Listing.Sites.Names(p.Names.Sites)),
		DNSRank: int(e.Listing.Rank), Lines: list(c.lines.linesOf(e, p.Names)),
		Treatment: &admin.Treatment{DelayMs: e.Delay.Milliseconds(), Refusal: e.Refusal.String(), OnEarlyTalk: e.Talk.String()},
	}
	if e.Verdict == dataplane.VerdictEarlyTalker || e.Observed {
		at := e.Closed
		if e.Observed {
			at = e.FirstByte
		}
		v.Capture = shelf.At(c.clock.Wall(at))
	}
	return v
}

// explainClient adds what is known of the client that an address belongs to, and what its next connection would get.
func (c control) explainClient(ctx context.Context, now inForce, a netip.Addr, v *admin.Explanation, sig policy.Signature) error {
	addr := wire.AddrFrom(a)
	if t := now.plan.Tables.Shard.Policy; t != nil {
		v.Lists = list(t.ListsWith(addr))
	}
	answers, verdict := c.lists.said(a)
	v.DNSAnswers = append(v.DNSAnswers, answers...)
	spread := c.spreading()
	l := c.loops[spread.Shard(addr, len(c.loops))]
	type answer struct {
		known policy.Known
		next  []admin.Outlook
	}
	got, ok := drive.Look(ctx, l, func(s *dataplane.Shard) (got answer) {
		s.Apply(dataplane.WithMemory{Now: c.clock.Now(), Do: func(m *policy.Memory, at mono.Time) {
			f := foresight{now, m, policy.Client{Addr: addr}, sig, s.Load(), verdict, at}
			got.known, got.next = m.Known(addr, at), f.all()
		}})
		return got
	})
	if !ok {
		return fmt.Errorf("ask a shard: %w", context.Cause(ctx))
	}
	if got.next == nil { // nothing is remembered of clients, and all are treated alike
		got.next = now.plainOutlook()
	}
	if p := got.known.Pass; p != nil {
		v.Passes = append(v.Passes, passOf(p))
	}
	if o := got.known.Offender; o != nil {
		v.Offenders = append(v.Offenders, offenderOf(o, c.inKernel()))
	}
	of := admin.ClientQuery{Client: netip.PrefixFrom(a, a.BitLen()), Limit: a.BitLen()} // so many networks have the address
	if _, err := c.inKernelAlone(ctx, of, place{shard: kernelPart}, &v.Offenders); err != nil {
		return err
	}
	if slices.ContainsFunc(v.Offenders, func(o admin.Offender) bool { return o.Kernel }) {
		now.keptOut(got.next)
	}
	v.Next = append(v.Next, got.next...)
	if u := got.known.Connections; u != nil {
		v.Clients = append(v.Clients, usageOf(u))
	}
	return nil
}

// explainNetwork adds what is known of the clients of a network.
func (c control) explainNetwork(ctx context.Context, n netip.Prefix, limit int, v *admin.Explanation) error {
	passes, more, err := whole(limit, func(cursor string, left int) ([]admin.Pass, string, error) {
		p, err := c.Passes(ctx, admin.ClientQuery{Client: n, Cursor: cursor, Limit: left})
		return p.Passes, p.Next, err
	})
	if err != nil {
		return err
	}
	v.Passes, v.Partial = append(v.Passes, passes...), v.Partial || more
	offenders, more, err := whole(limit, func(cursor string, left int) ([]admin.Offender, string, error) {
		p, err := c.Offenders(ctx, admin.ClientQuery{Client: n, Cursor: cursor, Limit: left})
		return p.Offenders, p.Next, err
	})
	if err != nil {
		return err
	}
	v.Offenders, v.Partial = append(v.Offenders, offenders...), v.Partial || more
	clients, more, err := whole(limit, func(cursor string, left int) ([]admin.ClientUsage, string, error) {
		p, err := c.Clients(ctx, admin.ClientQuery{Client: n, Cursor: cursor, Limit: left})
		return p.Clients, p.Next, err
	})
	v.Clients, v.Partial = append(v.Clients, clients...), v.Partial || more
	return err
}

// whole puts the parts of a list together, until it is whole or as long as may be. It reports whether there is more. A part that is full
// has a cursor even if nothing follows, so only an entry beyond the limit proves that there is more.
func whole[T any](limit int, part func(cursor string, left int) ([]T, string, error)) (all []T, more bool, err error) {
	for cursor := ""; len(all) <= limit; {
		some, next, err := part(cursor, limit+1-len(all))
		if err != nil {
			return nil, false, err
		}
		all = append(all, some...)
		if cursor = next; next == "" {
			break
		}
	}
	if len(all) > limit {
		return all[:limit], true, nil
	}
	return all, false, nil
}
