package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"hushgate/internal/admin"
)

// ConnFilter selects connections by what a person has said. Empty: all.
type ConnFilter struct {
	Phases                   []string
	Client, Frontend, Server string
}

// orders are how connections can be sorted: what a person looks for comes first.
var orders = map[string]func(a, b *admin.Connection) int{
	"age":    func(a, b *admin.Connection) int { return cmp.Compare(b.AgeMs, a.AgeMs) },
	"left":   func(a, b *admin.Connection) int { return cmp.Compare(left(a), left(b)) },
	"bytes":  func(a, b *admin.Connection) int { return cmp.Compare(octets(b), octets(a)) },
	"client": func(a, b *admin.Connection) int { return compareAddr(a.Client, b.Client) },
	"server": func(a, b *admin.Connection) int {
		return cmp.Or(cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Server, b.Server))
	},
	"phase": func(a, b *admin.Connection) int { return cmp.Compare(a.Phase, b.Phase) },
}

// Orders lists the names of the orders.
func Orders() []string { return slices.Sorted(maps.Keys(orders)) }

// left is how long a client still waits. Those that do not wait come last.
func left(c *admin.Connection) int64 {
	if c.DelayLeftMs == nil {
		return 1<<63 - 1
	}
	return *c.DelayLeftMs
}

func octets(c *admin.Connection) uint64 { return c.BytesToClient + c.BytesToServer }

func compareAddr(a, b string) int {
	x, _ := netip.ParseAddrPort(a)
	y, _ := netip.ParseAddrPort(b)
	return x.Compare(y)
}

// ConnOptions say how connections are listed.
type ConnOptions struct {
	Sort    string // one of Orders, or empty: as they come
	Reverse bool
	Limit   int // 0: all
	JSON    bool
}

// Check finds options that make no sense.
func (o *ConnOptions) Check() error {
	if _, ok := orders[o.Sort]; !ok && o.Sort != "" {
		return fmt.Errorf("--sort: expected %s, found %q", strings.Join(Orders(), ", "), o.Sort)
	}
	if o.Limit < 0 {
		return fmt.Errorf("--limit: expected 0 or more, found %d", o.Limit)
	}
	return nil
}

// partSize is how many connections are asked for at once.
const partSize = 1000

// Connections lists connections. What does not fit within the limit is counted on notes, so that a list that is not whole never
// looks as if it were.
func (c *Client) Connections(ctx context.Context, w, notes io.Writer, f *ConnFilter, o *ConnOptions) error {
	all, more, err := c.collect(ctx, f.query(), o)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		if err := c.checkNames(ctx, f); err != nil {
			return err
		}
	}
	if o.JSON {
		err = writeJSON(w, all)
	} else {
		err = showConnections(w, all)
	}
	if more > 0 {
		_, _ = fmt.Fprintf(notes, "%d more connections are not shown: see --limit\n", more)
	}
	return err
}

// checkNames finds a wrong name in a filter that has selected nothing: there may be no such frontend or server.
func (c *Client) checkNames(ctx context.Context, f *ConnFilter) error {
	if err := c.checkFrontend(ctx, f.Frontend); err != nil || f.Server == "" {
		return err
	}
	path, err := serverPath(f.Server)
	if err != nil {
		return err
	}
	return c.get(ctx, path, nil)
}

func (f *ConnFilter) query() url.Values {
	q := url.Values{"limit": {strconv.Itoa(partSize)}}
	for name, v := range map[string]string{"phase": strings.Join(f.Phases, ","), "client": f.Client, "frontend": f.Frontend, "server": f.Server} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q
}

// collect reads all parts. It never holds many more connections than the limit.
func (c *Client) collect(ctx context.Context, q url.Values, o *ConnOptions) (all []admin.Connection, more int, err error) {
	all = []admin.Connection{}
	for {
		var p admin.ConnectionPage
		if err := c.ask(ctx, http.MethodGet, "/v1/connections", q, nil, &p); err != nil {
			return nil, 0, err
		}
		all = append(all, p.Connections...)
		if o.Limit > 0 && len(all) > o.Limit+partSize || p.Next == "" {
			o.sort(all)
			if o.Limit > 0 && len(all) > o.Limit {
				more += len(all) - o.Limit
				all = all[:o.Limit]
			}
		}
		if p.Next == "" {
			return all, more, nil
		}
		q.Set("cursor", p.Next)
	}
}

func (o *ConnOptions) sort(all []admin.Connection) {
	by, ok := orders[o.Sort]
	if !ok {
		return
	}
	slices.SortStableFunc(all, func(a, b admin.Connection) int {
		if o.Reverse {
			return by(&b, &a)
		}
		return by(&a, &b)
	})
}

func showConnections(w io.Writer, all []admin.Connection) error {
	t := newTable(w, "CLIENT", "FRONTEND", "PHASE", "AGE", "LEFT", "SERVER", "TO-CLIENT", "TO-SERVER")
	for i := range all {
		c := &all[i]
		wait, server := "-", "-"
		if c.DelayLeftMs != nil {
			wait = span(*c.DelayLeftMs)
		}
		if c.Server != "" {
			server = c.Backend + "/" + c.Server
		}
		t.row(c.Client, c.Frontend, c.Phase, span(c.AgeMs), wait, server, size(c.BytesToClient), size(c.BytesToServer))
	}
	return t.end()
}

// Kill ends connections, and says how many.
func (c *Client) Kill(ctx context.Context, w io.Writer, asJSON bool, f *ConnFilter, reset bool) error {
	if f.Client+f.Frontend+f.Server == "" {
		return errors.New("expected a client, --frontend or --server: otherwise every connection would end")
	}
	k := admin.KillRequest{Client: f.Client, Frontend: f.Frontend, Server: f.Server, Phases: f.Phases, How: "reply"}
	if reset {
		k.How = "reset"
	}
	var done admin.Ended
	if err := c.ask(ctx, http.MethodPost, "/v1/connections/kill", nil, &k, &done); err != nil {
		return err
	}
	if done.Ended == 0 {
		if err := c.checkNames(ctx, f); err != nil {
			return err
		}
	}
	if asJSON {
		return writeJSON(w, &done)
	}
	_, err := fmt.Fprintf(w, "%d connections ended\n", done.Ended)
	return ignoreClosed(err)
}
