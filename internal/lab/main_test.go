package lab

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"hushgate/internal/needroot"
)

// binary is hushgate, built once for all tests of the whole gateway.
var binary string

func TestMain(m *testing.M) {
	if spec := os.Getenv(apiLoadVariable); spec != "" {
		os.Exit(loadAPI(spec))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
		panic(err)
	}
	os.Exit(func() int {
		if os.Geteuid() != 0 {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "hushgate-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := os.Chmod(dir, 0o755); err != nil { // tests run it also as a user who is not root
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		binary = filepath.Join(dir, "hushgate")
		build := exec.Command("go", "build", "-o", binary, "hushgate/cmd/hushgate")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build hushgate: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// site builds a lab for a test, which needs root. The test runs alone, unless it has called beside. The context ends when the
// test has taken too long.
func site(t *testing.T, o Options) (context.Context, *Lab) {
	t.Helper()
	needroot.Skip(t, "tests of the whole gateway")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	l, err := New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, l
}

// gateway starts hushgate in the lab. What it logged is shown if the test fails.
func gateway(ctx context.Context, t *testing.T, l *Lab, cfg []byte) *Gateway {
	t.Helper()
	g, err := l.StartGateway(ctx, binary, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			lines := g.Lines()
			for _, line := range lines[max(0, len(lines)-10):] {
				t.Log(line)
			}
		}
	})
	return g
}

// servers are the configuration's servers for a family, and where clients connect to.
type family struct {
	name           string
	vip, a, b      string
	client, talker string
}

var families = []family{
	{"ipv4", VIP4, Server4a, Server4b, ClientAddr4(1), ClientAddr4(2)},
	{"ipv6", VIP6, Server6a, Server6b, ClientAddr6(1), ClientAddr6(2)},
}

// config is the reference configuration for a family, with another delay.
func (f family) config(delay time.Duration) []byte {
	return fmt.Appendf(nil, `
frontend ft_smtp
    mode tcp
    bind :25
    source 0.0.0.0 usesrc clientip
    log global
    option tcplog
    tcp-request inspect-delay %dms
    acl content_present req_len gt 0
    tcp-request content reject if content_present
    default_backend bk_smtp
backend bk_smtp
    mode tcp
    balance roundrobin
    option smtpchk HELO mydomain.com
    default-server inter 3s rise 2 fall 3
    server smtp1 %s:25 check
    server smtp2 %s:25 check
`, delay.Milliseconds(), f.a, f.b)
}
