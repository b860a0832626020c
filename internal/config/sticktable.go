package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/policy"
)

// stickTable is a `stick-table`: HAProxy counts the connections of clients in it. hushgate has one table for all frontends.
type stickTable struct {
	line        int
	connections bool          // stores conn_cur
	rate        time.Duration // the period of conn_rate; 0: not stored
}

// track is a `tcp-request connection track-sc0 src`: the connections of its clients are counted from here on.
type track struct {
	line    int
	counter string // "0"
	table   string // empty: that of the section
	when    *cond  // nil: all clients
}

// counted is a use of a count in a condition.
type counted struct {
	line    int
	fetch   string // as it stands in the file
	counter string // "0"; empty: by address (src_conn_cur)
	table   string // empty: the one that is tracked
	rate    bool
}

const wantStickTable = "type ip or ipv6, and size N"

// stickTable reads `stick-table type ip|ipv6 size N [expire T] [store conn_cur,conn_rate(T)] [nopurge]`.
func (p *haproxyParser) stickTable(args []string, _ bool) {
	const name = "stick-table"
	t := &stickTable{line: p.line}
	kind, size, before := "", false, len(p.errs)
	for len(args) > 0 {
		word, value := args[0], ""
		if args = args[1:]; word != "nopurge" && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		switch word {
		case "type":
			kind = p.oneOf(p.line, name+" type", value, []string{"ip", "ipv6"})
		case "size":
			size = true
			if n, err := parseSize(value); err != nil || n == 0 {
				p.expected(p.line, name+" size", "a number such as 100k, above 0", value)
			}
		case "expire":
			if _, err := parseTime(value, time.Millisecond); err != nil {
				p.badTime(p.line, name+" expire", value, err)
			}
		case "nopurge": // an entry is kept as long as it has connections in any case
		case "store":
			p.store(t, value)
		case "peers", "srvkey", "recv-only", "write-to":
			p.wrong(p.line, name+" "+word, "not served: hushgate counts for itself alone")
		default:
			p.unknown(p.line, name, word, "word", []string{"type", "size", "expire", "store", "nopurge"})
		}
	}
	if len(p.errs) == before && (kind == "" || !size) {
		p.expected(p.line, name, wantStickTable, "")
	}
	if kind == "ip" {
		p.note(p.line, "stick-table type ip: IPv6 clients are counted too, where HAProxy counts them only with type ipv6")
	}
	if first := p.proxy.table; first != nil {
		p.wrong(p.line, name, "line %d has one already: a section has one table", first.line)
		return
	}
	p.proxy.table = t
}

// parseSize reads a number with HAProxy's units k, m and g.
func parseSize(s string) (int, error) {
	shift := 0
	if i := strings.IndexAny(s, "kKmMgG"); i >= 0 && i == len(s)-1 {
		shift = 10 * (1 + strings.Index("kmg", strings.ToLower(s[i:])))
		s = s[:i]
	}
	n, err := parseInt(s, 0, math.MaxInt32)
	if err == nil && n > math.MaxInt32>>shift {
		err = errors.New("too large")
	}
	return n << shift, err
}

// storable are the other counts that HAProxy can store. Nothing that hushgate has can ask for them.
var storable = strings.Fields("server_id gpt gpt0 gpc gpc_rate gpc0 gpc0_rate gpc1 gpc1_rate conn_cnt sess_cnt sess_rate " +
	"http_req_cnt http_req_rate http_err_cnt http_err_rate http_fail_cnt http_fail_rate bytes_in_cnt bytes_in_rate bytes_out_cnt bytes_out_rate")

var storeWord = regexp.MustCompile(`^([a-z0-9_]+)(?:\(([^)]*)\))?$`)

// store reads what a table counts.
func (p *haproxyParser) store(t *stickTable, words string) {
	const name = "stick-table store"
	for word := range strings.SplitSeq(words, ",") {
		m := storeWord.FindStringSubmatch(word)
		switch {
		case m == nil:
			p.expected(p.line, name, "conn_cur or conn_rate(T)", word)
		case m[1] == "conn_cur":
			t.connections = true
		case m[1] == "conn_rate":
			d, err := parseTime(m[2], time.Millisecond)
			switch {
			case err != nil:
				p.badTime(p.line, name+" conn_rate", m[2], err)
			case d < shortestWindow:
				p.expected(p.line, name+" conn_rate", formatTime(shortestWindow)+" or more", m[2])
			case t.rate > 0:
				p.warn(p.line, "conn_rate(%s) is ignored, as in HAProxy: the table has conn_rate(%s)", m[2], formatTime(t.rate))
			default:
				t.rate = d
			}
		case slices.Contains(storable, m[1]):
			p.note(p.line, "stick-table: %s has no effect: hushgate counts connections alone (conn_cur, conn_rate)", m[1])
		default:
			p.unknown(p.line, name, m[1], "count", append([]string{"conn_cur", "conn_rate"}, storable...))
		}
	}
}

var trackWord = regexp.MustCompile(`^track-sc([0-2])$`)

// track reads what follows `tcp-request connection` if it is a track-sc; false if it is not.
func (p *haproxyParser) track(args []string) bool {
	const name = "tcp-request connection"
	rules := &p.proxy.rules
	m := trackWord.FindStringSubmatch(argument(args))
	if m == nil {
		return false
	}
	wrong := func(reason string, more ...any) bool {
		p.wrong(p.line, name+" "+args[0], reason, more...)
		rules.broken = true
		return true
	}
	t := &track{line: p.line, counter: m[1]}
	rest := args[1:]
	if argument(rest) != "src" {
		return wrong("expected src, found %s: hushgate counts by the client's address", quote(argument(rest)))
	}
	if rest = rest[1:]; argument(rest) == "table" {
		if len(rest) < 2 {
			return wrong("table: expected the name of a section, found nothing")
		}
		t.table, rest = rest[1], rest[2:]
	}
	if len(rest) > 0 {
		when, errs := rules.parseCondition(rest, p.clientTest(""))
		for _, err := range errs {
			_ = wrong("%v", err)
		}
		if when.inspects() || when.counts() {
			return wrong("its condition may ask for addresses alone")
		}
		t.when = &when
	}
	switch first := rules.track; {
	case first != nil && first.counter == t.counter && first.when == nil:
		p.note(p.line, "%s has no effect: line %d tracks all clients already, as in HAProxy", args[0], first.line)
	case first != nil:
		return wrong("line %d tracks already: hushgate counts each connection once", first.line)
	default:
		rules.track = t
	}
	return true
}

var counterWord = regexp.MustCompile(`^(?:sc([0-2])_|sc_|src_)conn_(cur|rate)(?:\(([^)]*)\))?$`)

// isCounter reports whether a fetch is a count of the client's connections.
func isCounter(fetch string) bool { return counterWord.MatchString(fetch) }

// counterTest reads `sc0_conn_cur gt 50` and its like.
func (p *haproxyParser) counterTest(words []string) (cond, error) {
	m := counterWord.FindStringSubmatch(words[0])
	use := counted{line: p.line, fetch: words[0], counter: m[1], table: m[3], rate: m[2] == "rate"}
	if strings.HasPrefix(words[0], "sc_") { // sc_conn_cur(0), sc_conn_cur(0,table)
		use.counter, use.table, _ = strings.Cut(m[3], ",")
		if _, err := parseInt(use.counter, 0, 2); err != nil {
			return constant(never), fmt.Errorf("%s: expected the number of a counter, 0 to 2, in brackets", words[0])
		}
	}
	p.proxy.rules.counted = append(p.proxy.rules.counted, use)
	kind := policy.TestConnections
	if use.rate {
		kind = policy.TestRate
	}
	c, err := parseComparison(kind, words[1:])
	if err != nil {
		err = fmt.Errorf("%s: expected gt, ge, lt, le or eq and a number, found %s", words[0], quote(strings.Join(words[1:], " ")))
	}
	return c, err
}

var comparisons = map[string]policy.Compare{
	"gt": policy.GT, "ge": policy.GE, "lt": policy.LT, "le": policy.LE, "eq": policy.EQ,
}

// parseComparison reads numbers and ranges, one of which has to match, or an operator and a number.
func parseComparison(kind policy.TestKind, words []string) (cond, error) {
	if len(words) >= 2 && words[0] == "-m" && words[1] == "int" {
		words = words[2:]
	}
	compare := policy.EQ
	if len(words) == 2 {
		if op, ok := comparisons[words[0]]; ok {
			compare, words = op, words[1:]
		}
	}
	if len(words) == 0 {
		return constant(never), errors.New("a number is missing")
	}
	var any cond
	for i, word := range words {
		one, err := parseRange(kind, compare, word)
		if err != nil {
			return constant(never), err
		}
		if i > 0 {
			one = any.or(one)
		}
		any = one
	}
	return any, nil
}

// parseRange reads 5, 5:, :5 or 5:7.
func parseRange(kind policy.TestKind, compare policy.Compare, word string) (cond, error) {
	low, high, isRange := strings.Cut(word, ":")
	is := func(compare policy.Compare, number string) (cond, error) {
		n, err := strconv.ParseUint(number, 10, 32)
		return askAny(policy.Test{Kind: kind, Compare: compare, Number: uint32(n)}), err
	}
	switch {
	case !isRange:
		return is(compare, low)
	case compare != policy.EQ || low == "" && high == "":
		return constant(never), errors.New("not a number")
	case high == "":
		return is(policy.GE, low)
	case low == "":
		return is(policy.LE, high)
	}
	from, err := is(policy.GE, low)
	to, errTo := is(policy.LE, high)
	return from.and(to), errors.Join(err, errTo)
}

// counts reports whether a condition asks for the client's connections.
func (c *cond) counts() bool {
	return !c.leaves(func(leaf *cond) bool { return !leaf.isCount() })
}

func (c *cond) isCount() bool { return c.op == ofClient && slices.ContainsFunc(c.asks.any, isCount) }

func isCount(t policy.Test) bool {
	return t.Kind == policy.TestConnections || t.Kind == policy.TestRate
}

// onlyIf puts a condition before each count in c: of a client that is not tracked, HAProxy knows no count.
func (c *cond) onlyIf(when *cond) cond {
	switch {
	case when == nil:
		return *c
	case c.isCount():
		others := slices.DeleteFunc(slices.Clone(c.asks.any), isCount)
		counts := slices.DeleteFunc(slices.Clone(c.asks.any), func(t policy.Test) bool { return !isCount(t) })
		guarded := when.and(askAny(counts...))
		if len(others) == 0 {
			return guarded
		}
		return cond{op: anyOf, args: []cond{askAny(others...), guarded}}
	}
	out := *c
	out.args = slices.Clone(c.args)
	for i := range out.args {
		out.args[i] = out.args[i].onlyIf(when)
	}
	return out
}

// withCounts completes a rule that asks for the client's connections.
func (p *haproxyParser) withCounts(name string, r *rule) {
	rules := &p.proxy.rules
	if !r.when.counts() {
		return
	}
	switch {
	case name != "tcp-request connection":
		p.wrong(p.line, name, "cannot ask for a client's connections: use `tcp-request connection`")
		rules.broken = true
	case rules.track == nil:
		p.wrong(p.line, name, "asks for a client's connections, and no line before it tracks them, as `tcp-request connection track-sc0 src` does")
		rules.broken = true
	default:
		r.when = r.when.onlyIf(rules.track.when)
	}
}

// resolveTables finds the table in which clients are counted, and sets over which time.
func (r *resolver) resolveTables() {
	tables := map[string]*stickTable{}
	var names []string
	for _, p := range r.raw.proxies {
		switch first := tables[p.name]; {
		case p.table == nil:
		case first != nil:
			r.taken(p.table.line, "stick-table", p.name, first.line)
		default:
			tables[p.name] = p.table
			names = append(names, p.name)
		}
	}
	var used *stickTable
	named := map[string]bool{}
	for _, f := range r.raw.proxies {
		t := f.rules.track
		if t == nil || !f.takesClients() {
			continue
		}
		name := t.table
		if name == "" {
			name = f.name
		}
		table := tables[name]
		named[name] = true
		switch {
		case table == nil && !r.raw.partial:
			r.add(Error{
				Line: t.line, Keyword: "tcp-request connection track-sc" + t.counter, Expected: "a section with a stick-table",
				Found: quote(name), Suggestion: nearest(name, names),
			})
		case table == nil:
		case used != nil && used != table:
			r.wrong(t.line, "tcp-request connection track-sc"+t.counter, "hushgate counts in one table: let all frontends track in that of "+
				"line %d (track-sc%s src table NAME)", used.line, t.counter)
		default:
			used = table
			r.checkCounts(f, table, name)
		}
	}
	for _, name := range names {
		if t := tables[name]; !named[name] {
			r.note(t.line, "stick-table has no effect: no tcp-request connection track-sc0 uses it")
		}
	}
	if used != nil && used.rate > 0 {
		r.cfg.Global.RateWindow = used.rate
	}
}

// checkCounts reports conditions that ask for what is not counted.
func (r *resolver) checkCounts(f *rawProxy, table *stickTable, name string) {
	for _, c := range f.rules.counted {
		switch t := f.rules.track; {
		case c.counter != "" && c.counter != t.counter:
			r.wrong(c.line, c.fetch, "line %d tracks with counter %s", t.line, t.counter)
		case c.counter == "" && t.when != nil:
			r.wrong(c.line, c.fetch, "line %d tracks some clients only: write sc%s_ in place of src_", t.line, t.counter)
		case c.table != "" && c.table != name, c.counter == "" && c.table == "" && t.table != "" && t.table != f.name:
			r.wrong(c.line, c.fetch, "line %d tracks in the table %s: write sc%s_ without a table", t.line, quote(name), t.counter)
		case c.rate && table.rate == 0:
			r.wrong(c.line, c.fetch, "the stick-table on line %d does not store conn_rate(T)", table.line)
		case !c.rate && !table.connections:
			r.wrong(c.line, c.fetch, "the stick-table on line %d does not store conn_cur", table.line)
		}
	}
}
