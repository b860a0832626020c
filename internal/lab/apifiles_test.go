package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// apiFiles are what an API over TCP, and its clients, need.
type apiFiles struct {
	crt, tokens string                     // paths
	roots       *x509.CertPool             // to recognise the gateway
	clients     map[string]tls.Certificate // of clients, by name; that of "stranger" is of another authority
	dir         string
}

// writeAPIFiles writes a certificate for the lab's addresses, that of its authority, and a file with a token. It makes certificates for
// clients.
func writeAPIFiles(t *testing.T, dir, token string, clients ...string) (f apiFiles) {
	t.Helper()
	f = apiFiles{dir: dir, clients: map[string]tls.Certificate{}, roots: x509.NewCertPool()}
	ours, foreign := newSigner(t, "authority"), newSigner(t, "another authority")
	f.roots.AddCert(ours.cert)
	f.write(t, "ca.pem", ours.pem())
	gateway := ours.sign(t, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "gateway"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.ParseIP(VIP4), net.ParseIP(VIP6)},
	})
	f.crt = f.write(t, "crt.pem", gateway.pair(t))
	f.tokens = f.write(t, "tokens", []byte(token))
	for _, name := range clients {
		by := ours
		if name == "stranger" {
			by = foreign
		}
		text := by.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}}).pair(t)
		pair, err := tls.X509KeyPair(text, text)
		must(t, err)
		f.clients[name] = pair
		f.write(t, name+".pem", text)
	}
	return f
}

// write writes a file for its owner alone, and returns its path.
func (f *apiFiles) write(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	must(t, os.WriteFile(path, text, 0o600))
	return path
}

// signer is a certificate with its key.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newSigner makes an authority.
func newSigner(t *testing.T, name string) *signer {
	t.Helper()
	return (*signer)(nil).sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true})
}

// sign makes a certificate; nil signs its own.
func (s *signer) sign(t *testing.T, c *x509.Certificate) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by := s
	if by == nil {
		by = &signer{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	must(t, err)
	signed, err := x509.ParseCertificate(der)
	must(t, err)
	return &signer{signed, key}
}

func (s *signer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
}

// pair returns the certificate and its key, as one file has them.
func (s *signer) pair(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(s.key)
	must(t, err)
	return append(s.pem(), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
}
