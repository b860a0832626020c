package runtimeapi

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"hushgate/internal/admin"
)

// What is remembered of clients looks like HAProxy's stick tables of type ipv6. The address of an IPv4 client is written as one of
// IPv6, and a client that is a network by the network's address, as with HAProxy's converter ipmask.

const (
	noTable     = answerError("No such table\n")
	noKey       = answerError("Key value expected\n")
	badKey      = answerError("Invalid key\n")
	denied      = answerError("Permission denied\n")
	wantShow    = answerError("Optional argument only supports \"data.<store_data_type>\" <operator> <value> and key <key>\n")
	wantClear   = answerError("Required arguments: <table> \"data.<store_data_type>\" <operator> <value> or <table> key <key>\n")
	wantSetKey  = answerError("Required arguments: <table> key <key> [data.<store_data_type> <value>]*\n")
	onlyLookups = answerError("content-based lookup is only supported with the \"show\" and \"clear\" actions\n")
	inUse       = answerError("Entry currently in use, cannot remove\n")
	notSettable = answerError("hushgate counts this itself: it cannot be set\n")
	entriesPage = 256
	longest     = 1<<31 - 1 // ms: for ever, as HAProxy's longest time
)

// dataTypes are all types that a table of HAProxy 2.6 may store. Those in a table here are its columns.
var dataTypes = strings.Fields(`server_id gpt0 gpc0 gpc0_rate conn_cnt conn_rate conn_cur sess_cnt sess_rate http_req_cnt http_req_rate
	http_err_cnt http_err_rate bytes_in_cnt bytes_in_rate bytes_out_cnt bytes_out_rate gpc1 gpc1_rate server_key http_fail_cnt
	http_fail_rate gpt gpc gpc_rate`)

// tableEntry is what is remembered of one client.
type tableEntry struct {
	client netip.Addr
	use    int
	leftMs int64
	data   []int64 // by column
}

// table is one of them.
type table struct {
	name    string
	columns []string
	entries func(m *admin.Memory) (used, size int)
	// page lists a part of the table, or of what it has of a network.
	page func(ctx context.Context, g admin.Gateway, m *admin.Memory, q admin.ClientQuery) (list []tableEntry, next string, err error)
	// clear forgets clients. Those that are in use stay.
	clear func(ctx context.Context, g admin.Gateway, clients []netip.Addr) error
	// set makes an entry, or sets a column of one; column is negative if none was named.
	set func(ctx context.Context, g admin.Gateway, client netip.Addr, column int, value int64) error
}

// tables are all tables, in the order of `show table`.
var tables = []table{
	{
		name: "clients", columns: []string{"conn_rate", "conn_cur"},
		entries: func(m *admin.Memory) (int, int) { return m.Clients, m.MaxClients },
		page: func(ctx context.Context, g admin.Gateway, m *admin.Memory, q admin.ClientQuery) (list []tableEntry, next string, err error) {
			p, err := g.Clients(ctx, q)
			for _, c := range p.Clients {
				list = append(list, tableEntry{addrOf(c.Client), c.Connections, m.RateWindowMs, []int64{int64(c.Rate), int64(c.Connections)}})
			}
			return list, p.Next, err
		},
		clear: func(ctx context.Context, g admin.Gateway, clients []netip.Addr) error {
			_, err := g.ForgetRates(ctx, clients)
			return err
		},
		set: func(ctx context.Context, g admin.Gateway, client netip.Addr, column int, value int64) error {
			if column != 0 || value != 0 {
				return notSettable
			}
			_, err := g.ForgetRates(ctx, []netip.Addr{client})
			return err
		},
	},
	{
		name: "offenders", columns: []string{"gpt0", "gpc0"},
		entries: func(m *admin.Memory) (int, int) { return m.Offenders, m.MaxOffenders },
		page: func(ctx context.Context, g admin.Gateway, m *admin.Memory, q admin.ClientQuery) (list []tableEntry, next string, err error) {
			p, err := g.Offenders(ctx, q)
			for i := range p.Offenders {
				o := &p.Offenders[i]
				e := tableEntry{addrOf(o.Client), 0, longest, []int64{0, int64(len(o.OffenceAgesMs))}}
				if o.LeftMs != nil {
					e.leftMs = *o.LeftMs
				}
				if o.Listed {
					e.data[0] = 1
				} else if n := len(o.OffenceAgesMs); n > 0 {
					e.leftMs = max(0, m.WithinMs-slices.Min(o.OffenceAgesMs))
				}
				list = append(list, e)
			}
			return list, p.Next, err
		},
		clear: func(ctx context.Context, g admin.Gateway, clients []netip.Addr) error {
			for _, c := range clients {
				if _, _, err := g.ForgiveOffender(ctx, only(c)); err != nil {
					return err
				}
			}
			return nil
		},
		set: func(ctx context.Context, g admin.Gateway, client netip.Addr, column int, value int64) error {
			switch {
			case column > 0:
				return notSettable
			case column == 0 && value == 0:
				_, _, err := g.ForgiveOffender(ctx, only(client))
				return err
			}
			_, err := g.ListOffender(ctx, only(client), 0)
			return err
		},
	},
	{
		name: "passes", columns: []string{"gpt0"},
		entries: func(m *admin.Memory) (int, int) { return m.Passes, m.MaxPasses },
		page: func(ctx context.Context, g admin.Gateway, _ *admin.Memory, q admin.ClientQuery) (list []tableEntry, next string, err error) {
			p, err := g.Passes(ctx, q)
			for _, v := range p.Passes {
				list = append(list, tableEntry{addrOf(v.Client), 0, v.LeftMs, []int64{v.AgeMs / 1000}})
			}
			return list, p.Next, err
		},
		clear: func(ctx context.Context, g admin.Gateway, clients []netip.Addr) error {
			_, err := g.TakePasses(ctx, clients)
			return err
		},
		set: func(ctx context.Context, g admin.Gateway, client netip.Addr, column int, _ int64) error {
			if column >= 0 {
				return notSettable
			}
			return g.GrantPass(ctx, client)
		},
	},
}

// addrOf returns the address of a client, which the control API names by its network.
func addrOf(client string) netip.Addr {
	p, _ := netip.ParsePrefix(client)
	return p.Addr()
}

// only is the network with one address.
func only(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// asKey writes an address as a key of the type ipv6.
func asKey(a netip.Addr) string {
	if a.Is4() {
		return "::ffff:" + a.String()
	}
	return a.String()
}

// parseKey reads an address. An IPv4 address may have either form.
func parseKey(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() {
		return a, badKey
	}
	return a.Unmap(), nil
}

// tableNamed finds the table that the first argument names.
func tableNamed(args []string) (*table, error) {
	for i := range tables {
		if len(args) > 0 && tables[i].name == args[0] {
			return &tables[i], nil
		}
	}
	return nil, noTable
}

// column finds a column of the table by an argument such as data.gpc0; prefix begins an error.
func (t *table) column(word, prefix string) (int, error) {
	name := word[min(len("data."), len(word)):] // HAProxy does not look at the rest either
	if i := slices.Index(t.columns, name); i >= 0 {
		return i, nil
	}
	if slices.Contains(dataTypes, name) {
		return 0, answerError(prefix + "Data type not stored in this table\n")
	}
	return 0, answerError(prefix + "Unknown data type\n")
}

// condition is one of a lookup by content.
type condition struct {
	column   int
	operator string
	value    int64
}

// maxConditions is how many a lookup may have, as in HAProxy.
const maxConditions = 4

func (t *table) conditions(args []string) (list []condition, err error) {
	for i := 0; 3*i < len(args) && i < maxConditions; i++ {
		words := append(slices.Clone(args[3*i:min(3*i+3, len(args))]), "", "")
		prefix := fmt.Sprintf("Filter entry #%d: ", i+1)
		c := condition{operator: words[1]}
		if c.column, err = t.column(words[0], prefix); err != nil {
			return nil, err
		}
		if !slices.Contains([]string{"eq", "ne", "le", "ge", "lt", "gt"}, c.operator) {
			return nil, answerError(prefix + "Require and operator among \"eq\", \"ne\", \"le\", \"ge\", \"lt\", \"gt\"\n")
		}
		if c.value, err = strconv.ParseInt(words[2], 10, 64); err != nil {
			return nil, answerError(prefix + "Require a valid integer value to compare against\n")
		}
		list = append(list, c)
	}
	return list, nil
}

func (c condition) holds(v int64) bool {
	switch c.operator {
	case "eq":
		return v == c.value
	case "ne":
		return v != c.value
	case "le":
		return v <= c.value
	case "ge":
		return v >= c.value
	case "lt":
		return v < c.value
	}
	return v > c.value
}

func (e *tableEntry) meets(list []condition) bool {
	return !slices.ContainsFunc(list, func(c condition) bool { return !c.holds(e.data[c.column]) })
}
