package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// PageMode says who is shown the page.
type PageMode uint8

// The modes.
const (
	PageOff  PageMode = iota
	PageOn            // whoever signs in with a token, or has a certificate
	PageOpen          // everybody: who has not signed in may look, as with the level read-only
)

// A session stands for a token that a browser has shown once. Its key is in a cookie that no script can read. Sessions are
// bounded, and end with the process.
const (
	sessionPath = "/session"
	sessionMost = 64             // of a level
	sessionLife = 12 * time.Hour // at the most
	sessionIdle = 2 * time.Hour  // without a request
	pageHeader  = "X-Hushgate-Page"
)

// session belongs to one browser.
type session struct {
	token    [sha256.Size]byte // the digest of the token that began it
	level    Level             // of the token then
	begun    time.Time
	last     time.Time     // request
	finished chan struct{} // closed at its end
}

func (s *session) expired(now time.Time) bool {
	return now.Sub(s.begun) >= sessionLife || now.Sub(s.last) >= sessionIdle
}

// sessions are all sessions, by the digest of their keys.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]*session
}

// begin adds a session of a token, and returns its key. If its level has too many, the one that was used longest ago ends: read-only
// clients end no session of an administrator.
func (s *sessions) begin(t *token, now time.Time) (key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[[sha256.Size]byte]*session{}
	}
	var oldest [sha256.Size]byte
	n := 0
	for d, v := range s.all {
		if v.level != t.level {
			continue
		}
		if n++; n == 1 || v.last.Before(s.all[oldest].last) {
			oldest = d
		}
	}
	if n >= sessionMost {
		s.drop(oldest)
	}
	key = rand.Text() + rand.Text() // 260 bits
	s.all[sha256.Sum256([]byte(key))] = &session{token: t.digest, level: t.level, begun: now, last: now, finished: make(chan struct{})}
	return key
}

// find returns the session of a key, which is used at this moment; nil if there is none. Sessions are found by digests, so
// that the time it takes tells nothing of a key.
func (s *sessions) find(key string, now time.Time) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := sha256.Sum256([]byte(key))
	v := s.all[d]
	if v == nil {
		return nil
	}
	if v.expired(now) {
		s.drop(d)
		return nil
	}
	v.last = now
	return v
}

// finish ends the session of a key.
func (s *sessions) finish(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(sha256.Sum256([]byte(key)))
}

func (s *sessions) drop(d [sha256.Size]byte) {
	if v := s.all[d]; v != nil {
		close(v.finished)
		delete(s.all, d)
	}
}

// cookieName returns the name of the cookie. Browsers give cookies to all ports of a host, so the port that the browser sees is
// in the name: gateways behind several ports of one address do not take each other's.
func cookieName(r *http.Request) string {
	name := "hushgate"
	if r.TLS != nil {
		name = "__Host-hushgate"
	}
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		name += "-" + port
	}
	return name
}

// cookieKey returns the key in the cookie of a request; "" if there is none.
func cookieKey(r *http.Request) string {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return ""
	}
	return c.Value
}

func setCookie(w http.ResponseWriter, r *http.Request, key string) {
	c := &http.Cookie{Name: cookieName(r), Value: key, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode}
	if key == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// visitor says who a request of a browser comes from that has shown no token with it. A certificate may have shown more.
func (s *API) visitor(keys *credentials, who *caller, r *http.Request) *Problem {
	if keys.of.Page == PageOff || r.Header.Get("Authorization") != "" {
		return nil
	}
	if !keys.serves(r.Host) {
		return kind(http.StatusMisdirectedRequest, "host", "this is not the name of this server: expected an address, localhost or a name in its certificate")
	}
	from := who.Name
	if v := s.sessions.find(cookieKey(r), s.now()); v != nil {
		t := keys.byDigest(v.token)
		if t == nil { // a reload has taken it away
			s.sessions.finish(cookieKey(r))
		} else if t.level > who.Level {
			who.Peer, who.session = Peer{t.level, "session of " + t.name + ", " + from}, v
		}
	}
	if keys.of.Page == PageOpen && who.Level == None {
		who.Peer = Peer{ReadOnly, "visitor, " + from}
	}
	if who.session != nil && !safe(r.Method) && r.Header.Get(pageHeader) == "" {
		return kind(http.StatusForbidden, "cross-origin", "a request of a session needs the header "+pageHeader+", which no foreign page can send")
	}
	return nil
}

// foreign reports whether a browser says that another site's page asks. It could not read the answer. But it could ask so often, and
// hold so many streams, that others have to wait. Somebody who follows a link is welcome.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
	}
	return false
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// serves reports whether a browser may know us by the host of its request. A name that somebody else has pointed to our address
// (DNS rebinding) is none of ours, and his page may not speak to us.
func (k *credentials) serves(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	if k.tls == nil {
		return false
	}
	return k.tls.Certificates[0].Leaf.VerifyHostname(host) == nil
}

// Session says what a browser may do.
type Session struct {
	Level   string `json:"level"`
	Session bool   `json:"session"` // it has signed in
	Tokens  bool   `json:"tokens"`  // it can sign in
}

// pageServed reports whether a connection's clients are served the page.
func (s *API) pageServed(c *conn) bool {
	if s.page == nil || c.keys == nil {
		return false
	}
	keys := s.remote.keys.Load()
	return keys != nil && keys.of.Page != PageOff
}

// servePage answers a request for something that is not of the API.
func (s *API) servePage(w http.ResponseWriter, r *http.Request, who caller) {
	if r.URL.Path != sessionPath {
		s.page.ServeHTTP(w, r)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		s.signIn(w, r, who)
		return
	case http.MethodDelete:
		s.sessions.finish(cookieKey(r))
		setCookie(w, r, "")
		r.Header.Del("Cookie")
		c := r.Context().Value(connKey{}).(*conn)
		who, _ = s.identify(c, r)
	default:
		w.Header().Set("Allow", "DELETE, GET, HEAD, POST")
		kind(http.StatusMethodNotAllowed, "method", "expected GET, POST or DELETE, found "+clip(r.Method)).write(w)
		return
	}
	v := Session{Level: who.Level.String(), Session: who.session != nil}
	if keys := s.remote.keys.Load(); keys != nil {
		v.Tokens = len(keys.tokens) > 0
	}
	s.writeSession(w, v)
}

// signIn begins a session of the token that a request shows.
func (s *API) signIn(w http.ResponseWriter, r *http.Request, who caller) {
	keys := s.remote.keys.Load()
	_, secret, shown := strings.Cut(r.Header.Get("Authorization"), " ")
	if !shown || keys == nil {
		unauthorized("", "expected a token: Authorization: Bearer TOKEN").write(w)
		return
	}
	t := keys.token(strings.TrimSpace(secret))
	if t == nil { // a reload has come between
		unauthorized("invalid_token", "this token is not known").write(w)
		return
	}
	s.sessions.finish(cookieKey(r))
	setCookie(w, r, s.sessions.begin(t, s.now()))
	s.log.Info("api", "by", who.Name, "asked", "POST "+sessionPath, "err", nil)
	s.writeSession(w, Session{Level: max(t.level, who.Level).String(), Session: true, Tokens: true})
}

func (s *API) writeSession(w http.ResponseWriter, v Session) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// until ends a context when what the caller was recognised by counts no more.
func (c caller) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	var finished <-chan struct{}
	if c.session != nil {
		finished = c.session.finished
		ctx, cancel = context.WithDeadline(ctx, c.session.begun.Add(sessionLife))
	}
	if c.over == nil && finished == nil {
		return ctx, cancel
	}
	go func() {
		select {
		case <-c.over:
			cancel()
		case <-finished:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
