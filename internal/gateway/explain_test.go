package gateway

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/wire"
)

// TestExplain: an address has what became of its connections, what its next one would get, and what is known of its client; a network
// has what is known of its clients. Nothing of it is another client's.
func TestExplain(t *testing.T) {
	for _, c := range []struct{ client, other, network string }{
		{"198.18.0.7", "198.18.0.8", "198.18.0.0/24"},
		{"2001:db8:0:1::7", "2001:db8:0:2::7", "2001:db8::/32"},
	} {
		o := newOperated(t, 2)
		client, other := netip.MustParseAddr(c.client), netip.MustParseAddr(c.other)
		end := func(a netip.Addr, port uint16) {
			at := o.clock.Now()
			e := dataplane.Event{
				Kind: dataplane.EventClosed, Verdict: dataplane.VerdictEarlyTalker, Cause: dataplane.CauseClientTalked, Client: wire.AddrFrom(a), ClientPort: port,
				Server: dataplane.NoServer, Established: at, FirstByte: at.Add(5 * time.Millisecond), Closed: at.Add(5 * time.Millisecond), TalkLen: 6,
			}
			copy(e.TalkHead[:], "EHLO\r\n")
			o.bygone.Take(0, []dataplane.Event{e})
		}
		end(client, 4000)
		end(other, 4001)
		end(client, 4002)
		ctx := t.Context()
		if err := o.ListOffender(ctx, client, time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := o.GrantPass(ctx, other); err != nil {
			t.Fatal(err)
		}
		if client.Is4() { // the services have no other addresses
			o.connect(t, c.client, 5000, 0)
			if v, err := o.Explain(ctx, netip.PrefixFrom(client, 32), 1); err != nil || v.Next[0].Refusal != "tarpit" {
				t.Errorf("%+v, %v", v, err)
			}
		}

		v, err := o.Explain(ctx, netip.PrefixFrom(client, client.BitLen()), 1)
		if err != nil || v.Client != c.client || v.Verdicts["early-talker"] != 2 || len(v.Connections) != 1 || v.Remembered.Connections != 3 || v.Remembered.Since == nil {
			t.Fatalf("%+v, %v", v, err)
		}
		p := v.Connections[0]
		if p.Connection.ClientPort != 4002 || p.Connection.Talk != `EHLO\r\n` || *p.Connection.FirstByteMs != 5 || p.Connection.Frontend != "slow" ||
			len(p.Lines) != 1 || !strings.HasPrefix(p.Lines[0], c.client+":4002 [") || !strings.Contains(p.Lines[0], " PR ") {
			t.Errorf("%+v", p)
		}
		if len(v.Offenders) != 1 || !v.Offenders[0].Listed || len(v.Passes) != 0 || len(v.Next) != 2 {
			t.Errorf("%+v", v)
		}
		for i, want := range []admin.Outlook{
			{Frontend: "slow", Refusal: "tarpit", DelayMs: v.Next[0].DelayMs, OnEarlyTalk: v.Next[0].OnEarlyTalk, Rule: v.Next[0].Rule, Pass: v.Next[0].Pass},
			{Frontend: "fast", Refusal: "tarpit", DelayMs: v.Next[1].DelayMs, OnEarlyTalk: v.Next[1].OnEarlyTalk, Rule: v.Next[1].Rule, Pass: v.Next[1].Pass},
		} {
			if v.Next[i] != want || !strings.Contains(want.Rule, "offender") {
				t.Errorf("next: %+v", v.Next[i])
			}
		}
		if v, err = o.Explain(ctx, netip.PrefixFrom(other, other.BitLen()), 9); err != nil || len(v.Passes) != 1 || len(v.Offenders) != 0 || v.Next[0].Pass != "old" || len(v.Connections) != 1 {
			t.Errorf("%+v, %v", v, err)
		}
		v, err = o.Explain(ctx, netip.MustParsePrefix(c.network), 9)
		if err != nil || len(v.Connections) != 3 || len(v.Passes) != 1 || len(v.Offenders) != 1 || v.Partial || len(v.Next) != 0 || v.Client != c.network {
			t.Errorf("%+v, %v", v, err)
		}
		if v, err = o.Explain(ctx, netip.MustParsePrefix("203.0.113.0/24"), 9); err != nil || len(v.Connections)+len(v.Passes)+len(v.Offenders)+len(v.Clients) != 0 {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

// TestOldLines: the lines about a connection that has ended are those that were written, in each format.
func TestOldLines(t *testing.T) {
	o := newOperated(t, 1)
	names := &o.plan.Tables.Names
	at := o.clock.Now()
	e := dataplane.Event{
		Verdict: dataplane.VerdictEarlyTalker, Client: wire.AddrFrom(netip.MustParseAddr("2001:db8::7")), ClientPort: 4000, Server: dataplane.NoServer,
		Established: at, FirstByte: at.Add(1500 * time.Millisecond), Closed: at.Add(3 * time.Second), TalkLen: 6, Observed: true,
	}
	copy(e.TalkHead[:], "EHLO\r\n")
	custom, err := connlog.NewFormat("%ci said it")
	if err != nil {
		t.Fatal(err)
	}
	const who = "[2001:db8::7]:4000"
	for format, want := range map[config.LogFormat][]string{
		config.LogNone:       nil,
		config.LogCustom:     {"2001:db8::7 said it"},
		config.LogPostscreen: {"PREGREET 6 after 1.5 from " + who + `: EHLO\r\n`, "DISCONNECT " + who},
	} {
		o.lines.fronts[0].format, o.lines.fronts[0].custom = format, custom
		if got := o.lines.linesOf(&e, names); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%v: %q, want %q", format, got, want)
		}
	}
	gone := *names
	gone.Services = []connlog.Service{{Frontend: "removed"}}
	if got := o.lines.linesOf(&e, &gone); got != nil {
		t.Errorf("of a frontend that is gone: %q", got)
	}
}
