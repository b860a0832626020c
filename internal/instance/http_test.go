package instance

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestHTTP: a client that speaks HTTP gets to the handler with all that it has sent, and commands still work.
func TestHTTP(t *testing.T) {
	l := acquire(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(body))
	})}
	handed := &oneByOne{make(chan net.Conn), make(chan struct{})}
	go func() { _ = web.Serve(handed) }()
	go func() {
		ended <- l.Serve(ctx, Handlers{
			Do: func(_ context.Context, command string) Answer { return Answer{Error: "did " + command} },
			HTTP: func(conn net.Conn, by string) {
				if !strings.Contains(by, "uid ") {
					t.Errorf("the client is %q", by)
				}
				handed.conns <- conn
			},
		})
	}()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return Dial(ctx) }}}
	a, err := client.Post("http://hushgate/v1/x", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(a.Body)
	if err != nil || string(text) != "POST /v1/x body" {
		t.Errorf("%q, %v", text, err)
	}
	if a, err := Ask(t.Context(), "reload"); err != nil || a.Error != "did reload" {
		t.Errorf("%+v, %v", a, err)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(handed.over)
	_ = web.Close()
}

// oneByOne is a listener for connections that were accepted elsewhere.
type oneByOne struct {
	conns chan net.Conn
	over  chan struct{}
}

func (o *oneByOne) Accept() (net.Conn, error) {
	select {
	case c := <-o.conns:
		return c, nil
	case <-o.over:
		return nil, net.ErrClosed
	}
}
func (o *oneByOne) Close() error   { return nil }
func (o *oneByOne) Addr() net.Addr { return &address }

// TestIsHTTP tells requests from commands by their first line.
func TestIsHTTP(t *testing.T) {
	for line, want := range map[string]bool{
		"GET / HTTP/1.1\r": true, "POST /v1/reload HTTP/1.0": true, "GET /": false, "": false,
		`{"command":"GET / HTTP/1.1"}`: false, " HTTP/1.1": false, "get / HTTP/1.1": false,
	} {
		if isHTTP([]byte(line)) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}
