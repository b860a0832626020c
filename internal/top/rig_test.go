package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"

	"hushgate/internal/admin"
)

var update = flag.Bool("update", false, "write the golden screens anew")

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// moment is when the tests begin.
var moment = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// fakeSource answers what it is told to.
type fakeSource struct {
	look Look
	err  error
	done []string
	act  error
}

func (f *fakeSource) Look(context.Context) (Look, error) { return f.look, f.err }

func (f *fakeSource) Verdicts(ctx context.Context) (Batch, error) {
	<-ctx.Done()
	return Batch{}, ctx.Err()
}

func (f *fakeSource) SetServer(_ context.Context, name string, state admin.ServerState) error {
	f.done = append(f.done, fmt.Sprintf("%s %s", name, state))
	return f.act
}

func (f *fakeSource) Kill(_ context.Context, client string) (int, error) {
	f.done = append(f.done, "kill "+client)
	return 3, f.act
}

// rig is a model with a clock that stands still.
type rig struct {
	t      *testing.T
	model  *model
	source *fakeSource
	now    time.Time
	waits  []tea.Msg // messages that come later
	times  []time.Duration
}

func newRig(t *testing.T, width, height int) *rig {
	t.Helper()
	r := &rig{t: t, source: &fakeSource{look: busyLook(moment, 0)}, now: moment}
	r.model = newModel(t.Context(), r.source, Options{
		Interval: 2 * time.Second, Host: "gw1", Now: func() time.Time { return r.now },
		later: func(d time.Duration, m tea.Msg) tea.Cmd {
			r.waits, r.times = append(r.waits, m), append(r.times, d)
			return nil
		},
	}, &r.source.look)
	r.send(tea.WindowSizeMsg{Width: width, Height: height})
	r.model.wait()
	return r
}

// send gives the model a message, and then what the command of its answer says. Commands that wait for verdicts are not run.
func (r *rig) send(msg tea.Msg) {
	r.t.Helper()
	_, cmd := r.model.Update(msg)
	if _, isBatch := msg.(batchMsg); cmd == nil || isBatch {
		return
	}
	if _, follows := msg.(followMsg); !follows {
		r.send(cmd())
	}
}

// keys presses keys, one after the other.
func (r *rig) keys(names ...string) {
	r.t.Helper()
	for _, n := range names {
		r.send(press(n))
	}
}

func press(name string) tea.KeyPressMsg {
	special := map[string]rune{
		"tab": tea.KeyTab, "enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft, "right": tea.KeyRight,
		"home": tea.KeyHome, "end": tea.KeyEnd, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace,
	}
	switch code, ok := special[name]; {
	case ok:
		return tea.KeyPressMsg{Code: code}
	case name == "space":
		return tea.KeyPressMsg{Code: tea.KeySpace, Text: " "}
	case name == "shift+tab":
		return tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift}
	case strings.HasPrefix(name, "ctrl+"):
		return tea.KeyPressMsg{Code: rune(name[5]), Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
}

// pass lets an interval pass: the last wait ends, and the source is looked at.
func (r *rig) pass(n int) {
	r.t.Helper()
	r.now = r.now.Add(r.model.interval)
	if r.source.err == nil {
		r.source.look = busyLook(r.now, n)
	}
	r.send(r.waits[len(r.waits)-1])
}

// busy lets a gateway work for a while.
func (r *rig) busy() {
	r.t.Helper()
	for n := 1; n <= 40; n++ {
		r.pass(n)
		r.send(batchMsg{batch: busyBatch(r.now, n)})
	}
	r.pass(41)
}

// shows checks that the screen has some texts.
func (r *rig) shows(texts ...string) {
	r.t.Helper()
	screen := r.model.text()
	for _, s := range texts {
		if !strings.Contains(screen, s) {
			r.t.Errorf("no %q on the screen\n%s", s, screen)
		}
	}
}

func (r *rig) hides(texts ...string) {
	r.t.Helper()
	screen := r.model.text()
	for _, s := range texts {
		if strings.Contains(screen, s) {
			r.t.Errorf("%q is on the screen\n%s", s, screen)
		}
	}
}

// golden compares text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func ptr[T any](v T) *T { return &v }

// wave is the number of early talkers in the interval n.
func wave(n int) uint64 { return uint64(n*7%23 + n%5) }

// busyLook is how a gateway under attack is after n intervals.
func busyLook(at time.Time, n int) Look {
	var early, quiet, hangUp uint64
	for i := range n {
		early, quiet, hangUp = early+wave(i+1), quiet+uint64((i+1)%4), hangUp+uint64((i+1)%9/8)
	}
	ended := early + quiet + hangUp
	v := Look{
		At: at, Level: admin.Admin,
		Status: admin.Status{
			Version: "1.2.3", PID: 7, Started: moment.Add(-27 * time.Hour), UptimeMs: at.Sub(moment.Add(-27 * time.Hour)).Milliseconds(),
			State: admin.StateRunning, Ready: true, MaxConn: 1000, Servers: admin.ServerCount{Usable: 2, Total: 3}, Losses: admin.Losses{ReceiveQueueFull: uint64(n)},
			Connections: map[string]int64{"half-open": 3, "held": 100, "connecting": 1, "spliced": 50}, Interfaces: []admin.Interface{{Name: "eth0", Present: true}},
		},
		Frontends: []admin.Frontend{{
			Name: "ft_smtp", Backend: "bk", DelayMs: 20_000, ConfiguredDelayMs: 20_000, OnEarlyTalk: "reset", Connections: 151, Ended: ended,
			Verdicts:      map[string]uint64{"early-talker": early, "quiet": quiet, "hang-up": hangUp},
			BytesToClient: ended * 300, BytesToServer: quiet * 40_000,
			Services: []admin.Service{{Address: "192.0.2.25:25", Connections: 151}},
		}, {Name: "ft_old", Backend: "bk", Removed: true, Connections: 1, Ended: 2, Verdicts: map[string]uint64{"none": 2}}},
		Servers: []admin.Server{
			{
				Backend: "bk", Name: "mx1", Address: "10.0.0.11:25", State: admin.ServerReady, Weight: 10, ConfiguredWeight: 10, Up: true, Connections: 30, Ended: quiet,
				Since: &moment, Check: &admin.Check{Enabled: true, Code: "L7OK", DurationMs: 3, Text: "250 mx1.example.net", Checks: 40},
			},
			{
				Backend: "bk", Name: "mx2", Address: "[2001:db8::11]:2525", State: admin.ServerDrain, Weight: 5, ConfiguredWeight: 10, ByHand: true, Up: true,
				Connections: 20, Failed: 1,
			},
			{
				Backend: "bk", Name: "mx3", Address: "10.0.0.13:25", State: admin.ServerReady, Weight: 10, ConfiguredWeight: 10,
				Check: &admin.Check{Enabled: true, Code: "L4CON", DurationMs: 1, Text: "connection refused", Checks: 40, Failures: 40, Downs: 1},
			},
		},
		Counters: map[string]uint64{"syns": 10 * uint64(n), "opened": 2 * ended, "stateless": 0, "forwarded": 100 * uint64(n)},
	}
	v.Tables = []Table{{"connections", 154, 1000, 0.31}, {"half-open", 3, 250, 0.02}, {"passes", 999, 1000, 1}, {"clients", 0, 0, 0}}
	v.Busy = map[string]time.Duration{"0": time.Duration(n) * 60 * time.Millisecond, "1": time.Duration(n) * 1800 * time.Millisecond}
	for i := range 30 {
		c := admin.Connection{
			Client: fmt.Sprintf("198.18.0.%d:4000", i+1), Service: "192.0.2.25:25", Frontend: "ft_smtp", Backend: "bk", Phase: "held", AgeMs: int64(i) * 700,
			DelayMs: 20_000, DelayLeftMs: ptr(20_000 - int64(i)*650), Rule: "delay",
		}
		if i%3 == 0 {
			c.Phase, c.Server, c.DelayLeftMs, c.BytesToClient, c.BytesToServer = "spliced", "mx1", nil, 600, uint64(i)*10_000+uint64(n)*500
		}
		v.Connections = append(v.Connections, c)
	}
	v.Connections = append(v.Connections, admin.Connection{Client: "[2001:db8::7]:40000", Frontend: "ft_smtp", Backend: "bk", Phase: "half-open", AgeMs: 20})
	return v
}

// busyBatch has the verdicts of interval n.
func busyBatch(at time.Time, n int) Batch {
	b := Batch{At: at}
	for i := range int(wave(n)) {
		b.Verdicts = append(b.Verdicts, admin.Verdict{
			Time: at, Client: fmt.Sprintf("203.0.113.%d", i%7+1), ClientPort: 1024 + n*40 + i, Service: "192.0.2.25:25", Frontend: "ft_smtp",
			Verdict: "early-talker", Cause: "data", Rule: "delay", HeldMs: ptr(int64(100 + i)), FirstByteMs: ptr(int64(100 + i)), TotalMs: int64(100 + i), TalkBytes: 10,
			Talk: `EHLO bot\r\n`,
		})
	}
	if n%4 > 0 {
		b.Verdicts = append(b.Verdicts, admin.Verdict{
			Time: at, Client: "2001:db8:1::25", ClientPort: 25000 + n, Frontend: "ft_smtp", Backend: "bk", Server: "mx1", Verdict: "quiet",
			HeldMs: ptr(int64(20_000)), FirstByteMs: ptr(int64(20_150)), TotalMs: 21_000, BytesToClient: 300, BytesToServer: 40_000,
		})
	}
	return b
}
