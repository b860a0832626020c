package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// offenderSite is a gateway at which early talkers become offenders.
type offenderSite struct {
	*passSite
	vip  string
	bot  string // talks early
	good string // a rule lets it in
}

const offenderConfig = `#yaml
shards: 2
pass-file: %s
prefix-length: {ipv6: 128}
offenders: {after: 3, within: 1h, for: 1h, action: drop}
frontends:
  - {name: ft, bind: %q, log-format: json, log: [stdout], inspect-delay: 2s, default_backend: bk, access: [accept: %q]}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`

// talk has an address talk at once, and returns what became of the connection.
func (s *offenderSite) talk(from string) Seen {
	s.t.Helper()
	seen, err := s.l.Bot(s.ctx, from, s.vip, 0, "EHLO bot\r\n", time.Second)
	must(s.t, err)
	return seen
}

// listed returns what hushgate lists, by client, and whether the kernel drops each.
func (s *offenderSite) listed() map[string]bool {
	s.t.Helper()
	out, err := s.l.hushgate(s.ctx, "offenders", "--json")
	if err != nil {
		s.t.Fatal(err, out)
	}
	var list []struct {
		Client string
		Until  time.Time
		Kernel bool
	}
	must(s.t, json.Unmarshal([]byte(out), &list))
	all := map[string]bool{}
	for _, o := range list {
		all[o.Client] = o.Kernel
		if left := time.Until(o.Until); left < 58*time.Minute || left > time.Hour+time.Second {
			s.t.Errorf("%s is an offender for %v", o.Client, left)
		}
	}
	return all
}

// inKernel returns the table that the kernel drops by.
func (s *offenderSite) inKernel() string {
	s.t.Helper()
	out, err := s.l.Gateway.Run(s.ctx, "nft", "list", "tables")
	must(s.t, err)
	if !strings.Contains(out, "netdev hushgate") {
		return ""
	}
	out, err = s.l.Gateway.Run(s.ctx, "nft", "list", "table", "netdev", "hushgate")
	must(s.t, err)
	return out
}

func (s *offenderSite) waitKernel(when string, in bool) {
	s.t.Helper()
	waitFor(s.t, when+": the bot is in the kernel's set: "+fmt.Sprint(in), func() bool { return strings.Contains(s.inKernel(), s.bot+" ") == in })
}

// dropped checks that the bot's SYN gets no answer, and that the kernel counts it.
func (s *offenderSite) dropped(when string) {
	s.t.Helper()
	before := s.count()
	ctx, cancel := context.WithTimeout(s.ctx, 300*time.Millisecond)
	defer cancel()
	if c, err := s.l.Client.Dial(ctx, s.bot, s.vip); err == nil {
		_ = c.Close()
		s.t.Errorf("%s: the offender has connected", when)
	}
	if after := s.count(); after <= before {
		s.t.Errorf("%s: the kernel has dropped %d SYNs, and %d before", when, after, before)
	}
}

// count is how many SYNs the kernel has dropped.
func (s *offenderSite) count() (n int) {
	for line := range strings.Lines(s.inKernel()) {
		if _, rest, found := strings.Cut(line, "counter packets "); found && strings.Contains(line, "drop") {
			var packets int
			_, _ = fmt.Sscan(rest, &packets)
			n += packets
		}
	}
	return n
}

// hushgate changes the list by hand. What it wants begins with hushgate: if that is an error.
func (s *offenderSite) hushgate(want string, args ...string) {
	s.t.Helper()
	out, err := s.l.hushgate(s.ctx, append([]string{"offenders"}, args...)...)
	if !strings.HasPrefix(out, want) || (err != nil) != strings.HasPrefix(want, "hushgate: ") {
		s.t.Fatalf("offenders %v: %v, %q, want %q", args, err, out, want)
	}
}

// reload replaces a part of the configuration.
func (s *offenderSite) reload(old, now string) {
	s.t.Helper()
	text, err := os.ReadFile(s.g.File)
	must(s.t, err)
	must(s.t, os.WriteFile(s.g.File, []byte(strings.Replace(string(text), old, now, 1)), 0o600))
	if out, err := s.l.hushgate(s.ctx, "reload"); err != nil {
		s.t.Fatal(err, out)
	}
}

// TestOffenders: the third early talk makes a bot an offender, whose SYNs the kernel drops; one that a rule lets in never is one. The
// list can be changed by hand; the kernel's set is repaired, outlives a crash and an upgrade, and ends with the process.
func TestOffenders(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		s := &offenderSite{passSite: &passSite{t: t, ctx: ctx, l: l, f: f}, vip: net.JoinHostPort(f.vip, "25"), bot: f.talker}
		s.good = map[string]string{"ipv4": ClientAddr4(4), "ipv6": ClientAddr6(4)}[f.name]
		s.g = gateway(ctx, t, l, fmt.Appendf(nil, offenderConfig, filepath.Join(t.TempDir(), "passes"), s.vip, s.good, net.JoinHostPort(f.a, "25")))
		s.becomes()
		s.byHand()
		s.changed()
		s.crash()
		s.otherActions()
		s.ends()
	})
}

func (s *offenderSite) becomes() {
	t := s.t
	for range 3 {
		if seen := s.talk(s.bot); seen.End != EndReset {
			t.Errorf("an early talker: %+v", seen)
		}
		s.talk(s.good)
	}
	waitForLine(s.ctx, t, s.g, "msg=offender", "client="+s.bot)
	waitForLine(s.ctx, t, s.g, `"event":"offender"`, `"offender":"`+s.bot+`"`, `"for_ms":3600000`)
	s.waitKernel("after three early talks", true)
	s.dropped("after three early talks")
	if all := s.listed(); len(all) != 1 || !all[s.bot] {
		t.Errorf("listed: %v", all)
	}
	if seen := s.talk(s.good); seen.End == EndReset || !strings.HasPrefix(seen.Text, "220") {
		t.Errorf("the client that a rule lets in: %+v", seen)
	}
	if strings.Contains(s.inKernel(), s.good+" ") || s.g.Count("msg=offender") != 1 {
		t.Errorf("the client that a rule lets in is in the set: %s", s.inKernel())
	}
}

func (s *offenderSite) byHand() {
	s.hushgate(s.bot+" is no offender any more", "remove", s.bot)
	s.waitKernel("removed by hand", false)
	if seen := s.talk(s.bot); seen.End != EndReset { // it is served as others are, and has one early talk
		s.t.Errorf("removed by hand: %+v", seen)
	}
	s.hushgate(s.bot+" is no offender any more", "remove", s.bot)
	s.hushgate("hushgate: "+s.bot+" is no offender", "remove", s.bot)
	s.hushgate("hushgate: "+s.good+" cannot be an offender", "add", s.good)
	s.hushgate(s.bot+" is an offender", "add", s.bot, "--for", "59m")
	s.waitKernel("added by hand", true)
	s.dropped("added by hand")
	out, err := s.l.hushgate(s.ctx, "offenders", "list")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); err != nil || len(lines) != 2 || !strings.Contains(lines[1], s.bot) || !strings.HasSuffix(lines[1], "yes") {
		s.t.Errorf("the list: %v, %q", err, out)
	}
}

// changed has others change the table.
func (s *offenderSite) changed() {
	for _, what := range []string{"flush ruleset", "delete table netdev hushgate"} {
		_, err := s.l.Gateway.Run(s.ctx, "nft", what)
		must(s.t, err)
		s.waitKernel("after nft "+what, true)
		s.dropped("after nft " + what)
	}
	waitForLine(s.ctx, s.t, s.g, "the kernel's set of offenders was changed or missing", "changed_by=nft")
}

func (s *offenderSite) crash() {
	s.g.Kill()
	s.waitKernel("after a crash", true)
	s.dropped("after a crash")
	s.start()
	s.dropped("started again after a crash")
	if all := s.listed(); len(all) != 1 || !all[s.bot] {
		s.t.Errorf("after a crash: %v", all)
	}
	s.g = takeOver(s.ctx, s.t, s.l, s.g)
	s.dropped("after a takeover")
	if all := s.listed(); len(all) != 1 || !all[s.bot] {
		s.t.Errorf("after a takeover: %v", all)
	}
	must(s.t, s.g.Stop()) // the set ends with the process, and the file has the offender
	if set := s.inKernel(); set != "" {
		s.t.Errorf("at the end: %s", set)
	}
	s.start()
	s.dropped("after a restart")
}

// otherActions changes what offenders get, while the bot is one.
func (s *offenderSite) otherActions() {
	t := s.t
	s.reload("action: drop", "action: tarpit")
	if set := s.inKernel(); set != "" {
		t.Errorf("after a reload: %s", set)
	}
	if seen := s.talk(s.bot); seen.End != EndSilence {
		t.Errorf("in the tarpit: %+v", seen)
	}
	waitForLine(s.ctx, t, s.g, `"client":"`+s.bot+`"`, `"verdict":"refused"`, `"rule":"offender"`)
	s.reload("action: tarpit", "action: delay 3s")
	seen, err := s.l.Bot(s.ctx, s.bot, s.vip, 6*time.Second, "", time.Second)
	must(t, err)
	if !strings.HasPrefix(seen.Text, "220") {
		t.Errorf("with a longer delay: %+v", seen)
	}
	waitForLine(s.ctx, t, s.g, `"client":"`+s.bot+`"`, `"rule":"offender"`, `"held_ms":3`)
}

func (s *offenderSite) ends() {
	t := s.t
	s.reload("action: delay 3s", "action: drop")
	s.hushgate(s.bot+" is an offender", "add", s.bot) // it has a pass, because it has waited; that is taken
	s.dropped("after another reload")
	if s.f.name == "ipv6" {
		s.reload("prefix-length: {ipv6: 128}", "prefix-length: {ipv6: 64}")
		s.waitKernel("in one network with a client that a rule lets in", false)
		if seen := s.talk(s.bot); seen.End != EndSilence || seen.Text != "" {
			t.Errorf("dropped by the shard: %+v", seen)
		}
		if seen := s.talk(s.good); !strings.HasPrefix(seen.Text, "220") {
			t.Errorf("the client that a rule lets in: %+v", seen)
		}
		s.reload("prefix-length: {ipv6: 64}", "prefix-length: {ipv6: 128}")
		s.hushgate(s.bot+" is an offender", "add", s.bot)
	}
	must(t, s.g.Signal(syscall.SIGUSR1))
	waitForLine(s.ctx, t, s.g, `msg="offenders in the kernel"`, "entries=1", "dropped_"+s.f.name+"=")
	s.g.Kill()
	s.waitKernel("after the last crash", true)
	if out, err := s.l.hushgate(s.ctx, "fail", "-f", s.g.File); err != nil { // fail: closed
		t.Fatal(err, out)
	}
	s.waitKernel("with fail: closed", true)
	if out, err := s.l.hushgate(s.ctx, "fail", "--as", "open", "-f", s.g.File); err != nil {
		t.Fatal(err, out)
	}
	if set := s.inKernel(); set != "" {
		t.Errorf("with fail: open: %s", set)
	}
	s.start()
	s.hushgate(s.bot+" is an offender", "add", s.bot) // what was changed just before a crash is not saved
	s.dropped("started again after fail: open")
	s.g.Kill()
	if out, err := s.l.hushgate(s.ctx, "fail", "--as", "off"); err != nil || !strings.Contains(out, "the kernel's set of offenders removed") {
		t.Error(err, out)
	}
	if set := s.inKernel(); set != "" {
		t.Errorf("after fail --as off: %s", set)
	}
}
