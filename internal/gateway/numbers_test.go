package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/health"
	"hushgate/internal/config"
	"hushgate/internal/dnsbl"
	"hushgate/internal/drive"
	"hushgate/internal/evidence"
	"hushgate/internal/kernelset"
	"hushgate/internal/logqueue"
	"hushgate/internal/metrics"
	"hushgate/internal/plan"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/wire"
)

// nobody is a target of the log.
type nobody struct{}

func (nobody) Write(b []byte) (int, error) { return len(b), nil }
func (nobody) Close() error                { return nil }

// lockedText is what several goroutines have written.
type lockedText struct {
	mu sync.Mutex
	strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.String()
}

// newCounted is a gateway that has everything that has numbers.
func newCounted(t *testing.T, log *slog.Logger) *operated {
	t.Helper()
	o := newOperatedBy(t, 2, strings.Replace(plantest.TwoFrontends, "reject: reply,", "reject: reply, access: [reject: 203.0.113.0/24],", 1)+
		"\noffenders: {action: tarpit}\n")
	o.keeper = &keeper{Keeper: new(evidence.Keeper)}
	if log != nil {
		o.log = log
	}
	o.kept.put(&fakeSet{in: map[netip.Prefix]time.Duration{}})
	o.messages = logqueue.New(logqueue.Options{Out: nobody{}})
	t.Cleanup(func() { _ = o.messages.Close(time.Second, time.Second) })
	lists := &config.DNSLists{
		Sites:   []dnsbl.Site{{Zone: "black.example", Name: "black.example", Weight: 1}},
		Timeout: time.Second, Resolvers: []netip.AddrPort{blackServer(t)}, MinTTL: time.Minute, MaxTTL: time.Hour, CacheEntries: 10, Queries: 10,
	}
	c, err := o.lists.prepare(lists, &plan.Tables{})
	if err != nil {
		t.Fatal(err)
	}
	c.commit()
	o.numbers.Set(&metrics.Names{Servers: namesOf(o.cfg).Servers, Lists: []string{"black.example"}})
	o.state.checked(0, &health.Report{Result: health.Result{Code: health.L4CON}}, time.Now())
	return o
}

// scrape returns what Prometheus gets.
func (o *operated) scrape(t *testing.T) string {
	t.Helper()
	w := httptest.NewRecorder()
	o.numbers.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// docTable is the table of all metrics, made from what Prometheus gets.
func docTable(text string) string {
	var table strings.Builder
	table.WriteString("| metric | type | labels | |\n|---|---|---|---|\n")
	help, label := regexp.MustCompile(`(?m)^# HELP (hushgate_\S+) (.*)\n# TYPE \S+ (\S+)\n((?:[^#].*\n)*)`), regexp.MustCompile(`[{,]([a-z0-9_]+)="`)
	for _, m := range help.FindAllStringSubmatch(text, -1) {
		var labels []string
		for _, l := range label.FindAllStringSubmatch(m[4], -1) {
			if name := "`" + l[1] + "`"; l[1] != "le" && !slices.Contains(labels, name) {
				labels = append(labels, name)
			}
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", m[1], m[3], strings.Join(labels, ", "), m[2])
	}
	return table.String()
}

// TestDocumented: docs/metrics.md has the table of all metrics, made from the declarations.
func TestDocumented(t *testing.T) {
	table := docTable(newCounted(t, nil).scrape(t))
	const file = "../../docs/metrics.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := bytes.Index(text, []byte("| metric |")), bytes.LastIndex(text, []byte("|\n"))+2
	if begin < 0 || end < begin {
		t.Fatalf("%s has no table", file)
	}
	if string(text[begin:end]) == table {
		return
	}
	if !*update {
		t.Fatalf("the table of %s is not that of the metrics (go test ./internal/gateway -run TestDocumented -update)", file)
	}
	if err := os.WriteFile(file, slices.Concat(text[:begin], []byte(table), text[end:]), 0o644); err != nil { //nolint:gosec // a file of the project
		t.Fatal(err)
	}
}

// TestDeclaredOnce: a name has one help text and one kind, whoever declares it; every number has a help text; and no two are the same.
func TestDeclaredOnce(t *testing.T) {
	all, err := newCounted(t, nil).Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kinds, seen := map[string]string{}, map[string]bool{}
	for _, n := range all {
		kind := fmt.Sprint(n.Help, n.Unit, n.Gauge, len(n.Labels))
		if before, known := kinds[n.Name]; known && before != kind || n.Help == "" || !regexp.MustCompile(`^[a-z][a-z_]*$`).MatchString(n.Name) {
			t.Errorf("%+v: before it was %s", n, before)
		}
		kinds[n.Name] = kind
		key := fmt.Sprint(n.Name, n.Labels)
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
}

// TestEverywhere: what the API shows is in the log too, and Prometheus gets all of it.
func TestEverywhere(t *testing.T) {
	var text lockedText
	o := newCounted(t, slog.New(slog.NewTextHandler(&text, nil)))
	o.connect(t, "198.18.0.1", 4000, 0)
	o.tell(t.Context())
	for end := time.Now().Add(20 * time.Second); strings.Count(text.String(), "msg=server ") < 5; time.Sleep(time.Millisecond) { // three servers, and the checks of one
		if time.Now().After(end) {
			t.Fatalf("the servers' lines do not come:\n%s", text.String())
		}
	}
	logged := text.String()
	for _, want := range []string{
		"msg=counters shard=1 frames=", "flows.half-open=0 flows.held=", "msg=shard shard=0 frames=", "reads.2-3=", " busy=", "msg=tables shard=1 entries.connections=",
		"capacity.half-open=", "msg=interface interface=eth0 present=0 frames.in=0 frames.out=0", `msg="DNS lists" lookups=0`, "msg=\"DNS lists\" lookups_unasked=0",
		`msg="DNS list" list=black.example queries=0 answers.listed=0`, "msg=resolver resolver=127.0.0.1:", `msg="offenders in the kernel" entries=0`,
		"dropped.ipv4=0", "msg=log target=messages written=0 lost=0 waiting=0", "msg=configuration loaded_timestamp=20", "reloads.success=0 reloads.failure=0 last_reload_successful=1",
		"msg=frontend frontend=slow connections=", "delay=30s", "verdicts.early-talker=0", "msg=server backend=bk server=a up=1 state.ready=1",
		"check_results.L4CON=1", "msg=process ready=1", "msg=process version=1.2.3", "msg=counter rule=", "rule_matches=",
	} {
		if !strings.Contains(logged, want) {
			t.Errorf("no %q in\n%s", want, logged)
		}
	}
	all, err := o.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	scraped := o.scrape(t)
	for _, n := range all {
		if !strings.Contains(scraped, "\nhushgate_"+n.Name) {
			t.Errorf("Prometheus does not get %s", n.Name)
		}
	}
}

// TestMovedServer: a server that a reload has moved to another address is one server, with the connections at both.
func TestMovedServer(t *testing.T) {
	o := newCounted(t, nil)
	tables := o.plan.Tables
	old := len(tables.Shard.Servers)
	moved := tables.Shard.Servers[0]
	tables.Shard.Servers = append(slices.Clip(tables.Shard.Servers), moved)
	tables.Names.Servers = append(slices.Clip(tables.Names.Servers), tables.Names.Servers[0])
	tables.RetiredServers = map[dataplane.ServerID]bool{dataplane.ServerID(old): true}
	o.state.set(nil, tables)
	o.tally.set(&tables.Names)
	sum := dataplane.Counts{Servers: make([]int, old+1)}
	sum.Servers[0], sum.Servers[old] = 3, 4
	found := 0
	for _, s := range o.serverThings(o.inForce(), &sum) {
		if n, is := s.numbers.(*serverNumbers); is && s.labels[1].Value == "a" {
			found++
			if n.Connections != 7 || !n.Up {
				t.Errorf("%+v", n)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d servers a", found)
	}
}

// TestTraffic: an interface's numbers are the sums over all shards.
func TestTraffic(t *testing.T) {
	o := newCounted(t, nil)
	o.watched = nil
	looks := make([]look, 3)
	for i := range looks {
		list := []*drive.Socket{drive.NewSocket("eth0", wire.Outside, nil), drive.NewSocket("eth1", wire.Inside, nil)}
		if i == 1 { // interfaces may be in another order
			slices.Reverse(list)
		}
		o.watched = append(o.watched, &drive.Sockets{List: list})
		_ = o.watched[i].Named("eth1").Write(make([][]byte, i+1)) // it does not exist
		var dropped [dataplane.Drops]uint64
		dropped[dataplane.DropTTL] = 10
		looks[i].dropped = map[string][dataplane.Drops]uint64{"eth0": dropped}
	}
	got := map[string]drive.Traffic{}
	for _, v := range o.traffic(looks) {
		got[v.labels[0].Value] = *v.numbers.(*drive.Traffic)
	}
	want := map[string]drive.Traffic{"eth0": {}, "eth1": {NotSent: 6}}
	outside := want["eth0"]
	outside.Dropped[dataplane.DropTTL] = 30
	want["eth0"] = outside
	if !maps.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// TestReloadsAreCounted: what came of reloads, and of the files of lists.
func TestReloadsAreCounted(t *testing.T) {
	var r reloads
	if n := r.numbers(time.Unix(1, 0)); !n.Successful || !n.Asked.IsZero() || !n.Loaded.Equal(time.Unix(1, 0)) {
		t.Errorf("%+v", n)
	}
	r.note(errors.New("refused"), time.Unix(5, 0))
	r.lists(1, 2)
	if n := r.numbers(time.Unix(1, 0)); n.Successful || n.Refused != 1 || !n.Asked.Equal(time.Unix(5, 0)) || n.ListsRead != 1 || n.ListsBad != 2 {
		t.Errorf("%+v", n)
	}
	r.note(nil, time.Unix(6, 0))
	if n := r.numbers(time.Unix(6, 0)); !n.Successful || n.Refused != 1 || n.Reloaded != 1 {
		t.Errorf("%+v", n)
	}
}

// stuckSet does not answer.
type stuckSet struct {
	fakeSet
	release chan struct{}
}

func (s *stuckSet) Stats() (kernelset.Stats, error) {
	<-s.release
	return kernelset.Stats{}, nil
}

// TestStuckKernel: a kernel that does not tell its counters keeps the others from nobody, and nobody is left waiting.
func TestStuckKernel(t *testing.T) {
	o := newCounted(t, nil)
	stuck := &stuckSet{release: make(chan struct{})}
	o.kept.put(stuck)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if s, err := o.kept.stats(ctx); s != nil || err == nil {
			t.Errorf("%+v, %v", s, err)
		}
		for _, p := range o.parts(ctx) {
			if p.Message == ofKernel.Message {
				t.Error("numbers that are not known are shown")
			}
		}
	}
	close(stuck.release)
	if s, err := o.kept.stats(t.Context()); s == nil || err != nil {
		t.Errorf("later: %+v, %v", s, err)
	}
}
