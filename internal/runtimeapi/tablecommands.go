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

// lookup is what a command asks of a table: one client, or all that meet conditions.
type lookup struct {
	*table
	client     netip.Addr // not valid: all
	conditions []condition
	memory     admin.Memory
}

// lookup reads the arguments of a command. usage is the error if they are of no known kind.
func (c *client) lookup(ctx context.Context, args []string, usage error) (l lookup, err error) {
	if l.table, err = tableNamed(args); err != nil {
		return l, err
	}
	switch rest := args[1:]; {
	case len(rest) == 0:
	case rest[0] == "key" && c.level < Operator:
		return l, denied
	case rest[0] == "key" && len(rest) == 1:
		return l, noKey
	case rest[0] == "key":
		if l.client, err = parseKey(rest[1]); err != nil {
			return l, err
		}
	case strings.HasPrefix(rest[0], "data."):
		if l.conditions, err = l.table.conditions(rest); err != nil {
			return l, err
		}
	default:
		return l, usage
	}
	return l, c.inTurn(ctx, func(ctx context.Context) error {
		s, err := c.server.Gateway.Status(ctx)
		l.memory = s.Memory
		return err
	})
}

// each has do take the entries that were asked for, page by page, until there are no more.
func (c *client) each(ctx context.Context, l *lookup, do func(ctx context.Context, list []tableEntry) error, between func() error) error {
	q := admin.ClientQuery{Limit: entriesPage}
	if l.client.IsValid() {
		q.Client = only(l.client)
	}
	for {
		err := c.inTurn(ctx, func(ctx context.Context) error {
			list, next, err := l.page(ctx, c.server.Gateway, &l.memory, q)
			if err != nil {
				return err
			}
			q.Cursor = next
			return do(ctx, slices.DeleteFunc(list, func(e tableEntry) bool { return !e.client.IsValid() || !e.meets(l.conditions) }))
		})
		if err != nil || q.Cursor == "" {
			return err
		}
		if err := between(); err != nil {
			return err
		}
	}
}

func (l *lookup) header(b *strings.Builder) {
	used, size := l.entries(&l.memory)
	fmt.Fprintf(b, "# table: %s, type: ipv6, size:%d, used:%d\n", l.name, size, used)
}

func showTable(ctx context.Context, c *client, args []string) (string, error) {
	var b strings.Builder
	if len(args) == 0 {
		for i := range tables {
			l, err := c.lookup(ctx, []string{tables[i].name}, wantShow)
			if err != nil {
				return "", err
			}
			l.header(&b)
		}
		return b.String(), nil
	}
	l, err := c.lookup(ctx, args, wantShow)
	if err != nil {
		return "", err
	}
	if !l.client.IsValid() {
		l.header(&b)
	}
	if c.level < Operator {
		b.WriteString("# contents not dumped due to insufficient privileges\n")
		return b.String(), nil
	}
	n := 0
	err = c.each(ctx, &l, func(_ context.Context, list []tableEntry) error {
		if n == 0 && l.client.IsValid() && len(list) > 0 {
			l.header(&b)
		}
		for i := range list {
			n++
			l.write(&b, n, &list[i])
		}
		return nil
	}, func() error {
		err := c.send(b.String())
		b.Reset()
		return err
	})
	return b.String(), err
}

// write writes an entry. HAProxy begins with its address in memory, hushgate with its number in the answer.
func (l *lookup) write(b *strings.Builder, n int, e *tableEntry) {
	fmt.Fprintf(b, "%#x: key=%s use=%d exp=%d", n, asKey(e.client), e.use, e.leftMs)
	for i, name := range l.columns {
		if name == "conn_rate" {
			name += fmt.Sprintf("(%d)", l.memory.RateWindowMs)
		}
		fmt.Fprintf(b, " %s=%d", name, e.data[i])
	}
	b.WriteByte('\n')
}

func clearTable(ctx context.Context, c *client, args []string) (string, error) {
	if len(args) == 0 {
		return "", wantClear
	}
	l, err := c.lookup(ctx, args, wantClear)
	if err != nil {
		return "", err
	}
	if c.level < Operator {
		return "", denied
	}
	cleared := 0
	err = c.each(ctx, &l, func(ctx context.Context, list []tableEntry) error {
		var clients []netip.Addr
		for _, e := range list {
			if e.use > 0 && l.client.IsValid() {
				return inUse
			}
			if e.use == 0 {
				clients = append(clients, e.client)
			}
		}
		cleared += len(clients)
		if len(clients) == 0 {
			return nil
		}
		return l.clear(ctx, c.server.Gateway, clients)
	}, func() error { return nil })
	c.server.Log.Info("stats socket", "asked", clip(append([]string{"clear table"}, args...)), "cleared", cleared, "err", err)
	return "", err
}

func setTable(ctx context.Context, c *client, args []string) (string, error) {
	if len(args) == 0 {
		return "", wantSetKey
	}
	t, err := tableNamed(args)
	if err != nil {
		return "", err
	}
	switch rest := append(args[1:len(args):len(args)], ""); {
	case len(args) == 1:
		return "", nil // as in HAProxy
	case strings.HasPrefix(rest[0], "data."):
		return "", onlyLookups
	case rest[0] != "key":
		return "", wantSetKey
	case c.level < Operator:
		return "", denied
	case len(args) == 2:
		return "", noKey
	}
	client, err := parseKey(args[2])
	if err != nil {
		return "", err
	}
	changes, err := t.changes(args[3:])
	if err != nil {
		return "", err
	}
	for _, to := range changes {
		if err = t.set(ctx, c.server.Gateway, client, to.column, to.value); err != nil {
			break
		}
	}
	c.server.Log.Info("stats socket", "asked", clip(append([]string{"set table"}, args...)), "err", err)
	return "", err
}

// changes reads the columns to set, and to what; without any, an entry is to be made.
func (t *table) changes(args []string) (list []condition, err error) {
	if len(args) == 0 {
		return []condition{{column: -1}}, nil
	}
	for i := 0; i < len(args); i += 2 {
		c := condition{}
		if !strings.HasPrefix(args[i], "data.") {
			return nil, answerError("\"data.<type>\" followed by a value expected\n")
		}
		if c.column, err = t.column(args[i], ""); err != nil {
			return nil, err
		}
		if i+1 < len(args) {
			c.value, err = strconv.ParseInt(args[i+1], 10, 64)
		}
		if i+1 == len(args) || err != nil {
			return nil, answerError("Require a valid integer value to store\n")
		}
		list = append(list, c)
	}
	return list, nil
}
