package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/capture"
	"hushgate/internal/connlog"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// staged lets a policy treat the segments of a story, and returns what it did.
func staged(t testing.TB, policy string, story []tSeg) (done []deed, h *rehearsal) {
	t.Helper()
	file, err := loadPolicy(policy, "")
	if err != nil {
		t.Fatal(err)
	}
	h = newRehearsal(&Request{}, file, func(d *deed) { done = append(done, *d) })
	o := NewObserver(Options{Ports: []uint16{25}}, h.ended)
	dec := wire.NewDecoder()
	for _, g := range story {
		if k := dec.Decode(g.frame()); k != wire.KindTCP {
			t.Fatalf("kind %d", k)
		}
		at := tStart.Add(g.at)
		h.clock(at)
		v := o.view(at, &dec.Segment, false)
		if err := h.segment(&capture.Packet{Time: at}, &capture.Frame{}, &dec.Segment, v); err != nil {
			t.Fatal(err)
		}
	}
	o.Flush()
	if _, err := h.finish(); err != nil {
		t.Fatal(err)
	}
	for _, v := range h.trials {
		if v.trial != nil && (len(v.actors) > 0 || len(v.ends) > 0) {
			t.Errorf("%d actors and %d departures are left", len(v.actors), len(v.ends))
		}
	}
	return done, h
}

// shifted moves a story to a later time, and to other sequence numbers of the client.
func shifted(by time.Duration, seq wire.Seq, story []tSeg) (out []tSeg) {
	for _, g := range story {
		g.at += by
		if g.client {
			g.seq += seq
		} else if g.flags.Has(ack) {
			g.ack += seq
		}
		out = append(out, g)
	}
	return out
}

// mail is a client that waits for the banner, talks, and closes after a time.
func mail(banner, stays time.Duration) []tSeg {
	return handshake(
		s(banner, ack, 1, 1, hi), c(banner+10*ms, ack, 1, 8, ehlo), s(banner+20*ms, ack, 8, 15, "250 x\r\n"),
		c(banner+stays, ack|wire.FIN, 15, 15, ""), s(banner+stays+ms, ack|wire.FIN, 15, 16, ""), c(banner+stays+10*ms, ack, 16, 16, ""),
	)
}

// TestTrials: what a policy makes of captured clients, where that is not what they did.
func TestTrials(t *testing.T) {
	const plain = "    inspect-delay: 20s\n    limits: {connections: 0}\n"
	talker := func(after time.Duration) []tSeg {
		return handshake(c(10*ms+after, ack, 1, 1, ehlo), s(2*time.Second, ack, 1, 15, hi))
	}
	for _, x := range []struct {
		name, policy string
		story        []tSeg
		want         string
	}{
		{"a silent client waits for the trial's banner, and stays as long", plain, mail(500*ms, time.Minute), "quiet 20s untested 490ms ends 1m20.01s;"},
		{"the trial's server is as slow as the captured one", plain, mail(25*time.Second, time.Second), "quiet 20s ends 26s;"},
		{
			"a client that comes back from the same port before its delay is over is another one", plain,
			append(mail(500*ms, time.Second), shifted(3*time.Second, 5000, mail(500*ms, time.Second))...),
			"quiet 20s untested 490ms ends 21.01s;quiet 20s untested 490ms ends 24.01s;",
		},
		{
			"with a pass it is served at once", plain,
			append(mail(500*ms, time.Second), shifted(time.Minute, 5000, mail(500*ms, time.Second))...),
			"quiet 20s untested 490ms ends 21.01s;pass old quiet 0s ends 1m1.5s;",
		},
		{
			"who has a pass and talks before the captured server greets is an early talker", plain,
			append(mail(500*ms, time.Second), shifted(time.Minute, 5000, talker(100*ms))...),
			"quiet 20s untested 490ms ends 21.01s;pass old early-talker 0s ends 1m0.11s;",
		},
		{
			"no pass for half the time", plain + "pass-ttl: 30s\n",
			append(mail(500*ms, time.Second), shifted(time.Minute, 5000, mail(500*ms, time.Second))...),
			"quiet 20s untested 490ms ends 21.01s;quiet 20s untested 490ms ends 1m21.01s;",
		},
		{"early talk gets a reply", plain + "    reject: reply\n", talker(time.Second), "early-talker 1s ends 1.01s;"},
		{"early talk gets the tarpit", plain + "    on-early-talk: tarpit\n", talker(time.Second), "early-talker 1s ends 1.01s;"},
		{"early talk gets nothing", plain + "    on-early-talk: silent-drop\n", talker(time.Second), "early-talker 1s ends 1.01s;"},
		{"early talk is observed", plain + "    on-early-talk: observe\n", append(talker(time.Second),
			c(3*time.Second, ack|wire.FIN, 15, 8, ""), s(3001*ms, ack|wire.FIN, 8, 16, "")), "observed early-talker 1s ends 3s;"},
		{"a teaser, which the client acknowledges", plain + "    teaser: 220-mx\n", mail(500*ms, time.Second), "quiet 20s untested 490ms ends 21.01s;"},
		{"early talk after a teaser", plain + "    teaser: 220-mx\n", talker(time.Second), "early-talker 1s ends 1.01s;"},
		{"refused with a text", plain + "    access: [{reject: all, text: \"554 5.7.1 no {client}\"}]\n", mail(500*ms, time.Second), "refused 0s ends 10ms;"},
		{"refused by the tarpit", plain + "    access: [tarpit]\n", mail(500*ms, time.Second), "refused 0s ends 10ms;"},
		{"a client that leaves", plain, handshake(c(210*ms, ack|wire.FIN, 1, 1, ""), s(211*ms, ack|wire.FIN, 1, 2, "")), "hang-up 200ms ends 210ms;"},
		{"a client that resets", plain, handshake(c(210*ms, wire.RST, 1, 0, "")), "hang-up 200ms ends 210ms;"},
		{
			"a server that leaves ends what is known of the client, which did not leave by itself", plain,
			handshake(s(510*ms, ack|wire.FIN, 1, 1, ""), c(520*ms, ack|wire.FIN, 1, 2, "")), "quiet 20s untested 500ms ends 20.01s;",
		},
		{"the handshake's last ACK is missing", plain, append(mail(500*ms, time.Second)[:2], mail(500*ms, time.Second)[3:]...), "quiet 20s untested 0s ends 21.51s;"},
		{
			"a client that resets after the banner", plain, append(mail(500*ms, time.Second)[:6], c(2*time.Second, wire.RST, 15, 0, "")),
			"quiet 20s untested 490ms ends 21.51s client-reset;",
		},
		{"a scan", plain, []tSeg{syn(), synAck(), c(6*ms, rst, 1, 0, "")}, ""},
		{"from the middle", plain, mail(500*ms, time.Second)[2:], ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			done, _ := staged(t, policyOf(t, x.policy), x.story)
			got := ""
			for i := range done {
				got += words(&done[i])
			}
			if got != x.want {
				t.Errorf("%s\nwant %s", got, x.want)
			}
		})
	}
}

func words(d *deed) (text string) {
	if d.Pass.String() == "old" {
		text += "pass old "
	}
	if d.Observed {
		text += "observed "
	}
	text += fmt.Sprintf("%s %v", d.verdict(), d.held())
	if d.untested >= 0 {
		text += fmt.Sprintf(" untested %v", d.untested)
	}
	text += fmt.Sprintf(" ends %v", d.at.Sub(tStart))
	if d.Verdict == dataplane.VerdictQuiet && d.Cause != dataplane.CauseFinished {
		text += " " + d.Cause.String()
	}
	return text + ";"
}

// TestTrialMemory checks that memory depends on the number of live connections, and not on the size of the capture.
func TestTrialMemory(t *testing.T) {
	w := &watched{Reader: newStream(*streamSize / 8)}
	start := time.Now()
	in, err := capture.NewReader("x", w)
	if err != nil {
		t.Fatal(err)
	}
	file, err := loadPolicy(policyOf(t, "    inspect-delay: 20s"), "")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	h := newRehearsal(&Request{}, file, func(*deed) { n++ })
	o := NewObserver(Options{Ports: []uint16{25}, MaxConnections: 10_000}, h.ended)
	framer, dec := capture.NewFramer(), wire.NewDecoder()
	var p capture.Packet
	packets := 0
	for {
		err := in.Next(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packets++
		p.Time = tStart.Add(20 * p.Time.Sub(tStart)) // 50 connections a second, each of which takes longer
		if f, ok := framer.Frame(&p); ok && dec.Decode(f.Data) == wire.KindTCP {
			h.clock(p.Time)
			if err := h.segment(&p, &f, &dec.Segment, o.view(p.Time, &dec.Segment, f.Truncated)); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.Flush()
	if _, err := h.finish(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets, %d connections treated by %d trials in %v; at most %d MiB of heap", packets, n, len(h.trials),
		time.Since(start).Round(time.Millisecond), w.peak>>20)
	if n == 0 || n != h.callers || w.peak > 256<<20 {
		t.Errorf("%d of %d connections, %d octets of heap", n, h.callers, w.peak)
	}
	for _, v := range h.trials {
		if len(v.actors) > 0 || len(v.ends) > 0 {
			t.Errorf("%d actors are left", len(v.actors))
		}
	}
}

// FuzzTrials checks that no order of segments causes a panic, that each connection has one result at most, and that nothing is
// left at the end.
func FuzzTrials(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	policy := policyOf(f, "    inspect-delay: 30ms\n    limits: {connections: 2, rate: 5}\n    stress-delay: 5ms\nmaxconn: 8\n")
	f.Fuzz(func(t *testing.T, program []byte) {
		var all []tSeg
		for _, st := range stories {
			all = append(all, st.story...)
		}
		story := make([]tSeg, 0, len(program))
		for i, b := range program {
			g := all[int(b)%len(all)]
			g.at = time.Duration(i) * ms
			story = append(story, g)
		}
		done, _ := staged(t, policy, story)
		ids := map[int]bool{}
		for i := range done {
			if ids[done[i].id] {
				t.Fatalf("connection %d was treated twice", done[i].id)
			}
			ids[done[i].id] = true
		}
	})
}

// TestAsLogged: a line of JSON has the names and values of the gateway's own line about the same connection.
func TestAsLogged(t *testing.T) {
	file, err := loadPolicy(policyOf(t, "    inspect-delay: 20s\n    access: [{reject: 198.18.0.7, signature: \"999_*_*_*\"}, {delay: all, for: 1s}]"), "")
	if err != nil {
		t.Fatal(err)
	}
	var h *rehearsal
	lines := 0
	h = newRehearsal(&Request{}, file, func(d *deed) {
		lines++
		v := h.trials[0]
		live := (&connlog.Renderer{Clock: mono.NewClockAt(v.origin.Add(-time.Duration(epoch))), Names: &v.tables.Names}).AppendJSON(nil, &d.Event, connlog.Counts{})
		ours, err := json.Marshal(d.json())
		if err != nil {
			t.Fatal(err)
		}
		want, got := map[string]any{}, map[string]any{}
		if err := errors.Join(json.Unmarshal(live, &want), json.Unmarshal(ours, &got)); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"id", "begin", "untested_after_ms"} { // of the capture
			delete(got, key)
		}
		for key, value := range got {
			if want[key] != value {
				t.Errorf("%s is %v, in the log %v", key, value, want[key])
			}
		}
		for _, key := range []string{"verdict", "rule", "pass", "cause", "signature", "held_ms", "talk"} {
			if _, is := got[key]; is != (want[key] != nil) {
				t.Errorf("%s is %v, in the log %v", key, got[key], want[key])
			}
		}
	})
	o := NewObserver(Options{Ports: []uint16{25}}, h.ended)
	dec := wire.NewDecoder()
	story := append(mail(500*ms, time.Second), shifted(time.Minute, 5000, handshake(c(110*ms, ack, 1, 1, "EHLO \"x\\\x01\r\n")))...)
	for _, g := range story {
		dec.Decode(g.frame())
		h.clock(tStart.Add(g.at))
		if err := h.segment(&capture.Packet{Time: tStart.Add(g.at)}, &capture.Frame{}, &dec.Segment, o.view(tStart.Add(g.at), &dec.Segment, false)); err != nil {
			t.Fatal(err)
		}
	}
	o.Flush()
	if _, err := h.finish(); err != nil || lines != 2 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

// TestAsksDNS: the remark about DNS lists is made if a client would be asked about.
func TestAsksDNS(t *testing.T) {
	for _, asks := range []bool{false, true} {
		c := policy.Config{
			Frontends: []policy.Frontend{{Name: "a", Delay: time.Second, DNS: asks}},
			DNS:       policy.DNS{Sites: []policy.Site{{Name: "zen.example", Weight: 1}}, Threshold: 1, Deny: policy.Outcome{Kind: policy.OutcomeReject}},
		}
		table, err := policy.NewTable(&c)
		if err != nil {
			t.Fatal(err)
		}
		if got := asksDNS(table); got != asks {
			t.Errorf("%v, want %v", got, asks)
		}
	}
}

// TestOffloadedSYN: a SYN whose checksum was left to the hardware, as a capture on the client shows it, is as good as any other.
func TestOffloadedSYN(t *testing.T) {
	file, err := loadPolicy(policyOf(t, "    inspect-delay: 20s"), "")
	if err != nil {
		t.Fatal(err)
	}
	n, answers := 0, 0
	h := newRehearsal(&Request{}, file, func(*deed) { n++ })
	o := NewObserver(Options{Ports: []uint16{25}}, h.ended)
	drive := NewDriver(DriveOptions{Delay: time.Second}, func(p Driven) {
		if p.Ours {
			answers++
		}
	})
	dec := wire.NewDecoder()
	for _, g := range handshake(c(110*ms, ack, 1, 1, ehlo)) {
		frame := g.frame()
		dec.Decode(frame)
		copy(frame[wire.PacketAt+20+16:], pseudoSum(&dec.Segment))
		again := append([]byte(nil), frame...)
		at := tStart.Add(g.at)
		dec.Decode(frame)
		h.clock(at)
		if err := h.segment(&capture.Packet{Time: at}, &capture.Frame{}, &dec.Segment, o.view(at, &dec.Segment, false)); err != nil {
			t.Fatal(err)
		}
		dec.Decode(again)
		if err := drive.Segment(at, &dec.Segment, g.client, false); err != nil {
			t.Fatal(err)
		}
	}
	o.Flush()
	if _, err := h.finish(); err != nil || n != 1 {
		t.Errorf("%d connections, %v", n, err)
	}
	if answers != 2 || len(drive.refusals()) > 0 { // SYN-ACK, RST
		t.Errorf("%d answers, %v", answers, drive.refusals())
	}
}

// TestOffendersCounted: the summary tells how many early talks made their client an offender.
func TestOffendersCounted(t *testing.T) {
	done, h := staged(t, policyOf(t, "    inspect-delay: 20s"), handshake(c(110*ms, ack, 1, 1, ehlo)))
	if len(done) != 1 {
		t.Fatalf("%d connections", len(done))
	}
	for n := range 3 {
		var b strings.Builder
		h.writeShares(&b)
		if says := strings.Contains(b.String(), fmt.Sprintf("\n%d early talks made their client an offender", n)); says != (n > 0) {
			t.Errorf("after %d: %s", n, b.String())
		}
		if got := policyJSON(h, &Tally{}, nil).Offences; got != n {
			t.Errorf("%d in JSON, want %d", got, n)
		}
		h.deeds.event(&dataplane.Event{Kind: dataplane.EventOffender}, nil, h.trials[0])
	}
}
