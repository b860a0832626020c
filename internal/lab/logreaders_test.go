package lab

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readerFormats are the log formats that programs of others read, each on a port of its own.
var readerFormats = []struct{ format, port string }{{"tcplog", "25"}, {"json", "26"}, {"postscreen", "27"}, {"pflogsumm", "28"}}

// readerConfig logs each format with all headers into files in a directory.
func readerConfig(dir string) []byte {
	var frontends, backends strings.Builder
	for _, f := range families {
		for _, r := range readerFormats {
			var targets []string
			for _, header := range []string{"raw", "traditional", "rfc5424", "iso", "local"} {
				targets = append(targets, fmt.Sprintf("{to: file@%s/%s.%s.log, format: %s}", dir, r.format, header, header))
			}
			tag := "hushgate"
			if r.format == "postscreen" || r.format == "pflogsumm" {
				tag = "postfix/postscreen"
			}
			fmt.Fprintf(&frontends, "  - {name: ft_%s_%s, bind: %q, inspect-delay: 2s, log-format: %s, log-tag: %s, default_backend: bk_%s, pass: never, log: [%s]}\n",
				f.name, r.format, net.JoinHostPort(f.vip, r.port), r.format, tag, f.name, strings.Join(targets, ", "))
		}
		fmt.Fprintf(&backends, "  - {name: bk_%s, servers: [{name: smtp1, address: %q}]}\n", f.name, net.JoinHostPort(f.a, "25"))
	}
	return fmt.Appendf(nil, "#yaml\nfrontends:\n%sbackends:\n%s", &frontends, &backends)
}

// TestLogReaders: programs of others read what real clients cause, in each format and with each header. Half of the lines come
// after the files were renamed, and after another process has taken over: none is lost.
func TestLogReaders(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	dir := t.TempDir()
	for _, f := range families {
		mtas(t, l, f)
	}
	g := gateway(ctx, t, l, readerConfig(dir))
	meet := func() {
		t.Helper()
		for _, r := range readerFormats {
			for _, f := range families {
				vip := net.JoinHostPort(f.vip, r.port)
				_, err := l.Bot(ctx, f.talker, vip, 0, "EHLO [203.0.113.66]:4000: x\r\nPREGREET 8 after 0 from [203.0.113.66]:4000: x\r\n", 5*time.Second)
				must(t, err)
				must(t, l.HangUp(ctx, f.client, vip, 50*time.Millisecond, true))
				if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil {
					t.Error(err)
				}
			}
		}
	}
	lines := func() map[string][]string {
		all := map[string][]string{}
		files, err := filepath.Glob(dir + "/*.log*")
		must(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			must(t, err)
			name := strings.TrimSuffix(filepath.Base(file), ".1")
			all[name] = append(all[name], strings.Split(strings.TrimSpace(string(text)), "\n")...)
		}
		return all
	}
	each := map[string]int{"tcplog": 3, "json": 3, "postscreen": 4 + 4 + 4, "pflogsumm": 5 + 4 + 4}
	complete := func(times int) func() bool {
		return func() bool {
			for name, got := range lines() {
				format, _, _ := strings.Cut(name, ".")
				if len(got) != each[format]*len(families)*times {
					return false
				}
			}
			return true
		}
	}
	meet()
	waitFor(t, "all lines", complete(1))
	files, err := filepath.Glob(dir + "/*.log")
	must(t, err)
	for _, file := range files {
		must(t, os.Rename(file, file+".1"))
	}
	must(t, g.Signal(syscall.SIGUSR2))
	if out, err := l.hushgate(ctx, "upgrade"); err != nil {
		t.Fatalf("upgrade: %v, %s", err, out)
	}
	meet()
	waitFor(t, "all lines", complete(2))
	fail2ban(ctx, t, dir, slices.Sorted(maps.Keys(lines())))
	pflogsumm(ctx, t, dir)
	if to := os.Getenv("HUSHGATE_LOG_SAMPLES"); to != "" {
		must(t, os.CopyFS(to, os.DirFS(dir)))
	}
}

// fail2ban looks for the addresses that the filter finds: those of the talkers, and in no mode one that a client said.
func fail2ban(ctx context.Context, t *testing.T, dir string, files []string) {
	t.Helper()
	filter := "../../contrib/fail2ban/filter.d/hushgate.conf"
	for _, file := range files {
		if file == "pflogsumm.raw.log" || file == "postscreen.raw.log" { // its lines have no time
			continue
		}
		for mode, want := range map[string]int{"talk": 1, "aggressive": 2} {
			out, err := exec.CommandContext(ctx, "fail2ban-regex", "-o", "ip", filepath.Join(dir, file), filter+"[mode="+mode+"]").CombinedOutput()
			if err != nil {
				t.Fatalf("fail2ban-regex: %v\n%s", err, out)
			}
			found := map[string]int{}
			for _, ip := range strings.Fields(string(out)) {
				found[ip]++
			}
			expected := map[string]int{}
			for _, f := range families {
				expected[f.talker] = 1
				if want == 2 {
					expected[f.client] = 1
				}
			}
			if !maps.Equal(found, expected) {
				t.Errorf("%s, mode %s: %v, want %v", file, mode, found, expected)
			}
		}
	}
}

// pflogsumm counts the rejected clients.
func pflogsumm(ctx context.Context, t *testing.T, dir string) {
	t.Helper()
	for file, want := range map[string]string{"postscreen.traditional.log": "0", "pflogsumm.traditional.log": "2", "pflogsumm.iso.log": "0"} {
		out, err := exec.CommandContext(ctx, "pflogsumm", filepath.Join(dir, file)).CombinedOutput()
		rejected := regexp.MustCompile(`(?m)^ +(\d+) +rejected`).FindStringSubmatch(string(out))
		if err != nil || rejected == nil || rejected[1] != want {
			t.Errorf("pflogsumm of %s: %v, %v rejected, want %s\n%s", file, err, rejected, want, out)
		}
	}
}
