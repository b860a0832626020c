package console

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// OffenderOptions say which offenders are listed.
type OffenderOptions struct {
	Network string // empty: all
	All     bool   // also clients whose early talks do not make them offenders yet
	JSON    bool
}

// Offenders lists the offenders.
func (c *Client) Offenders(ctx context.Context, w io.Writer, o *OffenderOptions) error {
	q := url.Values{"limit": {strconv.Itoa(partSize)}}
	if o.Network != "" {
		q.Set("client", o.Network)
	}
	all := offenderList{}
	for {
		var p admin.OffenderPage
		if err := c.ask(ctx, http.MethodGet, "/v1/offenders", q, nil, &p); err != nil {
			return err
		}
		for i := range p.Offenders {
			if v := &p.Offenders[i]; v.Listed || o.All {
				all.add(v)
			}
		}
		if p.Next == "" {
			break
		}
		q.Set("cursor", p.Next)
	}
	if o.JSON {
		return writeJSON(w, all.sorted())
	}
	return showOffenders(w, all.sorted())
}

// offenderList has each client once. The API has one whose addresses belong to several shards once for each that knows it.
type offenderList map[string]admin.Offender

func (l offenderList) add(o *admin.Offender) {
	if was, ok := l[o.Client]; ok {
		o.Listed, o.Kernel = o.Listed || was.Listed, o.Kernel || was.Kernel
		if was.LeftMs == nil || o.LeftMs != nil && *was.LeftMs > *o.LeftMs {
			o.LeftMs = was.LeftMs
		}
		o.OffenceAgesMs = slices.Concat(was.OffenceAgesMs, o.OffenceAgesMs)
		slices.Sort(o.OffenceAgesMs)
	}
	l[o.Client] = *o
}

// sorted returns the list in the order of addresses.
func (l offenderList) sorted() []admin.Offender {
	list := []admin.Offender{}
	for _, o := range l {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b admin.Offender) int {
		x, _ := netip.ParsePrefix(a.Client)
		y, _ := netip.ParsePrefix(b.Client)
		return cmp.Or(x.Compare(y), cmp.Compare(a.Client, b.Client))
	})
	return list
}

func showOffenders(w io.Writer, all []admin.Offender) error {
	t := newTable(w, "CLIENT", "LEFT", "EARLY TALKS", "LAST", "DROPPED BY THE KERNEL")
	for i := range all {
		o := &all[i]
		left, last, kernel := "-", "-", "no"
		switch {
		case o.Listed && o.LeftMs == nil:
			left = "for ever"
		case o.Listed:
			left = span(*o.LeftMs)
		}
		if len(o.OffenceAgesMs) > 0 {
			last = span(slices.Min(o.OffenceAgesMs)) + " ago"
		}
		if o.Kernel {
			kernel = "yes"
		}
		t.row(clientText(o.Client), left, len(o.OffenceAgesMs), last, kernel)
	}
	return t.end()
}

// clientText writes a client of one address as that address.
func clientText(client string) string {
	if p, err := netip.ParsePrefix(client); err == nil && p.IsSingleIP() {
		return p.Addr().String()
	}
	return client
}

// AddOffender makes the client that an address belongs to, or that a network is, an offender; left is 0 for as long as the
// configuration says.
func (c *Client) AddOffender(ctx context.Context, w io.Writer, asJSON bool, who netip.Prefix, left time.Duration) error {
	r := admin.OffenderRequest{Client: whoText(who), ForMs: left.Milliseconds()}
	var done admin.ClientName
	if err := c.ask(ctx, http.MethodPost, "/v1/offenders", nil, &r, &done); err != nil {
		return err
	}
	return changedOffender(w, asJSON, &done, "is an offender")
}

// RemoveOffender forgets the early talk of a client.
func (c *Client) RemoveOffender(ctx context.Context, w io.Writer, asJSON bool, who netip.Prefix) error {
	var done admin.ClientName
	if err := c.ask(ctx, http.MethodDelete, "/v1/offenders/"+url.PathEscape(whoText(who)), nil, nil, &done); err != nil {
		return err
	}
	return changedOffender(w, asJSON, &done, "is no offender any more")
}

// whoText writes an address as such: then it stands for the client that it belongs to.
func whoText(who netip.Prefix) string { return clientText(who.String()) }

func changedOffender(w io.Writer, asJSON bool, client *admin.ClientName, words string) error {
	if asJSON {
		return writeJSON(w, client)
	}
	_, err := fmt.Fprintln(w, printable.Text(clientText(client.Client)), words)
	return ignoreClosed(err)
}
