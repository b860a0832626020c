package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/dnsbl"
	"hushgate/internal/kernelset"
	"hushgate/internal/policy"
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
		if _, err := o.ListOffender(ctx, netip.PrefixFrom(client, client.BitLen()), time.Hour); err != nil {
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
			{Frontend: "slow", Treatment: admin.Treatment{DelayMs: v.Next[0].DelayMs, Refusal: "tarpit", OnEarlyTalk: v.Next[0].OnEarlyTalk}, Rule: v.Next[0].Rule, Pass: v.Next[0].Pass},
			{Frontend: "fast", Treatment: admin.Treatment{DelayMs: v.Next[1].DelayMs, Refusal: "tarpit", OnEarlyTalk: v.Next[1].OnEarlyTalk}, Rule: v.Next[1].Rule, Pass: v.Next[1].Pass},
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

// TestExplainNetworkWhole: a network of which there are exactly as many passes, offenders and clients as may be shown is shown whole, and
// does not claim that there are more; with one place less there are.
func TestExplainNetworkWhole(t *testing.T) {
	for network, clients := range map[string][]string{
		"198.18.0.0/24": {"198.18.0.7", "198.18.0.8"}, "2001:db8::/32": {"2001:db8:0:1::7", "2001:db8:0:2::7"},
	} {
		for kind, add := range map[string]func(o *operated, a netip.Addr) error{
			"pass": func(o *operated, a netip.Addr) error { return o.GrantPass(t.Context(), a) },
			"offender": func(o *operated, a netip.Addr) error {
				_, err := o.ListOffender(t.Context(), netip.PrefixFrom(a, a.BitLen()), time.Hour)
				return err
			},
			"kernel": func(o *operated, a netip.Addr) error { // one that a shard knows too is one entry
				_, err := o.ListOffender(t.Context(), netip.PrefixFrom(a, a.BitLen()), time.Hour)
				o.kept.put(&fakeSet{in: map[netip.Prefix]time.Duration{netip.PrefixFrom(a, map[bool]int{true: 32, false: 64}[a.Is4()]).Masked(): time.Hour}})
				return err
			},
			"client": func(o *operated, a netip.Addr) error {
				if a.Is4() { // the services have no other addresses
					o.connect(t, a.String(), 5000, 0)
				}
				return nil
			},
		} {
			o := newOperated(t, 2)
			for _, c := range clients {
				if err := add(o, netip.MustParseAddr(c)); err != nil {
					t.Fatal(err)
				}
			}
			v, err := o.Explain(t.Context(), netip.MustParsePrefix(network), 9)
			n := max(len(v.Passes), len(v.Offenders), len(v.Clients))
			if err != nil || v.Partial || n != 2 && (kind != "client" || n != 0) {
				t.Fatalf("%s, %s: %+v, %v", network, kind, v, err)
			}
			for limit := 1; limit <= 3 && n > 0; limit++ {
				v, err := o.Explain(t.Context(), netip.MustParsePrefix(network), limit)
				if err != nil || max(len(v.Passes), len(v.Offenders), len(v.Clients)) != min(limit, n) || v.Partial != (limit < n) {
					t.Errorf("%s, %s, limit %d: %+v, %v", network, kind, limit, v, err)
				}
			}
			o.kept.put(nil)
		}
	}
}

// TestOutlook: what the next connection would get has what DNS lists have said already, a rule about the signature that the client had,
// the stress of its shard, and the kernel's set.
func TestOutlook(t *testing.T) {
	o := newOperatedBy(t, 1, fmt.Sprintf(`
maxconn: 16
dnsbl: {sites: ["black.test*3", "white.test=127.0.0.9*-5"], threshold: 3, text: "550 5.7.1 no", resolvers: [%q]}
offenders: {after: 1, action: drop}
frontends:
  - {name: ft, bind: [":25"], inspect-delay: 30s, stress-delay: 2s, default_backend: bk, access: [{reject: all, signature: "1024_*_*_*"}]}
  - {name: plain, bind: ["192.0.2.25:2525"], inspect-delay: 1s, dnsbl: false, on-early-talk: observe, default_backend: bk}
backends:
  - {name: bk, servers: [{name: a, address: "10.0.0.11:25"}]}
`, blackServer(t)))
	for _, client := range []string{"192.0.2.7", "2001:db8::7"} {
		a := netip.MustParseAddr(client)
		next := func() (admin.Explanation, *admin.Outlook) {
			t.Helper()
			v, err := o.Explain(t.Context(), netip.PrefixFrom(a, a.BitLen()), 9)
			if err != nil || len(v.Next) != 2 {
				t.Fatalf("%+v, %v", v, err)
			}
			return v, &v.Next[0]
		}
		if v, n := next(); len(v.DNSAnswers) != 0 || !n.AsksDNSLists || n.DNSEffect != "undecided" || n.AfterDNS != nil || n.DelayMs != 30_000 || n.Stress ||
			v.Next[1].AsksDNSLists || v.Next[1].DNSEffect != "" || v.Next[1].DelayMs != 1000 || v.Next[1].OnEarlyTalk != "observe" {
			t.Errorf("before anybody has asked the lists: %+v", v)
		}
		answered := make(chan struct{})
		if _, known := o.lists.latest.client.Ask(a, func(dnsbl.Answer) { close(answered) }); !known {
			<-answered
		}
		v, n := next()
		if n.DNSEffect != "deny" || n.AfterDNS == nil || n.AfterDNS.Refusal != "reply" || v.Next[1].AfterDNS != nil {
			t.Errorf("listed: %+v", v.Next)
		}
		if len(v.DNSAnswers) != 2 || v.DNSAnswers[0].List != "black.test" || v.DNSAnswers[0].Answer != "listed" || v.DNSAnswers[0].Weight != 3 ||
			fmt.Sprint(v.DNSAnswers[0].Codes) != "[127.0.0.2]" || v.DNSAnswers[0].LeftMs <= 0 || v.DNSAnswers[1].Answer != "listed" || v.DNSAnswers[1].Weight != 0 {
			t.Errorf("%+v", v.DNSAnswers)
		}

		e := dataplane.Event{Verdict: dataplane.VerdictRefused, Client: wire.AddrFrom(a), Server: dataplane.NoServer, Delay: 30 * time.Second, Refusal: policy.RefuseReset, Established: o.clock.Now(), Closed: o.clock.Now()}
		var err error
		if e.Signature, err = policy.ParseSignature("1024_2_1460_00"); err != nil {
			t.Fatal(err)
		}
		o.bygone.Take(0, []dataplane.Event{e})
		v, n = next()
		if n.Refusal != "reset" || !strings.Contains(n.Rule, "test.yaml:6") || n.AsksDNSLists || n.AfterDNS != nil || v.Next[1].Refusal != "none" {
			t.Errorf("with a signature that a rule refuses: %+v", v.Next)
		}
		if got := v.Connections[0].Treatment; *got != (admin.Treatment{DelayMs: 30_000, Refusal: "reset", OnEarlyTalk: "reset"}) {
			t.Errorf("the treatment of before: %+v", got)
		}

		set := &fakeSet{in: map[netip.Prefix]time.Duration{}}
		_ = set.AddAll([]kernelset.Entry{{Prefix: netip.PrefixFrom(a, map[bool]int{true: 32, false: 64}[a.Is4()]).Masked()}})
		o.kept.put(set)
		if _, err := o.ListOffender(t.Context(), netip.PrefixFrom(a, a.BitLen()), time.Hour); err != nil {
			t.Fatal(err)
		}
		if v, n := next(); n.Refusal != "kernel-drop" || v.Next[1].Refusal == "kernel-drop" || !v.Offenders[0].Kernel {
			t.Errorf("kept out by the kernel: %+v", v.Next)
		}
		o.kept.put(nil)
	}
	for i := range 15 { // of 16 places
		o.connect(t, fmt.Sprintf("198.18.%d.7", i), 5000, 0)
	}
	v, err := o.Explain(t.Context(), netip.MustParsePrefix("198.18.77.7/32"), 9)
	if err != nil || !v.Next[0].Stress || v.Next[0].DelayMs != 2000 || v.Next[1].DelayMs != 1000 {
		t.Errorf("in stress: %+v, %v", v.Next, err)
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
