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

	sockets string // directory of the control API's sockets
}

const offenderConfig = `#yaml
shards: 2
pass-file: %[1]s/passes
prefix-length: {ipv6: 128}
api: {socket: %[1]s/look, admin-socket: %[1]s/admin, admin-group: root}
offenders: {after: 3, within: 1h, for: 1h, action: drop}
frontends:
  - {name: ft, bind: %[2]q, log-format: json, log: [stdout], inspect-delay: 2s, default_backend: bk, access: [accept: %[3]q]}
backends:
  - {name: bk, servers: [{name: smtp1, address: %[4]q}]}
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
		Listed bool
		Kernel bool
		LeftMs *int64 `json:"left_ms"`
	}
	must(s.t, json.Unmarshal([]byte(out), &list))
	all := map[string]bool{}
	for _, o := range list {
		client, _, _ := strings.Cut(o.Client, "/")
		all[client] = o.Kernel
		if o.LeftMs == nil {
			continue
		}
		if left := time.Duration(*o.LeftMs) * time.Millisecond; left < 55*time.Minute || left > time.Hour+time.Second || !o.Listed {
			s.t.Errorf("%s is an offender for %v, listed: %v", o.Client, left, o.Listed)
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
		s.sockets = openDir(t)
		s.g = gateway(ctx, t, l, fmt.Appendf(nil, offenderConfig, s.sockets, s.vip, s.good, net.JoinHostPort(f.a, "25")))
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
	log := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(log, []byte(strings.Join(s.g.Lines(), "\n")+"\n"), 0o600))
	if out, err := s.l.hushgate(s.ctx, "explain", "--log", log, s.bot); err != nil || !strings.Contains(out, " became an offender ") || !strings.Contains(out, "3 early-talker") {
		t.Errorf("what the log tells of it: %v, %s", err, out)
	}
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
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 2 || !strings.Contains(lines[1], s.bot) || !strings.HasSuffix(lines[1], "yes") {
		s.t.Errorf("the list: %v, %q", err, out)
	}
	s.byNFT()
}

// byNFT has an administrator keep a client out with nft, who is in no shard's memory. Both the client and a network can be removed.
func (s *offenderSite) byNFT() {
	other := map[string]string{"ipv4": ClientAddr4(5), "ipv6": ClientAddr6(5)}[s.f.name]
	bits := map[string]string{"ipv4": "32", "ipv6": "128"}[s.f.name]
	_, err := s.l.Gateway.Run(s.ctx, "nft", "add", "element", "netdev", "hushgate", s.f.name+"-"+bits, "{ "+other+" }")
	must(s.t, err)
	waitFor(s.t, "the list has what was added with nft", func() bool {
		all := s.listed()
		return len(all) == 2 && all[other] && all[s.bot]
	})
	out, err := s.l.hushgate(s.ctx, "offenders", "list", other)
	if !strings.Contains(out, other+"  for ever") || strings.Contains(out, s.bot+" ") {
		s.t.Errorf("the list of %s: %v, %q", other, err, out)
	}
	s.hushgate(other+" is no offender any more", "remove", other)
	s.hushgate("hushgate: "+other+" is no offender", "remove", other)
	s.hushgate(s.bot+" is an offender", "add", s.bot+"/"+bits, "--for", "59m") // a network that is one client
	s.hushgate("hushgate: ", "add", map[string]string{"ipv4": "198.18.0.0/16", "ipv6": "2001:db8::/32"}[s.f.name])
	s.forTheGroup()
}

// forTheGroup asks as a user who is not root, at the socket that the group of administrators may use.
func (s *offenderSite) forTheGroup() {
	as := func(want string, args ...string) {
		s.t.Helper()
		out, _ := s.l.Gateway.Run(s.ctx, "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--groups=0", binary, "offenders"}, args...)...)
		if !strings.HasPrefix(out, want) {
			s.t.Errorf("offenders %v as nobody: %q, want %q", args, out, want)
		}
	}
	admin, look := filepath.Join(s.sockets, "admin"), filepath.Join(s.sockets, "look")
	as("CLIENT ", "--socket", look)
	as("hushgate: permission denied: this client has the level read-only", "remove", s.bot, "--socket", look)
	as(s.bot+" is no offender any more", "remove", s.bot, "--socket", admin)
	as(s.bot+" is an offender", "add", s.bot, "--for", "59m", "--socket", admin)
	s.waitKernel("added by the group", true)
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
	waitForLine(s.ctx, t, s.g, `msg="offenders in the kernel"`, "entries=1", "dropped."+s.f.name+"=")
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

// openDir makes a directory that all users can reach, as they can /run/hushgate.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hushgate")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}
