package top

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

// TestKeys: what each key does, alone or after others.
func TestKeys(t *testing.T) {
	for _, c := range []struct {
		keys   string
		shows  string
		hidden string
	}{
		{"tab", "[2 Talkers]", ""},
		{"shift+tab", "[6 Limits]", ""},
		{"right right", "[3 Conns]", ""},
		{"3 left", "[2 Talkers]", ""},
		{"5", "[5 Frontends]", ""},
		{"4", ">12:01:20", ""},
		{"s", "by name", ""},
		{"s s", "by now", ""},
		{"s s s s s", "by file", ""},
		{"S", "by file reversed, 3", ""},
		{"down down", ">bk/mx3", ""},
		{"end up", ">bk/mx2", ""},
		{"down home", ">bk/mx1", ""},
		{"pgdown", ">bk/mx3", ""},
		{"f m x 3", "filter: mx3", "bk/mx1"},
		{"f m x 3 enter", `filter "mx3", by file, 1 (of 3)`, "bk/mx1"},
		{"f m x 3 esc", "bk/mx1", "filter \""},
		{"f m x 3 enter esc", "bk/mx1", "filter \""},
		{"f x 3 backspace backspace m enter", `filter "m"`, ""},
		{"f x x ctrl+u enter", "bk/mx1", "filter \""},
		{"f q", "filter: q", ""},
		{"3 f 2 0 0 1 : d b 8 : : / 3 2 enter", "[2001:db8::7]:40000", "198.18.0"},
		{"3 / 1 9 8 . 1 8 . 0 . 1 6 / 3 1 enter", "198.18.0.16:4000", "198.18.0.18:"},
		{"2 n", "203.0.113.0/24", "203.0.113.1 "},
		{"2 n n", "203.0.113.1 ", "203.0.113.0/24"},
		{"?", "draw the screen again", "bk/mx1"},
		{"? x", "bk/mx1", "draw the screen again"},
		{"? down", "draw the screen again", "bk/mx1"},
		{"enter", "250 mx1.example.net", "bk/mx2"},
		{"5 enter", "service 192.0.2.25:25, 151 connections", "ft_old"},
		{"3 enter", "delay 20.0s, left 1.1s, rule delay", ""},
		{"2 enter", "hushgate explain 203.0.113.1 tells more", ""},
		{"6 enter", "table of connections: 154 entries, room for 1000", ""},
		{"6 end enter", "time of shard 1: the part of it", ""},
		{"6 k", "choose a connection", "y/n"},
		{"4 enter esc", "[4 Verdicts]", ""},
		{"p", "PAUSED", ""},
		{"space space", "every 2s", "PAUSED"},
		{"+", "every 5s", ""},
		{"+ + + + + + +", "every 1m0s", ""},
		{"- - - - -", "every 500ms", ""},
		{"k", "choose a connection or a talker", ""},
		{"2 d", "choose a server", ""},
		{"d", "y/n? Drain bk/mx1?", ""},
		{"down r", "y/n? Make bk/mx2 ready?", ""},
		{"down m", "y/n? Put bk/mx2 into maintenance?", ""},
		{"d n", "nothing was done", "y/n"},
		{"d enter", "nothing was done", "y/n"},
		{"d d", "nothing was done", "y/n"},
		{"3 k space", "nothing was done", "y/n"},
		{"2 k esc", "nothing was done", "y/n"},
		{"3 k", "y/n? End the connections of 198.18.0.30:4000?", ""},
		{"2 n k", "y/n? End the connections of 203.0.113.0/24?", ""},
		{"4 k", "choose a connection", "y/n"},
	} {
		t.Run(c.keys, func(t *testing.T) {
			r := newRig(t, 80, 24)
			r.model.options.Dress.Plain = true
			r.busy()
			r.keys(strings.Fields(c.keys)...)
			r.shows(c.shows)
			if c.hidden != "" {
				r.hides(c.hidden)
			}
			if len(r.source.done) > 0 {
				t.Errorf("without a yes it did %v", r.source.done)
			}
		})
	}
}

// TestActions: a yes does what was asked about, also if the table has changed meanwhile; the answer, or why there is none, is shown, and the
// gateway is looked at again at once.
func TestActions(t *testing.T) {
	for _, c := range []struct {
		keys, done, shows string
		err               error
	}{
		{"d", "bk/mx1 drain", "bk/mx1: drain", nil},
		{"down r", "bk/mx2 ready", "bk/mx2: ready", nil},
		{"end m", "bk/mx3 maint", "bk/mx3: maint", nil},
		{"3 end k", "kill 198.18.0.1:4000", "3 connections of 198.18.0.1:4000 were ended", nil},
		{"2 k", "kill 203.0.113.1", "3 connections of 203.0.113.1 were ended", nil},
		{"d", "bk/mx1 drain", "there is no server bk/mx1", errors.New("there is no server bk/mx1")},
	} {
		t.Run(c.keys, func(t *testing.T) {
			r := newRig(t, 80, 24)
			r.busy()
			r.source.act = c.err
			r.keys(strings.Fields(c.keys)...)
			r.pass(42)
			slices.Reverse(r.source.look.Servers)
			slices.Reverse(r.source.look.Connections)
			r.send(lookMsg{look: r.source.look})
			looked := r.model.round
			r.keys("y")
			if !slices.Equal(r.source.done, []string{c.done}) {
				t.Errorf("did %v, want %s", r.source.done, c.done)
			}
			r.shows(c.shows)
			if c.err == nil && r.model.round == looked {
				t.Error("it did not look again")
			}
			r.now = r.now.Add(time.Minute)
			r.hides(c.shows)
		})
	}
}

// TestReadOnly: a user who may not act is told so, and is asked nothing. Hints and help do not offer it.
func TestReadOnly(t *testing.T) {
	for _, keys := range []string{"d", "r", "m", "3 k", "2 k"} {
		r := newRig(t, 80, 24)
		r.source.look.Level = admin.ReadOnly
		r.send(lookMsg{look: r.source.look})
		r.hides("d drain", "k kill")
		r.keys(strings.Fields(keys)...)
		r.shows("permission denied: this socket has the level read-only")
		r.keys("y")
		if len(r.source.done) > 0 {
			t.Errorf("%s did %v", keys, r.source.done)
		}
		r.keys("?")
		r.shows("* not for this user")
	}
}

// TestSelection: the chosen row stays chosen while it moves; when it goes, its neighbour is chosen. Until a row is chosen it is the first.
func TestSelection(t *testing.T) {
	r := newRig(t, 80, 24)
	r.keys("3")
	r.shows(">198.18.0.30:4000")
	r.keys("down", "down")
	r.shows(">198.18.0.28:4000")
	r.keys("S")
	r.shows(">198.18.0.28:4000")
	r.keys("S")
	v := busyLook(r.now, 1)
	v.Connections = slices.DeleteFunc(v.Connections, func(c admin.Connection) bool { return c.Client == "198.18.0.28:4000" })
	r.send(lookMsg{look: v})
	r.shows(">198.18.0.27:4000")
	v.Connections = nil
	r.send(lookMsg{look: v})
	r.keys("down", "up", "end", "pgup", "enter", "k")
	r.hides("y/n", ">198")
}

// TestPause: a paused screen does not change, but can be sorted and filtered; nothing that comes meanwhile is lost.
func TestPause(t *testing.T) {
	r := newRig(t, 80, 24)
	r.busy()
	r.keys("4", "p")
	before := r.model.text()
	r.pass(42)
	r.send(batchMsg{batch: Batch{At: r.now, Verdicts: []admin.Verdict{{Time: r.now, Client: "198.51.100.9", Verdict: "refused"}}}})
	r.pass(43)
	if after := r.model.text(); after != before {
		t.Errorf("a paused screen has changed:\n%s\n%s", before, after)
	}
	r.keys("s")
	r.shows("by verdict")
	r.keys("p", "f", "9", "8", ".", "5", "enter")
	r.shows("198.51.100.9", "refused")
}

// TestNoAnswer: while no gateway answers, the screen says so and keeps what it knew; when one does, it says so, and that it is another
// process. The curves have a gap there.
func TestNoAnswer(t *testing.T) {
	r := newRig(t, 80, 24)
	r.model.options.Dress.Plain = true
	r.busy()
	r.source.err = errors.New("no gateway runs in this network namespace")
	r.pass(0)
	r.shows("NO ANSWER", "No answer for 0s: no gateway runs in this network namespace. Asking again.", "bk/mx1")
	r.send(batchMsg{err: console.ErrStreamEnded})
	if last := r.waits[len(r.waits)-1]; last != (followMsg{}) || r.times[len(r.times)-1] != followPause {
		t.Errorf("the stream is asked for again by %#v after %v", last, r.times[len(r.times)-1])
	}
	r.waits = r.waits[:len(r.waits)-1]
	r.pass(0)
	r.shows("No answer for 2.0s")
	r.source.err = nil
	v := busyLook(r.now, 45)
	v.Status.PID, v.Status.Started, v.Status.UptimeMs = 9, r.now, 0
	r.send(lookMsg{look: v})
	r.hides("No answer")
	r.shows("process 9 answers in place of process 7", ": WARNING", "early-talker      -/s")
	if c := r.model.shown.Curves["quiet"]; c[len(c)-1] != gap || c[len(c)-2] != gap || c[len(c)-3] != gap || c[len(c)-4] == gap {
		t.Errorf("the end of a curve is %v", c[len(c)-4:])
	}
	r.now = r.now.Add(time.Minute)
	r.source.err = errors.New("x")
	r.pass(0)
	r.source.err = nil
	r.send(lookMsg{look: v})
	r.shows("the gateway answers again")
}

// TestNoVerdicts: why the stream of verdicts is refused is said, and it is asked for again; not if looks fail as well.
func TestNoVerdicts(t *testing.T) {
	r := newRig(t, 80, 24)
	r.send(batchMsg{err: errors.New("16 clients watch already")})
	r.shows("no verdicts: 16 clients watch already")
	r = newRig(t, 80, 24)
	r.source.err = console.ErrNone
	r.pass(0)
	r.send(batchMsg{err: errors.New("x")})
	r.hides("no verdicts")
	r.send(batchMsg{batch: Batch{Lost: 7}})
	r.source.err = nil
	r.send(lookMsg{look: busyLook(r.now, 1)})
	r.keys("4")
	r.shows("7 missed")
}

// TestTicks: only the tick of the present round looks, and only if no answer is due.
func TestTicks(t *testing.T) {
	r := newRig(t, 80, 24)
	old := r.waits[len(r.waits)-1]
	r.keys("+")
	if d := r.times[len(r.times)-1]; d != 5*time.Second {
		t.Errorf("the next look is after %v", d)
	}
	if _, cmd := r.model.Update(old); cmd != nil {
		t.Error("a tick of the interval before looks")
	}
	tick := r.waits[len(r.waits)-1]
	if _, cmd := r.model.Update(tick); cmd == nil {
		t.Error("the tick does not look")
	}
	if _, cmd := r.model.Update(tick); cmd != nil {
		t.Error("a second look begins before the first has ended")
	}
	if _, cmd := r.model.Update(press("-")); cmd != nil {
		t.Error("another interval begins while an answer is due")
	}
}

// TestHostile: what clients, servers and the gateway's answers say cannot steer the terminal, and keeps its place.
func TestHostile(t *testing.T) {
	const evil = "a\x1b[2J\x1b]0;owned\x07\r\n\u009b31m\u202eb\t漢字\u0301\xff"
	for _, dress := range []Dress{{}, {Color: true}, {ASCII: true}, {Plain: true}} {
		r := newRig(t, 80, 24)
		r.model.options.Dress = dress
		v := busyLook(moment, 1)
		v.Status.Version, v.Servers[0].Name, v.Servers[0].Check.Code, v.Servers[0].Check.Text = evil, evil, evil, evil
		v.Frontends[0].Name, v.Connections[0].Rule, v.Connections[0].Client, v.Connections[0].Phase = evil, evil, evil, evil
		v.Status.Interfaces = []admin.Interface{{Name: evil}}
		r.send(batchMsg{batch: Batch{At: r.now, Verdicts: []admin.Verdict{{Client: evil, Verdict: evil, Talk: evil, Rule: evil, Cause: evil, Signature: evil}}}})
		r.send(lookMsg{look: v})
		r.model.options.Host = evil
		for _, keys := range []string{"1", "enter", "esc", "d", "n", "2", "3", "end", "enter", "esc", "k", "n", "4", "enter", "esc", "5", "enter", "esc"} {
			r.keys(keys)
			harmless(t, r)
		}
		r.send(lookMsg{err: errors.New(evil)})
		harmless(t, r)
		r.keys("f")
		r.model.write(evil)
		harmless(t, r)
		r.keys("enter")
		harmless(t, r)
	}
}

// harmless checks that the screen has no control sequences but those that change the look of text.
func harmless(t *testing.T, r *rig) {
	t.Helper()
	fits(t, r)
	text := r.model.text()
	for _, code := range []string{"7", "1", "2", "32", "33", "1;31", ""} {
		text = strings.ReplaceAll(text, "\x1b["+code+"m", "")
	}
	for _, c := range text {
		if c < ' ' && c != '\n' || c >= 0x7f && c < 0xa0 || c == '\u202e' || r.model.options.Dress.ASCII && c > '~' && !strings.ContainsRune("▁▂▃▄▅▆▇█░", c) {
			t.Fatalf("%q is on the screen:\n%q", c, text)
		}
	}
	if strings.Contains(ansi.Strip(text), "\x1b") {
		t.Error("an escape is left")
	}
}

// TestQuit: the keys that end the screen.
func TestQuit(t *testing.T) {
	for _, keys := range []string{"q", "f ctrl+c", "d ctrl+c", "? ctrl+c", "ctrl+c"} {
		r := newRig(t, 80, 24)
		list := strings.Fields(keys)
		r.keys(list[:len(list)-1]...)
		if _, cmd := r.model.Update(press(list[len(list)-1])); cmd == nil {
			t.Errorf("%s does not quit", keys)
		}
	}
}
