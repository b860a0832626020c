package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"hushgate/internal/crowd"
)

// The limits for clients of one level. Together they bound what the API takes from the rest of the process, whatever clients
// do: the work at one time, the work in a time, memory, and how long anything may take.
const (
	maxConns      = 256              // connections at one time
	maxRequests   = 4                // requests carried out at one time
	perSecond     = 200              // requests of read-only clients; bursts may be twice as large
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
}

// API answers the requests of clients.
type API struct {
	gateway Gateway
	log     *slog.Logger
	mux     *http.ServeMux
	http    *http.Server
	handed  *handed
	cross   *http.CrossOriginProtection
	crowds  [levels]*crowd.Crowd
	slots   [levels]chan struct{}
	streams [levels]chan struct{}
	readers *pace
	over    context.Context // done when the streams have to end
	end     context.CancelFunc
}

// New returns a server that does not serve yet.
func New(o Options) *API {
	s := &API{
		gateway: o.Gateway, log: o.Log, handed: newHanded(), cross: http.NewCrossOriginProtection(),
		readers: &pace{perSecond: perSecond, burst: 2 * perSecond, now: time.Now},
	}
	for l := range s.crowds {
		s.crowds[l] = crowd.New(maxConns)
		s.slots[l] = make(chan struct{}, maxRequests)
		s.streams[l] = make(chan struct{}, maxStreams)
	}
	s.over, s.end = context.WithCancel(context.Background())
	s.mux = s.routes()
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: readPatience, ReadTimeout: 2 * readPatience,
		IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
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
	s.http.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
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
	s.end()
	grace, enough := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer enough()
	if s.http.Shutdown(grace) != nil {
		_ = s.http.Close()
	}
	for range listeners {
		<-ended
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Join serves a connection that someone else has accepted.
func (s *API) Join(c net.Conn, of Peer) { s.handed.give(&conn{Conn: c, peer: of}) }

// gate admits the connections of a listener to the crowd of their level.
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
		if g.server.crowds[k.peer.Level].Admit(&k.place, k) {
			return c, nil
		}
		_ = c.Close()
	}
}

// request is a request whose limits were checked.
type request struct {
	http  *http.Request
	peer  Peer
	query *query
	body  []byte
}

// path returns a part of the path that the route names.
func (r *request) path(name string) string { return r.http.PathValue(name) }

// decode reads the body into v, which has a field for every member that is allowed.
func (r *request) decode(v any) error {
	if len(bytes.TrimSpace(r.body)) == 0 {
		return Invalid("", "expected a JSON object in the body, found nothing")
	}
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return Invalid(fieldOf(err), "the body: "+err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Invalid("", "the body: expected one JSON object, found more after it")
	}
	return nil
}

// fieldOf returns the member of a JSON object that an error is about.
func fieldOf(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return wrong.Field
	}
	return ""
}

// serve answers one request. Everything that is the same for all routes happens here.
func (s *API) serve(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*conn)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if c == nil || !s.crowds[c.peer.Level].Begin(&c.place) {
		busy("too many clients at once").write(w)
		return
	}
	defer s.crowds[c.peer.Level].End(&c.place)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writePatience + usualPatience))
	if c.peer.Level == ReadOnly && !s.readers.allow() {
		p := kind(http.StatusTooManyRequests, "too-many-requests", fmt.Sprintf("read-only clients may make %d requests a second together", perSecond))
		p.retry = time.Second
		p.write(w)
		return
	}
	if err := s.cross.Check(r); err != nil {
		kind(http.StatusForbidden, "cross-origin", err.Error()).write(w)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// handle returns the handler of a route.
func (s *API) handle(t *route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*conn)
		q := &request{http: r, peer: c.peer, query: newQuery(r.URL.RawQuery, t.params)}
		answer, err := s.carryOut(w, t, q)
		if t.level == Admin && c.peer.Level == Admin { // what read-only clients try would fill the log
			s.log.Info("api", "by", c.peer.Name, "asked", t.method+" "+clip(r.URL.Path), "err", err)
		}
		if err != nil {
			problemOf(err).write(w)
			return
		}
		s.reply(w, r, answer)
	}
}

// carryOut checks a request and has its route carry it out. It does not panic.
func (s *API) carryOut(w http.ResponseWriter, t *route, q *request) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("api: a request caused a panic", "asked", t.method+" "+t.path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = kind(http.StatusInternalServerError, "internal", "a fault of hushgate: its log says more")
		}
	}()
	if t.level > q.peer.Level {
		return nil, kind(http.StatusForbidden, "forbidden", fmt.Sprintf("this socket has the level %v: %s %s needs the level %v", q.peer.Level,
			t.method, t.path, t.level))
	}
	if q.query.wrong != nil {
		return nil, q.query.wrong
	}
	if q.body, err = readBody(w, q.http); err != nil {
		return nil, err
	}
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
	case s.slots[q.peer.Level] <- struct{}{}:
		defer func() { <-s.slots[q.peer.Level] }()
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

// readBody reads the body. Only JSON is accepted, which a form on a foreign page cannot send.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, kind(http.StatusRequestEntityTooLarge, "too-large", fmt.Sprintf("the body has more than %d octets", maxBody))
	case err != nil:
		return nil, kind(http.StatusBadRequest, "invalid", "the body was not received: "+err.Error())
	}
	if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
		return nil, kind(http.StatusUnsupportedMediaType, "media-type", "expected a body of the type application/json")
	}
	return body, nil
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
