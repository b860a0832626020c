package lab

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"testing"

	"hushgate/internal/testcert"
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
	ours, foreign := testcert.Authority(t, "authority"), testcert.Authority(t, "another authority")
	f.roots.AddCert(ours.Cert)
	f.write(t, "ca.pem", ours.PEM())
	gateway := ours.Sign(t, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "gateway"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.ParseIP(VIP4), net.ParseIP(VIP6)},
	})
	f.crt = f.write(t, "crt.pem", gateway.Pair(t))
	f.tokens = f.write(t, "tokens", []byte(token))
	for _, name := range clients {
		by := ours
		if name == "stranger" {
			by = foreign
		}
		text := by.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}}).Pair(t)
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
