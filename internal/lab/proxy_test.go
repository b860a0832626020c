package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

// TestProxyProtocol runs the example for servers that cannot answer through the gateway: Postfix with
// smtpd_upstream_proxy_protocol (version 1) and HAProxy with accept-proxy (version 2), both without a route to any client,
// log the clients' own addresses, and never hear of an early talker.
func TestProxyProtocol(t *testing.T) {
	beside(t)
	for _, f := range families {
		for _, shards := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/shards=%d", f.name, shards), func(t *testing.T) {
				beside(t)
				proxyProtocol(t, f, shards)
			})
		}
	}
}

func proxyProtocol(t *testing.T, f family, shards int) {
	ctx, l := site(t, Options{})
	for _, s := range l.Servers {
		withoutDefault(t, s)
	}
	mail := postfix(ctx, t, l.Servers[0], f.a, "haproxy")
	proxied := haproxyReceiver(t, l.Servers[1], f.b)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Postfix:\n%s\nHAProxy:\n%s", read(t, mail), proxied())
		}
	})
	text, err := os.ReadFile("../../docs/examples/proxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	cfg := strings.NewReplacer(ShapeVIP4, VIP4, ShapeVIP6, VIP6, "inspect-delay 20s", "inspect-delay 2s").Replace(string(text))
	cfg = strings.Replace(cfg, "global\n", fmt.Sprintf("global\n    nbthread %d\n", shards), 1)
	g := gateway(ctx, t, l, []byte(cfg))
	vip := net.JoinHostPort(f.vip, "25")
	seen, err := l.Bot(ctx, f.talker, vip, 100*time.Millisecond, "EHLO bot\r\n", 5*time.Second)
	if err != nil || seen.End != EndReset || seen.Text != "" {
		t.Errorf("the early talker saw %+v, %v", seen, err)
	}
	body := plainMail(1 << 20)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var group errgroup.Group
	for range 20 {
		group.Go(func() error {
			_, err := l.Deliver(ctx, f.client, vip, bytes.NewReader(body))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	where := "[" + f.client + "]"
	counts := func() (byPostfix, byHAProxy int) {
		return strings.Count(read(t, mail), ": client=unknown"+where), strings.Count(proxied(), "from="+f.client+" to="+f.vip+" ")
	}
	waitFor(t, "both servers to have logged all of the client's mails", func() bool {
		one, other := counts()
		return one > 0 && other > 0 && one+other == 20
	})
	for what, text := range map[string]string{"Postfix": read(t, mail), "HAProxy": proxied()} {
		if strings.Contains(text, f.talker+"]") || strings.Contains(text, "from="+f.talker+" ") {
			t.Errorf("%s has heard of the early talker", what)
		}
	}
	waitFor(t, "20 lines that name the client as the one who delivered", func() bool { return g.Count(f.client, " mx", "--") == 20 })
	backend := map[string]string{VIP4: "mx", VIP6: "mx6"}[f.vip]
	if n := g.Count("Server "+backend+"/", "is DOWN"); n != 0 {
		t.Errorf("%d times a server was taken for down: the server does not understand the headers of the checks", n)
	}
}

// TestProxyHeaderOfClient: a server that answers through the gateway sees the client's address on the wire and in the PROXY
// header.
func TestProxyHeaderOfClient(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mail := postfix(ctx, t, l.Servers[0], f.a, "haproxy")
		cfg := strings.ReplaceAll(string(f.config(time.Second)), " check\n", " check send-proxy-v2\n")
		gateway(ctx, t, l, []byte(cfg))
		if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), bytes.NewReader(plainMail(1<<20))); err != nil {
			t.Error(err)
		}
		waitFor(t, "Postfix to have logged the client", func() bool {
			return strings.Contains(read(t, mail), "client=unknown["+f.client+"]")
		})
		if t.Failed() {
			t.Log(read(t, mail))
		}
	})
}

// withoutDefault removes a host's default routes, so that it can answer only its own network.
func withoutDefault(t *testing.T, h *Host) {
	t.Helper()
	err := h.Do(func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if ones, _ := maskOf(r.Dst); r.Gw != nil && ones == 0 {
				if err := netlink.RouteDel(&r); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func maskOf(n *net.IPNet) (ones, bits int) {
	if n == nil {
		return 0, 0
	}
	return n.Mask.Size()
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// postfix starts a Postfix on a host. Its smtpd listens at an address and expects a proxy; mail is discarded. The result is its
// log file.
func postfix(ctx context.Context, t *testing.T, h *Host, addr, upstream string) string {
	t.Helper()
	log := postfixBehind(ctx, t, h, addr, "smtp inet n - n - - smtpd",
		"smtpd_upstream_proxy_protocol = "+upstream+"\nsmtpd_upstream_proxy_timeout = 5s\n")
	waitFor(t, "Postfix to listen on "+addr, func() bool {
		c, err := h.Dial(ctx, "", net.JoinHostPort(addr, "25"))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	return log
}

// postfixBehind starts a Postfix on a host, with services for its master.cf and settings for its main.cf.
func postfixBehind(ctx context.Context, t *testing.T, h *Host, addr, services, settings string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hushgate-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	log := filepath.Join(dir, "mail.log")
	main := fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
inet_interfaces = %[2]s
inet_protocols = all
myhostname = mx.example.com
mydestination =
relay_domains = example.com
default_transport = discard:
relay_transport = discard:
alias_maps =
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
%[3]s`, dir, addr, settings)
	master := services + `
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
`
	conf := filepath.Join(dir, "conf")
	if err := errorsJoin(os.Chmod(dir, 0o755), os.Mkdir(conf, 0o755), os.Mkdir(filepath.Join(dir, "spool"), 0o755),
		os.WriteFile(filepath.Join(conf, "main.cf"), []byte(main), 0o644),
		os.WriteFile(filepath.Join(conf, "master.cf"), []byte(master), 0o644)); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Run(ctx, "postfix", "-c", conf, "check"); err != nil { // this makes the directories
		t.Fatalf("check Postfix: %v: %s", err, out)
	}
	if err := h.Start(exec.Command("/usr/lib/postfix/sbin/master", "-c", conf, "-d")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "Postfix to have started", func() bool { return strings.Contains(read(t, log), "daemon started") })
	return log
}

// haproxyReceiver starts an HAProxy on a host that expects a PROXY header, in front of an smtp-sink. The returned function reads
// its log.
func haproxyReceiver(t *testing.T, h *Host, addr string) func() string {
	t.Helper()
	sink(t, h, "127.0.0.1")
	return haproxy(t, h, addr, fmt.Sprintf(`frontend in
    bind %s accept-proxy
    log-format "from=%%[src] to=%%[dst] %%B"
    default_backend out
backend out
    server sink 127.0.0.1:25
`, net.JoinHostPort(addr, "25")))
}

// haproxyTrusting starts an HAProxy on a host, in front of the Postfix at 127.0.0.1. It accepts a PROXY header from the trusted
// addresses only; from any other address it passes the header on as if it were SMTP.
func haproxyTrusting(t *testing.T, h *Host, addr, trusted string) func() string {
	t.Helper()
	return haproxy(t, h, addr, fmt.Sprintf(`frontend in
    bind %s
    tcp-request connection expect-proxy layer4 if { src %s }
    default_backend out
backend out
    server postfix 127.0.0.1:25 send-proxy
`, net.JoinHostPort(addr, "25"), trusted))
}

// haproxy starts an HAProxy on a host, with sections of its configuration, and waits until it listens at port 25 of addr. The
// returned function reads its log.
func haproxy(t *testing.T, h *Host, addr, sections string) func() string {
	t.Helper()
	dir := t.TempDir()
	cfg := `global
    log stdout format raw local0
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 1m
    timeout server 1m
` + sections
	file, out := filepath.Join(dir, "haproxy.cfg"), filepath.Join(dir, "out")
	w, err := os.Create(out)
	if err := errorsJoin(err, os.WriteFile(file, []byte(cfg), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("haproxy", "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = w, w
	err = h.Start(cmd)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "HAProxy to listen on "+addr, func() bool { // without a connection, which it would log
		listening, err := h.Run(t.Context(), "ss", "-Hltn", "src", net.JoinHostPort(addr, "25"))
		return err == nil && listening != ""
	})
	return func() string { return read(t, out) }
}
