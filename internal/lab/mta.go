package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/emersion/go-smtp"
)

// Mail is a mail that a server accepted.
type Mail struct {
	Server   string
	Client   string // the address that the server saw
	From, To string
	Size     int64
	SHA256   string
}

// MTA is a mail server that remembers its connections and mails.
type MTA struct {
	Name string
	host *Host
	addr string

	mu     sync.Mutex
	server *smtp.Server
	conns  map[string]*traffic // by client address
	mails  []Mail
	open   sync.Map // net.Conn
	got    chan Mail
}

// traffic is what came from one address.
type traffic struct{ connections, octets atomic.Int64 }

// NewMTA starts a mail server on a host. Every mail goes to got as well, which may be nil.
func NewMTA(h *Host, address string, got chan Mail) (*MTA, error) {
	m := &MTA{Name: h.Name, host: h, addr: address, conns: map[string]*traffic{}, got: got}
	return m, m.Start()
}

// Start starts it, also after Stop.
func (m *MTA) Start() error {
	l, err := m.host.Listen(m.addr)
	if err != nil {
		return fmt.Errorf("listen as %s: %w", m.Name, err)
	}
	s := smtp.NewServer(m)
	s.Domain, s.MaxMessageBytes = m.Name, 1<<30
	m.mu.Lock()
	m.server = s
	m.mu.Unlock()
	go func() { _ = s.Serve(&countingListener{l, m}) }()
	return nil
}

// Stop ends it: new connections are refused.
func (m *MTA) Stop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server == nil {
		return nil
	}
	err := m.server.Close()
	m.server = nil
	return err
}

// Connections returns how many connections came from a client's address, and how many octets; "" stands for all addresses but
// the gateway's own.
func (m *MTA) Connections(client string) (connections, octets int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for a, t := range m.conns {
		if a == client || client == "" && a != Inside4 && a != Inside6 {
			connections += t.connections.Load()
			octets += t.octets.Load()
		}
	}
	return connections, octets
}

// Mails returns the mails that it accepted.
func (m *MTA) Mails() []Mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Mail(nil), m.mails...)
}

// countingListener counts what each client sends.
type countingListener struct {
	net.Listener
	mta *MTA
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	l.mta.mu.Lock()
	t := l.mta.conns[host]
	if t == nil {
		t = &traffic{}
		l.mta.conns[host] = t
	}
	l.mta.open.Store(c, nil)
	l.mta.mu.Unlock()
	t.connections.Add(1)
	return countingConn{c, t, l.mta}, nil
}

type countingConn struct {
	net.Conn
	t   *traffic
	mta *MTA
}

func (c countingConn) Close() error {
	c.mta.open.Delete(c.Conn)
	return c.Conn.Close()
}

// GiveUp sends 421 to all clients, as a server does when its own timeout is over. It does not wait for them.
func (m *MTA) GiveUp() {
	for c := range m.open.Range {
		_, _ = io.WriteString(c.(net.Conn), "421 4.4.2 timeout\r\n") // the connection may have ended already
	}
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.t.octets.Add(int64(n))
	return n, err
}

// NewSession implements smtp.Backend.
func (m *MTA) NewSession(c *smtp.Conn) (smtp.Session, error) {
	host, _, err := net.SplitHostPort(c.Conn().RemoteAddr().String())
	return &session{mta: m, mail: Mail{Server: m.Name, Client: host}}, err
}

type session struct {
	mta  *MTA
	mail Mail
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mail.From = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.To = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return errors.New("451 4.3.0 could not read the mail")
	}
	s.mail.Size, s.mail.SHA256 = n, hex.EncodeToString(h.Sum(nil))
	s.mta.mu.Lock()
	s.mta.mails = append(s.mta.mails, s.mail)
	s.mta.mu.Unlock()
	if s.mta.got != nil {
		s.mta.got <- s.mail
	}
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }
