package debian

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/internal/lab"
)

// guide is the document whose commands the tests run.
const guide = "../../docs/deployment.md"

// block is a fenced block of the guide that the tests run: its info string says on which machine, as in "sh gateway". A
// block of YAML is a file's text, and its info string names the file. The "text" that follows is what is printed.
type block struct {
	on, file, text string
	prints         string
}

// blocks are the blocks of the guide in its order. Blocks without a machine are not run.
func blocks(t *testing.T) (list []block) {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```(.*?)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		switch info := strings.Fields(m[1]); {
		case len(info) > 1:
			list = append(list, block{on: info[1], file: strings.Join(info[2:], " "), text: m[2]})
		case m[1] == "text" && len(list) > 0 && list[len(list)-1].prints == "":
			list[len(list)-1].prints = m[2]
		case m[1] == "text":
			t.Fatalf("%s: no command prints\n%s", guide, m[2])
		}
	}
	return list
}

var (
	elision = regexp.MustCompile(`^\.\.\.$`)
	varies  = regexp.MustCompile(`\d+|/[A-Z][a-z]{2}/|\.\.\.`)
)

// printed is whether out is what the guide says that the block prints. Numbers and months may differ, and "..." stands for any
// text.
func (b *block) printed(out string) bool {
	var re strings.Builder
	for line := range strings.Lines(b.prints) {
		line = strings.TrimRight(line, "\n")
		if elision.MatchString(line) {
			re.WriteString(`(?:.*\n)*`)
			continue
		}
		at := 0
		for _, m := range varies.FindAllStringIndex(line, -1) {
			re.WriteString(regexp.QuoteMeta(line[at:m[0]]))
			switch line[m[0]] {
			case '/':
				re.WriteString(`/[A-Z][a-z]{2}/`)
			case '.':
				re.WriteString(`.*`)
			default:
				re.WriteString(`\d+`)
			}
			at = m[1]
		}
		re.WriteString(regexp.QuoteMeta(line[at:]) + `\n`)
	}
	return regexp.MustCompile(`^` + re.String() + `$`).MatchString(out)
}

func TestPrinted(t *testing.T) {
	b := block{prints: "...\na=1 [24/Nov/2026]\nas ... of\n"}
	for out, want := range map[string]bool{
		"a=20 [1/Jan/2027]\nas x y of\n":    true,
		"x\ny\na=1 [1/Jan/2027]\nas  of\n":  true,
		"a=1 [1/Jan/2027]\nas of\n":         false,
		"a=1 [1/Jan/2027]\nas x of\nmore\n": false,
		"b=1 [1/Jan/2027]\nas x of\n":       false,
		"":                                  false,
	} {
		if b.printed(out) != want {
			t.Errorf("%q: %v, want %v", out, !want, want)
		}
	}
}

// walk is the guide's site of two arms, with Postfix on the servers. The gateway is not yet their default gateway.
type walk struct {
	*lab.Lab
	gateway *machine
	servers []*machine
	version int // of the package file on the gateway
}

func newWalk(t *testing.T, ctx context.Context) *walk {
	t.Helper()
	l, err := lab.NewShape(lab.TwoArms)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &walk{Lab: l, gateway: boot(t, ctx, l.Gateway, packages(t)+":/dist", sources(t, ctx)+":/sources")}
	// The machine as it was before: without forwarding, and with an address for its administrator, who says yes to apt.
	w.gateway.sh(t, ctx, `set -e
		sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
		ip address del 192.0.2.25/24 dev eth0
		ip address flush dev eth1
		echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/yes`)
	scripts, err := filepath.Abs("../lab/vagrant")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range l.Servers {
		m := boot(t, ctx, h, scripts+":/vagrant")
		m.sh(t, ctx, "useradd you && GATEWAY=10.0.0.254 /vagrant/server.sh")
		w.servers = append(w.servers, m)
	}
	return w
}

// sources is a directory with what the guide needs of one in which `make build` was run.
func sources(t *testing.T, ctx context.Context) string {
	t.Helper()
	dir := t.TempDir()
	run(t, ctx, "sh", "-ec", `
		dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --strip-components=3 ./usr/sbin/hushgate
		tar -C ../.. -c docs internal/debian | tar -x -C "$2"`, "sh", filepath.Join(packages(t), "hushgate.deb"), dir)
	return dir
}

// run runs a block on its machine and returns its output.
func (w *walk) run(t *testing.T, ctx context.Context, b *block) string {
	t.Helper()
	var out string
	var err error
	switch text := "set -e\n" + b.text; b.on {
	case "gateway":
		out, err = w.gateway.try(ctx, text)
	case "sources":
		out, err = w.gateway.try(ctx, "cd /sources; "+text)
	case "server":
		for _, m := range w.servers {
			o, e := m.try(ctx, text)
			out, err = out+o, errors.Join(err, e)
		}
	case "client":
		out, err = w.Client.Run(ctx, "sh", "-c", text)
	default:
		t.Fatalf("%s: no machine %q", guide, b.on)
	}
	if err != nil {
		t.Fatalf("%s: %s: %v:\n%s\n%s", guide, b.on, err, b.text, out)
	}
	return out
}

// nextPackage replaces the package file on the gateway by one of the next version.
func (w *walk) nextPackage(t *testing.T, ctx context.Context) {
	t.Helper()
	w.version++
	w.gateway.sh(t, ctx, strings.ReplaceAll(`set -e
		rm -rf hushgate_* /tmp/next
		dpkg-deb -R /dist/hushgate.deb /tmp/next
		sed -i 's/^Version: .*/Version: VERSION/' /tmp/next/DEBIAN/control
		dpkg-deb -Znone -b /tmp/next hushgate_VERSION_amd64.deb`, "VERSION", strings.Repeat("1.", w.version)+"0"))
}

// arrived checks that the mail has arrived, that exactly one server has seen one connection of the client, and that a server can
// connect to the outside.
func (w *walk) arrived(t *testing.T, ctx context.Context) {
	t.Helper()
	logs := func(pattern string) (lines string) {
		for _, m := range w.servers {
			lines += m.sh(t, ctx, "journalctl -b --no-pager -o cat | grep -E '"+pattern+"' || :")
		}
		return lines
	}
	waitFor(t, "the mail in a mailbox", func() bool {
		return strings.Contains(logs("status="), "status=sent (delivered to mailbox)")
	})
	if seen := logs(`^connect from .*\[192\.0\.2\.1\]`); strings.Count(seen, "connect") != 1 {
		t.Errorf("the servers saw %q, want one connection: of the client that waited", seen)
	}
	listener, err := w.Client.Listen("192.0.2.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	w.servers[0].sh(t, ctx, "timeout 10 bash -c 'exec 3<>/dev/tcp/192.0.2.1/9'")
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if host, _, _ := net.SplitHostPort(conn.RemoteAddr().String()); host != "192.0.2.25" {
		t.Errorf("a server's own connection comes from %s, want 192.0.2.25", host)
	}
}

// settled is the output of a block. If the block reads the journal, which may be a moment late, it is read again until it is as
// expected. What a health check tells of a server comes whenever the check ends, between any two lines: it is left out.
func (w *walk) settled(ctx context.Context, b *block, out string) string {
	lines := strings.Split(strings.TrimSpace(b.text), "\n")
	last := lines[len(lines)-1]
	if b.prints == "" || !strings.HasPrefix(last, "journalctl ") {
		return out
	}
	command, count, cut := strings.Cut(last, " -n ")
	command += ` | grep -v "^msg=\"server's TCP options learnt\""`
	if cut {
		command += " | tail -n " + count
	}
	for deadline := time.Now().Add(10 * time.Second); !b.printed(out) && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
		out, _ = w.gateway.try(ctx, command)
	}
	return out
}

// TestGuide runs all commands of the deployment guide on new machines in their order, from the installation of the package to its
// removal, and then without the package.
func TestGuide(t *testing.T) {
	ctx := need(t, "systemd-nspawn", "mmdebstrap", "nsenter", "dpkg-deb", "swaks", "nc")
	w := newWalk(t, ctx)
	for _, b := range blocks(t) {
		switch {
		case slices.Contains([]string{"yaml", "cfg", "policy-routing"}, b.on):
			continue // another site: TestGuideShapes
		case b.file != "":
			w.gateway.sh(t, ctx, "cat >"+b.file+" <<'END'\n"+b.text+"END")
			continue
		case strings.HasPrefix(b.text, "apt install"):
			w.nextPackage(t, ctx)
		case strings.HasPrefix(b.text, "systemctl stop"):
			w.arrived(t, ctx)
		}
		start := time.Now()
		out := w.run(t, ctx, &b)
		t.Logf("%s, %v:\n%s", b.on, time.Since(start).Round(time.Millisecond), b.text)
		if out = w.settled(ctx, &b, out); b.prints != "" && !b.printed(out) {
			t.Errorf("%s:\n%sprints\n%s\nbut should print\n%s", b.on, b.text, out, b.prints)
		}
	}
	seen, err := w.Bot(ctx, lab.ShapeClient4(1), "192.0.2.25:25", 0, "EHLO bot\r\n", 10*time.Second)
	if err != nil || seen.End != lab.EndReset || seen.Text != "" {
		t.Errorf("without the package: the bot: %+v, %v; want RST", seen, err)
	}
	w.gateway.confined(t, ctx, w.gateway.pid(t, ctx), 2)
}
