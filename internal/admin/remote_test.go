package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/testcert"
	"hushgate/internal/unusedport"
)

const (
	readToken  = "0123456789abcdef0123456789abcdef"
	adminToken = "fedcba9876543210fedcba9876543210"
)

// serverPair is the file of a server on loopback.
func serverPair(t testing.TB, by *testcert.Certificate) []byte {
	t.Helper()
	return by.Sign(t, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}).Pair(t)
}

// clientCert is a client's certificate, to be shown in a handshake.
func clientCert(t testing.TB, by *testcert.Certificate, c *x509.Certificate) *tls.Certificate {
	t.Helper()
	if c.ExtKeyUsage == nil {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	return by.Sign(t, c).TLS()
}

// named is the certificate of a client with a name.
func named(t testing.TB, by *testcert.Certificate, name string) *tls.Certificate {
	t.Helper()
	return clientCert(t, by, &x509.Certificate{Subject: pkix.Name{CommonName: name}})
}

// file writes a file that only its owner may read, and returns its path.
func file(t testing.TB, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// far is a rig that serves clients over TCP too.
type far struct {
	*rig
	ca     *testcert.Certificate
	remote Remote
}

func newFar(t testing.TB, host string, change ...func(*API)) *far {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	switch {
	case err == nil:
	case os.Getenv("HUSHGATE_LAB") == "1":
		t.Fatalf("no %s here: %v", host, err)
	default:
		t.Skipf("no %s here: %v", host, err)
	}
	f := &far{rig: newRig(t, change...), ca: testcert.Authority(t, "an authority")}
	dir := t.TempDir()
	f.remote = Remote{
		Address: l.Addr().String(), Crt: file(t, dir, "crt", serverPair(t, f.ca)), CAFile: file(t, dir, "ca", f.ca.PEM()), AdminNames: []string{"root@example.net"},
		Tokens: file(t, dir, "tokens", []byte(readToken)), AdminTokens: file(t, dir, "admin", []byte("# of people\nalice "+adminToken+"\n")),
	}
	c, err := f.Prepare(f.remote)
	if err == nil {
		err = c.Listen(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
	return f
}

// set puts another configuration in force.
func (f *far) set(t testing.TB, r Remote) {
	t.Helper()
	c, err := f.Prepare(r)
	if err == nil {
		err = c.Listen(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.remote = r
	c.Commit()
}

// over returns a client with a certificate, or nil, that keeps its connection.
func (f *far) over(cert *tls.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(f.ca.Cert)
	cfg := &tls.Config{RootCAs: roots}
	if cert != nil { // even if the server asks for one of another authority
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, MaxConnsPerHost: 1}, Timeout: 20 * time.Second}
}

// send sends a request with headers Authorization.
func (f *far) send(ctx context.Context, c *http.Client, method, path string, headers ...string) (*http.Response, string, error) {
	scheme := "https"
	if f.remote.Crt == "" {
		scheme = "http"
	}
	q, err := http.NewRequestWithContext(ctx, method, scheme+"://"+f.remote.Address+path, nil)
	if err != nil {
		return nil, "", err
	}
	for _, h := range headers {
		q.Header.Add("Authorization", h)
	}
	a, err := c.Do(q)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	return a, string(text), err
}

// TestRemote: what a client over TCP may do follows from its certificate and its token, and one that is wrong is told so.
func TestRemote(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		v, f := described(t), newFar(t, host)
		other := testcert.Authority(t, "an authority")
		for _, c := range []struct {
			name      string
			cert      *tls.Certificate
			headers   []string
			method    string
			status    int    // 0: no answer at all
			says      string // in the answer, or in the error
			challenge string
		}{
			{"nothing", nil, nil, "GET", 401, "needs a certificate or a token", `Bearer realm="hushgate"`},
			{"a token", nil, []string{"Bearer " + readToken}, "GET", 200, "1.2.3", ""},
			{"its scheme in small letters", nil, []string{"bearer " + readToken}, "GET", 200, "", ""},
			{"too low a token", nil, []string{"Bearer " + readToken}, "POST", 403, "needs the level admin", `Bearer realm="hushgate", error="insufficient_scope"`},
			{"an admin's token", nil, []string{"Bearer " + adminToken}, "POST", 200, "careful", ""},
			{"a wrong token", nil, []string{"Bearer " + readToken[1:] + "x"}, "GET", 401, "not known", `Bearer realm="hushgate", error="invalid_token"`},
			{"an empty token", nil, []string{"Bearer "}, "GET", 401, "not known", `Bearer realm="hushgate", error="invalid_token"`},
			{"another scheme", nil, []string{"Basic " + readToken}, "GET", 401, "expected one header", `Bearer realm="hushgate"`},
			{"two tokens", nil, []string{"Bearer " + readToken, "Bearer " + adminToken}, "GET", 401, "expected one header", `Bearer realm="hushgate"`},
			{"a certificate", named(t, f.ca, "somebody"), nil, "GET", 200, "1.2.3", ""},
			{"too low a certificate", named(t, f.ca, "somebody"), nil, "POST", 403, "has the level read-only", ""},
			{"an admin's certificate", named(t, f.ca, "root@example.net"), nil, "POST", 200, "careful", ""},
			{"an admin's address", clientCert(t, f.ca, &x509.Certificate{EmailAddresses: []string{"root@example.net"}}), nil, "POST", 200, "careful", ""},
			{"a certificate and a better token", named(t, f.ca, "somebody"), []string{"Bearer " + adminToken}, "POST", 200, "careful", ""},
			{"a certificate and a lower token", named(t, f.ca, "root@example.net"), []string{"Bearer " + readToken}, "POST", 200, "careful", ""},
			{"a certificate and a wrong token", named(t, f.ca, "root@example.net"), []string{"Bearer x"}, "GET", 401, "not known", `Bearer realm="hushgate", error="invalid_token"`},
			{"a foreign certificate", named(t, other, "root@example.net"), nil, "GET", 0, "remote error: tls", ""},
			{"an expired certificate", clientCert(t, f.ca, &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}), nil, "GET", 0, "remote error: tls", ""},
			{"a server's certificate", clientCert(t, f.ca, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), nil, "GET", 0, "remote error: tls", ""},
		} {
			path := map[string]string{"GET": "/v1/status", "POST": "/v1/reload"}[c.method]
			f.gateway.done = nil
			a, text, err := f.send(t.Context(), f.over(c.cert), c.method, path, c.headers...)
			if c.status == 0 || err != nil {
				if c.status != 0 || err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %s: %v", host, c.name, err)
				}
				continue
			}
			if a.StatusCode != c.status || !strings.Contains(text, c.says) || a.Header.Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%s: %s: %s, %q %s", host, c.name, a.Status, a.Header.Get("WWW-Authenticate"), text)
			}
			if did := len(f.gateway.done) > 0; did != (c.method == "POST" && c.status == 200) {
				t.Errorf("%s: %s: done %v", host, c.name, f.gateway.done)
			}
			conform(t, v, c.method, path, "", a, text)
		}
		for _, want := range []string{`by="alice, `, `by="root@example.net, `, "a client of the API was refused"} {
			if !strings.Contains(f.log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, f.log)
			}
		}
		if strings.Contains(f.log.String(), readToken[1:]) {
			t.Errorf("the log has a token:\n%s", f.log)
		}
	}
}

// TestPlainOnTLS: a client that speaks HTTP without TLS on a port with TLS is told so, and one that speaks something else is not
// waited for.
func TestPlainOnTLS(t *testing.T) {
	f := newFar(t, "127.0.0.1")
	for _, say := range []string{"GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n", "EHLO there.example\r\n"} {
		c, err := net.Dial("tcp", f.remote.Address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, say)
		text, _ := io.ReadAll(c)
		if strings.HasPrefix(say, "GET") && !strings.HasPrefix(string(text), "HTTP/1.0 400") || strings.Contains(string(text), "200 OK") {
			t.Errorf("%.10q: %q", say, text)
		}
		_ = c.Close()
	}
}

// TestCertificateAlone: without tokens, a client without a certificate gets no answer.
func TestCertificateAlone(t *testing.T) {
	f := newFar(t, "127.0.0.1")
	r := f.remote
	r.Tokens, r.AdminTokens = "", ""
	f.set(t, r)
	if a, text, err := f.send(t.Context(), f.over(nil), "GET", "/v1/status"); err == nil {
		t.Errorf("without a certificate: %s %s", a.Status, text)
	}
	if a, text, err := f.send(t.Context(), f.over(named(t, f.ca, "x")), "GET", "/v1/status"); err != nil || a.StatusCode != 200 {
		t.Errorf("with a certificate: %v %s %v", a, text, err)
	}
}

// TestPlainToken: on loopback, without TLS, a token is enough.
func TestPlainToken(t *testing.T) {
	f := newFar(t, "127.0.0.1")
	r := f.remote
	r.Crt, r.CAFile, r.AdminNames = "", "", nil
	f.set(t, r)
	for token, want := range map[string]int{readToken: 200, "x": 401} {
		if a, text, err := f.send(t.Context(), f.over(nil), "GET", "/v1/status", "Bearer "+token); err != nil || a.StatusCode != want {
			t.Errorf("%v %s %v", a, text, err)
		}
	}
}

// verdicts opens the stream of verdicts over TCP, and returns its lines.
func (f *far) verdicts(t testing.TB, c *http.Client, header string) *bufio.Scanner {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+f.remote.Address+"/v1/verdicts", nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != "" {
		q.Header.Set("Authorization", header)
	}
	a, err := c.Do(q)
	if err != nil || a.StatusCode != 200 {
		t.Fatalf("%v, %v", a, err)
	}
	t.Cleanup(func() { _ = a.Body.Close() })
	lines := bufio.NewScanner(a.Body)
	if !lines.Scan() {
		t.Fatalf("no verdict: %v", lines.Err())
	}
	return lines
}

// TestRemoteReloaded: after a reload the new tokens and authorities count, also on connections that exist and in answers without an
// end; a reload that changes none of them disturbs nobody.
func TestRemoteReloaded(t *testing.T) {
	f := newFar(t, "127.0.0.1")
	byToken, byCert := f.over(nil), f.over(named(t, f.ca, "somebody"))
	status := func(c *http.Client, headers ...string) int {
		t.Helper()
		a, text, err := f.send(t.Context(), c, "GET", "/v1/status", headers...)
		if err != nil {
			t.Fatal(err)
		}
		if a.StatusCode != 200 && a.StatusCode != 401 {
			t.Fatal(text)
		}
		return a.StatusCode
	}
	if a, b := status(byToken, "Bearer "+readToken), status(byCert); a != 200 || b != 200 {
		t.Fatal(a, b)
	}
	stream := f.verdicts(t, f.over(nil), "Bearer "+readToken)
	before := f.remoteKeys()
	f.set(t, f.remote)
	if f.remoteKeys() != before {
		t.Error("a reload that changes nothing replaces what clients are recognised by")
	}
	if err := os.WriteFile(f.remote.Tokens, []byte(strings.ToUpper(readToken)), 0o600); err != nil {
		t.Fatal(err)
	}
	f.set(t, f.remote)
	for stream.Scan() {
	}
	if a, b, c := status(byToken, "Bearer "+readToken), status(byToken, "Bearer "+strings.ToUpper(readToken)), status(byCert); a != 401 || b != 200 || c != 200 {
		t.Errorf("the old token %d, the new one %d, the certificate %d", a, b, c)
	}
	other := testcert.Authority(t, "an authority")
	if err := os.WriteFile(f.remote.CAFile, other.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	f.set(t, f.remote)
	if a, b := status(byCert), status(f.over(named(t, other, "x"))); a != 401 || b != 200 {
		t.Errorf("a certificate of the old authority %d, of the new one %d", a, b)
	}
}

func (f *far) remoteKeys() *credentials { return f.API.remote.keys.Load() }

// TestRemoteMoved: a reload moves the listener to another address, or ends it; the request that asked for it is answered.
func TestRemoteMoved(t *testing.T) {
	f := newFar(t, "127.0.0.1")
	old := f.remote
	kept := f.over(nil)
	ask := func(c *http.Client) (int, error) {
		a, _, err := f.send(t.Context(), c, "GET", "/v1/status", "Bearer "+readToken)
		if err != nil {
			return 0, err
		}
		return a.StatusCode, nil
	}
	if n, err := ask(kept); n != 200 {
		t.Fatal(n, err)
	}
	next := old
	next.Address = net.JoinHostPort("127.0.0.1", unusedport.Pick(t))
	free, err := net.Listen("tcp", next.Address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(nil); err == nil || !strings.Contains(err.Error(), next.Address+": ") {
		t.Errorf("an address in use: %v", err)
	}
	_ = free.Close()
	f.set(t, next)
	if n, err := ask(f.over(nil)); n != 200 {
		t.Error(n, err)
	}
	if l, at := f.RemoteListener(); l == nil || at != next.Address {
		t.Errorf("listens at %s, %v", at, l)
	}
	if c, err := net.Dial("tcp", old.Address); err == nil {
		t.Error("the old address is served still")
		_ = c.Close()
	}
	f.set(t, Remote{})
	f.remote = old
	if n, err := ask(kept); n == 200 {
		t.Error("an old connection is served still", err)
	}
	if l, _ := f.RemoteListener(); l != nil {
		t.Error("there is still a listener")
	}
}

// TestExpiry: a certificate that expires while its connection goes on counts no more.
func TestExpiry(t *testing.T) {
	later := make(chan time.Time, 1)
	at := time.Now()
	f := newFar(t, "127.0.0.1", func(a *API) {
		a.now = func() time.Time {
			select {
			case at = <-later:
			default:
			}
			return at
		}
	})
	c := f.over(named(t, f.ca, "x"))
	if a, text, err := f.send(t.Context(), c, "GET", "/v1/status"); err != nil || a.StatusCode != 200 {
		t.Fatal(a, text, err)
	}
	later <- time.Now().Add(2 * time.Hour)
	if a, text, err := f.send(t.Context(), c, "GET", "/v1/status"); err != nil || a.StatusCode != 401 || !strings.Contains(text, "expired") {
		t.Errorf("%v %s %v", a, text, err)
	}
}

// TestStuckRemote: clients over TCP that hang in every way keep out neither other clients over TCP nor those of the sockets.
func TestStuckRemote(t *testing.T) {
	f := newFar(t, "127.0.0.1")
	for i := range 2 * maxConns {
		c, err := net.Dial("tcp", f.remote.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = io.WriteString(c, []string{"", "\x16\x03\x01", "\x16\x03\x01\x02\x00\x01\x00", "GET / HTTP/1.1\r\n"}[i%4])
	}
	for range 5 {
		if a, text, err := f.send(t.Context(), f.over(nil), "GET", "/v1/status", "Bearer "+readToken); err != nil || a.StatusCode != 200 {
			t.Fatalf("%v %s %v", a, text, err)
		}
	}
	if a, text := f.ask(t, ReadOnly, "GET", "/v1/status", ""); a.StatusCode != 200 {
		t.Errorf("%s %s", a.Status, text)
	}
	if n := f.crowds[None].Len(); n > maxConns {
		t.Errorf("%d connections", n)
	}
}

// TestPage: what is not the API's is answered by the page over TCP, which knows who asks; a client that is nobody gets the page, and nothing of
// the API.
func TestPage(t *testing.T) {
	f := newFar(t, "127.0.0.1", func(a *API) {
		a.page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, Caller(r.Context()).Level) })
	})
	r := f.remote
	r.Page = PageOn
	f.set(t, r)
	for _, c := range []struct {
		path, header string
		status       int
		says         string
	}{
		{"/", "", 200, "none"},
		{"/app.js", "Bearer " + readToken, 200, "read-only"},
		{"/", "Bearer " + adminToken, 200, "admin"},
		{"/", "Bearer x", 401, "not known"},
		{"/v1/status", "", 401, "needs a certificate"},
		{"/v1", "", 401, "needs a certificate"},
		{"/v1/nothing", "Bearer " + readToken, 404, "there is nothing"},
		{"/v1/verdicts", "", 401, "needs a certificate"},
	} {
		var headers []string
		if c.header != "" {
			headers = []string{c.header}
		}
		a, text, err := f.send(t.Context(), f.over(nil), "GET", c.path, headers...)
		if err != nil || a.StatusCode != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s %s: %v %s %v", c.path, c.header, a, text, err)
		}
	}
	if a, text := f.ask(t, ReadOnly, "GET", "/", ""); a.StatusCode != 404 { // no browser speaks to it
		t.Errorf("on a socket: %s", text)
	}
}

// TestStrangers: clients that are nobody are told to wait when they ask without pause, and others are served.
func TestStrangers(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	f := newFar(t, "127.0.0.1", func(a *API) { a.unknown = &pace{perSecond: 1, burst: 5, now: func() time.Time { return now }} })
	c, got := f.over(nil), map[int]int{}
	for range 8 {
		a, _, err := f.send(t.Context(), c, "GET", "/v1/status", "Bearer x")
		if err != nil {
			t.Fatal(err)
		}
		got[a.StatusCode]++
	}
	if got[401] != 5 || got[429] != 3 {
		t.Errorf("%v", got)
	}
	if a, text, err := f.send(t.Context(), c, "GET", "/v1/status", "Bearer "+readToken); err != nil || a.StatusCode != 200 {
		t.Errorf("%v %s %v", a, text, err)
	}
}

// TestOptionsOfAll: a request for no resource of its own is answered as any other one: only to those who may ask, and within their bounds.
func TestOptionsOfAll(t *testing.T) {
	f, _ := paged(t, PageOff, false)
	c, err := net.Dial("tcp", f.remote.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	if a.StatusCode != 401 {
		t.Errorf("%s", a.Status)
	}
}

// TestCredentialFiles: a file that cannot be right, or that everybody may read, is an error that names it and shows no secret.
func TestCredentialFiles(t *testing.T) {
	ca, dir := testcert.Authority(t, "an authority"), t.TempDir()
	open := file(t, dir, "open", []byte(readToken))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	good, tokens := file(t, dir, "good", serverPair(t, ca)), file(t, dir, "tokens", []byte(readToken))
	openKey := file(t, dir, "open-key", serverPair(t, ca))
	if err := os.Chmod(openKey, 0o604); err != nil {
		t.Fatal(err)
	}
	i := 0
	text := func(s string) string {
		i++
		return file(t, dir, fmt.Sprint("f", i), []byte(s))
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	secret := "secret-secret-secret-secret-secret"
	for _, c := range []struct {
		r    Remote
		says string
	}{
		{Remote{Tokens: open}, "open has a secret, and its mode 0644 lets every user have it: `chmod o= "},
		{Remote{Tokens: filepath.Join(dir, "none")}, "none: no such file"},
		{Remote{Tokens: dir}, "expected a file, found d"},
		{Remote{Tokens: pipe}, "expected a file, found p"},
		{Remote{Tokens: text("# nothing\n\n")}, "expected a token, found none"},
		{Remote{Tokens: text("\nshort")}, ":2: expected a token of 32 to 512 characters, found 5"},
		{Remote{Tokens: text(strings.Repeat("x", 513))}, "found 513"},
		{Remote{Tokens: text("two words " + secret)}, ":1: expected a token, or a name and a token, found 3 words"},
		{Remote{Tokens: text(secret + "!")}, ":1: expected a token of letters, digits"},
		{Remote{Tokens: text(secret + "\x00")}, ":1: expected a token of letters, digits"},
		{Remote{Tokens: text(secret + "=x")}, ":1: expected a token of letters, digits"},
		{Remote{Tokens: text(strings.Repeat("=", 40))}, ":1: expected a token of letters, digits"},
		{Remote{Tokens: text(secret + "\nbob " + secret)}, ":2: this token was read before"},
		{Remote{Tokens: tokens, AdminTokens: text(readToken)}, ":1: this token was read before"},
		{Remote{Tokens: text(strings.Repeat("#\n", maxSecret/2+1))}, "expected at most 1048576 octets"},
		{Remote{Tokens: tokens, Crt: openKey}, "open-key has a secret, and its mode 0604"},
		{Remote{Tokens: tokens, Crt: text(string(ca.PEM()))}, "expected a certificate and its key, as PEM"},
		{Remote{Tokens: tokens, Crt: good, CAFile: text("nothing")}, "expected certificates of authorities, as PEM, found none"},
		{Remote{Crt: good, CAFile: filepath.Join(dir, "none")}, "none: no such file"},
	} {
		c.r.Address = "127.0.0.1:9164"
		_, err := New(Options{Log: discard}).Prepare(c.r)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) || !strings.HasPrefix(err.Error(), "serve the API at 127.0.0.1:9164: ") {
			t.Errorf("%+v: %v\nwant %s", c.r, err, c.says)
		}
	}
}
