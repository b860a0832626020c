package lab

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// watcher is a running `hushgate watch`.
type watcher struct {
	*exec.Cmd
	mu  sync.Mutex
	out strings.Builder
	err strings.Builder
}

// into collects what the command writes.
type into struct {
	w  *watcher
	to *strings.Builder
}

func (i into) Write(p []byte) (int, error) {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	return i.to.Write(p)
}

func (w *watcher) texts() (out, err string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String(), w.err.String()
}

func (l *Lab) watch(t *testing.T, args ...string) *watcher {
	t.Helper()
	w := &watcher{Cmd: exec.Command(binary, append([]string{"watch"}, args...)...)}
	w.Stdout, w.Stderr = into{w, &w.out}, into{w, &w.err}
	must(t, l.Gateway.Start(w.Cmd))
	return w
}

// sees has a bot talk early until the command has shown n lines: nobody can tell when it begins to watch. A bot that was kept from
// talking in time is served, and tries again.
func (w *watcher) sees(ctx context.Context, t *testing.T, l *Lab, from, to string, n int) {
	t.Helper()
	waitFor(t, "a line of hushgate watch", func() bool {
		if _, err := l.Bot(ctx, from, to, 0, "EHLO bot\r\n", 5*time.Second); err != nil {
			t.Fatal(err)
		}
		for range 20 { // the line comes at once, but the machine may be busy
			if out, _ := w.texts(); strings.Count(out, "\n") >= n {
				return true
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	})
}

// talked checks that all that was shown are this bot's early talks.
func (w *watcher) talked(t *testing.T, from string) {
	t.Helper()
	out, notes := w.texts()
	t.Logf("hushgate watch shows:\n%s%s", out, notes)
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var v struct{ Verdict, Client, Frontend, Talk string }
		err := d.Decode(&v)
		if err == io.EOF {
			return
		}
		must(t, err)
		if v.Verdict != "early-talker" || v.Client != from || v.Frontend != "ft_smtp" || v.Talk != `EHLO bot\r\n` {
			t.Errorf("hushgate watch shows %+v", v)
		}
	}
}

// TestWatch: `hushgate watch` shows early talkers of either family as they come, and only what its filters let through. It ends after
// as many lines as it was asked for. A gateway that is killed and started again is watched by the same process.
func TestWatch(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		g := gateway(ctx, t, l, life(f, "", "1s", f.a))
		vip := net.JoinHostPort(f.vip, "25")
		early := l.watch(t, "--json", "--verdict", "early-talker", "--client", f.talker)
		early.sees(ctx, t, l, f.talker, vip, 1)
		quiet := l.watch(t, "--verdict", "quiet", "--frontend", "ft_smtp", "--count", "1")
		ended := make(chan error, 1)
		go func() { ended <- quiet.Wait() }()
		for over := false; !over; {
			if seen, err := l.Client.Deliver(ctx, f.client, vip, strings.NewReader("Subject: x\r\n\r\nx\r\n")); err != nil {
				t.Fatal(seen, err)
			}
			select {
			case err := <-ended:
				must(t, err)
				over = true
			case <-time.After(100 * time.Millisecond):
			}
		}
		if out, err := quiet.texts(); err != "" || !strings.Contains(out, " quiet        "+f.client+" ft_smtp bk_smtp/smtp1 first octet after ") || strings.Count(out, "\n") != 1 {
			t.Errorf("watching quiet clients: %q, %q", out, err)
		}
		g.Kill()
		waitFor(t, "the end of the stream", func() bool {
			_, err := early.texts()
			return strings.Contains(err, "the gateway has ended the stream: connecting again")
		})
		out, _ := early.texts()
		before := strings.Count(out, "\n")
		g = gateway(ctx, t, l, life(f, "", "1s", f.a))
		early.sees(ctx, t, l, f.talker, vip, before+1)
		early.talked(t, f.talker)
		must(t, g.Stop())
	})
}
