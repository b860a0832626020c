package console

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	"hushgate/internal/admin"
)

// Passes lists the passes of clients within a network, or of all.
func (c *Client) Passes(ctx context.Context, w io.Writer, asJSON bool, network string) error {
	q := url.Values{"limit": {strconv.Itoa(partSize)}}
	if network != "" {
		q.Set("client", network)
	}
	all := []admin.Pass{}
	for {
		var p admin.PassPage
		if err := c.ask(ctx, http.MethodGet, "/v1/passes", q, nil, &p); err != nil {
			return err
		}
		all = append(all, p.Passes...)
		if p.Next == "" {
			break
		}
		q.Set("cursor", p.Next)
	}
	if asJSON {
		return writeJSON(w, all)
	}
	t := newTable(w, "CLIENT", "AGE", "LEFT")
	for _, p := range all {
		t.row(p.Client, span(p.AgeMs), span(p.LeftMs))
	}
	return t.end()
}

// host reads the address of a client.
func host(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return a, fmt.Errorf("expected the address of a client, such as 192.0.2.1 or 2001:db8::1, found %q", s)
	}
	return a.Unmap(), nil
}

// GrantPass gives the client of an address a pass.
func (c *Client) GrantPass(ctx context.Context, w io.Writer, asJSON bool, address string) error {
	a, err := host(address)
	if err != nil {
		return err
	}
	if err := c.ask(ctx, http.MethodPost, "/v1/passes", nil, &admin.ClientRequest{Client: a.String()}, nil); err != nil {
		return err
	}
	return changedPass(w, asJSON, a, "has a pass", true)
}

// TakePass takes the pass of the client of an address.
func (c *Client) TakePass(ctx context.Context, w io.Writer, asJSON bool, address string) error {
	a, err := host(address)
	if err != nil {
		return err
	}
	if err := c.ask(ctx, http.MethodDelete, "/v1/passes/"+a.String(), nil, nil, nil); err != nil {
		return err
	}
	return changedPass(w, asJSON, a, "has no pass any more", false)
}

// passChange is the answer in JSON.
type passChange struct {
	Client netip.Addr `json:"client"`
	Pass   bool       `json:"pass"`
}

func changedPass(w io.Writer, asJSON bool, a netip.Addr, words string, pass bool) error {
	if asJSON {
		return writeJSON(w, passChange{a, pass})
	}
	_, err := fmt.Fprintln(w, a, words)
	return ignoreClosed(err)
}
