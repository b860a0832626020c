package gateway

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/drive"
	"hushgate/internal/kernelset"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

const (
	// kernelPart is where a list of offenders has those that are in the kernel's set alone: behind all shards.
	kernelPart = math.MaxUint16
	// lookNames is how many clients are looked up between two batches: it takes as long as a look at lookPlaces.
	lookNames = 64
)

// Offenders implements admin.Viewer.
func (c control) Offenders(ctx context.Context, q admin.ClientQuery) (page admin.OffenderPage, err error) {
	kernel := c.inKernel()
	p, err := parsePlace(q.Cursor)
	if err != nil {
		return page, err
	}
	page.Offenders = []admin.Offender{}
	if p.shard < kernelPart {
		page.Offenders, page.Next, err = listClients(ctx, c, q, (*policy.Memory).ListOffenders, func(o *policy.Offender) admin.Offender {
			return offenderOf(o, kernel)
		})
		if err != nil || page.Next != "" {
			return page, err
		}
		p = place{shard: kernelPart}
	}
	page.Next, err = c.inKernelAlone(ctx, q, p, &page.Offenders)
	return page, err
}

// inKernel returns the clients whose SYNs the kernel drops, and for how long; 0 means for ever.
func (c control) inKernel() map[string]time.Duration {
	kernel := map[string]time.Duration{}
	for _, e := range c.kept.list() {
		kernel[e.Prefix.String()] = e.Left
	}
	return kernel
}

// offenderOf describes a client that a shard knows. One whose early talks would not make it an offender is one all the same if the
// kernel drops its SYNs: somebody has added it with nft.
func offenderOf(o *policy.Offender, kernel map[string]time.Duration) admin.Offender {
	v := admin.Offender{Client: prefixText(o.Addr, o.Bits), OffenceAgesMs: []int64{}}
	for _, age := range o.Ages {
		v.OffenceAgesMs = append(v.OffenceAgesMs, age.Milliseconds())
	}
	left := o.Left
	dropped, in := kernel[v.Client]
	if left <= 0 && in {
		left = dropped
	}
	v.Kernel, v.Listed, v.LeftMs = in, o.Left > 0 || in, new(int64)
	if *v.LeftMs = left.Milliseconds(); in && left == 0 {
		v.LeftMs = nil
	}
	return v
}

// inKernelAlone appends the entries of the kernel's set that no shard knows, from a place on, until the list is as long as the client
// wants. Others have added them with nft, or a shard has forgotten them for want of room. It returns the place with which to go on.
func (c control) inKernelAlone(ctx context.Context, q admin.ClientQuery, p place, list *[]admin.Offender) (next string, err error) {
	all := slices.DeleteFunc(c.kept.list(), func(e kernelset.Entry) bool { return q.Client.IsValid() && !q.Client.Overlaps(e.Prefix) })
	slices.SortFunc(all, func(a, b kernelset.Entry) int { return a.Prefix.Compare(b.Prefix) })
	for turns := 0; int(p.at) < len(all); turns++ {
		if len(*list) >= q.Limit || turns >= lookTurns {
			return p.String(), nil
		}
		part := all[p.at:min(int(p.at)+lookNames, len(all))]
		known, err := c.knownToShards(ctx, part)
		if err != nil {
			return "", err
		}
		for i, e := range part {
			if len(*list) >= q.Limit {
				break
			}
			p.at++
			if !known[i] {
				*list = append(*list, kernelOffender(e))
			}
		}
	}
	return "", nil
}

func kernelOffender(e kernelset.Entry) admin.Offender {
	v := admin.Offender{Client: e.Prefix.String(), Listed: true, OffenceAgesMs: []int64{}, Kernel: true}
	if e.Left > 0 {
		ms := e.Left.Milliseconds()
		v.LeftMs = &ms
	}
	return v
}

// knownToShards reports which entries of the kernel's set are clients of whose early talk a shard knows.
func (c control) knownToShards(ctx context.Context, list []kernelset.Entry) (known []bool, err error) {
	known = make([]bool, len(list))
	for _, l := range c.loops {
		got, ok := drive.Look(ctx, l, func(s *dataplane.Shard) (got []bool) {
			s.Apply(dataplane.WithMemory{Now: c.clock.Now(), Do: func(m *policy.Memory, now mono.Time) {
				got = make([]bool, len(list))
				for i, e := range list {
					o := m.Known(wire.AddrFrom(e.Prefix.Addr()), now).Offender
					got[i] = o != nil && prefixOf(policy.Network{Addr: o.Addr, Bits: o.Bits}) == e.Prefix
				}
			}})
			return got
		})
		if !ok {
			return nil, fmt.Errorf("ask a shard: %w", context.Cause(ctx))
		}
		for i := range got {
			known[i] = known[i] || got[i]
		}
	}
	return known, nil
}

// ListOffender implements admin.Operator.
func (c control) ListOffender(ctx context.Context, client netip.Prefix, left time.Duration) (netip.Prefix, error) {
	client, err := c.AddOffender(ctx, client, left)
	return client, refused(err)
}

// ForgiveOffender implements admin.Operator.
func (c control) ForgiveOffender(ctx context.Context, client netip.Prefix) (netip.Prefix, bool, error) {
	client, found, err := c.RemoveOffender(ctx, client)
	return client, found, refused(err)
}
