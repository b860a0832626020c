package runtimeapi

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/admin"
)

// HAProxy's numbers for kinds of objects in `show stat`.
const (
	kindFrontend = 0
	kindBackend  = 1
	kindServer   = 2
)

// row is one object of `show stat`.
type row struct {
	object
	v                values
	running, servers int // of a backend
}

// statFilter says which objects are wanted.
type statFilter struct {
	proxy, kinds, server int // negative: all
	up, noMaint          bool
}

func showStat(ctx context.Context, c *client, args []string) (string, error) {
	v, err := c.server.look(ctx)
	if err != nil {
		return "", err
	}
	want, args, err := v.statFilter(args)
	if err != nil {
		return "", err
	}
	format := "csv"
	for _, word := range args {
		switch word {
		case "up":
			want.up = true
		case "no-maint":
			want.noMaint = true
		case "json", "typed":
			format = word
		}
	}
	var b strings.Builder
	all := [][]jsonItem{}
	if format == "csv" {
		b.WriteString("# ")
		for _, f := range statFields {
			b.WriteString(f.name + ",")
		}
		b.WriteByte('\n')
	}
	for _, r := range v.rows(c.server.now()) {
		c.server.Cleared.apply(&r)
		want.mark(&r)
		switch {
		case !want.wants(&r):
		case format == "json":
			all = append(all, items(statFields, r.object, r.v))
		case format == "typed":
			writeTyped(&b, statFields, r.object, r.v)
		default:
			writeCSV(&b, r.v)
		}
	}
	if format == "json" {
		return toJSON(all)
	}
	return b.String(), nil
}

// statFilter reads a filter: the number or name of a proxy, the kinds of objects as bits, and the number of a server.
func (v *view) statFilter(args []string) (f statFilter, rest []string, err error) {
	f = statFilter{proxy: -1, kinds: -1, server: -1}
	if len(args) < 3 {
		return f, args, nil
	}
	if f.proxy, err = strconv.Atoi(args[0]); err != nil {
		p := v.proxy(args[0])
		if p == nil {
			return f, nil, answerError("No such proxy.\n")
		}
		f.proxy = p.id
	}
	for i, to := range []*int{&f.kinds, &f.server} {
		if *to, err = strconv.Atoi(args[1+i]); err != nil {
			*to = 0 // as in HAProxy
		}
	}
	return f, args[3:], nil
}

// wants reports whether an object is wanted.
func (f *statFilter) wants(r *row) bool {
	kind := map[string]int{"Frontend": kindFrontend, "Backend": kindBackend, "Server": kindServer}[r.kind]
	switch status, _ := r.v["status"].(string); {
	case f.proxy >= 0 && f.proxy != r.proxy:
		return false
	case f.kinds >= 0 && f.kinds&(1<<kind) == 0, f.server >= 0 && kind == kindServer && f.server != r.sid:
		return false
	case f.noMaint && status == "MAINT":
		return false
	case f.up && kind == kindServer:
		return !strings.HasPrefix(status, "DOWN") && status != "MAINT"
	}
	return true
}

// mark adds to a backend's state how many servers it has, if not all are shown.
func (f *statFilter) mark(r *row) {
	if r.kind == "Backend" && (f.up || f.noMaint) {
		r.v["status"] = fmt.Sprintf("%v (%d/%d)", r.v["status"], r.running, r.servers)
	}
}

// rows lists all objects in HAProxy's order: of each proxy its frontend, its servers, its backend.
func (v *view) rows(now time.Time) (all []row) {
	up := int(v.status.UptimeMs / 1000)
	for _, p := range v.proxies {
		if p.front != nil {
			all = append(all, row{object{"Frontend", p.id, 0}, v.frontendValues(p), 0, 0})
		}
		for i := range p.servers {
			all = append(all, row{object{"Server", p.id, i + 1}, serverValues(p, i, now, up), 0, 0})
		}
		if p.backend {
			running := 0
			for i := range p.servers {
				if p.servers[i].Up && p.servers[i].State != admin.ServerMaint {
					running++
				}
			}
			all = append(all, row{object{"Backend", p.id, 0}, backendValues(p, now, up), running, len(p.servers)})
		}
	}
	return all
}

func (v *view) frontendValues(p *proxy) values {
	f := p.front
	status := "OPEN"
	switch {
	case f.Removed || v.status.State == admin.StateStopping:
		status = "STOP"
	case f.Disabled:
		status = "PAUSED"
	}
	total := f.Ended + uint64(f.Connections)
	return values{
		"pxname": p.name, "svname": "FRONTEND", "scur": f.Connections, "slim": v.status.MaxConn, "stot": total,
		"bin": f.BytesToServer, "bout": f.BytesToClient, "dreq": f.Verdicts["early-talker"], "dcon": f.Verdicts["refused"],
		"status": status, "pid": 1, "iid": p.id, "sid": 0, "type": kindFrontend, "mode": "tcp", "conn_tot": total, "-": "-",
	}
}

// sumOf adds up the numbers of a backend's servers.
func sumOf(servers []admin.Server) (s admin.Server) {
	for i := range servers {
		s.Connections += servers[i].Connections
		s.Ended += servers[i].Ended
		s.Failed += servers[i].Failed
		s.BytesToClient += servers[i].BytesToClient
		s.BytesToServer += servers[i].BytesToServer
	}
	return s
}

func backendValues(p *proxy, now time.Time, up int) values {
	weight, active, backup := p.usable()
	status := "UP"
	if active+backup == 0 {
		status = "DOWN"
	}
	lastchg := up
	for i := range p.servers {
		lastchg = min(lastchg, since(&p.servers[i], now, up))
	}
	s := sumOf(p.servers)
	v := values{
		"pxname": p.name, "svname": "BACKEND", "status": status, "weight": weight, "act": active, "bck": backup, "lastchg": lastchg,
		"pid": 1, "iid": p.id, "sid": 0, "type": kindBackend, "mode": "tcp", "algo": "roundrobin", "uweight": weight, "-": "-",
	}
	v.add(&s)
	return v
}

// add sets the numbers that servers and backends have alike.
func (v values) add(s *admin.Server) {
	total := s.Ended + uint64(s.Connections)
	v["qcur"], v["scur"], v["stot"], v["lbtot"] = 0, s.Connections, total, total
	v["bin"], v["bout"], v["econ"] = s.BytesToServer, s.BytesToClient, s.Failed
}

func serverValues(p *proxy, i int, now time.Time, up int) values {
	s := &p.servers[i]
	active := 1
	if s.Backup {
		active = 0
	}
	v := values{
		"pxname": p.name, "svname": s.Name, "status": statusOf(s), "weight": s.Weight, "act": active, "bck": 1 - active,
		"lastchg": since(s, now, up), "pid": 1, "iid": p.id, "sid": i + 1, "type": kindServer, "addr": s.Address, "mode": "tcp",
		"uweight": s.Weight, "-": "-",
	}
	v.add(s)
	if c := s.Check; c != nil && c.Enabled {
		v["chkfail"], v["chkdown"] = c.Failures, c.Downs
	}
	if checks(s) {
		v.addCheck(s)
	}
	return v
}

// addCheck sets what is known of a server's checks.
func (v values) addCheck(s *admin.Server) {
	c := s.Check
	v["check_rise"], v["check_fall"], v["check_health"] = c.Rise, c.Fall, health(s)
	v["check_status"], v["check_desc"] = "INI", "Initializing"
	if r := resultOf(c); r.known() {
		v["check_status"], v["check_desc"], v["check_duration"] = c.Code, r.desc, c.DurationMs
		v["last_chk"] = c.Text
		if c.Status != 0 {
			v["check_code"] = c.Status
		}
	}
}

// since returns for how many seconds a server is up or down.
func since(s *admin.Server, now time.Time, up int) int {
	if s.Since == nil {
		return up
	}
	return max(0, int(now.Sub(*s.Since).Seconds()))
}

// statusOf describes a server's state in HAProxy's words.
func statusOf(s *admin.Server) string {
	h := health(s)
	switch {
	case s.State == admin.ServerMaint:
		return "MAINT"
	case !s.Up && h > 0 && checks(s):
		return fmt.Sprintf("DOWN %d/%d", h, s.Check.Rise)
	case !s.Up:
		return "DOWN"
	}
	word := "UP"
	if s.State == admin.ServerDrain {
		word = "DRAIN"
	}
	switch {
	case checks(s) && h < s.Check.Rise+s.Check.Fall-1:
		return fmt.Sprintf("%s %d/%d", word, h-s.Check.Rise+1, s.Check.Fall)
	case word == "UP" && !checks(s):
		return "no check"
	}
	return word
}

// result is HAProxy's number and description of a check's result.
type result struct {
	code   string
	number int
	desc   string
}

// results are those that hushgate's checks have.
var results = []result{
	{"", 1, "Initializing"},
	{"L4OK", 6, "Layer4 check passed"},
	{"L4TOUT", 7, "Layer4 timeout"},
	{"L4CON", 8, "Layer4 connection problem"},
	{"L7TOUT", 12, "Layer7 timeout"},
	{"L7RSP", 13, "Layer7 invalid response"},
	{"L7OK", 15, "Layer7 check passed"},
	{"L7STS", 17, "Layer7 wrong status"},
}

// known reports whether there was a check.
func (r *result) known() bool { return r.code != "" }

// resultOf returns the result of the last check.
func resultOf(c *admin.Check) *result {
	if c != nil {
		if i := slices.IndexFunc(results, func(r result) bool { return r.code == c.Code }); i >= 0 {
			return &results[i]
		}
	}
	return &results[0]
}
