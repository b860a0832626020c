package admin

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Remote says where clients are served over TCP, and how they prove who they are.
type Remote struct {
	Address     string   // an address and port; empty: nowhere
	Crt         string   // a file with our certificate, its chain and its key; empty: no TLS
	CAFile      string   // certificates of the authorities of clients; empty: no client is recognised by a certificate
	AdminNames  []string // names in certificates of clients of the level admin; all other certificates have the level read-only
	Tokens      string   // a file of tokens of the level read-only; empty: none
	AdminTokens string   // a file of tokens of the level admin; empty: none
	Page        PageMode // who is shown the page
}

// The bounds of tokens and their files.
const (
	minToken  = 32      // characters: 128 bits even if they are hexadecimal digits
	maxToken  = 512     // characters
	maxSecret = 1 << 20 // octets of a file
)

// credentials are what clients are recognised by. They do not change: a reload replaces them.
type credentials struct {
	of     Remote
	now    func() time.Time
	digest [sha256.Size]byte // of the settings and the files
	tokens []token
	tls    *tls.Config // nil: no TLS
	over   chan struct{}
}

// token is a secret that a client shows. Only its digest is kept.
type token struct {
	digest [sha256.Size]byte
	name   string // for the log
	level  Level
}

// readCredentials reads the files that r names. The error names the file.
func readCredentials(r Remote, now func() time.Time) (*credentials, error) {
	k := &credentials{of: r, now: now, over: make(chan struct{})}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q", []any{r.Address, r.Crt, r.CAFile, r.AdminNames, r.Tokens, r.AdminTokens, r.Page})
	read := func(path string, secret bool) ([]byte, error) {
		text, err := readFile(path, secret)
		fmt.Fprintf(sum, "%d %s", len(text), text)
		return text, err
	}
	for _, f := range []struct {
		path  string
		level Level
	}{{r.Tokens, ReadOnly}, {r.AdminTokens, Admin}} {
		if f.path == "" {
			continue
		}
		text, err := read(f.path, true)
		if err != nil {
			return nil, err
		}
		if err := k.addTokens(f.path, f.level, text); err != nil {
			return nil, err
		}
	}
	if r.Crt != "" {
		if err := k.readTLS(read); err != nil {
			return nil, err
		}
	}
	sum.Sum(k.digest[:0])
	return k, nil
}

// readFile reads a file. If it is secret, nobody but its owner and its group may have access to it.
func readFile(path string, secret bool) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe without a writer would never open
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a file, found %v", path, info.Mode().Type())
	}
	if mode := info.Mode().Perm(); secret && mode&0o007 != 0 {
		return nil, fmt.Errorf("%s has a secret, and its mode %04o lets every user have it: `chmod o= %s`", path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSecret {
		return nil, fmt.Errorf("%s: expected at most %d octets", path, maxSecret)
	}
	return text, nil
}

// addTokens reads a file of tokens: one on a line, perhaps with a name before it. Errors do not show the text, which is secret.
func (k *credentials) addTokens(path string, level Level, text []byte) error {
	n := 0
	for i, line := range bytes.Split(text, []byte("\n")) {
		words := strings.Fields(string(line))
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		secret := words[len(words)-1]
		t := token{digest: sha256.Sum256([]byte(secret)), name: fmt.Sprintf("token of %s:%d", filepath.Base(path), i+1), level: level}
		switch {
		case len(words) > 2:
			return fmt.Errorf("%s:%d: expected a token, or a name and a token, found %d words", path, i+1, len(words))
		case !isToken(secret):
			return fmt.Errorf("%s:%d: expected a token of letters, digits and -._~+/ with = at its end", path, i+1)
		case len(secret) < minToken || len(secret) > maxToken:
			return fmt.Errorf("%s:%d: expected a token of %d to %d characters, found %d: `openssl rand -hex 32` makes one", path, i+1, minToken, maxToken, len(secret))
		case slices.ContainsFunc(k.tokens, func(o token) bool { return o.digest == t.digest }):
			return fmt.Errorf("%s:%d: this token was read before: each can be there once, and has one level", path, i+1)
		}
		if len(words) == 2 {
			t.name = clip(words[0])
		}
		k.tokens = append(k.tokens, t)
		n++
	}
	if n == 0 {
		return fmt.Errorf("%s: expected a token, found none: `openssl rand -hex 32` makes one", path)
	}
	return nil
}

// isToken reports whether s is a b64token (RFC 6750 section 2.1).
func isToken(s string) bool {
	body := strings.TrimRight(s, "=")
	return body != "" && !strings.ContainsFunc(body, func(c rune) bool {
		alphanumeric := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		return !alphanumeric && !strings.ContainsRune("-._~+/", c)
	})
}

// readTLS reads the certificates.
func (k *credentials) readTLS(read func(path string, secret bool) ([]byte, error)) error {
	text, err := read(k.of.Crt, true)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("%s: expected a certificate and its key, as PEM: %w", k.of.Crt, err)
	}
	k.tls = &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // the bounds count requests by connection
		Time:       k.now,
	}
	if k.of.CAFile == "" {
		return nil
	}
	if text, err = read(k.of.CAFile, false); err != nil {
		return err
	}
	k.tls.ClientCAs = x509.NewCertPool()
	if !k.tls.ClientCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s: expected certificates of authorities, as PEM, found none", k.of.CAFile)
	}
	k.tls.ClientAuth = tls.RequireAndVerifyClientCert
	if len(k.tokens) > 0 {
		k.tls.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return nil
}

// caller says who a request over TCP comes from. Without a certificate and a token it is nobody, of the level None. A certificate or
// a token that is wrong is an error even if the other one is right.
func (k *credentials) caller(c *conn, r *http.Request) (Peer, *Problem) {
	who := Peer{None, c.peer.Name}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		level, err := k.certified(c, r.TLS.PeerCertificates)
		if err != nil {
			return who, unauthorized("", "the client's certificate: "+err.Error())
		}
		who = Peer{level, fmt.Sprintf("%s, %s", clip(r.TLS.PeerCertificates[0].Subject.CommonName), c.peer.Name)}
	}
	shown := r.Header.Values("Authorization")
	if len(shown) == 0 {
		return who, nil
	}
	scheme, secret, _ := strings.Cut(shown[0], " ")
	if len(shown) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return who, unauthorized("", "expected one header Authorization: Bearer TOKEN")
	}
	t := k.token(strings.TrimSpace(secret))
	if t == nil {
		return who, unauthorized("invalid_token", "this token is not known")
	}
	if t.level >= who.Level {
		who = Peer{t.level, fmt.Sprintf("%s, %s", t.name, c.peer.Name)}
	}
	return who, nil
}

// token looks a token up. How long that takes does not depend on which token it is, or nearly is.
func (k *credentials) token(secret string) *token {
	return k.byDigest(sha256.Sum256([]byte(secret)))
}

// byDigest looks a token up by its digest.
func (k *credentials) byDigest(digest [sha256.Size]byte) (found *token) {
	for i := range k.tokens {
		if subtle.ConstantTimeCompare(digest[:], k.tokens[i].digest[:]) == 1 {
			found = &k.tokens[i]
		}
	}
	return found
}

// certified returns the level of a client's certificate. The handshake has verified it, but time goes on, and a reload may have
// changed the authorities since.
func (k *credentials) certified(c *conn, chain []*x509.Certificate) (Level, error) {
	leaf := chain[0]
	if c.keys != k {
		if k.tls == nil || k.tls.ClientCAs == nil {
			return None, errors.New("the configuration names no authorities of clients any more")
		}
		others := x509.NewCertPool()
		for _, a := range chain[1:] {
			others.AddCert(a)
		}
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: k.tls.ClientCAs, Intermediates: others, CurrentTime: k.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return None, err
		}
	}
	if now := k.now(); now.After(leaf.NotAfter) {
		return None, fmt.Errorf("it has expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	names := slices.Concat([]string{leaf.Subject.CommonName}, leaf.DNSNames, leaf.EmailAddresses)
	if slices.ContainsFunc(names, func(n string) bool { return n != "" && slices.Contains(k.of.AdminNames, n) }) {
		return Admin, nil
	}
	return ReadOnly, nil
}

// unauthorized says that a client has not proved who it is. code is one of RFC 6750 section 3.1, or empty.
func unauthorized(code, detail string) *Problem {
	p := kind(http.StatusUnauthorized, "unauthorized", detail)
	p.challenge = challenge(code)
	return p
}

func challenge(code string) string {
	if code == "" {
		return `Bearer realm="hushgate"`
	}
	return fmt.Sprintf(`Bearer realm="hushgate", error=%q`, code)
}
