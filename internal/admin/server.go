package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	pathlib "path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/crowd"
)

// The limits for clients of one level. Together they bound what the API takes from the rest of the process, whatever clients
// do: the work at one time, the work in a time, memory, and how long anything may take.
const (
	maxConns      = 256              // connections at one time
	maxRequests   = 4                // requests carried out at one time
	perSecond     = 200              // requests of read-only clients; bursts may be twice as large
	strangers     = 50               // requests in a second of clients that have not proved who they are; as above
	arrivals      = 200              // connections of read-only clients that are accepted in a second; others wait
	farArrivals   = 50               // as above, over TCP, where each may cost a handshake of TLS
	atATime       = 20               // of these may come at a time
	maxHeader     = 8 << 10          // octets
	maxBody       = 64 << 10         // octets
	readPatience  = 5 * time.Second  // for the header, and again for the body
	idlePatience  = time.Minute      // between two requests
	writePatience = 10 * time.Second // for an answer
	usualPatience = 10 * time.Second // for carrying out a request
	endPatience   = time.Second      // at the end of the process
)

// Options say what an API needs.
type Options struct {
	Gateway Gateway
	Log     *slog.Logger
	// Page answers requests of clients over TCP for paths outside /v1, if the configuration has the page served.
	Page http.Handler
}

// API answers the requests of clients.
type API struct {
	gateway  Gateway
	log      *slog.Logger
	page     http.Handler // nil: none
	mux      *http.ServeMux
	http     *http.Server
	handed   *handed
	cross    *http.CrossOriginProtection
	crowds   [levels]*crowd.Crowd
	slots    [levels]chan struct{}
	streams  [levels]chan struct{}
	readers  *pace
	unknown  *pace         // for clients that have not proved who they are
	refused  *pace         // for log lines about them
	arrivals [levels]*pace // for new connections; nil: as many as come
	remote   remote
	sessions sessions
	now      func() time.Time
	over     context.Context // done when the streams have to end
	endAll   context.CancelFunc
}

// New returns a server that does not serve yet.
func New(o Options) *API {
	s := &API{
		gateway: o.Gateway, log: o.Log, page: o.Page, handed: newHanded(), cross: http.NewCrossOriginProtection(), now: time.Now,
		readers: newPace(perSecond, 2*perSecond), unknown: newPace(strangers, 2*strangers), refused: newPace(0.1, 10),
		arrivals: [levels]*pace{None: newPace(farArrivals, atATime), ReadOnly: newPace(arrivals, atATime)},
	}
	for l := range s.crowds {
		s.crowds[l] = crowd.New(maxConns)
		s.slots[l] = make(chan struct{}, maxRequests)
		s.streams[l] = make(chan struct{}, maxStreams)
	}
	s.over, s.endAll = context.WithCancel(context.Background())
	s.mux = s.routes()
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: readPatience, ReadTimeout: 2 * readPatience,
		IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		DisableGeneralOptionsHandler: true, // it would answer `OPTIONS *` of everybody, beside all bounds
		ErrorLog:                     slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, innermost(c))
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if k := innermost(c); k != nil && (state == http.StateClosed || state == http.StateHijacked) {
				s.crowds[k.peer.Level].Leave(&k.place)
			}
		},
	}
	return s
}

// connKey is the key of the connection in a request's context.
type connKey struct{}

// innermost returns our own part of a connection, which TLS may be wrapped around.
func innermost(c net.Conn) *conn {
	for {
		switch v := c.(type) {
		case *conn:
			return v
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			return nil
		}
	}
}

// Serve answers clients of the listeners, and of Join, until ctx is done. Then it closes the listeners, lets requests in
// progress end, and returns.
func (s *API) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	listeners = append(listeners, s.handed)
	ended := make(chan struct{}, len(listeners))
	for _, l := range listeners {
		go func() {
			defer func() { ended <- struct{}{} }()
			if err := s.http.Serve(&gate{l, s}); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("answer clients of the API at %v: %w", l.Addr(), err))
			}
		}()
	}
	<-ctx.Done()
	_ = s.handed.Close()
	s.endAll()
	grace, enough := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer enough()
	if s.http.Shutdown(grace) != nil {
		_ = s.http.Close()
	}
	for range listeners {
		<-ended
	}
	s.remote.serving.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Join serves a connection that someone else has accepted.
func (s *API) Join(c net.Conn, of Peer) { s.handed.give(&conn{Conn: c, peer: of}) }

// gate admits the connections of a listener to the crowd of their level. Those that come too fast wait in the kernel's queue, so that
// clients that connect without pause cost no more than a share of a processor, and others have their turn.
type gate struct {
	net.Listener
	server *API
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		k := innermost(c)
		if p := g.server.arrivals[k.peer.Level]; p != nil {
			_ = p.wait(g.server.over) // at the end the listener is closed too
		}
		if g.server.crowds[k.peer.Level].Admit(&k.place, k) {
			return c, nil
		}
		_ = c.Close()
	}
}

// request is a request whose limits were checked.
type request struct {
	http  *http.Request
	query *query
	body  []byte
}

// path returns a part of the path that the route names.
func (r *request) path(name string) string { return r.http.PathValue(name) }

// serve answers one request. Everything that is the same for all routes happens here.
func (s *API) serve(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*conn)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // a browser that is shown an answer has nothing to load
	if c == nil || !s.begin(c) {
		busy("too many clients at once").write(w)
		return
	}
	s.end(c) // of those that the gateway does not work for it is the last that gives way to a new client
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writePatience + usualPatience))
	who, wrong := s.identify(c, r)
	h.Set(LevelHeader, who.Level.String())
	page := s.pageServed(c) && !ofAPI(r.URL.Path)
	if p := s.mayAsk(who, wrong, r, page); p != nil {
		p.write(w)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
	if page {
		s.servePage(w, r, who)
		return
	}
	if p := strange(r.URL.EscapedPath()); p != nil {
		p.write(w)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// strange refuses paths that net/http would answer in its own way, with a redirection or without a body.
func strange(path string) *Problem {
	if !strings.HasPrefix(path, "/") {
		return NotFound("there is nothing at " + clip(path) + ": expected a path")
	}
	if clean := pathlib.Clean(path); clean != path && (clean == "/" || clean+"/" != path) {
		return NotFound("there is nothing at " + clip(path) + ": expected " + clip(clean))
	}
	return nil
}

// begin says that the gateway works for a client from now on; false if the client has lost its place. Until end it keeps the place.
// Clients that are still to send a body or to read an answer may lose theirs: otherwise slow ones could have all places.
func (s *API) begin(c *conn) bool { return s.crowds[c.peer.Level].Begin(&c.place) }

func (s *API) end(c *conn) { s.crowds[c.peer.Level].End(&c.place) }

// ofAPI reports whether a path is one of the API's own.
func ofAPI(path string) bool { return path == "/v1" || strings.HasPrefix(path, "/v1/") }

// mayAsk checks a request before it is looked at more closely. wrong is what is wrong with what the client proves itself by. Everybody
// may see the page's own files.
func (s *API) mayAsk(who caller, wrong *Problem, r *http.Request, page bool) *Problem {
	pace, rate, whose := s.readers, perSecond, "read-only clients"
	switch {
	case who.Level == None || foreign(r):
		pace, rate, whose = s.unknown, strangers, "clients that have not proved who they are"
	case who.Level == Admin:
		pace = nil
	}
	if pace != nil && !pace.allow() {
		p := kind(http.StatusTooManyRequests, "too-many-requests", fmt.Sprintf("%s may make %d requests a second together", whose, rate))
		p.retry, p.last = time.Second, true
		return p
	}
	if wrong != nil {
		if s.refused.allow() {
			s.log.Warn("a client of the API was refused", "client", who.Name, "err", wrong)
		}
		return wrong
	}
	if foreign(r) {
		return kind(http.StatusForbidden, "cross-origin", "the browser says that a page of another site asks")
	}
	if err := s.cross.Check(r); err != nil {
		return kind(http.StatusForbidden, "cross-origin", err.Error())
	}
	if who.Level == None && !page {
		return unauthorized("", "this needs a certificate or a token: Authorization: Bearer TOKEN")
	}
	return nil
}

// guard has a route carried out only for clients that have its level.
func (s *API) guard(t *route, do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := Caller(r.Context())
		if t.level <= who.Level {
			do(w, r)
			return
		}
		p := kind(http.StatusForbidden, "forbidden", fmt.Sprintf("this client has the level %v: %s %s needs the level %v", who.Level, t.method, t.path, t.level))
		if r.Header.Get("Authorization") != "" {
			p.challenge = challenge("insufficient_scope")
		}
		p.write(w)
	}
}

// handle returns the handler of a route.
func (s *API) handle(t *route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := Caller(r.Context())
		q := &request{http: r, query: newQuery(r.URL.RawQuery, t.params)}
		answer, err := s.carryOut(w, t, q, who.Level)
		if t.level == Admin { // what read-only clients try would fill the log
			s.log.Info("api", "by", who.Name, "asked", t.method+" "+clip(r.URL.Path), "err", err)
		}
		if err != nil {
			problemOf(err).write(w)
			return
		}
		s.reply(w, r, answer)
	}
}

// carryOut checks a request and has its route carry it out. It does not panic.
func (s *API) carryOut(w http.ResponseWriter, t *route, q *request, level Level) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("api: a request caused a panic", "asked", t.method+" "+t.path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = kind(http.StatusInternalServerError, "internal", "a fault of hushgate: its log says more")
		}
	}()
	if q.query.wrong != nil {
		return nil, q.query.wrong
	}
	if q.body, err = readBody(w, q.http); err != nil {
		return nil, err
	}
	c := q.http.Context().Value(connKey{}).(*conn)
	if !s.begin(c) {
		return nil, busy("a new client has taken the place of this one")
	}
	defer s.end(c)
	// From here on the client owes nothing, and net/http would cancel the request at the deadline.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	patience := max(t.patience, usualPatience)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience + writePatience))
	ctx, cancel := context.WithTimeout(q.http.Context(), patience)
	defer cancel()
	if t.slow { // waits more than it works
		return s.result(ctx, t, q)
	}
	select {
	case s.slots[level] <- struct{}{}:
		defer func() { <-s.slots[level] }()
	case <-ctx.Done():
		return nil, busy("too many requests at once")
	}
	return s.result(ctx, t, q)
}

func (s *API) result(ctx context.Context, t *route, q *request) (any, error) {
	answer, err := t.do(ctx, s, q)
	if err != nil && ctx.Err() != nil && !isProblem(err) {
		return nil, busy("the gateway did not answer in time")
	}
	return answer, err
}

func isProblem(err error) bool {
	var p *Problem
	return errors.As(err, &p)
}

// problemOf returns the form in which a client gets an error.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return kind(http.StatusInternalServerError, "internal", err.Error())
}

// document is an answer that is not JSON.
type document struct {
	mediaType string
	text      []byte
}

// reply sends an answer as JSON; a nil answer has no body.
func (s *API) reply(w http.ResponseWriter, r *http.Request, answer any) {
	h := w.Header()
	switch a := answer.(type) {
	case nil:
		w.WriteHeader(http.StatusNoContent)
		return
	case document:
		h.Set("Content-Type", a.mediaType)
		h.Set("Content-Length", strconv.Itoa(len(a.text)))
		_, _ = w.Write(a.text)
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		s.log.Error("api: an answer is not JSON", "asked", r.Method+" "+r.URL.Path, "err", err)
		kind(http.StatusInternalServerError, "internal", "a fault of hushgate: its log says more").write(w)
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	_, _ = w.Write(append(body, '\n'))
}
