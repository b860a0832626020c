package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"hushgate/internal/admin"
)

const (
	apiPort    = "9164"
	apiToken   = "read-only-read-only-read-only-0001"
	adminToken = "admin-admin-admin-admin-admin-0001"
)

// apiConfig serves both families. Nobody waits to the end of the delay: it is over only for who has a pass, or if it is changed.
const apiConfig = `#yaml
shards: 2
prefix-length: {ipv6: 128}
api: {socket: %[1]s/api.sock, admin-socket: %[1]s/admin.sock, listen: "[::]:9164", crt: %[1]s/crt.pem, ca-file: %[1]s/ca.pem, admin-names: ops.example.net, token-file: %[1]s/tokens, admin-token-file: %[1]s/admin-tokens}
offenders: {after: 8, within: 1h, for: 1h, action: reset}
frontends:
  - {name: ft4, bind: "198.18.0.1:25", inspect-delay: 1h, default_backend: bk4}
  - {name: ft6, bind: "[2001:db8:1::1]:25", inspect-delay: 1h, default_backend: bk6}
backends:
  - {name: bk4, servers: [{name: a, address: "10.0.0.11:25", check: true, inter: 1s}, {name: b, address: "10.0.0.12:25"}]}
  - {name: bk6, servers: [{name: a, address: "[2001:db8:2::11]:25", check: true, inter: 1s}, {name: b, address: "[2001:db8:2::12]:25"}]}
`

// apiSite is a gateway whose API is asked while clients are there.
type apiSite struct {
	t     *testing.T
	ctx   context.Context
	l     *Lab
	g     *Gateway
	files apiFiles
	valid validator.Validator
	known map[string]bool // operations of the description; true: asked
	admin *http.Client

	clients []*smtpClient
}

func newAPISite(t *testing.T) *apiSite {
	t.Helper()
	s := &apiSite{t: t, known: map[string]bool{}}
	s.ctx, s.l = site(t, Options{})
	s.files = writeAPIFiles(t, t.TempDir(), apiToken, "me", "ops.example.net", "stranger")
	s.files.write(t, "admin-tokens", []byte("alice "+adminToken+"\n"))
	for _, f := range families {
		for i, a := range []string{f.a, f.b} {
			serve(t, s.l.Servers[i], net.JoinHostPort(a, "25"), func(c *net.TCPConn) {
				_, _ = fmt.Fprintf(c, "220 %c\r\n", 'a'+i)
				echoNoops(c)
			})
		}
	}
	s.g = gateway(s.ctx, t, s.l, fmt.Appendf(nil, apiConfig, s.files.dir))
	s.admin = overUnix(filepath.Join(s.files.dir, "admin.sock"))
	doc, err := libopenapi.NewDocument(admin.Description)
	must(t, err)
	var errs []error
	s.valid, errs = validator.NewValidator(doc)
	must(t, errs...)
	var described struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	must(t, yaml.Unmarshal(admin.Description, &described))
	for path, methods := range described.Paths {
		for m := range methods {
			if m != "parameters" {
				s.known[strings.ToUpper(m)+" "+path] = false
			}
		}
	}
	return s
}

// overUnix is an HTTP client for a socket.
func overUnix(path string) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
}

// note notes that an operation was asked.
func (s *apiSite) note(method, path string) {
	path, _, _ = strings.Cut(path, "?")
	got := strings.Split(method+" "+path, "/")
	for o := range s.known {
		want := strings.Split(o, "/")
		same := len(want) == len(got)
		for i := range want {
			same = same && (want[i] == got[i] || strings.HasPrefix(want[i], "{"))
		}
		if same {
			s.known[o] = true
		}
	}
}

// ask sends a request to the admin's socket. The answer must have the status, be as the description says, and is read into a value
// unless that is nil. It returns the answer's text.
func (s *apiSite) ask(method, path, body string, status int, into any) string {
	s.t.Helper()
	q, err := http.NewRequestWithContext(s.ctx, method, "http://hushgate"+path, strings.NewReader(body))
	must(s.t, err)
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	a, err := s.admin.Do(q)
	must(s.t, err)
	text, err := io.ReadAll(a.Body)
	must(s.t, err, a.Body.Close())
	if a.StatusCode != status {
		s.t.Fatalf("%s %s %s: %s, want %d\n%s", method, path, body, a.Status, status, text)
	}
	s.conform(method, path, body, a, text)
	s.note(method, path)
	if into != nil {
		must(s.t, json.Unmarshal(text, into))
	}
	return string(text)
}

// conform checks an answer against the description.
func (s *apiSite) conform(method, path, body string, a *http.Response, text []byte) {
	s.t.Helper()
	path, _, _ = strings.Cut(path, "?")
	q, err := http.NewRequestWithContext(s.ctx, method, "http://hushgate"+path, strings.NewReader(body))
	must(s.t, err)
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	a.Body = io.NopCloser(bytes.NewReader(text))
	if ok, wrong := s.valid.ValidateHttpResponse(q, a); !ok {
		for _, w := range wrong {
			s.t.Errorf("%s %s, %s: %v %v\n%s", method, path, a.Status, w, w.SchemaValidationErrors, text)
		}
	}
}

// smtpClient is a client at the gateway.
type smtpClient struct {
	*net.TCPConn
	r *bufio.Reader
}

func (s *apiSite) dial(f family, from string) *smtpClient {
	s.t.Helper()
	c, err := s.l.Client.Dial(s.ctx, from, net.JoinHostPort(f.vip, "25"))
	must(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	must(s.t, c.SetDeadline(time.Now().Add(90*time.Second)))
	client := &smtpClient{c, bufio.NewReader(c)}
	s.clients = append(s.clients, client)
	return client
}

// line returns what comes next, up to the end of the line, or how the connection ended.
func (c *smtpClient) line() string {
	text, err := c.r.ReadString('\n')
	if err != nil {
		return string(classify(err))
	}
	return strings.TrimSpace(text)
}

// noop sends a command, and returns the answer.
func (c *smtpClient) noop() string {
	if _, err := io.WriteString(c, "NOOP\r\n"); err != nil {
		return string(classify(err))
	}
	return c.line()
}

// expect checks texts in pairs: what came, and what had to.
func (s *apiSite) expect(what string, pairs ...string) {
	s.t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] != pairs[i+1] {
			s.t.Errorf("%s: %q, want %q", what, pairs[i], pairs[i+1])
		}
	}
}

// seen waits until the API shows a connection in a phase.
func (s *apiSite) seen(c *smtpClient, phase string) (v admin.Connection) {
	s.t.Helper()
	waitFor(s.t, phase, func() bool {
		var p admin.ConnectionPage
		s.ask("GET", "/v1/connections?limit=1000&client="+c.LocalAddr().String(), "", 200, &p)
		if len(p.Connections) != 1 || p.Connections[0].Phase != phase {
			return false
		}
		v = p.Connections[0]
		return true
	})
	return v
}

// kills has connections ended, as many as expected.
func (s *apiSite) kills(request string, n int) {
	s.t.Helper()
	var e admin.Ended
	s.ask("POST", "/v1/connections/kill", request, 200, &e)
	if int(e.Ended) != n {
		s.t.Errorf("kill %s ended %d connections, want %d", request, e.Ended, n)
	}
}
